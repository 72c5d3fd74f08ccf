"""Which films of a run are judged together: those of a DICOM study, of a picture's folder, or as a table says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fracture.data.entries import NAMES
from fracture.data.files import first_of, load_csv
from fracture.errors import ConfigurationError, InputError, UnreadableDataError
from fracture.io.ahead import ahead
from fracture.io.dicom.parse import parse_header
from fracture.io.dicom.valid import valid
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import sniff
from fracture.io.quiet import FAULTS, quiet
from fracture.regions import laterality_from_dicom

_HEADER = ("StudyInstanceUID", "BodyPartExamined", "ImageLaterality", "Laterality")
_STUDY = ("study", "study_id", "study_uid", "studyinstanceuid", "accession", "group")
_MOST = 40  # pictures of a folder that may be one study; a skeletal survey has about 25 films (ours)
_READING = 2  # threads that look into headers


def group_films(films: Sequence[str], table: Path | None = None) -> dict[str, tuple[str, ...]]:
    """The films of each study, by what results call it, in the order in which the studies come.

    DICOM files of one Study Instance UID belong together if their headers also name the same body part and side: a
    wrist and an ankle of one accident are two questions. Such a study is called by its first film, since the UID is the
    patient's. Other films belong together by folder, and a study is called by the folder. A film that nobody assigns
    (DICOM without a UID, or damaged) is a study of its own.

    Args:
        films: Paths.
        table: A CSV file with a column of films (paths relative to the table, as ``image``) and one with their
            ``study``, which then decides for all films.

    Raises:
        ConfigurationError: A folder of more pictures than any study has, or films that the table does not name.
        UnreadableDataError: The table cannot be read.
    """
    films = tuple(dict.fromkeys(films))
    found: dict[tuple[str, ...], list[str]] = {}
    keys = _listed(films, table) if table is not None else list(ahead(films, _key, _READING, 8 * _READING))
    for film, key in zip(films, keys, strict=True):
        found.setdefault(key, []).append(film)
    for key, together in found.items():
        if key[0] == "folder" and len(together) > _MOST:
            raise ConfigurationError(
                "--by-study: a folder holds more pictures than any study has",
                got=f"{len(together)} in {key[1]}",
                allowed=f"at most {_MOST}",
                hint="put each study's pictures into a folder of its own, or give --studies TABLE.csv (image,study)",
            )
    return {together[0] if key[0] in ("uid", "film") else key[1]: tuple(together) for key, together in found.items()}


def _key(film: str) -> tuple[str, ...]:
    try:
        data, _ = open_bytes(film, MAX_BYTES)
        if sniff(data) not in ("dicom", ""):
            return "folder", os.path.dirname(film) or os.curdir  # noqa: PTH120 (as it was typed)
        header = parse_header(data, film, _HEADER, {}, max_bytes=MAX_BYTES)
        with quiet():
            uid, part, *sides = (str(valid(header, word) or "").upper() for word in _HEADER)
    except (InputError, *FAULTS):  # told when the film itself is read
        return "film", film
    return ("uid", uid, part, laterality_from_dicom(sides) or "") if uid else ("film", film)


def _listed(films: Sequence[str], path: Path) -> list[tuple[str, ...]]:
    table = load_csv(path)
    film_column, study_column = first_of(table.columns, NAMES), first_of(table.columns, _STUDY)
    if film_column is None or study_column is None:
        raise UnreadableDataError(
            f"{path}: a table of studies needs a column with film names and a column with studies",
            got=f"columns {', '.join(table.columns[:12])}",
            allowed=f"one of {', '.join(NAMES)} and one of {', '.join(_STUDY)}",
        )
    stated = {_place(path.parent / row[film_column]): row.get(study_column, "") for row in table.rows}
    studies = [stated.get(_place(film), "") for film in films]
    if missing := [film for film, study in zip(films, studies, strict=True) if not study]:
        raise ConfigurationError(
            f"--studies: {path} does not say to which study {len(missing)} of the films belong",
            got=", ".join(missing[:3]) + ", ..." * (len(missing) > 3),
            hint="names in the table are relative to the table's folder",
        )
    return [("table", study) for study in studies]


def _place(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 (as the run takes paths, links not followed)
