"""From a film to what all wings say of it, and from the files of that back to pictures.

Of each reading the JSON line and the pages of its scene are kept; the film's pixels as PNG, once for all readings that
show it; the heats as arrays; all in one file, since each that is flushed to the disk takes its time. The overlay is
drawn from it when it is asked for, by the code that draws them all.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from fracture.errors import FractureError, unforeseen
from fracture.io.marks import png_mark
from fracture.regions import plain_name
from fracture.wing.contract import Reader, Result, find_wing, load_reader
from fracture.wing.overlay import draw_scene
from fracture.wing.pieces import data_of, marks_of, tint_of
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY, Failure
from fracture.wing.scene import Heat, Page, Scene, SceneBox, ScenePoint

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fracture.jobs import Keep

_PELVIS = {"hip", "pelvis", "pelvis_hip", "fracatlas_hip"}
_ONLY = {"hip": _PELVIS}
"""Wings that, beside another, read only films of some regions."""

_POINTS = (HIGH_SENSITIVITY, HIGH_SPECIFICITY)


@runtime_checkable
class _TwoSteps(Protocol):
    """A reader whose networks run once for all operating points."""

    def examine_many(self, sources: Any, **options: Any) -> Iterator[Any]: ...

    def judge(self, examined: Any, *, operating_point: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """Weights that are open.

    Attributes:
        reader: Of any wing.
        about: What ``/v1/weights`` says of them; ``name``, ``version``, ``wing`` and ``regions`` (name and plain word)
            among it.
    """

    reader: Reader[Any]
    about: dict[str, Any] = field(default_factory=dict)


def open_weights(name: str, device: str, precision: str, engine: str) -> Opened:
    """Open weights of any wing, and say what they are.

    Raises:
        WeightsError: They cannot be used.
    """
    wing, folder = find_wing(name)
    card = wing.store.card.read(folder)
    reader = load_reader(folder, device=device, precision=precision, engine=engine)
    tree = getattr(reader, "tree", None) if "region" in signature(reader.predict_many).parameters else None
    told = ("name", "version", "created", "description", "license", "intended_use", "limitations")
    return Opened(
        reader,
        {
            **{key: value for key, value in card.model_dump(mode="json").items() if key in told},
            "wing": wing.name,
            "files": {one.file: one.sha256 for one in card.files},
            "regions": [[name, plain_name(name)] for name in tree.names] if tree is not None else [],
        },
    )


def read_film(
    readers: Sequence[Opened], path: Path, name: str, *, region: Sequence[str], max_pixels: int
) -> list[tuple[Opened, Result]]:
    """What all readers say of one film.

    Args:
        readers: The first reads it in any case, at every operating point that it has.
        path: The film.
        name: What results and errors call it.
        region: Regions that somebody names; empty for what the file or the networks say.
        max_pixels: Larger ones are refused.

    Raises:
        FractureError: The first reader cannot read it, or a further one fails at it.
    """
    found: list[tuple[Opened, Result]] = []
    regions = set(region)
    for opened in readers:
        only = _ONLY.get(str(opened.about.get("wing")))
        if found and only is not None and not only & regions:
            continue
        for result in _judged(opened.reader, path, list(region), max_pixels):
            if isinstance(result, Failure):
                raise _named(result.error, str(path), name)
            regions |= set(getattr(result, "regions", ()))
            found.append((opened, result))
    return found


def _judged(reader: Any, path: Path, region: list[str], max_pixels: int) -> Iterator[Any]:
    options: dict[str, Any] = {"workers": 0, "max_pixels": max_pixels}
    if region and "region" in signature(reader.predict_many).parameters:
        options["region"] = region
    if not isinstance(reader, _TwoSteps):
        yield from reader.predict_many([path], keep=True, **options)
        return
    (examined,) = reader.examine_many([path], **options)
    if isinstance(examined, Failure):
        yield examined
        return
    with unforeseen(str(path)):
        first = reader.judge(examined, operating_point=HIGH_SENSITIVITY)
        yield first
        for point in _POINTS[1:]:
            if point in first.thresholds:
                yield reader.judge(examined, operating_point=point)


def _named(error: FractureError, path: str, name: str) -> FractureError:
    """The error with the film's own name for the place where it is kept."""

    def clean(part: object) -> object:
        return part.replace(path, name) if isinstance(part, str) else part

    hint = None if error.hint is None else error.hint.replace(path, name)
    return type(error)(error.what.replace(path, name), got=clean(error.got), allowed=clean(error.allowed), hint=hint)


