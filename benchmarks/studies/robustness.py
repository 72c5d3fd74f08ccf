"""AUC after the usual corruptions, against the same films as they are.

Both sides walk the detector's own way from a gray plane to a score; the clean film is given as the very plane that is
spoilt, so that nothing but the corruption differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from studies.corruptions import CORRUPTIONS, Corruption, gray_levels, remaining_center
from studies.sections import told

from fracture._version import __version__
from fracture.calibration.folds import read_fold, share_out
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import ConfigurationError, DataError, InputError
from fracture.evaluation.stats.comparison import paired_bootstrap
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.scores import auc
from fracture.io.reading import read
from fracture.limb.detector import Detector
from fracture.limb.ensemble import Ensemble
from fracture.limb.store import Weights, open_weights
from fracture.models.devices import Precision
from fracture.wing.result import Failure

if TYPE_CHECKING:
    from fracture.io.radiograph import Radiograph

__all__ = ["FORMAT", "fold_judges", "measure_robustness", "sample_films"]

FORMAT = "fracture-robustness/1"


_DECIMALS = 6
_Judged = tuple[float, bool, bool]  # probability, called fractured, warned of
"""Beyond them a score depends on the films it shares a batch with, which would part films that are alike."""


def sample_films(annotated: AnnotatedSet, films: int, *, seed: int = 0) -> AnnotatedSet:
    """Some films of a set: half of them fractured, half normal, as far as there are that many.

    The AUC does not depend on the share of fractured films, and this share gives the narrowest interval (our choice).

    Args:
        annotated: The set.
        films: How many; 0 or more than there are takes all.
        seed: Of the draw.

    Raises:
        DataError: The set lacks one of the classes.
        ConfigurationError: A negative or an odd sample of one film.
    """
    classes = [[f.source for f in annotated if f.fractured == label] for label in (1, 0)]
    if not all(classes):
        raise DataError(
            f"{annotated.name} needs fractured and normal films", got=f"{len(classes[0])} and {len(classes[1])}"
        )
    if films < 0 or films == 1:
        raise ConfigurationError("films of the sample", got=films, allowed="0 (all), or 2 or more")
    if films == 0 or films >= len(annotated):
        return annotated
    fewer = min((films + 1) // 2, len(classes[0]))
    fewer = max(fewer, films - len(classes[1]))
    rng = np.random.default_rng(seed)
    chosen = {
        str(source)
        for names, count in zip(classes, (fewer, films - fewer), strict=True)
        for source in rng.choice(sorted(names), count, replace=False)
    }
    return annotated.select(lambda film: film.source in chosen)


def fold_judges(
    weights: str | Path,
    folds: Sequence[str | Path],
    annotated: AnnotatedSet,
    *,
    device: str = "auto",
    precision: Precision = "auto",
) -> list[tuple[Detector, AnnotatedSet]]:
    """For weights of which no film is unseen: their members by fold, each with the films that its fold held out.

    Args:
        weights: The weights, made of the fold weights' members.
        folds: Weights of the single folds with their ``split.json``; see :mod:`fracture.calibration.folds`.
        annotated: The whole set.
        device, precision: As for :func:`fracture.load`.

    Returns:
        Per fold a detector with the weights' own thresholds and calibrators and only the members of this fold, and the
        films it may judge.

    Raises:
        DataError: A fold has a member that the weights lack, or as for :func:`fracture.calibration.folds.share_out`.
    """
    opened = open_weights(weights)
    judges = [read_fold(folder) for folder in folds]
    own = {member.sha256: member for member in opened.card.members}
    found = []
    for judge, share in zip(judges, share_out(judges, annotated), strict=True):
        sums = [member.sha256 for member in judge.weights.card.members]
        if missing := [m.file for m in judge.weights.card.members if m.sha256 not in own]:
            raise DataError(
                f"{judge.name} has members that {opened.card.name} is not made of",
                got=", ".join(missing),
                hint="sisters of the weights say nothing about these weights; measure on films that they never saw",
            )
        kept = tuple(own[digest] for digest in sums)
        # The subset for speed and the check of the input belong to the whole.
        card = opened.card.model_copy(update={"members": kept, "fast": None, "input_check": None})
        ensemble = Ensemble.load(Weights(opened.folder, card), device=device, precision=precision)
        found.append((Detector(ensemble, card), share))
    return found


def measure_robustness(
    judges: Sequence[tuple[Detector, AnnotatedSet]],
    *,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 8,
    workers: int = 2,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Run the detector over every film as it is and after each corruption.

    Args:
        judges: The detector and films that none of its members was trained on (that is not checked here); several where
            each judges its own, from :func:`fold_judges`.
        corruptions: What is done to the films.
        seed: Of the corruptions' draws and of the bootstrap.
        resamples: Of the bootstrap, by group.
        batch_size, workers: As for :meth:`fracture.limb.detector.Detector.predict_many`.
        progress: Called with 1 after each film of each pass.

    Returns:
        JSON: ``films``, ``fractured``, ``groups``, ``failures`` (films that could not be judged as they are or after
        a corruption; they have no part in any row), the clean row and one row per corruption with ``auc``,
        ``difference`` (paired, by group; corrupted minus clean), ``p_value`` (two-sided bootstrap), sensitivity and
        specificity at the card's high-sensitivity point with the annotated regions, and ``warned``, the share of films
        with a warning. The thresholds may stem from these very films, so compare them between rows and not with the
        card's. The cropped row counts the fractured films that lost every fracture's center; they stay in it.

    Raises:
        DataError: No judge, or not both classes among the films that could be judged.
    """
    # Equal shapes share a batch.
    order = [sorted(part, key=lambda film: (film.height, film.width, film.source)) for _, part in judges]
    everything = [film for part in order for film in part]

    def judged(corruption: Corruption | None) -> list[_Judged | Failure]:
        outcomes: list[_Judged | Failure] = []
        for (detector, annotated), part in zip(judges, order, strict=True):
            sources = _planes(annotated, part, corruption, seed)
            for found in detector.predict_many(sources, batch_size=batch_size, workers=workers):
                outcomes.append(
                    found
                    if isinstance(found, Failure)
                    else (round(found.probability, _DECIMALS), found.fractured, bool(found.warnings))
                )
                if progress is not None:
                    progress(1)
        return outcomes

    passes = [judged(None), *map(judged, corruptions)]
    failures: list[Failure] = []
    kept: list[int] = []
    for number, film in enumerate(everything):
        failed = next((one[number] for one in passes if isinstance(one[number], Failure)), None)
        if isinstance(failed, Failure):
            failures.append(replace(failed, source=film.source))
        else:
            kept.append(number)
    films = [everything[number] for number in kept]
    labels = [film.fractured for film in films]
    if len(set(labels)) < 2:
        raise DataError(
            "robustness needs fractured and normal films that can be read",
            got=f"{sum(labels)} of {len(labels)} fractured, {len(failures)} unreadable"
            + (f" ({failures[0].source}: {failures[0].error})" if failures else ""),
        )
    groups = [film.group for film in films]

    def summed(outcomes: Sequence[_Judged | Failure]) -> tuple[list[float], dict[str, Any]]:
        found = [one for one in (outcomes[number] for number in kept) if not isinstance(one, Failure)]
        shares = _calls(labels, [called for _, called, _ in found])
        warned = proportion(sum(one for _, _, one in found), len(films)).to_dict()
        return [score for score, _, _ in found], {**shares, "warned": warned}

    draws = Bootstrap(resamples, seed, groups=groups)
    clean, clean_shares = summed(passes[0])
    rows = []
    for corruption, outcomes in zip(corruptions, passes[1:], strict=True):
        scores, shares = summed(outcomes)
        pair = paired_bootstrap(labels, scores, clean, "auc", bootstrap=draws)
        row: dict[str, Any] = {
            "name": corruption.name,
            "words": corruption.words,
            "auc": pair.first.to_dict(),
            "difference": pair.difference.to_dict(),
            "p_value": pair.p_value,
            **shares,
        }
        if corruption.name == "cropped":
            row["fractures_cut_away"] = sum(_lost(film) for film in films)
        rows.append(row)
    area = auc(labels, clean, bootstrap=draws)
    detector, annotated = judges[0]
    return told(
        {
            "format": FORMAT,
            "weights": detector.card.label,
            "precision": str(detector.ensemble.dtype).removeprefix("torch."),
            "fracture": __version__,
            "set": annotated.name
            if len(judges) == 1
            else f"the held-out films of {len(judges)} folds, each judged by its own",
            "films": len(films),
            "failures": [{"source": one.source, "error": str(one.error)} for one in failures],
            "fractured": sum(labels),
            "groups": len(set(groups)),
            "seed": seed,
            "clean": {"auc": area.to_dict(), **clean_shares},
            "rows": rows,
        }
    )


