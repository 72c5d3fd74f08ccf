"""CT and MR series: from a folder or a list of files to volumes in patient millimeters, each of one kind.

1. Every file tells of its frames (:mod:`fracture.io.dicom.frames`); pixels are not decoded yet.
2. Frames of one series, size, direction, echo and point in time are one :class:`Stack`.
3. ``Stack.read`` sorts the frames along their normal, drops copies, refuses gaps, and decodes.

What of a folder is neither CT nor MR is counted and told; a damaged slice, a gap, or two different slices at one place
is an error, since nobody can say what the network would miss there.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError, ImageSizeError, NotARadiographError, SeriesError, UnreadableFileError
from fracture.io.ahead import source_name
from fracture.io.dicom.frames import Frame, frame_values, frames_of
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import sniff
from fracture.spine.kinds import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2, Kind, kind_of
from fracture.spine.nifti import read_nifti
from fracture.spine.planes import normal_plane, oriented, plane_of
from fracture.wing.volume import Volume

Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes]"
MAX_VOXELS = 512 * 512 * 1024
"""Limit of a volume (our choice: 1 GiB as float32)."""

_APART = 0.1
"""Share of the distance between slices that places may be off by before a series is refused (our choice)."""
_ROUNDED = 0.01  # ... before it is told; places are often written with two decimals
_SAME = 0.01  # mm between two slices at one place (our choice)
_TILT = 0.5  # degrees between the normal and the way from slice to slice that are told (our choice)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series, read.

    Attributes:
        volume: Voxels with their place, axes as :data:`fracture.spine.planes.PLANES` has them for the plane.
        kind: Modality, plane and weighting.
        tilt: Degrees by which the slices are sheared (gantry tilt); 0 for a right angle.
    """

    volume: Volume
    kind: Kind
    tilt: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Frames that belong to one volume, or a NIfTI file; nothing is decoded yet.

    Attributes:
        source: The folder or file that it comes from.
        kind: Modality, plane and weighting; None of a NIfTI file, which does not say.
        frames: In the order that they were found; empty for a NIfTI file.
        files: What the frames are read from, by their names.
        max_bytes, max_voxels: Limits of a file and of the volume.
    """

    source: str
    kind: Kind | None
    frames: tuple[Frame, ...] = ()
    files: dict[str, Source] = field(default_factory=dict)
    max_bytes: int = MAX_BYTES
    max_voxels: int = MAX_VOXELS

    def __str__(self) -> str:
        if self.kind is None:
            return "a NIfTI file"
        frame = self.frames[0]
        return f"{self.kind}, {len(self.frames)} x {frame.columns} x {frame.rows}"

    def read(self) -> Series:
        """Sort, check and decode.

        Raises:
            SeriesError: Slices are missing, are not in line, or two lie at one place.
            ImageSizeError: More voxels than the limit.
            InputError: A slice cannot be decoded.
        """
        if self.kind is None:
            (file,) = self.files.values()
            volume = read_nifti(_open(file, self.max_bytes), self.source, max_voxels=self.max_voxels)
            return Series(oriented(volume), Kind("", plane_of(volume)))
        first = self.frames[0]
        if (count := len(self.frames) * first.rows * first.columns) > self.max_voxels:
            raise ImageSizeError(
                f"{self.source}: the series is larger than the limit",
                got=f"{count} voxels ({self})",
                allowed=f"at most {self.max_voxels}",
            )
        groups = _by_place(self.frames)
        ordered = [group[0] for group in groups]
        step, tilt, notes = _line(ordered, self.source)
        voxels = self._voxels(ordered, groups, notes)
        affine = np.eye(4)
        affine[:3, 0] = np.multiply(first.orientation[:3], first.spacing[1])
        affine[:3, 1] = np.multiply(first.orientation[3:], first.spacing[0])
        affine[:3, 2], affine[:3, 3] = step, ordered[0].position
        return Series(oriented(Volume(voxels, affine, self.source, tuple(notes))), self.kind, tilt)

    def _voxels(
        self, ordered: Sequence[Frame], groups: Sequence[Sequence[Frame]], notes: list[str]
    ) -> NDArray[np.float32]:
        """Every frame once, file by file; copies are held against the first at their place."""
        number = {(frame.source, frame.index): k for k, group in enumerate(groups) for frame in group}
        voxels = np.empty((len(ordered), ordered[0].rows, ordered[0].columns), np.float32)
        filled, copies = set[int](), 0
        for name, file in self.files.items():
            frames = [frame for frame in self.frames if frame.source == name]
            if not frames:
                continue
            data = _open(file, self.max_bytes)
            for frame, values in zip(frames, frame_values(data, name, frames, max_bytes=self.max_bytes), strict=True):
                k = number[name, frame.index]
                if k not in filled:
                    voxels[k] = values
                    filled.add(k)
                elif np.array_equal(voxels[k], values):
                    copies += 1
                else:
                    raise SeriesError(
                        f"{self.source}: two different slices lie at one place",
                        got=f"{name} and another at slice {k + 1} of {len(ordered)}",
                        allowed="one slice at each place",
                        hint="give the files of one series, echo and point in time",
                    )
        if copies:
            notes.append(f"{copies} slices were there twice; the copies were left out")
        return voxels


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What there is in a folder or a list of files.

    Attributes:
        series: What can be read, those of most slices first.
        warnings: What was left out.
    """

    series: tuple[Stack, ...]
    warnings: tuple[str, ...] = ()

    def one(self, source: str, *, number: int | None = None) -> Stack:
        """The only series, or that of a number from 0.

        Args:
            source: What an error calls the study.
            number: Which of several.

        Raises:
            SeriesError: There are several, or none of that number.
        """
        listed = "; ".join(f"{k}: {stack}" for k, stack in enumerate(self.series))
        if number is None and len(self.series) > 1:
            raise SeriesError(
                f"{source}: {len(self.series)} series, not one", got=listed, hint="choose one with number=0, 1, ..."
            )
        if not 0 <= (number or 0) < len(self.series):
            raise SeriesError(f"{source}: no such series", got=f"number {number}", allowed=listed)
        return self.series[number or 0]

    def of_kinds(self, named: Mapping[str, str]) -> Found:
        """The same, where series in folders of these names are of the kinds of RSNA 2024 that a table says they are."""
        kinds = {SAGITTAL_T2: Kind("MR", "sagittal", "T2"), SAGITTAL_T1: Kind("MR", "sagittal", "T1")}
        kinds[AXIAL_T2] = Kind("MR", "axial", "T2")
        folders = [Path(one.frames[0].source).parent.name if one.frames else "" for one in self.series]
        stacks = (
            replace(one, kind=kinds.get(named.get(folder, ""), one.kind))
            for one, folder in zip(self.series, folders, strict=True)
        )
        return replace(self, series=tuple(stacks))


