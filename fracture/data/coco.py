"""Reader for COCO annotation files, with our extra fields per image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture.data._common import film_size, load_json, rename_regions, truth
from fracture.data.records import AnnotatedSet, Box, Film, Ring
from fracture.data.views import collapse_views
from fracture.errors import DataError

__all__ = ["read_coco"]

FRACATLAS_DOI = "figshare.22363012"
_GROUP_FIELDS = ("group", "patient_id", "patient", "study")
_OWN_FIELDS = frozenset(
    ("id", "file_name", "path", "width", "height", "regions", "region", "views", "view", "projection")
) | {"fractured", "hardware", "metal", "site", "label_conflict", "group"}


def read_coco(
    path: str | Path,
    *,
    images: str | Path | None = None,
    region_prefix: str | None = None,
    region_map: Mapping[str, str] | None = None,
    fracture_categories: Sequence[str] | None = None,
    name: str | None = None,
) -> AnnotatedSet:
    """Read a COCO file; boxes become (x0, y0, x1, y1) in source pixels.

    Extra fields per image, all optional: ``regions`` (list), ``views`` (list) or ``projection``,
    ``fractured`` (0/1; without it a film with a fracture box counts as fractured), ``hardware`` or ``metal``,
    ``site``, ``group`` (else ``patient_id``), ``label_conflict``, ``boxes_available`` (false: the boxes are
    incomplete). Everything else goes into ``Film.extra``; boxes of other categories go into
    ``extra["other_boxes"]`` as ``{"category", "box"}``. Crowd regions are left out; segmentations in
    run-length code are ignored, since the box says nearly the same at the stride of the map.

    Args:
        path: The JSON file, or a folder that holds ``annotations.json``.
        images: Folder of the images; by default ``images/`` beside the file, else the file's own folder.
        region_prefix: Put before region names that ``region_map`` does not have. Default: ``"fracatlas_"``
            where the file names the DOI of FracAtlas, whose "hand" is not our hand; else nothing.
        region_map: Region names of the file to ours.
        fracture_categories: Names of the categories that are fractures; default those that contain
            "fracture", whatever their case.
        name: Name of the set; default the name of the folder.

    Raises:
        DataError: Not COCO, a malformed box, an annotation of an unknown image, or no fracture category and
            no label.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "annotations.json"
    content = load_json(file)
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise DataError(f"{file}: not a COCO file", allowed="an object with images and annotations")
    root, records = file.parent, content["images"]
    info: dict[str, Any] = content.get("info") or {}
    if region_prefix is None:
        region_prefix = "fracatlas_" if FRACATLAS_DOI in str(info.get("url", "")) else ""
    categories = {c["id"]: str(c["name"]) for c in content.get("categories", [])}
    fracture_ids = _fracture_ids(file, categories, fracture_categories, records)
    sources = _sources(root, records, None if images is None else Path(images))

    boxes: dict[Any, list[Box]] = defaultdict(list)
    rings: dict[Any, list[tuple[Ring, ...]]] = defaultdict(list)
    others: dict[Any, list[dict[str, object]]] = defaultdict(list)
    known = {record["id"] for record in records}
    for annotation in content["annotations"]:
        image = annotation.get("image_id")
        if image not in known:
            raise DataError(f"{file}: annotation {annotation.get('id')} belongs to no image", got=image)
        box = _box(file, annotation)
        if annotation.get("category_id") not in fracture_ids:
            category = categories.get(annotation.get("category_id"), "")
            rest = {k: v for k, v in annotation.items() if k in ("findings", "attributes", "hip_class")}
            others[image].append({"category": category, "box": box, **rest})
        elif not annotation.get("iscrowd"):
            boxes[image].append(box)
            rings[image].append(_rings(annotation.get("segmentation")))

    films = []
    for record, source in zip(records, sources, strict=True):
        image = record["id"]
        found, outlines = tuple(boxes[image]), tuple(rings[image])
        fractured = truth(record["fractured"], what=f"{source}: fractured") if "fractured" in record else bool(found)
        width, height = int(record.get("width") or 0), int(record.get("height") or 0)
        if not (width and height):
            width, height = film_size(root / source)
        extra = {k: v for k, v in record.items() if k not in _OWN_FIELDS}
        if others[image]:
            extra["other_boxes"] = tuple(others[image])
        group = next((record[k] for k in _GROUP_FIELDS if record.get(k) not in (None, "")), source)
        hardware = record.get("hardware", record.get("metal"))
        films.append(
            Film(
                source=source,
                width=width,
                height=height,
                fractured=int(fractured),
                regions=rename_regions(_listed(record, "regions", "region"), prefix=region_prefix, mapping=region_map),
                views=collapse_views(_listed(record, "views", "view", "projection")),
                boxes=found,
                polygons=outlines if any(outlines) else (),
                localized=bool(record.get("boxes_available", True)) and (bool(found) or not fractured),
                group=str(group),
                hardware=None if hardware is None else truth(hardware, what=f"{source}: hardware"),
                site=str(record["site"]) if record.get("site") else None,
                label_conflict=bool(record.get("label_conflict", False)),
                extra=extra,
            )
        )
    licenses = [str(item.get("name", "")) for item in content.get("licenses") or [] if isinstance(item, dict)]
    return AnnotatedSet(
        films=tuple(films),
        name=name or root.resolve().name,
        root=root,
        license="; ".join(filter(None, licenses)) or str(info.get("license", "")),
        attribution=" ".join(str(info[k]) for k in ("description", "url", "doi") if info.get(k)),
        format="coco",
    )


