"""Where pairs of hip networks lie, and how their tensors are read: checksum first, never by unpickling."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fracture.errors import WeightsNotFoundError
from fracture.hip.card import CARD_FILE, ClassifierCard, HipCard, LocalizerCard
from fracture.store import read_checked, weight_folders

if TYPE_CHECKING:
    import torch

__all__ = ["DEFAULT_HIP_WEIGHTS", "HipWeights", "available", "find", "open_weights"]

DEFAULT_HIP_WEIGHTS = "hip-small"


@dataclass(frozen=True, slots=True)
class HipWeights:
    """A folder of hip networks whose card has been read."""

    folder: Path
    card: HipCard

    def tensors(self, stage: LocalizerCard | ClassifierCard) -> dict[str, torch.Tensor]:
        """One stage's tensors; the bytes that are checked are the bytes that are used.

        Raises:
            WeightsIntegrityError: The file is missing, is not what the card's SHA-256 says, or is no safetensors file.
        """
        return read_checked(self.folder / stage.file, stage.sha256)


def available() -> tuple[str, ...]:
    """Names of the pairs that this installation ships, sorted."""
    return tuple(sorted({path.parent.name for root in weight_folders() for path in root.glob(f"*/{CARD_FILE}")}))


def find(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a pair of hip networks.

    Args:
        name_or_path: A folder that holds a hip card, or the name of a shipped pair; ``None`` is the default one.

    Raises:
        WeightsNotFoundError: Neither.
    """
    wanted = DEFAULT_HIP_WEIGHTS if name_or_path is None else name_or_path
    path, name = Path(wanted), str(wanted)
    if (path / CARD_FILE).is_file():
        return path
    if name == path.name:
        for root in weight_folders():
            if (root / name / CARD_FILE).is_file():
                return root / name
    raise WeightsNotFoundError(
        "no hip networks of that name, and no folder with a hip card at that path",
        got=name,
        allowed=available() or "none are shipped with this installation",
        hint=f"pass a name, or a folder that holds {CARD_FILE} and its safetensors files; "
        "`fracture hip train` makes such a folder",
    )


def open_weights(name_or_path: str | os.PathLike[str] | None = None) -> HipWeights:
    """Find a pair of hip networks and read its card.

    Raises:
        WeightsNotFoundError: No such pair.
        CardError: The card does not follow the schema.
    """
    folder = find(name_or_path)
    return HipWeights(folder, HipCard.read(folder))