def find_series(
    source: Source | Iterable[Source], *, max_bytes: int = MAX_BYTES, max_voxels: int = MAX_VOXELS
) -> Found:
    """The series in a folder and the folders below it, in a file, or in a list of files.

    Args:
        source: A folder, a DICOM or NIfTI file (each also gzipped), its content, or several files.
        max_bytes: Limit of each file, also once inflated.
        max_voxels: Limit of each volume, checked when it is read.

    Raises:
        SeriesError: A slice does not say where it lies, or there is no series at all.
        InputError: A file that cannot be read; in a folder, what is not DICOM or NIfTI is only told.
    """
    files, folder, name = _files(source)
    stacks: dict[object, list[Frame]] = {}
    nifti: list[Stack] = []
    others: Counter[str] = Counter()
    for file, given in files.items():
        data = _open(given, max_bytes)
        kind = sniff(data)
        if kind == "NIfTI":
            nifti.append(Stack(file, None, files={file: given}, max_bytes=max_bytes, max_voxels=max_voxels))
            continue
        try:
            for frame in frames_of(data, file, max_bytes=max_bytes):
                stacks.setdefault(_key(frame), []).append(frame)
        except NotARadiographError as error:
            if not folder:
                raise
            others[f"DICOM objects of another kind ({error.got})"] += 1
        except UnreadableFileError:
            if not folder or kind == "dicom":
                raise
            others["files that are not DICOM"] += 1
    found = [
        Stack(name, _kind(frames), tuple(frames), _of(frames, files), max_bytes, max_voxels)
        for group in stacks.values()
        for frames in _stacks(group)
    ]
    found.sort(key=lambda stack: -len(stack.frames))
    warnings = tuple(f"{count} {what} left out" for what, count in sorted(others.items()))
    if not (found or nifti):
        raise SeriesError(
            f"{name}: no CT or MR series", got="; ".join(warnings) or "no files", hint="give a folder of DICOM slices"
        )
    return Found((*found, *nifti), warnings)


