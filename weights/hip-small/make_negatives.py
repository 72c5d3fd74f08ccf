"""Choose films without hips, on which the localizer learns to find nothing.

    python weights/hip-small/make_negatives.py FRACATLAS OUT

30 hands, 30 legs and 20 shoulders of FracAtlas, one film of each group, as a set without any box that
`fracture.hip.read_hips` reads. FRACATLAS holds `annotations.json` (COCO, with `regions` and `group` per image) and its
films, in `images/` or beside it. The same films are chosen every time.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

WANTED = {"hand": 30, "leg": 30, "shoulder": 20}


def choose(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Films of one region alone, in random order, until each region has its number; groups do not come twice."""
    films = [image for image in images if "hip" not in image["regions"]]
    random.Random(0).shuffle(films)
    left = dict(WANTED)
    groups: set[Any] = set()
    chosen = []
    for film in films:
        region = film["regions"][0] if len(film["regions"]) == 1 else ""
        if left.get(region, 0) > 0 and film["group"] not in groups:
            left[region] -= 1
            groups.add(film["group"])
            chosen.append(film)
    return chosen


def main() -> None:
    source, out = (Path(argument) for argument in sys.argv[1:3])
    content = json.loads((source / "annotations.json").read_text(encoding="utf-8"))
    chosen = choose(content["images"])
    films = source / "images" if (source / "images").is_dir() else source
    (out / "images").mkdir(parents=True, exist_ok=True)
    for film in chosen:
        shutil.copyfile(films / film["file_name"], out / "images" / film["file_name"])
    document = {
        "info": {"description": "FracAtlas films without hips"},
        "licenses": content["licenses"],
        "categories": [{"id": 1, "name": "left_hip"}, {"id": 2, "name": "right_hip"}],
        "images": [
            {"id": number, **{key: film[key] for key in ("file_name", "width", "height", "group")}}
            for number, film in enumerate(chosen)
        ],
        "annotations": [],
    }
    (out / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    sys.stdout.write(f"{len(chosen)} films without hips in {out}\n")


if __name__ == "__main__":
    main()
