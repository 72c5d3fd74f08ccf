"""Reader for COCO annotation files, with our extra fields per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture.data.entries import Entry, Listing, Mark, Options, film_set, hull, id_text, locate, stated_size
from fracture.data.files import Problems, as_number, four, load_json
from fracture.data.records import AnnotatedSet, Box, Ring
from fracture.data.rle import mask_box, run_lengths
from fracture.data.words import as_flag
from fracture.errors import UnreadableDataError

COCO_NAMES = ("annotations.json", "_annotations.coco.json", "annotations/instances_default.json", "result.json")
FRACATLAS_DOI = "figshare.22363012"


def read_coco(path: str | Path, **options: Any) -> AnnotatedSet:
    """Read a COCO file; boxes become (x0, y0, x1, y1) in source pixels.

    Ids may be numbers or text. Extra fields per image, all optional: ``fractured`` (0/1 or a word; without it a film
    with a fracture is fractured), ``regions`` (list), ``views`` (list) or ``projection``, ``hardware`` or ``metal``,
    ``site``, ``group`` (else ``patient``, ``patient_id``, ``study``, ``study_id``), ``label_conflict``,
    ``boxes_available`` (false: the boxes are incomplete). Everything else goes into ``Film.extra``; boxes of other
    categories go into ``extra["other_boxes"]`` as ``{"category", "box"}``. Crowd regions go into ``Film.crowd``. An
    annotation without a box takes that of its outlines or its run-length code; without these it says that the film is
    fractured, and not where. Films lie in ``images/`` beside the file or beside the file itself.

    Args:
        path: The JSON file, or a folder that holds ``annotations.json``, or the name that Roboflow, CVAT or Label
            Studio gives it.
        options: See :class:`fracture.data.entries.Options`. ``region_prefix`` is ``"fracatlas_"`` by default where the
            file names the DOI of FracAtlas, whose "hand" is not our hand.

    Raises:
        DataError: Not COCO, malformed boxes, annotations of an image or a category that is not listed, or no fracture
            category and no label. All are told at once.
        ConfigurationError: An unknown option.
    """
    chosen = Options.of(options, what="coco")
    file = Path(path)
    return film_set(list_coco(coco_file(file) or file / COCO_NAMES[0], chosen.images), chosen)


def coco_file(path: Path) -> Path | None:
    """The COCO file of a folder, under the names that labeling tools give it; a file is its own."""
    return path if path.is_file() else next((path / name for name in COCO_NAMES if (path / name).is_file()), None)


def list_coco(file: Path, images: Path | None = None) -> Listing:
    """The films and annotations of a COCO file."""
    content = load_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UnreadableDataError(
            f"{file}: not a COCO file: it needs a list of images", allowed="an object with images and annotations"
        )
    problems = Problems(file)
    records = _objects(content, "images", problems)
    categories: dict[str, str] = {}
    for item in _objects(content, "categories", problems):
        key = id_text(item.get("id"))
        if key in categories:
            problems.add("category ids that occur twice", key)
        categories[key] = str(item.get("name", "")).strip()
    names = [str(record.get("file_name") or record.get("id") or "") for record in records]
    # CVAT: annotations/instances_default.json beside images/.
    apart = file.parent.name == "annotations" and (file.parent.parent / "images").is_dir()
    root = file.parent.parent if apart else file.parent
    sources = locate(
        root,
        images,
        [(str(r.get("path") or ""), f"images/{name}", name) for r, name in zip(records, names, strict=True)],
    )
    entries: list[Entry] = []
    place: dict[str, Entry] = {}
    for record, source in zip(records, sources, strict=True):
        entry = Entry(source, record, [], stated_size(record, source, problems))
        key = id_text(record.get("id"))
        if not source:
            problems.add("films without a name", f"image {key}")
        if key in place:
            problems.add("image ids that occur twice", key)
        place[key] = entry
        entries.append(entry)
    _same_names(sources, problems)
    for annotation in _objects(content, "annotations", problems):
        home = place.get(id_text(annotation.get("image_id")))
        if home is None:
            problems.add("annotations of images that are not listed", _named(annotation, "image_id"))
        else:
            _mark(home, annotation, categories, problems)
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    terms = content.get("licenses")
    terms = terms if isinstance(terms, list) else []
    licenses = [str(item.get("name") or "") for item in terms if isinstance(item, dict)]
    return Listing(
        file=file,
        root=root,
        format="coco",
        entries=entries,
        problems=problems,
        categories=categories,
        license="; ".join(filter(None, licenses)) or str(info.get("license") or ""),
        attribution=" ".join(str(info[key]) for key in ("description", "url", "doi") if info.get(key)),
        region_prefix="fracatlas_" if FRACATLAS_DOI in str(info.get("url", "")) else "",
    )


def _mark(entry: Entry, annotation: Mapping[str, Any], categories: Mapping[str, str], problems: Problems) -> None:
    category = None
    if categories:
        category = categories.get(id_text(annotation.get("category_id")))
        if category is None:
            problems.add("annotations of categories that are not listed", _named(annotation, "category_id"))
            return
    shape = annotation.get("segmentation")
    rings = _rings(shape) if isinstance(shape, list) else ()
    box: Box | None = None
    try:
        if annotation.get("bbox"):
            box = four(annotation["bbox"], corners=False)
            if box is None:
                problems.add("annotations whose bbox is no [x, y, width, height]", _named(annotation, "bbox"))
                return
            if isinstance(shape, dict):
                run_lengths(shape)
        elif isinstance(shape, dict):
            box = mask_box(shape)
        elif rings:
            box = hull(point for ring in rings for point in ring)
        elif shape:
            raise ValueError("outlines that are not lists of x, y")
    except ValueError as error:
        problems.add("annotations with a mask or outline that cannot be read", f"{annotation.get('id')} ({error})")
        return
    if isinstance(shape, dict) and all(entry.size) and [entry.size[1], entry.size[0]] != _size(shape):
        problems.add("masks of another size than the film's", f"{annotation.get('id')} {shape.get('size')}")
    known = ("id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd")
    rest = {key: value for key, value in annotation.items() if key not in known}
    entry.marks.append(Mark(category, box, rings, as_flag(annotation.get("iscrowd")) is True, rest))


def _size(shape: Mapping[str, Any]) -> list[int]:
    return [int(as_number(value) or 0) for value in shape["size"]]


def _objects(content: Mapping[str, Any], key: str, problems: Problems) -> Sequence[dict[str, Any]]:
    listed = content.get(key)
    if listed is None:
        return []
    if not isinstance(listed, list):
        problems.add("parts that are not lists", key)
        return []
    for number, item in enumerate(listed):
        if not isinstance(item, dict):
            problems.add(f"{key} that are not objects", f"entry {number}")
    return [item for item in listed if isinstance(item, dict)]


def _same_names(sources: Sequence[str], problems: Problems) -> None:
    seen: set[str] = set()
    for source in sources:
        if source in seen:
            problems.add("film names that are missing or occur twice", source)
        seen.add(source)


def _named(annotation: Mapping[str, Any], key: str) -> str:
    return f"annotation {annotation.get('id')} ({key} {str(annotation.get(key))[:60]})"


def _rings(segmentation: list[Any]) -> tuple[Ring, ...]:
    rings = []
    for flat in segmentation:
        numbers = [as_number(value) for value in flat] if isinstance(flat, list) else []
        points = [number for number in numbers if number is not None]
        if len(points) == len(numbers) >= 6 and len(points) % 2 == 0:
            rings.append(tuple(zip(points[::2], points[1::2], strict=True)))
    return tuple(rings)
