"""An annotated set of any format as one COCO file that ``fracture evaluate`` and other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fracture.atomic import write_json
from fracture.data.records import AnnotatedSet, Film

_PASSED_ON = ("age", "sex", "patient", "study")  # of Film.extra, where they are plain values


def write_coco(annotated: AnnotatedSet, path: Path) -> None:
    """Write the films' annotations as COCO; names are relative to the set's root."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, film in enumerate(annotated):
        images.append(_image(film, number))
        outlines = film.polygons or ((),) * len(film.boxes)
        for crowd, boxes in enumerate((film.boxes, film.crowd)):
            for k, (x0, y0, x1, y1) in enumerate(boxes):
                box: dict[str, Any] = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
                if not crowd and outlines[k]:
                    box["segmentation"] = [[value for point in ring for value in point] for ring in outlines[k]]
                annotations.append(
                    {"id": len(annotations), "image_id": number, "category_id": 1, **box, "iscrowd": crowd}
                )
    content = {
        "info": {"description": annotated.attribution or annotated.name},
        "licenses": [{"id": 1, "name": annotated.license}] if annotated.license else [],
        "categories": [{"id": 1, "name": "fracture"}],
        "images": images,
        "annotations": annotations,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def _image(film: Film, number: int) -> dict[str, Any]:
    known = {
        "site": film.site,
        "hardware": None if film.hardware is None else int(film.hardware),
        **{key: film.extra.get(key) for key in _PASSED_ON},
    }
    return {
        "id": number,
        "file_name": film.source,
        "width": film.width,
        "height": film.height,
        "regions": list(film.regions),
        "views": list(film.views),
        "fractured": film.fractured,
        "group": film.group,
        "label_conflict": film.label_conflict,
        "boxes_available": film.localized,
        **{key: value for key, value in known.items() if isinstance(value, (str, int, float))},
    }
