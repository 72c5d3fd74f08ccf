"""Where weights lie, and how they are opened: by name or folder, checksum first, never by unpickling.

A link is followed, since model hubs' caches are made of them; what it leads to must be a regular file, and its bytes
what the card's SHA-256 says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from fracture.errors import (
    CardError,
    ConfigurationError,
    UnreadableFileError,
    WeightsIntegrityError,
    WeightsNotFoundError,
    meant,
)
from fracture.regular import read_regular
from fracture.wing.card import BaseCard, WeightFile

if TYPE_CHECKING:
    import os

    import torch

__all__ = ["MAX_WEIGHT_BYTES", "Store", "Weights", "weight_folders"]

MAX_WEIGHT_BYTES = 2 * 2**30
"""Most bytes of one file of weights (ours; the largest network here, VGG-19 in float32, has 0.6 GiB)."""

_LONGEST_HEADER = 8 * 2**20  # bytes of a safetensors header; a network of a thousand tensors has 0.1 MiB

C = TypeVar("C", bound=BaseCard)


@dataclass(frozen=True)
class Weights(Generic[C]):
    """A folder of weights whose card has been read."""

    folder: Path
    card: C

    def tensors(self, part: WeightFile) -> dict[str, torch.Tensor]:
        """The state dict of one file of the card, shapes and dtypes as in the file.

        The bytes that are checked are the bytes that are used.

        Raises:
            WeightsIntegrityError: The file is missing, no regular file, too large, not what the card's SHA-256 says, or
                no safetensors file.
        """
        import safetensors
        import safetensors.torch

        path = self.folder / part.file
        try:
            content = read_regular(path, MAX_WEIGHT_BYTES)
        except UnreadableFileError as error:
            raise WeightsIntegrityError(error.what, got=error.got, allowed=error.allowed) from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != part.sha256:
            raise WeightsIntegrityError(
                f"{path} is not the file that its card describes",
                got=f"SHA-256 {digest}",
                allowed=part.sha256,
                hint="the file was changed or damaged; get the weights again from their source",
            )
        try:
            if int.from_bytes(content[:8], "little") > min(len(content), _LONGEST_HEADER):
                raise ValueError("a header longer than the file, or than 8 MiB")
            return safetensors.torch.load(content)
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
            raise WeightsIntegrityError(f"{path} is not a safetensors file", got=error) from error


@dataclass(frozen=True)
class Store(Generic[C]):
    """The weights of one wing.

    Attributes:
        card: What their card is.
        default: Name of the set that is opened where none is named.
        kind: What to call them, such as ``"hip networks"``.
        command: How they are made.
        roots: Folders of sets that the wing's own package ships, each set in a folder of its name.
    """

    card: type[C]
    default: str
    kind: str
    command: str
    roots: tuple[Path, ...] = ()

    def available(self) -> tuple[str, ...]:
        """Names of the sets that this installation ships, sorted."""
        cards = [path for root in self._roots for path in root.glob(f"*/{self.card.FILE}")]
        return tuple(sorted({path.parent.name for path in cards}))

    def locate(self, name_or_path: str | os.PathLike[str] | None = None) -> Path | None:
        """The folder of a set, or None where there is none of this wing; see :meth:`find`."""
        wanted = self.default if name_or_path is None else name_or_path
        path, name = Path(wanted), str(wanted)
        roots = [root / name for root in self._roots] if name == path.name else []
        places = roots if name_or_path is None else [path, *roots]
        return next((folder for folder in places if _is_file(folder / self.card.FILE)), None)

    @property
    def _roots(self) -> tuple[Path, ...]:
        return (*self.roots, *weight_folders())

    def find(self, name_or_path: str | os.PathLike[str] | None = None) -> Path:
        """The folder of a set of weights.

        Args:
            name_or_path: A folder that holds a card, or the name of a shipped set; ``None`` is the default one.

        Raises:
            WeightsNotFoundError: Neither.
        """
        if (folder := self.locate(name_or_path)) is not None:
            return folder
        raise WeightsNotFoundError(
            f"no {self.kind} of that name, and no folder with a card at that path",
            got=ascii(str(name_or_path)),
            allowed=self.available() or "none are shipped with this installation",
            hint=meant(name_or_path, self.available())
            or f"pass a name, or a folder that holds {self.card.FILE} and its safetensors files; "
            f"{self.command} makes such a folder",
        )

    def open(self, name_or_path: str | os.PathLike[str] | None = None) -> Weights[C]:
        """Find weights and read their card. Tensors are read later, file by file.

        Raises:
            WeightsNotFoundError: No such weights.
            CardError: The card does not follow the schema.
        """
        folder = self.find(name_or_path)
        return Weights(folder, self.card.read(folder))

    def check_place(self, folder: Path, name: str, *, begun: bool = False) -> None:
        """Refuse to write weights over others, or over what is none; called before anything is written.

        Args:
            folder: Where they will be written; need not exist.
            name: Of the weights; those that have it already may be replaced.
            begun: Whether files without a card may be those of an earlier call that was cut off.

        Raises:
            ConfigurationError: Something else lies there.
        """
        got = ""
        if folder.exists() and not folder.is_dir():
            got = "a file"
        elif (folder / self.card.FILE).exists():
            try:
                before = self.card.read(folder)
                got = "" if before.name == name else f"the weights {before.label}"
            except CardError:
                got = f"a {self.card.FILE} of something else"
        elif not begun and (files := sorted(path.name for path in folder.glob("*.safetensors"))):
            got = f"{files[0]} without a {self.card.FILE}"
        if got:
            raise ConfigurationError(
                f"{folder} holds something else than the weights {name}",
                got=got,
                hint="give another folder; nothing was written",
            )


def weight_folders() -> tuple[Path, ...]:
    """Folders that hold shipped weights: inside an installed package, and beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    return package / "_weights", package.parent / "weights"


def _is_file(path: Path) -> bool:
    try:
        return path.exists()  # what is no regular file is refused, and named, when the card is read
    except (OSError, ValueError):
        return False
