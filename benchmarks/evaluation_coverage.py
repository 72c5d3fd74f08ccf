"""How often 95 % intervals hold the truth, by simulation: the table of ``docs/evaluation.md``.

    python benchmarks/evaluation_coverage.py

Binormal scores (shift 1.5) for AUC and ROC bands; scores s = q^a of the true chance q ~ Beta(1, 3) for the ECE.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from fracture.evaluation import Bootstrap, auc, calibration_error, delong, roc_band, wilson
from fracture.evaluation.stats.estimate import Estimate

SHIFT = 1.5
AREA = float(stats.norm.cdf(SHIFT / np.sqrt(2)))


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def wilson_rows() -> None:
    p = np.linspace(0.005, 0.995, 397)
    for n in (10, 50, 200):
        limits = np.array([wilson(k, n) for k in range(n + 1)])
        inside = (limits[:, :1] <= p) & (p <= limits[:, 1:])
        coverage = (stats.binom.pmf(np.arange(n + 1)[:, None], n, p) * inside).sum(axis=0).mean()
        print(f"| Wilson, n = {n}, averaged over p (exact) | {100 * coverage:.1f} |", flush=True)


def auc_rows() -> None:
    for each, runs in ((200, 600), (50, 600), (15, 600)):
        labels = np.repeat([1, 0], each)
        found = np.zeros((runs, 2))
        for seed in range(runs):
            scores = np.random.default_rng(seed).normal(SHIFT * labels)
            found[seed] = (
                holds(delong(labels, scores), AREA),
                holds(auc(labels, scores, bootstrap=Bootstrap(seed=seed)), AREA),
            )
        for name, share in zip(("DeLong", "bootstrap"), found.mean(axis=0), strict=True):
            print(f"| AUC by {name}, {each} of each class, {runs:,} runs | {100 * share:.1f} |", flush=True)


def band_rows(runs: int = 120) -> None:
    labels = np.repeat([True, False], (100, 200))
    grid = np.linspace(0.02, 0.98, 97)
    truth = stats.norm.cdf(SHIFT + stats.norm.ppf(grid))
    shares: dict[str, list[float]] = {"whole": [], "vertical 0.08-0.35": [], "vertical all": []}
    for seed in range(runs):
        scores = np.random.default_rng(seed).normal(SHIFT * labels)
        inside = {}
        for method in ("fwb", "vertical"):
            band = roc_band(labels, scores, method=method, bootstrap=Bootstrap(resamples=300, seed=seed))  # type: ignore[arg-type]
            low, high = np.interp(grid, band.fpr, band.low), np.interp(grid, band.fpr, band.high)
            inside[method] = (low <= truth + 1e-12) & (truth <= high + 1e-12)
        shares["whole"].append(float(inside["fwb"].all()))
        shares["vertical 0.08-0.35"].append(float(inside["vertical"][(grid > 0.08) & (grid < 0.35)].mean()))
        shares["vertical all"].append(float(inside["vertical"].mean()))
    print(f"| ROC fixed-width band, whole curve (rates 0.02 to 0.98), 100 + 200 films, {runs} runs "
          f"| {100 * np.mean(shares['whole']):.1f} |")  # fmt: skip
    for name in ("0.08-0.35", "all"):
        share = np.mean(shares[f"vertical {name}"])
        print(f"| ROC vertical band, at one rate, mean over rates {name} | {100 * share:.1f} |", flush=True)


def ece_rows(runs: int = 120) -> None:
    sample = np.random.default_rng(0).beta(1, 3, 1_000_000)
    for power in (1.0, 1.1, 1.2, 1.4):
        truth = float(np.mean(np.abs(sample**power - sample)))
        for n in (300, 1000, 3000):
            inside, plain, debiased = [], [], []
            for seed in range(runs):
                rng = np.random.default_rng(seed)
                chance = rng.beta(1, 3, n)
                labels, scores = rng.random(n) < chance, chance**power
                estimate = calibration_error(labels, scores, bootstrap=Bootstrap(resamples=300, seed=seed))
                inside.append(holds(estimate, truth))
                debiased.append(float(estimate))
                plain.append(float(calibration_error(labels, scores, bootstrap=Bootstrap(resamples=2), debiased=False)))
            print(f"| ECE, truth {truth:.3f}, {n:,} films (mean plain {np.mean(plain):.3f}, debiased "
                  f"{np.mean(debiased):.3f}), {runs} runs | {100 * np.mean(inside):.1f} |", flush=True)  # fmt: skip


def main() -> None:
    print("| interval | holds the truth, % |\n|---|---|")
    wilson_rows()
    auc_rows()
    band_rows()
    ece_rows()


if __name__ == "__main__":
    main()
