"""Prepared films on disk: decoded, cropped and resized once, memory-mapped ever after.

One safetensors file per film, named by the SHA-256 of the film's file and of ``PreprocessSpec.letterbox_key``, so a
changed film or a changed preprocessing is another file and nothing goes stale. A file holds the resized part without
its padding (the geometry says where that goes) as uint16, where one step is 1/65535: the cached pixel differs from the
letterbox's float32 by at most 7.7e-6, less than float16 (2.4e-4 near white) at the same size and a 256th of
uint8's step, which a local contrast normalization would show in dark soft tissue. ``uint8`` is offered for sets that
would not fit.

Masks are stored only where a film has redacted rectangles. A CRC-32 of the content is read with it: a file that is
damaged on the disk is made anew from its film.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fracture.atomic import cache_folder, sweep, write_atomic, write_json
from fracture.errors import ConfigurationError, FractureError, InputError, UnreadableFileError
from fracture.io.radiograph import Radiograph
from fracture.preprocess import Geometry, Letterboxed, PreprocessSpec, letterbox
from fracture.regular import sha256_of

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
CACHE_VERSION = 2  # 2: with a checksum of the content


@dataclass(frozen=True, slots=True)
class Fault:
    """A film that cannot be prepared.

    Attributes:
        source: The film, as the set names it.
        error: Why.
    """

    source: str
    error: FractureError


class FilmCache:
    """Letterboxed films of one preprocessing, kept in a folder.

    Several processes may share a folder: files appear whole or not at all, and equal names mean equal content.

    Args:
        folder: Where the files are kept; made if missing.
        spec: The preprocessing; only its ``letterbox_key`` matters.
        pixels: Stored type.
    """

    def __init__(
        self, folder: str | Path, spec: PreprocessSpec, *, pixels: Literal["uint16", "uint8"] = "uint16"
    ) -> None:
        if pixels not in ("uint16", "uint8"):
            raise ConfigurationError("stored pixels", got=pixels, allowed=("uint16", "uint8"))
        self.spec = spec
        self.pixels = pixels
        key = json.dumps([CACHE_VERSION, pixels, *spec.letterbox_key])
        self.folder = Path(folder) / hashlib.sha256(key.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        note = self.folder / "README.json"
        if not note.exists():
            about = {"what": "films prepared by fracture; safe to delete", "pixels": pixels, "key": spec.letterbox_key}
            write_json(note, about, indent=None)
        self._digests: dict[str, str] = {}
        self._index = Path(folder) / "files.json"  # (size, time, digest) per file, so that a start reads no film twice
        self._known: dict[str, list[Any]] = {}
        with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError):
            known = json.loads(self._index.read_text(encoding="utf-8")).items()
            self._known = {key: value for key, value in known if _is_stamped_digest(value)}

    def prepare(
        self,
        films: Iterable[tuple[str, Path]],
        *,
        threads: int = 1,
        progress: Callable[[int], object] | None = None,
    ) -> list[Fault]:
        """Make sure that all films are in the cache.

        Args:
            films: (name, file) of each.
            threads: Films prepared at the same time.
            progress: Called with 1 after each film.

        Returns:
            The films that cannot be prepared, in order, each with its reason; empty where all went well.

        Raises:
            OutputError: The cache cannot be written (the disk is full).
        """

        def one(item: tuple[str, Path]) -> Fault | None:
            source, path = item
            fault = None
            try:
                self._ensure(path)
            except InputError as error:
                fault = Fault(source, error)
            if progress is not None:
                progress(1)
            return fault

        with ThreadPoolExecutor(max(1, threads)) as pool:
            faults = [fault for fault in pool.map(one, films) if fault is not None]
        write_json(self._index, self._known, indent=None)
        return faults

    def load(self, path: Path) -> Letterboxed:
        """One film, from the cache or, where it is not there (any more), from its file.

        Raises:
            InputError: The film is not in the cache and its file cannot be read.
        """
        return self._whole(path, self._read)

    def shape(self, path: Path) -> tuple[int, int]:
        """(height, width) of the prepared film, read from the header alone.

        Raises:
            InputError: As for :meth:`load`.
        """
        width, height = self._whole(path, _geometry).network_size
        return height, width

    def _whole(self, path: Path, read: Callable[[Path], T]) -> T:
        """What ``read`` finds in a film's cached file; a file that is damaged is made anew from the film."""
        target = self._ensure(path)
        try:
            return read(target)
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, FractureError):
            _LOG.warning("%s is damaged and is made anew from %s", target, path)
            target.unlink(missing_ok=True)
            return read(self._ensure(path))

    def _ensure(self, path: Path) -> Path:
        key = str(path)
        if key not in self._digests:
            self._digests[key] = self._digest(path)
        target = self.folder / f"{self._digests[key]}.safetensors"
        if not target.exists():
            boxed = letterbox(read_film(path), self.spec)
            write_atomic(target, lambda temporary: self._save(boxed, temporary))
        return target

    def _digest(self, path: Path) -> str:
        """SHA-256 of a film's file; one of unchanged size and time is not read again."""
        try:
            status = path.stat()
            key, stamp = str(path.resolve()), [status.st_size, status.st_mtime_ns]
            known = self._known.get(key)
            if known is not None and known[:2] == stamp:
                return str(known[2])
            digest = sha256_of(path)
        except OSError as error:
            raise UnreadableFileError(f"{path}: the film cannot be read", got=error.strerror) from error
        self._known[key] = [*stamp, digest]
        return digest

    def _save(self, boxed: Letterboxed, path: Path) -> None:
        width, height = boxed.geometry.scaled_size
        dtype = np.dtype(self.pixels)
        part = np.rint(boxed.pixels[:height, :width] * np.iinfo(dtype).max).astype(dtype)
        tensors: dict[str, NDArray[Any]] = {"pixels": part}
        valid = boxed.mask[:height, :width]
        if not valid.all():
            tensors["valid"] = np.packbits(valid)
        described = json.dumps(boxed.geometry.to_dict())
        metadata = {"geometry": described, "crc32": content_checksum(described, *tensors.values())}
        save_file(tensors, str(path), metadata=metadata)

    def _read(self, path: Path) -> Letterboxed:
        geometry = _geometry(path)
        with safetensors.safe_open(str(path), framework="numpy") as file:
            part = file.get_tensor("pixels")
            packed = file.get_tensor("valid") if "valid" in file.keys() else None  # noqa: SIM118 - not a dict
            stated = file.metadata()
        content = [part] if packed is None else [part, packed]
        if content_checksum(stated["geometry"], *content) != stated["crc32"]:
            raise ValueError(f"{path} is damaged")
        (width, height), (columns, rows) = geometry.scaled_size, geometry.network_size
        pixels = np.zeros((rows, columns), np.float32)
        np.multiply(part, np.float32(1.0 / np.iinfo(part.dtype).max), out=pixels[:height, :width])
        np.minimum(pixels, 1.0, out=pixels)
        mask = np.zeros((rows, columns), np.bool_)
        mask[:height, :width] = (
            True
            if packed is None
            else np.unpackbits(packed, count=height * width).reshape(height, width).astype(np.bool_)
        )
        return Letterboxed(pixels, mask, geometry)


def content_checksum(described: str, *arrays: NDArray[Any]) -> str:
    """CRC-32 of a cached film's or patch's description and arrays, in hexadecimal."""
    found = zlib.crc32(described.encode())
    for array in arrays:
        found = zlib.crc32(np.ascontiguousarray(array).data, found)
    return f"{found:08x}"


def _geometry(path: Path) -> Geometry:
    with safetensors.safe_open(str(path), framework="numpy") as file:
        return Geometry.from_dict(json.loads(file.metadata()["geometry"]))


def _is_stamped_digest(value: Any) -> bool:
    """Size, time and SHA-256, as the index holds them; anything else in it is not believed."""
    return (
        isinstance(value, list)
        and [type(part) for part in value] == [int, int, str]
        and re.fullmatch("[0-9a-f]{64}", value[2]) is not None
    )


def default_cache_folder() -> Path:
    """The films' folder in :func:`fracture.atomic.cache_folder`."""
    return cache_folder("films")


def read_film(path: Path) -> Radiograph:
    """The radiograph in a file, read as ``fracture.read`` reads it by default, which is how it is read in use."""
    from fracture.io.reading import read

    return read(path)
