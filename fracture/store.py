"""Where weights lie, and how they are opened: by name or folder, checksum first, never by unpickling."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fracture.card import CARD_FILE, Card, MemberCard
from fracture.errors import WeightsIntegrityError, WeightsNotFoundError
from fracture.radiograph import Radiograph

if TYPE_CHECKING:
    import os

    import torch

__all__ = [
    "DEFAULT_WEIGHTS",
    "Weights",
    "available",
    "find",
    "open_weights",
    "read_checked",
    "read_tensors",
    "self_test_film",
    "weight_folders",
]

DEFAULT_WEIGHTS = "fracatlas-small"


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder of weights whose card has been read."""

    folder: Path
    card: Card


def weight_folders() -> tuple[Path, ...]:
    """Folders that hold shipped weights: inside an installed package, and beside it in a clone."""
    package = Path(__file__).resolve().parent
    return package / "_weights", package.parent / "weights"


def available() -> tuple[str, ...]:
    """Names of the weights that this installation ships, sorted."""
    return tuple(sorted({path.parent.name for root in weight_folders() for path in root.glob(f"*/{CARD_FILE}")}))


def find(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a set of weights.

    Args:
        name_or_path: A folder that holds a card, or the name of shipped weights; ``None`` is the default set.

    Raises:
        WeightsNotFoundError: Neither.
    """
    wanted = DEFAULT_WEIGHTS if name_or_path is None else name_or_path
    path = Path(wanted)
    if (path / CARD_FILE).is_file():
        return path
    name = str(wanted)
    if name == path.name:
        for root in weight_folders():
            if (root / name / CARD_FILE).is_file():
                return root / name
    raise WeightsNotFoundError(
        "no weights of that name, and no folder with a card at that path",
        got=name,
        allowed=available() or "none are shipped with this installation",
        hint=f"pass a name, or a folder that holds {CARD_FILE} and its safetensors files",
    )


def open_weights(name_or_path: str | os.PathLike[str] | None = None) -> Weights:
    """Find weights and read their card. Tensors are read later, member by member.

    Raises:
        WeightsNotFoundError: No such weights.
        CardError: The card does not follow the schema.
    """
    folder = find(name_or_path)
    return Weights(folder, Card.read(folder))


def read_tensors(weights: Weights, member: MemberCard) -> dict[str, torch.Tensor]:
    """Read one member's tensors; the bytes that are checked are the bytes that are used.

    Raises:
        WeightsIntegrityError: The file is missing, is not what the card's SHA-256 says, or is no safetensors file.
    """
    return read_checked(weights.folder / member.file, member.sha256)


def read_checked(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file whose SHA-256 is known.

    Raises:
        WeightsIntegrityError: The file is missing, another one, or no safetensors file.
    """
    import safetensors
    import safetensors.torch

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsIntegrityError(f"{path} cannot be read", got=type(error).__name__) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise WeightsIntegrityError(
            f"{path} is not the file that its card describes",
            got=f"SHA-256 {digest}",
            allowed=sha256,
            hint="the file was changed or damaged; get the weights again from their source",
        )
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsIntegrityError(f"{path} is not a safetensors file", got=type(error).__name__) from error


def self_test_film() -> Radiograph:
    """A fixed film made of formulas, for checking that weights compute here what they computed where they were made.

    It is drawn, not simulated, so that it never changes: a tube of bone in soft tissue with a dark oblique line.
    """
    y, x = np.mgrid[0:416, 0:320].astype(np.float64)
    axis = 160 + 14 * np.sin(y / 90)
    across = np.abs(x - axis)
    tissue = 0.22 * np.clip(1 - (across / 95) ** 2, 0, None) ** 0.5
    bone = 0.42 * np.clip(1 - (across / 38) ** 2, 0, None) ** 0.5
    marrow = 0.20 * np.clip(1 - (across / 24) ** 2, 0, None) ** 0.5
    line = 1 - 0.5 * np.exp(-(((y - 210 - 0.45 * (x - 160)) / 2.5) ** 2))
    texture = 0.012 * np.sin(x / 3.1) * np.sin(y / 2.7)
    pixels = 0.06 + tissue + (bone - marrow) * line + texture * (across < 38)
    return Radiograph(np.clip(pixels, 0, 1).astype(np.float32), source="<self-test>")
