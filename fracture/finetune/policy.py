"""What learns, how long and how fast when weights are fine-tuned: the stated policy, with reasons.

Jones et al. 2020 fine-tune nothing; everything here is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from fracture.errors import ConfigurationError
from fracture.schema import Record, Share
from fracture.training.config import MemberConfig

PHASES = ("heads", "thaw")
"""The two phases of the training, in order."""

_EPOCH = 100  # presentations that count as an epoch: for the log, the checkpoints and the order of the films


Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class FineTunePolicy(Record):
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
            does (measured, see docs/own_bone.md). Needs no old films. 0 keeps the end of the training.
        validation: Share of the new films (by group) that are not trained on; they find the thresholds and measure.
        batch: Films per optimizer step.
    """

    head_films: Count = 300
    thaw_films: Count = 1200
    passes: Annotated[int, Field(ge=1)] = 20
    thaw_stages: Count = 1
    crop_share: Share = 0.5
    lr: Rate = 1e-4
    head_lr: Rate = 5e-4
    keep: Annotated[float, Field(ge=0, lt=1)] = 0.5
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.5
    batch: Annotated[int, Field(ge=1)] = 8

    def _check(self) -> None:
        if not self.phases():
            raise ConfigurationError("fine-tuning needs films in one phase", got="head_films = 0 and thaw_films = 0")

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
            "crops": {"epochs": round(epochs * self.crop_share) if phase == "thaw" and not base.windows.size else 0},
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