def _planes(
    annotated: AnnotatedSet, films: Sequence[Film], corruption: Corruption | None, seed: int
) -> Iterator[Radiograph | Path]:
    for film in films:
        path = annotated.image_path(film)
        try:
            pixels = gray_levels(read(path).pixels)
        except InputError:
            yield path  # the detector fails on it too, and says so like on any other
            continue
        if corruption is not None:
            pixels = corruption(pixels, film.source, seed=seed)
        # Through the reader like any array, whose 8 bits it scales by 255; names and annotated regions come after.
        plain = read(pixels)
        yield replace(plain, source=film.source, regions=film.regions, region_source="caller" if film.regions else None)


def _calls(labels: Sequence[int], calls: Sequence[bool]) -> dict[str, Any]:
    found = sum(call for label, call in zip(labels, calls, strict=True) if label)
    spared = sum(not call for label, call in zip(labels, calls, strict=True) if not label)
    fractured = sum(labels)
    return {
        "sensitivity": proportion(found, fractured, of="fractured films").to_dict(),
        "specificity": proportion(spared, len(labels) - fractured, of="normal films").to_dict(),
    }


def _lost(film: Film) -> bool:
    """Whether none of a film's outlined fractures has its center left after cropping."""
    return bool(film.boxes) and not any(remaining_center(box, film.width, film.height) for box in film.boxes)
