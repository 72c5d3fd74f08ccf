"""The input check of a set of weights: measured on films, written beside the members, named in the card.

The distribution is fitted on films that the member was trained on (they are many); the limit is found on films that
it never saw, since the features of the former lie a little closer together. The limit is the smallest distance that
at most a stated share of new films of the same kind exceeds, the films being exchangeable (split conformal
prediction: Papadopoulos et al. 2002; Angelopoulos and Bates 2023, section 1), times a margin for films of other
places, which are not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from fracture.atomic import write_atomic
from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_folds
from fracture.errors import ConfigurationError, DataError
from fracture.intervals import share_of
from fracture.io.radiograph import Radiograph
from fracture.limb.card import Card, InputCheckCard
from fracture.limb.ensemble import Ensemble, PreparedFilm
from fracture.limb.store import Weights, open_weights
from fracture.models.devices import Precision
from fracture.wing.distribution import FeatureDistribution
from fracture.wing.reader import FilmReader, Taken
from fracture.wing.result import Failure

FILE = "input_check.safetensors"

FALSE_ALARMS = 0.01
"""Share of new films of the same kind that may be warned of (our choice)."""

MARGIN = 1.5
"""Factor on the limit, for films of other places and machines (our choice).

Of 127 pelves of another source than the films that made the distribution, a ResNet-50's features flagged 47 % without
it and 2 % with it, a ResNet-18's 13 and 3 %; of 68 photographs and slices it left 97 and 79 % flagged.
``benchmarks/input_check.py`` measures both again.
"""

_FOLDS = 5


@dataclass(frozen=True, eq=False)
class InputCheckResult:
    """What was measured.

    Attributes:
        card: The card as it was written.
        distribution: What went into the safetensors file.
        distances: Distance of each held-out film, float64, (n,), in the set's order.
        flagged: Held-out films that are warned of, by the pixels' rules or by their distance.
        failures: Films of both kinds that could not be read or prepared; nothing above rests on them.
    """

    card: Card
    distribution: FeatureDistribution
    distances: NDArray[np.float64]
    flagged: tuple[str, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def section(self) -> InputCheckCard:
        """The card's ``input_check``."""
        if self.card.input_check is None:
            raise ConfigurationError(f"{self.card.label} has no input check")
        return self.card.input_check


def make_input_check(
    weights: str | Path,
    seen: AnnotatedSet,
    unseen: AnnotatedSet,
    *,
    member: str | None = None,
    false_alarms: float = FALSE_ALARMS,
    margin: float = MARGIN,
    precision: Precision = "auto",
    device: str = "auto",
    description: str = "",
    progress: Callable[[int], object] | None = None,
) -> InputCheckResult:
    """Measure where the features of real films lie and how far is too far, and write both beside the weights.

    A film that cannot be read or prepared is left out and listed among the result's failures.

    Args:
        weights: Folder or name of the weights; its card is rewritten, and ``input_check.safetensors`` is written.
        seen: Films for the distribution, usually those that the member was trained on.
        unseen: Films for the limit: of groups that the member was not trained on.
        member: Whose features, by file name or stem; where left out, the first one of the card's fast subset, so that
            ``fast=True`` is checked too, else the card's first.
        false_alarms: Share of new films of the same kind that may exceed the limit before ``margin``.
        margin: Factor on the limit, at least 1.
        precision, device: Those that will be used.
        description: Which films these are, in words, for the card.
        progress: Called with 1 after each film.

    Raises:
        ConfigurationError: No such member, one that is not in the card's fast subset, or a number out of range.
        DataError: No seen film, or too few unseen ones for the stated share, can be read.
        WeightsError: The weights cannot be loaded.
    """
    if not 0 < false_alarms < 1 or not margin >= 1:
        raise ConfigurationError(
            "the input check needs a share of false alarms and a margin",
            got=f"false_alarms={false_alarms}, margin={margin}",
            allowed="0 < false_alarms < 1 and margin >= 1",
        )
    _enough(unseen, false_alarms, ())
    opened = open_weights(weights)
    card = opened.card.model_copy(update={"input_check": None})
    file = _chosen(card, member)
    name = PurePath(file).stem
    alone = card.model_copy(update={"members": tuple(m for m in card.members if m.file == file)})
    ensemble = Ensemble.load(Weights(opened.folder, alone), device=device, precision=precision)
    seen, features, _, failures = _features(ensemble, name, seen, progress)
    distribution = FeatureDistribution.fit(features)
    unseen, features, by_pixels, failed = _features(ensemble, name, unseen, progress)
    failures += failed
    _enough(unseen, false_alarms, failed)
    distances = distribution.distance(features)
    limit = margin * _limit(distances, false_alarms)

    sha256 = _write(opened.folder / FILE, distribution)
    words = description or f"{len(seen)} films of {seen.name} and {len(unseen)} of {unseen.name}"
    if failures:
        words += f"; {len(failures)} more could not be read"
    flagged = by_pixels | (distances > limit)
    section = InputCheckCard(
        file=FILE,
        sha256=sha256,
        member=file,
        member_sha256=next(m.sha256 for m in card.members if m.file == file),
        limit=limit,
        rule=f"{margin:g} times the distance that {100 * false_alarms:g} % of new films exceed; {words}; "
        + str(ensemble.dtype).removeprefix("torch."),
        false_alarms=_rates(unseen, distances, by_pixels, limit, false_alarms, margin),
    )
    card = card.model_copy(update={"input_check": section})
    card.write(opened.folder)
    named = tuple(film.source for film, flag in zip(unseen, flagged, strict=True) if flag)
    return InputCheckResult(card, distribution, distances, named, tuple(failures))


