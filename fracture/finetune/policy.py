"""What learns, how long and how fast when weights are fine-tuned: the stated policy, with reasons.

Jones et al. 2020 fine-tune nothing; everything here is ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from fracture.errors import ConfigurationError
from fracture.training.config import MemberConfig

__all__ = ["PHASES", "FineTunePolicy"]

PHASES = ("heads", "thaw")
"""The two phases of the training, in order."""

_EPOCH = 100  # presentations that count as an epoch: for the log, the checkpoints and the order of the films


@dataclass(frozen=True, slots=True)
class FineTunePolicy:
    """The policy: heads alone first, then the last stages too, then a step back towards the old weights.

    Attributes:
        head_films: Film presentations of the first phase, in which the whole backbone is frozen: heads that do not
            fit yet would otherwise drive the features away. 0 leaves the phase out.
        thaw_films: Presentations of the second phase. 0 leaves it out: only heads are tuned.
        passes: Neither phase presents a film more often than this on average. Twenty films that are presented sixty
            times are learned by heart, and the old regions pay for it.
        thaw_stages: Stages of the backbone, counted from the output, that learn in the second phase. The early ones
            see edges and textures, which a new bone shares with the old ones.
        crop_share: Share of the second phase, at its beginning, that presents crops instead of whole films
            (:mod:`fracture.training.crops`).
        lr: Learning rate of the thawed stages, AdamW with a cosine.
        head_lr: Learning rate of the heads.
        keep: Share of the old weights in the result: ``keep * old + (1 - keep) * new``, tensor by tensor (Wortsman et
            al. 2022, "Robust fine-tuning of zero-shot models"). What was learned and what was known share a basin
            when the training is short, and their mean loses less on the old regions than the end of the training
            does (measured, see docs/training.md). Needs no old films. 0 keeps the end of the training.
        validation: Share of the new films (by group) that are not trained on; they find the thresholds and measure.
        batch: Films per optimizer step.
    """

    head_films: int = 300
    thaw_films: int = 1200
    passes: int = 20
    thaw_stages: int = 1
    crop_share: float = 0.5
    lr: float = 1e-4
    head_lr: float = 5e-4
    keep: float = 0.5
    validation: float = 0.5
    batch: int = 8

    def __post_init__(self) -> None:
        for name in ("head_films", "thaw_films", "thaw_stages"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.head_films + self.thaw_films > 0, "head_films", 0, "above 0 where thaw_films is 0")
        for name in ("batch", "passes"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("lr", "head_lr"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        _require(0 <= self.crop_share <= 1, "crop_share", self.crop_share, "0 .. 1")
        _require(0 <= self.keep < 1, "keep", self.keep, "0 up to, not including, 1")
        _require(0 < self.validation < 1, "validation", self.validation, "between 0 and 1")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FineTunePolicy:
        """A policy from settings by name.

        Raises:
            ConfigurationError: An unknown setting or an illegal value.
        """
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(data) - set(known)):
            raise ConfigurationError("unknown fine-tuning settings", got=", ".join(unknown), allowed=known)
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """All settings, JSON-able."""
        return asdict(self)

    def phases(self) -> tuple[str, ...]:
        """The phases that are not left out."""
        films = {"heads": self.head_films, "thaw": self.thaw_films}
        return tuple(name for name in PHASES if films[name] > 0)

    def presentations(self, phase: str, films: int) -> int:
        """Film presentations of a phase that has so many films to train on."""
        return min(self.head_films if phase == "heads" else self.thaw_films, self.passes * films)

    def config(self, phase: str, films: int, stages: int, base: MemberConfig, **changes: Any) -> MemberConfig:
        """The training configuration of one phase of one member.

        Args:
            phase: ``"heads"`` or ``"thaw"``.
            films: Films to train on.
            stages: Stages of the member's backbone.
            base: The member's name, network, preprocessing, losses and augmentation.
            **changes: Sections to lay over everything (``data``, ``split``, ``loop``, ...).

        Raises:
            ConfigurationError: Settings that do not fit the network.
        """
        presentations = self.presentations(phase, films)
        epoch = min(_EPOCH, presentations)
        epochs = -(-presentations // epoch)
        frozen = stages if phase == "heads" else max(0, stages - self.thaw_stages)
        tables: dict[str, Any] = {
            "sampling": {"films_per_epoch": epoch, "balanced_epochs": 0},
            "crops": {"epochs": round(epochs * self.crop_share) if phase == "thaw" else 0},
            "optimizer": {
                "name": "adamw",
                "lr": self.lr,
                "head_lr": self.head_lr,
                "weight_decay": 0.01,
                "schedule": "cosine",
                "warmup_steps": 10,
                "clip_norm": 1.0,
                "ema": 0.98,
                "freeze_stages": frozen,
            },
            "loop": {"epochs": epochs, "batch": self.batch, "patience": None, "maps": False, "overlays": 0},
        }
        for section, values in changes.items():
            old = tables.get(section)
            tables[section] = {**old, **values} if isinstance(old, dict) and isinstance(values, dict) else values
        return base.replace(tables)


def _require(condition: bool, name: str, got: object, allowed: str) -> None:
    if not condition:
        raise ConfigurationError(f"fine-tuning setting {name}", got=got, allowed=allowed)
