"""Label Studio: tasks with predictions out, its JSON export back (https://labelstud.io/guide/predictions).

Boxes are percent of the picture there, from its upper left corner, turned clockwise about it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fracture.errors import DataError
from fracture.label.films import Answer, Listed, Listing

CONFIG = """\
<View>
  <Image name="film" value="$image" zoom="true" zoomControl="true" brightnessControl="true" contrastControl="true"/>
  <RectangleLabels name="box" toName="film">
    <Label value="fracture" background="#ff9f1c"/>
  </RectangleLabels>
  <Choices name="verdict" toName="film" choice="single-radio" showInline="true">
    <Choice value="fracture"/>
    <Choice value="normal"/>
    <Choice value="unsure"/>
  </Choices>
</View>
"""
_LOCAL = "/data/local-files/?d=pictures/"


def written(listing: Listing, url: str) -> dict[str, str]:
    """``tasks.json`` to import, and ``config.xml``, the labeling interface."""
    tasks = [_task(film, listing.model, (url or _LOCAL) + film.picture) for film in listing.films]
    return {"tasks.json": json.dumps(tasks, indent=1, allow_nan=False) + "\n", "config.xml": CONFIG}


def _task(film: Listed, model: str, image: str) -> dict[str, Any]:
    size = {"original_width": film.width, "original_height": film.height, "image_rotation": 0, "to_name": "film"}
    boxes = [
        {
            "id": f"box{number}",
            "type": "rectanglelabels",
            "from_name": "box",
            **size,
            "score": score,
            "value": {
                "x": 100 * x0 / film.width,
                "y": 100 * y0 / film.height,
                "width": 100 * (x1 - x0) / film.width,
                "height": 100 * (y1 - y0) / film.height,
                "rotation": 0,
                "rectanglelabels": ["fracture"],
            },
        }
        for number, (x0, y0, x1, y1, score) in enumerate(film.boxes, 1)
    ]
    said = "fracture" if film.fractured else "normal"
    verdict = {"id": "verdict", "type": "choices", "from_name": "verdict", **size, "value": {"choices": [said]}}
    prediction = {"model_version": model, "score": film.suspicion, "result": [*boxes, verdict]}
    return {"data": {"image": image, "picture": film.picture}, "predictions": [prediction]}


def answers(content: Any) -> list[Answer]:
    """What people submitted, from the export in Label Studio's own format (JSON, not JSON-MIN).

    Of several annotations of one film the last one submitted counts, which is remarked. A submitted annotation without
    a box and without a verdict says normal.

    Raises:
        DataError: It is no such export.
    """
    if not isinstance(content, list) or not all(isinstance(task, dict) and "data" in task for task in content):
        raise DataError("this is not an export of Label Studio", hint="export as JSON, not as JSON-MIN or CSV")
    return [_answer(task) for task in content]


def _answer(task: Mapping[str, Any]) -> Answer:
    data = task["data"]
    name = data.get("picture") if isinstance(data, dict) else None
    if not isinstance(name, str):
        raise DataError("a task names no picture", got=task.get("id"), hint="tasks come from fracture label export")
    answer = Answer(name)
    given = [a for a in task.get("annotations") or () if isinstance(a, dict) and not a.get("was_cancelled")]
    if not given:
        return answer
    if len(given) > 1:
        answer.remarks.append(f"{len(given)} annotations, the last one is taken")
    last = max(given, key=lambda a: str(a.get("updated_at") or a.get("created_at") or ""))
    said = ""
    for part in last.get("result") or ():
        value = part.get("value") if isinstance(part, dict) else None
        if not isinstance(value, dict):
            continue
        try:
            if part.get("type") == "choices":
                (said,) = value["choices"]
            elif part.get("type") in ("rectanglelabels", "polygonlabels", "rectangle", "polygon"):
                answer.width, answer.height = int(part["original_width"]), int(part["original_height"])
                answer.add(_points(value, answer.width, answer.height))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name}: a part of its annotation cannot be read", got=type(error).__name__) from error
    if said not in ("", "fracture", "normal", "unsure"):
        raise DataError(f"{name}: an unknown verdict", got=said, allowed=("fracture", "normal", "unsure"))
    answer.verdict = said or ("fracture" if answer.boxes else "normal")  # type: ignore[assignment]
    return answer


def _points(value: Mapping[str, Any], width: int, height: int) -> list[tuple[float, float]]:
    """Corners in pixels."""
    if "points" in value:
        return [(float(x) * width / 100, float(y) * height / 100) for x, y in value["points"]]
    x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
    w, h = float(value["width"]) * width / 100, float(value["height"]) * height / 100
    angle = math.radians(float(value.get("rotation") or 0.0))
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))]
