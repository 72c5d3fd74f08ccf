"""What engines made of networks, kept for the next process: a folder for each network, engine and machine.

An entry is believed only where its record is of this very network, engine, version and machine, and its files are those
that the record names by SHA-256. Everything else is made anew in its place. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracture.atomic import write_json
from fracture.errors import OutputError
from fracture.regular import sha256_of
from fracture.wing.engine_choice import folder_here, machine, versions

if TYPE_CHECKING:
    from torch import nn

    from fracture.wing.engine_formats import Format

_RECORD = "entry.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """A network as an engine has it.

    Attributes:
        folder: Where its files lie.
        key: What it is of.
        shapes: Shapes of inputs at which its answers were compared with torch's on this machine.
        keep: It stays for other processes.
    """

    folder: Path
    key: dict[str, str]
    shapes: frozenset[str] = field(default=frozenset())
    keep: bool = True

    def compared(self, shape: str, files: Sequence[str]) -> Entry:
        """The entry with one more shape, written where it is kept and can be written."""
        known = replace(self, shapes=self.shapes | {shape})
        if self.keep:
            digests = {name: sha256_of(self.folder / name) for name in files}
            with contextlib.suppress(OutputError):
                write_json(self.folder / _RECORD, {"key": self.key, "files": digests, "shapes": sorted(known.shapes)})
        return known


def key_of(network: nn.Module | None, what: str, engine: str) -> dict[str, str] | None:
    """What an entry is of; None for a network that is no module, which is not kept.

    Args:
        network: Its structure and every number of it count.
        what: What is called of it, with the names of its inputs.
        engine: The engine.
    """
    if network is None:
        return None
    digest = hashlib.sha256(f"{network!r}\n{what}".encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return {"network": digest.hexdigest(), "engine": engine, **machine(), **versions(engine)}


def kept(key: dict[str, str] | None, form: Format) -> Entry | None:
    """The entry of a key, where there is a whole one."""
    if key is None:
        return None
    folder = _folder(key)
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_bytes())
        if record["key"] != key or any(record["files"][n] != sha256_of(folder / n) for n in form.files):
            return None
        return Entry(folder, key, frozenset(map(str, record["shapes"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def new_entry(key: dict[str, str] | None, made: Path) -> Entry:
    """Files that were just made, put in the place of their key; where that cannot be they stay where they are."""
    if key is not None:
        folder = _folder(key)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
            for path in made.iterdir():
                shutil.copy2(path, staged)
            shutil.rmtree(folder, ignore_errors=True)
            staged.rename(folder)
            return Entry(folder, key)
        except OSError:  # no home, a full disk, or another process was faster: this one goes on with its own
            with contextlib.suppress(OSError, UnboundLocalError):
                shutil.rmtree(staged)
    return Entry(made, key or {}, keep=False)


def _folder(key: dict[str, str]) -> Path:
    return folder_here() / f"{key['engine']}-{key['network'][:32]}"
