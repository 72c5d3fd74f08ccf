"""What the score networks say of painted lesions on films that they were not trained on, by both painters.

    python benchmarks/joint_scores.py RUN LANDMARKS --images FOLDER --out scores.json

``RUN`` is a run folder of ``fracture joints train``. For each family: weighted RMSE (the challenge's
weights, by the sum of a film's true scores) and Spearman's coefficient over the joints of the held-out films, with
bootstrap intervals over film groups; the error of healthy joints; what two readings of a joint with other points differ
by. Numbers of the card's ``metrics.scores``. Nothing here is a patient's damage.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import second_joint_painter
import torch
from safetensors.torch import load_file

from fracture.data.merged import part_of_split
from fracture.data.splits import Split
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.change import repeatability
from fracture.evaluation.stats.resampling import bootstrap
from fracture.evaluation.stats.statistics import RankCorrelation, WeightedError
from fracture.joints.card import ScoreSpec
from fracture.joints.layout import DAMAGES, FAMILIES
from fracture.joints.metrics import BINS
from fracture.joints.records import read_landmarks
from fracture.joints.score_training import JointPictures, ScoreConfig, score_rows
from fracture.joints.scoring import ScoreNetworks, points_of
from fracture.models.persistence import load_state
from fracture.training.records import read_record


class SecondPainter(JointPictures):
    """The same joints, painted by the second painter."""

    def paint(self, part, joint, lesion, seed, traces):
        del traces  # what a network learns is not told here
        (space, half), grades = joint.sizes, {"narrowing": lesion.narrowing, "erosion": lesion.erosion}
        return second_joint_painter.paint(part, joint.center, joint.direction, space, half, **grades, seed=seed)


def weighted_rmse(truth, predicted):
    """Weighted by the sum of each row's true scores."""
    return WeightedError((np.log1p(predicted) - np.log1p(truth)) ** 2, BINS.weights(truth.sum(axis=1)), "pooled")


def judged(rows, damage, resamples, family):
    """One painter's rows as the numbers of one damage, of joints where the challenge scores it; a film's lesions of one
    round are a row of the table."""
    rows = [row for row in rows if row["point"] in points_of(family, damage)]
    rounds = defaultdict(list)
    seen = defaultdict(int)
    for row in rows:
        key = (row["source"], row["point"])
        rounds[row["source"], row["group"], seen[key]].append(row)
        seen[key] += 1
    most = max(map(len, rounds.values()))
    truth, found = np.zeros((len(rounds), most)), np.zeros((len(rounds), most))
    for place, several in enumerate(rounds.values()):  # a film with fewer points than others repeats them
        chosen = [several[k % len(several)] for k in range(most)]
        truth[place], found[place] = ([row[key] for row in chosen] for key in (damage, f"{damage}_value"))
    draws = Bootstrap(resamples=resamples, groups=[group for _, group, _ in rounds]).over(len(rounds))
    measures = {"weighted_rmse": weighted_rmse(truth, found), "spearman": RankCorrelation(truth, found)}
    result = {name: value.to_dict() for name, value in bootstrap(measures, draws).items()}
    constant = np.full_like(found, np.expm1(np.log1p(truth).mean()))
    result["weighted_rmse_of_a_constant"] = float(weighted_rmse(truth, constant)(np.ones((1, len(truth))))[0])
    healthy = [row[f"{damage}_value"] for row in rows if row[damage] == 0]
    result["controls"] = {
        "joints": len(healthy),
        "mean": float(np.mean(healthy)),
        "p95": float(np.quantile(healthy, 0.95)),
    }
    return {"joints": len(rows), "films": len({row["source"] for row in rows}), **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("landmarks", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    films = read_landmarks(options.landmarks, options.images)
    result = {}
    for family in FAMILIES:
        record = options.run / f"scores_{family}.json"
        if not record.exists():
            continue
        spec = ScoreSpec(**read_record(record)["model"])
        model = ScoreNetworks(spec)
        load_state(model, load_file(str(record.with_suffix(".safetensors"))))
        split = Split.read(options.run / f"scores_{family}" / "split.json")
        part, config = part_of_split(films, split, "validation"), ScoreConfig(model=spec)
        pictures, device, result[family] = JointPictures(part, config), torch.device("cpu"), {}
        for name, painted in (("own_painter", pictures), ("second_painter", SecondPainter(part, config))):
            rows = list(score_rows(model, painted, device, times=options.times, seed=1))
            result[family][name] = {d: judged(rows, d, options.resamples, family) for d in DAMAGES}
        again = [list(score_rows(model, pictures, device, seed=2, jitter=seed)) for seed in (1, 2)]
        result[family]["repeatability"] = {
            d: repeatability(*([r[f"{d}_value"] for r in rows if r["point"] in points_of(family, d)] for rows in again))
            for d in DAMAGES
        }
        options.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
        for name in ("own_painter", "second_painter"):
            for damage in DAMAGES:
                print(family, name, damage, json.dumps(result[family][name][damage]))
        print(family, "repeatability", result[family]["repeatability"], flush=True)


if __name__ == "__main__":
    main()