def read_series(
    source: Source | Iterable[Source],
    *,
    number: int | None = None,
    max_bytes: int = MAX_BYTES,
    max_voxels: int = MAX_VOXELS,
) -> Series:
    """Read one series; see :func:`find_series`.

    Args:
        source: As there.
        number: Which, from 0, where there are several.
        max_bytes, max_voxels: As there.

    Raises:
        SeriesError: Several series and none chosen, or one that is broken.
        InputError: A file that cannot be read.
    """
    found = find_series(source, max_bytes=max_bytes, max_voxels=max_voxels)
    one = found.one(_files(source)[2] if isinstance(source, str | os.PathLike) else "<files>", number=number).read()
    return replace(one, volume=replace(one.volume, warnings=(*found.warnings, *one.volume.warnings)))


def _files(source: Source | Iterable[Source]) -> tuple[dict[str, Source], bool, str]:
    """The files by name, whether they are a folder's, and what to call them together."""
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        root = Path(source)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        shown = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts)]
        if not (filled := [path for path in shown if path.stat().st_size]):
            raise SeriesError(f"{root}: an empty folder", hint="give a folder of DICOM slices")
        return {str(path): path for path in filled}, True, str(root)
    if isinstance(source, str | os.PathLike | bytes | bytearray) or hasattr(source, "read"):
        name = source_name(source)
        return {name: _content(source)}, False, name
    try:
        given = list(source)
    except TypeError:
        raise ConfigurationError(
            "not a source of slices", got=type(source).__name__, allowed="a folder, a file, or several files"
        ) from None
    if not given:
        raise SeriesError("<files>: an empty list", hint="give the files of a series")
    names = Counter(source_name(one) for one in given)
    files = {}
    for k, one in enumerate(given):
        name = source_name(one)
        files[name if names[name] == 1 else f"{name} {k + 1}"] = _content(one)
    return files, False, "<files>"


def _open(source: Source, max_bytes: int) -> bytes:
    return open_bytes(source, max_bytes, formats=("dicom", "NIfTI"))[0]


def _content(source: Any) -> Source:
    """What can be read twice: a file object is read at once."""
    return source.read() if hasattr(source, "read") else source  # type: ignore[no-any-return]


def _key(frame: Frame) -> object:
    """Frames of equal keys can be slices of one volume."""
    way = tuple(round(one, 3) + 0.0 for one in frame.orientation)
    spacing = tuple(round(one, 4) for one in frame.spacing)
    return frame.series, frame.modality, frame.rows, frame.columns, way, spacing, frame.echo, frame.time


def _kind(frames: Sequence[Frame]) -> Kind:
    return kind_of(frames[0], normal_plane(_normal(frames[0])))


def _of(frames: Sequence[Frame], files: dict[str, Source]) -> dict[str, Source]:
    return {name: files[name] for name in dict.fromkeys(frame.source for frame in frames)}


def _normal(frame: Frame) -> NDArray[np.float64]:
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    unit: NDArray[np.float64] = normal / np.linalg.norm(normal)
    return unit


