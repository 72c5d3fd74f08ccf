"""What every wing (limbs, hips, ...) shares: card, store and verification; the reader of films; what results are."""
