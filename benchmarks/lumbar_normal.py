"""Normal against abnormal discs on real sagittal pictures: AUC of the grader, and of a plain measure beside it.

    python benchmarks/lumbar_normal.py SET [--weights lumbar-small]

The grader knows simulated studies alone; it gets one slice and nothing else. A picture has no scale, so the distance
between its discs is taken for 36 mm. Some pictures are mirrored: the brighter side of the spine is taken for the back,
where the coil lies. The plain measure is how dark a disc's middle is against the bodies beside it.
Intervals are drawn by source picture.
"""

from __future__ import annotations

import argparse

import numpy as np

from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.scores import auc
from fracture.spine.kinds import SAGITTAL_T2
from fracture.spine.lumbar.card import STORE
from fracture.spine.lumbar.finding import find_discs
from fracture.spine.lumbar.grading import behind, stack
from fracture.spine.lumbar.metric import CONDITIONS
from fracture.spine.lumbar.reader import LumbarReader
from fracture.spine.lumbar.records import discs_of, read_discs
from fracture.spine.picture import read_picture, stretched
from fracture.wing.volume import Volume

GAP = 36.0  # mm between discs
NAMES = ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1")  # five discs in order, whatever they are called


def patch(pixels, x, y, half):
    """Mean brightness of a square."""
    rows, columns = (slice(max(0, int(at - half)), int(at + half) + 1) for at in (y, x))
    part = pixels[rows, columns]
    return float(part.mean()) if part.size else np.nan


def judged(reader, pixels, marks):
    """(row of the mark, abnormality by the grader, darkness) of each marked disc that was called one or the other."""
    discs = find_discs(reader.finder, pixels).discs[:5]
    places = np.array([(disc.x, disc.y) for disc in discs])
    gap = float(np.median(np.linalg.norm(np.diff(places, axis=0), axis=1)))
    front, back = (np.mean([patch(pixels, x + way * gap, y, gap / 3) for x, y in places]) for way in (-1.0, 1.0))
    turned = front > back
    seen = np.ascontiguousarray(pixels[:, ::-1]) if turned else pixels
    if turned:
        places = np.stack([pixels.shape[1] - places[:, 0], places[:, 1]], 1)
    pixel = GAP / gap
    affine = np.array([[0, 0, 4.0, 0], [pixel, 0, 0, pixel / 2], [0, -pixel, 0, -pixel / 2], [0, 0, 0, 1.0]])
    volume = Volume(stretched(seen[None].astype(np.float32)), affine)
    names = NAMES[::-1][: len(places)]
    spots = {name: (0.0, x * pixel, -y * pixel) for name, (x, y) in zip(names, places.tolist(), strict=True)}
    targets, rows = behind(spots), []
    for mark in marks:
        x = pixels.shape[1] - mark.x if turned else mark.x
        far = np.hypot(places[:, 0] - x, places[:, 1] - mark.y)
        near = int(far.argmin())
        if mark.abnormal is None or far[near] > gap / 2:
            continue
        planes, where, _ = stack({SAGITTAL_T2: [volume]}, spots[names[near]], targets[names[near]])
        chance = np.nan
        if reader.judge is not None:
            logits = reader.judge.run({"x": planes[None], "where": where[None]})["logits"]
            chance = 1 - float(logits.float().softmax(-1)[0, 0, 0])
        (px, py), others = places[near], [k for k in (near - 1, near + 1) if 0 <= k < len(places)]
        bodies = np.mean([patch(seen, *((places[near] + places[k]) / 2), gap / 6) for k in others])
        rows.append((mark.abnormal, chance, bodies / max(patch(seen, px, py, gap / 12), 1.0)))
    return rows


def main():
    """Print AUCs of all pictures and of each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set")
    parser.add_argument("--weights")
    given = parser.parse_args()
    reader = LumbarReader.opened(STORE.open(given.weights), device="cpu", precision="float32", engine="torch")
    annotated, table = read_discs(given.set), []
    for film in annotated:
        rows = judged(reader, read_picture(annotated.image_path(film)), discs_of(film))
        table += [(film.group, film.extra["part"], *row) for row in rows]
    for part in ("all", "plain", "augmented"):
        rows = [row for row in table if part in ("all", row[1])]
        if not rows:
            continue
        groups, labels = np.array([row[0] for row in rows]), np.array([row[2] for row in rows], int)
        print(f"{part}: {len(rows)} discs of {len(set(groups))} pictures, {labels.sum()} abnormal")
        for name, column in ((f"grader, 1 - normal or mild of {CONDITIONS[0]}", 3), ("darkness against bodies", 4)):
            scores = np.array([row[column] for row in rows])
            if np.isfinite(scores).all():
                print(f"  AUC of {name}: {auc(labels, scores, bootstrap=Bootstrap(1000, groups=groups)).text()}")


if __name__ == "__main__":
    main()