def _by_place(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames along their normal, those at one place together."""
    along = np.array([frame.position for frame in frames]) @ _normal(frames[0])
    groups: list[list[Frame]] = []
    for k in np.argsort(along, kind="stable").tolist():
        near = groups and np.linalg.norm(np.subtract(groups[-1][0].position, frames[k].position)) < _SAME
        groups[-1].append(frames[k]) if near else groups.append([frames[k]])
    return groups


def _stacks(frames: list[Frame]) -> list[list[Frame]]:
    """Axial MR often comes as several blocks, one for each disc: of one direction, with gaps between them."""
    groups = _by_place(frames)
    if frames[0].modality != "MR" or len(groups) < 3 or normal_plane(_normal(frames[0])) != "axial":
        return [frames]
    steps = np.diff(np.array([group[0].position for group in groups]) @ _normal(frames[0]))
    ends = [*(np.flatnonzero(steps > 1.5 * np.median(steps)) + 1).tolist(), len(groups)]
    return [
        [frame for group in groups[begin:end] for frame in group]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _line(frames: Sequence[Frame], source: str) -> tuple[NDArray[np.float64], float, list[str]]:
    """From slice to slice in millimeters, the tilt in degrees, and what a user should know; refuses gaps."""
    places = np.array([frame.position for frame in frames])
    normal = _normal(frames[0])
    if len(frames) == 1:
        step = frames[0].step
        notes = ["a single slice" + ("" if step else ", which does not say how thick it is; 1 mm was taken")]
        return normal * (step or 1.0), 0.0, notes
    gaps = np.diff(places @ normal)
    usual = float(np.median(gaps))
    off = np.abs(gaps - usual)
    if off.max() > _APART * usual:
        _refuse(gaps, source)
    step = (places[-1] - places[0]) / (len(places) - 1)
    aside = np.linalg.norm(places - places[0] - np.arange(len(places))[:, None] * step, axis=1)
    if aside.max() > max(_APART * usual, 0.05):
        raise SeriesError(
            f"{source}: the slices do not lie in line",
            got=f"slice {int(aside.argmax()) + 1} is {aside.max():.2f} mm off",
            allowed=f"at most {max(_APART * usual, 0.05):.2f} mm",
            hint="give the files of one series; the archive may hold it as several",
        )
    notes = []
    if off.max() > max(_ROUNDED * usual, 0.01):
        notes.append(f"distances between slices differ by up to {off.max():.2f} mm; their mean was taken")
    declared = frames[0].step
    tilt = float(np.degrees(np.arccos(min(1.0, abs(float(step @ normal)) / float(np.linalg.norm(step))))))
    if tilt > _TILT:
        notes.append(f"the slices are sheared by {tilt:.1f} degrees (gantry tilt); places in millimeters allow for it")
    if declared is not None and usual > 1.9 * declared and frames[0].modality == "CT":
        notes.append(f"slices lie {usual:.2f} mm apart, though the file says {declared:.2f} mm; some may be missing")
    return step, tilt if tilt > _TILT else 0.0, notes


def _refuse(gaps: NDArray[np.float64], source: str) -> None:
    least = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    whole = np.rint(gaps / least)
    at = int(gaps.argmax())
    if (np.abs(gaps - whole * least) <= _APART * least).all():
        raise SeriesError(
            f"{source}: slices are missing",
            got=f"{int(whole.sum()) + 1 - len(gaps) - 1} of {int(whole.sum()) + 1}, the first after slice "
            f"{int(np.argmax(whole > 1)) + 1}",
            allowed=f"one every {least:.2f} mm",
            hint="copy the whole series again from the archive",
        )
    raise SeriesError(
        f"{source}: the slices do not lie at equal distances",
        got=f"{gaps.min():.2f} to {gaps.max():.2f} mm, the widest after slice {at + 1}",
        allowed=f"within {100 * _APART:.0f} % of one distance",
        hint="give one reconstruction of the series; the archive may hold several in one",
    )
