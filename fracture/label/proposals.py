"""``fracture label export``: predictions to a folder that a labeling tool takes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from fracture.atomic import write_atomic, write_json, write_text
from fracture.data.files import load_json_lines
from fracture.errors import ConfigurationError, DataError, FractureError
from fracture.io.reading import read
from fracture.label import cvat, label_studio
from fracture.label.films import LIST, Listed, Listing
from fracture.label.picks import Pick, picked
from fracture.wing.lines import flagged_of, suspicion_of
from fracture.wing.scene import as_gray

TOOLS: Final[Mapping[str, Callable[[Listing, str], dict[str, str]]]] = {
    "label-studio": label_studio.written,
    "cvat": cvat.written,
}
_WEAKEST = 0.1  # a proposed box's score as a share of the film's best: weaker candidates only cost clicks


def export(
    results: str | Path,
    out: str | Path,
    *,
    tool: str,
    pick: Pick = "all",
    count: int | None = None,
    url: str = "",
    seed: int = 0,
    say: Callable[[str], object] = lambda _: None,
) -> Listing:
    """Write films with proposed boxes for people to correct.

    Args:
        results: JSON lines of ``fracture predict``, of films that are still where they were.
        out: Folder, new or empty: ``pictures/000001.png`` (8 bits, bright bone, the film's own pixels), ``films.json``
            (which picture is which film; keep it, import needs it), and the tool's own files.
        tool: ``"label-studio"`` or ``"cvat"``.
        pick, count, seed: Which films, see :func:`fracture.label.picks.picked`.
        url: Where the tool finds the pictures, before their names; the tool's own place for local files where empty.
        say: Called with a line for each film that is left out.

    Raises:
        ConfigurationError: An unknown tool or pick, or a folder that holds something.
        DataError: Results that cannot be read, or none of whose films can.
        OutputError: The folder cannot be written.
    """
    if tool not in TOOLS:
        raise ConfigurationError("unknown labeling tool", got=tool, allowed=tuple(TOOLS))
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError("--out holds something", got=folder, hint="give a new folder; nothing was written")
    lines = _lines(Path(results))
    readable = [line for line in lines if line["error"] is None]
    if left := len(lines) - len(readable):
        say(f"{left} films that could not be read are left out")
    listed: list[Listed] = []
    for number in picked(readable, pick, count, seed=seed):
        line, name = readable[number], f"{len(listed) + 1:06d}.png"
        try:
            film = read(line["source"])
            if (film.width, film.height) != (line["width"], line["height"]):
                raise DataError(
                    f"{line['source']} is not the film that was predicted",
                    got=f"{film.width} x {film.height} pixels",
                    allowed=f"{line['width']} x {line['height']}",
                )
        except FractureError as error:
            say(f"left out: {error}")
            continue
        gray = as_gray(film.pixels)
        write_atomic(folder / "pictures" / name, lambda path, gray=gray: _png(gray, path))  # type: ignore[misc]
        listed.append(_listed(line, name))
    if not listed:
        raise DataError(f"none of the {len(lines)} films of {results} can be exported")
    model = f"{readable[0].get('model', '')} {readable[0].get('model_version') or ''}".strip()
    listing = Listing(tuple(listed), model)
    write_json(folder / LIST, listing.to_dict())
    for name, content in TOOLS[tool](listing, url).items():
        write_text(folder / name, content)
    return listing


def _lines(path: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for where, line in load_json_lines(path):
        if not {"source", "error", "width", "height"} <= set(line):
            raise DataError(f"{path}, {where} is not a result", hint="give the JSON lines of fracture predict")
        lines.append(line)
    return lines


def _listed(line: Mapping[str, Any], name: str) -> Listed:
    flagged = flagged_of(line)
    # A film that is called normal gets no box: whoever agrees and submits would else contradict himself.
    boxes = line.get("candidates") or line.get("boxes") or () if flagged else ()
    return Listed(
        picture=name,
        source=str(line["source"]),
        width=int(line["width"]),
        height=int(line["height"]),
        boxes=tuple(_proposed(boxes)),
        fractured=flagged,
        suspicion=float(suspicion_of(line) or 0.0),
    )


def _proposed(boxes: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, float, float, float]]:
    best = max((float(box["score"]) for box in boxes), default=0.0)
    kept = [box for box in boxes if float(box["score"]) >= _WEAKEST * best][:5]
    return [tuple(float(box[key]) for key in ("x0", "y0", "x1", "y1", "score")) for box in kept]  # type: ignore[misc]


def _png(gray: Any, path: Path) -> None:
    Image.fromarray(gray).save(path, format="PNG", compress_level=4)
