"""What every wing (limbs, hips, ...) shares: the card beside its weights, and how they are found and verified."""