class Kept:
    """The readings of one prediction in one file: record, films and heats, as the members of an archive of numpy's.

    Args:
        keep: Where it lies.
        number: The prediction's.
    """

    def __init__(self, keep: Keep, number: str) -> None:
        self._keep, self._file = keep, f"{number}.npz"

    def write(self, found: Sequence[tuple[Opened, Result]], name: str) -> dict[str, Any]:
        """Keep what was read.

        Returns:
            What the job's result says of it: verdict, alarm, and the names of the files.

        Raises:
            OutputError: The disk is full.
        """
        films: dict[bytes, str] = {}
        members: dict[str, Any] = {}
        readings: list[dict[str, Any]] = []
        shown: list[dict[str, Any]] = []
        for number, (opened, result) in enumerate(found):
            pages = []
            for place, page in enumerate(_with_heat(result).pages):
                film = films.setdefault(hashlib.sha256(page.pixels.tobytes()).digest(), f"film{len(films)}")
                if film not in members:
                    members[film] = _bytes(png_of(page.pixels))
                grids = [[h.scale_x, h.scale_y, h.offset_x, h.offset_y] for h in page.heats]
                members |= {f"heat {number} {place} {k}": heat.values for k, heat in enumerate(page.heats)}
                data = data_of(page)
                pages.append({**data, "marks": marks_of(data), "film": film, "heats": grids})
            line = {**result.to_dict(), "source": name}
            about = {key: opened.about.get(key) for key in ("name", "version", "wing")}
            readings.append({"weights": about, "result": line, "pages": pages})
            shown += pages
        stream = io.BytesIO()
        np.savez(stream, **members, readings=_bytes(json.dumps(readings).encode()))
        self._keep.write(self._file, stream.getvalue())
        first = next((page for page in shown if page["alarm"]), shown[0])
        return {"verdict": first["verdict"], "alarm": first["alarm"], "files": [self._file]}

    def readings(self) -> list[dict[str, Any]]:
        """The record.

        Raises:
            OSError: It is gone.
        """
        found: list[dict[str, Any]] = json.loads(self._member("readings").tobytes())
        return found

    def overlay(self, reading: int, *, show_map: bool) -> bytes:
        """A reading's overlay as PNG.

        Raises:
            OSError: It is gone.
            IndexError: No such reading.
        """
        count = len(self.readings()[reading]["pages"])
        return png_of(draw_scene(Scene(tuple(self._page(reading, place, show_map) for place in range(count)))))

    def tint(self, reading: int, place: int) -> bytes | None:
        """A page's map as PNG with transparency, to be laid over the film; None where there is none."""
        tint = tint_of(self._page(reading, place, True))
        return None if tint is None else png_of(tint)

    def film(self, reading: int, place: int) -> bytes:
        """A page's film as gray PNG."""
        return self._member(self.readings()[reading]["pages"][place]["film"]).tobytes()

    def _page(self, reading: int, place: int, show_map: bool) -> Page:
        page = self.readings()[reading]["pages"][place]
        grids = page["heats"] if show_map else []
        heats = (Heat(self._member(f"heat {reading} {place} {k}"), *grid) for k, grid in enumerate(grids))
        with Image.open(io.BytesIO(self._member(page["film"]).tobytes())) as image:
            pixels = np.asarray(image)
        return Page(
            pixels,
            page["verdict"],
            tuple(page["lines"]),
            page["alarm"],
            tuple(SceneBox(*box) for box in page["boxes"]),
            tuple(ScenePoint(*point) for point in page["points"]),
            tuple(heats),
        )

    def _member(self, name: str) -> NDArray[Any]:
        with np.load(self._keep.path(self._file), allow_pickle=False) as archive:
            member: NDArray[Any] = archive[name]
        return member


def _bytes(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, np.uint8)


def _with_heat(result: Any) -> Scene:
    """The scene with all that it can show; a wing calls its map as it likes."""
    asked = [name for name in ("show_map", "show_heatmap") if name in signature(result.scene).parameters]
    has = getattr(result, "probability_map", True) is not None
    scene: Scene = result.scene(**dict.fromkeys(asked, True)) if has else result.scene()
    return scene


def png_of(pixels: Any) -> bytes:
    """A picture as PNG, uint8 (h, w), (h, w, 3) or (h, w, 4), with our mark, so that none is taken for a film."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", compress_level=1, pnginfo=png_mark())
    return out.getvalue()