def _enough(unseen: AnnotatedSet, false_alarms: float, failures: Sequence[Failure]) -> None:
    if len(unseen) < (fewest := math.ceil(1 / false_alarms) - 1):
        raise DataError(
            f"a limit that {100 * false_alarms:g} % of films exceed needs more unseen films",
            got=f"{len(unseen)}" + (f", and {len(failures)} that cannot be read" if failures else ""),
            allowed=f"{fewest} or more",
            hint="give more films, or allow more false alarms",
        )


def _chosen(card: Card, member: str | None) -> str:
    fast = [m.file for m in card.fast.members] if card.fast is not None else []
    if member is None:
        return fast[0] if fast else card.members[0].file
    allowed = fast or [m.file for m in card.members]
    file = f"{member.removesuffix('.safetensors')}.safetensors"
    if file not in allowed:
        raise ConfigurationError(
            "no such member" + (" in the card's fast subset" if fast else ""), got=member, allowed=allowed
        )
    return file


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Features of one film, float64 (D,), and whether the pixels' rules flag it."""

    source: str
    features: NDArray[np.float64]
    flagged: bool
    seconds: float = 0.0


class _FeatureReader(FilmReader[PreparedFilm, _Seen]):
    """Films on the detector's own way, as far as one member's features."""

    def __init__(self, ensemble: Ensemble, member: str) -> None:
        self.ensemble, self.member = ensemble, member

    def prepare(self, radiograph: Radiograph) -> PreparedFilm:
        return self.ensemble.prepare(radiograph)

    def examine(self, films: Sequence[Taken[Radiograph, PreparedFilm]]) -> list[_Seen]:
        rows = self.ensemble.features([film.inputs for film in films], self.member)
        return [_Seen(film.record.source, row, bool(film.warnings)) for film, row in zip(films, rows, strict=True)]


def _features(
    ensemble: Ensemble, member: str, annotated: AnnotatedSet, progress: Callable[[int], object] | None
) -> tuple[AnnotatedSet, NDArray[np.float64], NDArray[np.bool_], list[Failure]]:
    """The films that can be read, their features (n, D), whether the pixels' rules flag them, and the other films."""
    seen: dict[str, _Seen] = {}
    failures: list[Failure] = []
    paths = [annotated.image_path(film) for film in annotated]
    found = _FeatureReader(ensemble, member).predict_many(paths, keep=True)
    for film, one in zip(annotated, found, strict=True):
        if isinstance(one, Failure):
            failures.append(replace(one, source=film.source))
        else:
            seen[film.source] = one
        if progress is not None:
            progress(1)
    if not seen:
        raise DataError(
            f"no film of {annotated.name} can be read",
            got="; ".join(f"{one.source}: {one.error}" for one in failures[:5]) or "no films",
            hint="see verify-data",
        )
    rows = list(seen.values())
    kept = annotated.select(lambda film: film.source in seen)
    return kept, np.stack([one.features for one in rows]), np.array([one.flagged for one in rows], bool), failures


def _limit(distances: NDArray[np.float64], share: float) -> float:
    """The smallest held-out distance that at most a share of new films exceeds: rank ceil((n + 1)(1 - share))."""
    rank = math.ceil((distances.size + 1) * (1 - share) - 1e-9)
    return float(np.sort(distances)[min(rank, distances.size) - 1])


def _rates(
    films: AnnotatedSet,
    distances: NDArray[np.float64],
    by_pixels: NDArray[np.bool_],
    limit: float,
    share: float,
    margin: float,
) -> dict[str, Any]:
    """False alarms on the held-out films, the limit cross-fitted over groups so that no film helps to set its own."""
    numbers = {film.source: i for i, film in enumerate(films)}
    crossed = np.zeros(len(films), bool)
    for held in split_folds(films, min(_FOLDS, len({film.group for film in films}))).parts.values():
        inside = np.zeros(len(films), bool)
        inside[[numbers[source] for source in held]] = True
        crossed[inside] = distances[inside] > margin * _limit(distances[~inside], share)
    either = crossed | by_pixels
    regions = sorted({region for film in films for region in film.regions})
    shown: Mapping[str, Sequence[int]] = {
        "all": range(len(films)),
        **{region: [i for i, film in enumerate(films) if region in film.regions] for region in regions},
    }
    return {
        "cross_fitted": True,
        "by_pixels": _share(by_pixels),
        "by_distance": {name: _share(crossed[list(keep)]) for name, keep in shown.items()},
        "either": _share(either),
        "distances": {f"{p:g} %": float(np.percentile(distances, p)) for p in (50, 95, 99, 100)},
        "limit": limit,
    }


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    return share_of(int(hits.sum()), int(hits.size))


def _write(path: Path, distribution: FeatureDistribution) -> str:
    content: bytes = save(distribution.tensors())
    write_atomic(path, lambda draft: draft.write_bytes(content), size=len(content))
    return hashlib.sha256(content).hexdigest()