def _listed(record: Mapping[str, Any], *names: str) -> list[str]:
    for name in names:
        value = record.get(name)
        if value:
            return [str(v) for v in value] if isinstance(value, list) else [str(value)]
    return []


def _fracture_ids(
    file: Path, categories: Mapping[Any, str], wanted: Sequence[str] | None, records: Iterable[Any]
) -> set[Any]:
    if wanted is not None:
        unknown = set(wanted) - set(categories.values())
        if unknown:
            raise DataError(f"{file}: no such category", got=sorted(unknown), allowed=sorted(categories.values()))
        return {key for key, label in categories.items() if label in wanted}
    found = {key for key, label in categories.items() if "fracture" in label.lower()}
    if not found and not all("fractured" in record for record in records):
        raise DataError(
            f"{file}: neither a category named fracture nor a label fractured per image",
            got=sorted(categories.values()),
            hint="say which categories are fractures with fracture_categories=[...]",
        )
    return found


def _sources(root: Path, records: Sequence[Mapping[str, Any]], images: Path | None) -> list[str]:
    """The film files below ``root``; a missing file is expected where most of the others are."""
    if images is not None:
        folder = images if images.is_absolute() else root / images
        return [_below(root, folder / str(record["file_name"])) for record in records]
    present = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    candidates = [
        (str(record.get("path") or ""), f"images/{record['file_name']}", str(record["file_name"])) for record in records
    ]
    chosen = [next((i for i, c in enumerate(options) if c in present), -1) for options in candidates]
    usual = Counter(i for i in chosen if i >= 0).most_common(1)
    fallback = usual[0][0] if usual else 1
    return [
        options[i] if i >= 0 else options[fallback] or options[2] for options, i in zip(candidates, chosen, strict=True)
    ]


def _below(root: Path, path: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_posix()  # root / absolute path is the absolute path


def _box(file: Path, annotation: Mapping[str, Any]) -> Box:
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{file}: annotation {annotation.get('id')} has no box",
            got=annotation.get("bbox"),
            allowed="bbox: [x, y, width, height]",
        ) from None
    return x, y, x + width, y + height


def _rings(segmentation: object) -> tuple[Ring, ...]:
    if not isinstance(segmentation, list):
        return ()
    return tuple(
        tuple((float(x), float(y)) for x, y in zip(flat[::2], flat[1::2], strict=True))
        for flat in segmentation
        if isinstance(flat, list) and len(flat) >= 6 and len(flat) % 2 == 0
    )
