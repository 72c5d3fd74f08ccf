"""DICOM objects as files: a folder for each film below the one that was named, a file for each object.

An object's file bears the end of its UID. What lies there already is the same object, from an earlier call, and stays;
a report of another reading beside it is the new one's predecessor. Nothing is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread

from fracture.atomic import write_atomic
from fracture.deidentification import Rules, deidentify_header
from fracture.errors import ConfigurationError, OutputError, UnsupportedError
from fracture.io.quiet import quiet
from fracture.results.kinds import checked_objects
from fracture.results.objects import to_dicom
from fracture.runs.outputs import overlay_paths

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NAMES = {"SR": "sr", "PR": "gsps", "SEG": "seg", "KO": "ko"}


@dataclass(slots=True)
class ObjectFolder:
    """Where a run's objects go.

    Attributes:
        folder: For all films; made when the first object is written.
        objects: The kinds that are made.
        new_study: Make a study of its own for a film that is no DICOM.
        rules: Put the objects into the study of the film's de-identified copy, which ``fracture deidentify`` makes with
            the same key; None for the film's own.

    Raises:
        ConfigurationError: The folder is a file, or an unknown kind of object.
        MissingDependencyError: highdicom is not installed.
    """

    folder: Path
    objects: Sequence[str]
    new_study: bool = False
    rules: Rules | None = None
    _captures: dict[str, dict[Path, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.objects = checked_objects(self.objects)
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigurationError("the folder for DICOM objects is a file", got=self.folder, hint="give a folder")

    def places(self, films: Sequence[str], root: str) -> dict[str, str]:
        """Each film's own folder, in the films' folders; see :func:`fracture.runs.outputs.overlay_paths`."""
        return overlay_paths(self.folder, films, root, rename=lambda name: f"{name}.objects")

    def add(self, result: Any, place: Path, **options: Any) -> list[str]:
        """Make and write the objects of one film.

        Args:
            result: What was found.
            place: The film's own folder.
            **options: ``source`` and ``frame``, as for :func:`fracture.results.to_dicom`.

        Returns:
            The files.

        Raises:
            FractureError: They cannot be made, or not be written; then none of this film was written.
        """
        from fracture.results.marks import name_predecessor

        if self.rules is not None:
            # The film is read now: the copy's header has no pixels.
            result, _, film, options["frame"] = result.filmed(options.get("source"), options.get("frame"))
            options["source"] = copied = self._deidentified(result.header_of(film), self.rules)
            place = self.folder / f"{copied.get('SOPInstanceUID')}.objects"
        made = to_dicom(result, self.objects, new_study=self.new_study, **options)
        for one in made:
            if one.Modality == "SR" and (before := self._previous(place, one)) is not None:
                name_predecessor(one, before)
        return [self._write(one, place) for one in made]

    def _deidentified(self, film: Any, rules: Rules) -> Dataset:
        """The header of the film's de-identified copy; a capture shows the film's pixels, which must hold no name."""
        header = deidentify_header(film, rules)
        if "sc" in self.objects and header.get("BurnedInAnnotation") != "NO":
            raise UnsupportedError(
                f"{film}: its pixels may hold a name, and a capture would show it",
                got=f"BurnedInAnnotation {header.get('BurnedInAnnotation') or 'absent'}",
                hint="leave sc out, or predict on the copy that fracture deidentify --boxes makes",
            )
        return header

    def kept(self, line: Mapping[str, Any]) -> bool:
        """Whether the objects that a line of an earlier run names are there; if so, they belong to this run too."""
        paths = line.get("dicom")
        if not isinstance(paths, list) or not all(Path(path).is_file() for path in paths):
            return False
        for path in map(Path, paths):
            if path.name.startswith("sc."):
                self._captures.setdefault(str(_head(path).StudyInstanceUID), {})[path] = None
        return True

    def finish(self) -> list[str]:
        """The summary page of every study, once all its films are done."""
        if "sc" not in self.objects:
            return []
        from fracture.results.study_page import summary

        pages = []
        for paths in self._captures.values():
            made = summary([dcmread(path) for path in paths])
            pages.append(self._write(made, self.folder / "summaries"))
        return pages

    def _write(self, made: Dataset, place: Path) -> str:
        kind = {"OVERLAY": "sc", "SUMMARY": "summary"}.get(made.get("ImageType", [""])[-1], "image")
        path = place / f"{_NAMES.get(made.Modality, kind)}.{str(made.SOPInstanceUID)[-16:]}.dcm"
        if not path.exists():
            place.mkdir(parents=True, exist_ok=True)
            write_atomic(path, lambda file: made.save_as(file, enforce_file_format=True))
        elif str(_head(path).get("SOPInstanceUID")) != str(made.SOPInstanceUID):
            raise OutputError(f"{path} is another file", hint="give another folder; it was not replaced")
        if path.name.startswith("sc."):
            self._captures.setdefault(str(made.StudyInstanceUID), {})[path] = None
        return str(path)

    def _previous(self, place: Path, report: Dataset) -> Dataset | None:
        """The newest report of another reading of the film."""
        heads = [_head(path) for path in sorted(place.glob("sr.*.dcm"))]
        same = [one for one in heads if one.get("StudyInstanceUID") == report.StudyInstanceUID]
        others = [one for one in same if one.get("SOPInstanceUID") != report.SOPInstanceUID]
        return max(others, key=lambda one: (str(one.get("ContentDate")), str(one.get("ContentTime"))), default=None)


def _head(path: Path) -> Dataset:
    with quiet():
        return dcmread(path, stop_before_pixels=True, force=True)
