"""From a result to its DICOM objects, for every wing: its JSON line says what was found, its scene what there is to
see."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fracture.errors import ConfigurationError, unforeseen
from fracture.io.quiet import quiet
from fracture.results.header import HeaderSource, SourceHeader, read_source
from fracture.results.kinds import DEFAULT, checked_objects
from fracture.results.labels import LabelMap
from fracture.results.statement import Statement, statement_of
from fracture.wing.scene import Heat, Page

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fracture.io.radiograph import Radiograph


def to_dicom(
    result: Any,
    objects: Sequence[str] = DEFAULT,
    *,
    source: HeaderSource | None = None,
    frame: int | None = None,
    previous: Sequence[Dataset] = (),
    new_study: bool = False,
    comprehensive_3d: bool = True,
    now: datetime | None = None,
) -> list[Dataset]:
    """A result as DICOM objects in the study of its film, or of the slice that it shows.

    The film is read again for its header; a normalized copy of what is needed goes into the objects, and the file stays
    as it is. Equal calls give equal objects, UIDs too, but for their times.

    Args:
        result: What a wing's ``predict`` gave for one film.
        objects: Of ``"sr"`` (structured report), ``"sc"`` (overlay as secondary capture), ``"gsps"`` (presentation
            state), ``"seg"`` (probability map, or the labels of a series, made only where there are any), ``"ko"``
            (key object "Of Interest", made only where there is a finding).
        source: The film's file, its bytes, or data set; where left out, the path that was predicted.
        frame: The frame that was judged, from 0; where left out, what the result's film says.
        previous: Reports (SR) of earlier readings of the same film, which the new report names as its predecessors.
        new_study: For a film that is no DICOM: make a study of its own, with the picture as its first object. Nothing
            is taken from a header.
        comprehensive_3d: Comprehensive 3D SR; False gives Comprehensive SR, for archives that know no other.
        now: The time that the objects carry.

    Returns:
        pydicom data sets, ready for ``save_as(path, enforce_file_format=True)``, in the order asked for.

    Raises:
        MissingDependencyError: highdicom is not installed.
        ConfigurationError: An unknown object; no header, no UIDs, or a film of another size; ``"seg"`` of a result
            that holds no map.
        FractureError: The failure's own error, for a film that failed.
    """
    kinds = checked_objects(objects)
    if not result.ok:
        raise result.error
    from fracture.results.marks import Making

    with unforeseen(result.source, quote=False), quiet():
        result, film, source, frame = result.filmed(source, frame)
        statement = statement_of(result.to_dict())
        picture = None
        if new_study:
            header, picture = _study_of(film)
        else:
            header = read_source(result.header_of(source), frame=frame)
        _check(header, statement, result.source)
        making = Making.of(header, statement, now)
        made = [] if picture is None else [_image(making, picture)]
        page = _page(result)
        labels = result.label_map() if "seg" in kinds else None
        empty = {"ko": not statement.positive, "seg": labels is not None and not labels.frames}
        wanted = [kind for kind in kinds if not empty.get(kind)]
        return made + [_make(kind, making, page, result, labels, previous, comprehensive_3d) for kind in wanted]


def _make(
    kind: str,
    making: Any,
    page: Page,
    result: Any,
    labels: LabelMap | None,
    previous: Sequence[Dataset],
    comprehensive_3d: bool,
) -> Dataset:
    if kind == "sr":
        from fracture.results.report import make_report

        return make_report(making, previous=previous, comprehensive_3d=comprehensive_3d)
    if kind == "sc":
        from fracture.results.capture import make_capture

        return make_capture(making, page)
    if kind == "gsps":
        from fracture.results.presentation import make_presentation

        return make_presentation(making, page)
    if kind == "seg":
        from fracture.results.segmentation import make_labels, make_segmentation

        return make_segmentation(making, _heat(result)) if labels is None else make_labels(making, labels)
    from fracture.results.selection import make_selection

    return make_selection(making, page.verdict)


def _check(header: SourceHeader, statement: Statement, name: str) -> None:
    if header.size != (statement.width, statement.height):
        raise ConfigurationError(
            f"{name}: the header is of another film than the result",
            got=f"{header.size[0]} x {header.size[1]} pixels",
            allowed=f"{statement.width} x {statement.height}",
        )


def _page(result: Any) -> Page:
    pages = result.scene().pages
    if len(pages) != 1:
        raise ConfigurationError(f"{result.source}: DICOM objects belong to one picture", got=f"{len(pages)} pictures")
    page: Page = pages[0]
    return page


def _heat(result: Any) -> Heat:
    values, place = getattr(result, "probability_map", None), getattr(result, "map_to_source", None)
    if values is None or place is None:
        raise ConfigurationError(
            f"{result.source}: this result holds no probability map, and JSON lines keep none",
            hint='leave "seg" out, or predict again with keep=True (fracture predict --dicom OUT --objects seg), '
            "with weights whose members give a map",
        )
    return Heat(values, *place.affine)


def _study_of(film: Radiograph) -> tuple[SourceHeader, NDArray[np.uint8] | NDArray[np.uint16]]:
    from fracture.results.pictures import study_of

    return study_of(film)


def _image(making: Any, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> Dataset:
    from fracture.results.capture import capture

    return capture(making, "image", picture, "")
