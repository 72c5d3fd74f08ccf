"""Parts of a set for training, tuning and validation: by group, stratified over region x label, in a file.

The paper splits its development set at random 80/10/10 into training, tuning and validation (Jones et al.
2020, Methods). It has patient numbers; where a set has none, its groups stand in for them. The
stratification is our choice: a tenth of a small public set would else miss whole regions.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, InstanceOf

from fracture.atomic import write_json
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError, FractureError
from fracture.regular import sha256_of
from fracture.schema import Record, read_json

PARTS: Mapping[str, float] = {"train": 0.8, "tune": 0.1, "validation": 0.1}
"""The paper's parts and their shares of the films."""

FORMAT = "fracture-split/1"
_LARGEST = 256 * 2**20  # bytes; a million films have some 50 MiB
_Text = InstanceOf[str]  # names of files may hold bytes that are no UTF-8, which pydantic's str refuses
_SWEEPS = 20
_SWAPS = 20_000


@dataclass(frozen=True)
class Split(Record):
    """Which film is in which part.

    Attributes:
        parts: Part name -> film sources, sorted.
        name: Name of the set.
        seed: The seed that made it.
        method: How it was made, in words.
        fingerprint: ``AnnotatedSet.fingerprint()`` of the set it was made for.
        counts: Part -> ``films``, ``fractured``, ``groups`` and per ``region/label`` combination; empty where a split
            was made by hand.
        files: Film source -> SHA-256 of its file, by which films are known under other names (:meth:`signed`); empty
            where nobody looked. No part of the checksum.
    """

    ERROR: ClassVar[type[FractureError]] = DataError

    parts: Mapping[_Text, Annotated[tuple[_Text, ...], Field(strict=False)]]
    name: _Text
    seed: int
    method: str
    fingerprint: str
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    files: Mapping[_Text, str] = field(default_factory=dict)

    def signed(self, annotated: AnnotatedSet) -> Split:
        """The same split with the checksums of the films' files, which are read whole.

        Args:
            annotated: The set that was divided; files that cannot be read, or that it lacks, stay without a checksum.
        """
        digests = ((source, film_digest(annotated, source)) for source in self.part_of() if source in annotated)
        return replace(self, files={source: digest for source, digest in digests if digest is not None})

    def part(self, annotated: AnnotatedSet, *names: str) -> AnnotatedSet:
        """The films of one part, or of several together, as a set.

        Args:
            annotated: The set that was divided.
            *names: Parts, as ``"train"``, ``"validation"``.

        Raises:
            DataError: No such part, or films of the part that the set lacks.
        """
        unknown = [name for name in names if name not in self.parts]
        if unknown or not names:
            raise DataError(f"the split of {self.name} has no such part", got=unknown, allowed=self.parts)
        sources = sorted(source for name in names for source in self.parts[name])
        return annotated.subset(sources, name=f"{annotated.name}/{'+'.join(names)}")

    def part_of(self) -> dict[str, str]:
        """Film source -> part."""
        return {source: name for name, sources in self.parts.items() for source in sources}

    @property
    def checksum(self) -> str:
        """SHA-256 over the split's content; the file carries it and weight cards quote it."""
        return _digest(self._content())

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "method": self.method,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "counts": {part: dict(row) for part, row in self.counts.items()},
            "parts": {part: list(sources) for part, sources in self.parts.items()},
        }

    def write(self, path: str | Path) -> None:
        """Write the split as JSON with its checksum, atomically.

        Raises:
            OutputError: It cannot be written.
        """
        write_json(path, {**self._content(), **({"files": self.files} if self.files else {}), "sha256": self.checksum})

    @staticmethod
    def read(path: str | Path) -> Split:
        """Read a split file and check its checksum and that no film is in two parts.

        Raises:
            DataError: Missing, malformed, of another format, changed by hand, or a film in two parts.
        """
        source = Path(path)
        content = read_json(source, limit=_LARGEST, error=DataError)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            got = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise DataError(f"{source}: not a split file", got=got, allowed=FORMAT)
        stated, files = content.pop("sha256", None), content.pop("files", {})
        if stated != _digest(content):
            raise DataError(
                f"{source}: the checksum does not fit the content",
                got=stated,
                hint="the file was changed after it was written; make the split again",
            )
        split = Split.from_dict({**{key: value for key, value in content.items() if key != "format"}, "files": files})
        listed = [film for sources in split.parts.values() for film in sources]
        if len(listed) != len(set(listed)):
            double = sorted(film for film, n in Counter(listed).items() if n > 1)
            raise DataError(f"{source}: {len(double)} films are in two parts", got=", ".join(double[:5]))
        return split


def split_parts(annotated: AnnotatedSet, shares: Mapping[str, float] = PARTS, *, seed: int = 0) -> Split:
    """Divide a set by group into parts of the given shares, stratified over region x label.

    Every group goes, in a seeded order with large groups first, to the part where it lowers most the
    chi-square-like distance between the films that each (region, label) combination has there and those it
    should have; then single moves and swaps of groups are tried until none helps. A film of several regions
    counts for each of them. The method is our choice.

    Args:
        annotated: The set.
        shares: Part name -> share of the films; they sum to 1.
        seed: Of the order; the same seed and set give the same split.

    Raises:
        DataError: Shares that are not positive or do not sum to 1, or fewer groups than parts.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise DataError("shares of a split", got=dict(shares), allowed="positive numbers that sum to 1")
    names = list(shares)
    members: dict[str, list[Film]] = {}
    for film in annotated:
        members.setdefault(film.group, []).append(film)
    if len(members) < len(names):
        raise DataError(
            f"{annotated.name}: fewer groups than parts",
            got=f"{len(members)} groups for {len(names)} parts",
            hint="ask for fewer parts, or collect films of more patients",
        )
    groups = sorted(members)
    counts = _counts(members, groups)
    assigned = _assign(counts, np.array([shares[n] for n in names]), np.random.default_rng(seed))
    parts = {
        name: tuple(sorted(f.source for g, p in zip(groups, assigned, strict=True) if p == i for f in members[g]))
        for i, name in enumerate(names)
    }
    described = " : ".join(f"{name} {share:g}" for name, share in shares.items())
    return Split(
        parts=parts,
        name=annotated.name,
        seed=seed,
        method=f"by group, stratified over region x label, {described}",
        fingerprint=annotated.fingerprint(),
        counts={name: _summary(annotated.subset(parts[name])) for name in names},
    )


def split_folds(annotated: AnnotatedSet, folds: int, *, seed: int = 0) -> Split:
    """Divide a set by group into ``fold0`` ... of equal size, stratified over region x label.

    Args:
        annotated: The set; films of one ``group`` stay together.
        folds: How many, at least 2.
        seed: Of the draw.

    Raises:
        DataError: Fewer than two folds, or fewer groups than folds.
    """
    if folds < 2:
        raise DataError("folds of a split", got=folds, allowed="2 or more")
    return split_parts(annotated, {f"fold{i}": 1 / folds for i in range(folds)}, seed=seed)


def rotate_folds(split: Split, fold: int) -> Split:
    """From a split in k folds, the ``train``, ``tune`` and ``validation`` parts of one turn.

    Fold ``fold`` is the validation part, the next fold is the tuning part (on which training stops) and the
    others are trained on, so that over k turns every film is judged once by a model that neither saw it nor
    stopped on it.

    Raises:
        DataError: Not a split in at least three folds, or no such fold.
    """
    count = len(split.parts)
    if count < 3 or set(split.parts) != {f"fold{i}" for i in range(count)}:
        raise DataError("not a split in three or more folds", got=list(split.parts), hint="use split_folds")
    if not 0 <= fold < count:
        raise DataError("the fold", got=fold, allowed=f"0 .. {count - 1}")
    held, tune = f"fold{fold}", f"fold{(fold + 1) % count}"
    rest = [name for name in split.parts if name not in (held, tune)]
    counts: dict[str, Mapping[str, int]] = {}
    if split.counts.keys() >= split.parts.keys():  # a split made by hand need not tell them
        counts = {
            "train": dict(sum((Counter(split.counts[name]) for name in rest), Counter())),
            "tune": split.counts[tune],
            "validation": split.counts[held],
        }
    return Split(
        parts={
            "train": tuple(sorted(source for name in rest for source in split.parts[name])),
            "tune": split.parts[tune],
            "validation": split.parts[held],
        },
        name=split.name,
        seed=split.seed,
        method=f"{split.method}; turn {fold}",
        fingerprint=split.fingerprint,
        counts=counts,
    )


def published_split(annotated: AnnotatedSet, *, field: str = "published_part") -> Split:
    """The split that a set was published with, from ``Film.extra[field]``; films without a part are in none.

    The YOLO and FracAtlas readers fill in ``published_part``. Check it with ``verify`` before trusting it: published
    splits are often by image.

    Args:
        annotated: The set.
        field: Where its films name their part.

    Raises:
        DataError: No film names a part.
    """
    parts: dict[str, list[str]] = {}
    for film in annotated:
        if film.extra.get(field):
            parts.setdefault(str(film.extra[field]), []).append(film.source)
    if not parts:
        raise DataError(f"{annotated.name}: no film says which part it was published in", got=f"extra[{field!r}]")
    sources = {name: tuple(sorted(members)) for name, members in sorted(parts.items())}
    return Split(
        parts=sources,
        name=annotated.name,
        seed=0,
        method="as published",
        fingerprint=annotated.fingerprint(),
        counts={name: _summary(annotated.subset(members)) for name, members in sources.items()},
    )


def film_digest(annotated: AnnotatedSet, source: str) -> str | None:
    """SHA-256 of the film's file, None where it cannot be read."""
    try:
        return sha256_of(annotated.image_path(annotated.film(source)))
    except OSError:
        return None


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _summary(part: AnnotatedSet) -> dict[str, int]:
    strata = Counter(f"{region}/{'fractured' if label else 'normal'}" for f in part for region, label in f.strata)
    return {
        "films": len(part),
        "fractured": part.positives,
        "groups": len({film.group for film in part}),
        **dict(sorted(strata.items())),
    }


def _counts(members: Mapping[str, Sequence[Film]], groups: Sequence[str]) -> NDArray[np.float64]:
    """(groups, strata) numbers of films: all, fractured, and each (region, label) combination."""
    strata = sorted({s for films in members.values() for film in films for s in film.strata})
    column = {stratum: i + 2 for i, stratum in enumerate(strata)}
    counts = np.zeros((len(groups), len(strata) + 2))
    for row, group in enumerate(groups):
        for film in members[group]:
            counts[row, 0] += 1
            counts[row, 1] += film.fractured
            for stratum in film.strata:
                counts[row, column[stratum]] += 1
    return counts[:, counts.sum(axis=0) > 0]


def _assign(counts: NDArray[np.float64], shares: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Part of each group; minimizes sum over parts and strata of (has - wants)^2 / wants."""
    wants = shares[:, None] * counts.sum(axis=0)
    weight = 1.0 / wants
    has = np.zeros_like(wants)
    n_groups, n_parts = len(counts), len(shares)
    assigned = np.full(n_groups, -1, np.int64)
    held = np.zeros(n_parts, np.int64)
    size = counts[:, 0]
    shuffled = rng.permutation(n_groups)
    for turn, group in enumerate(shuffled[np.argsort(-size[shuffled], kind="stable")]):
        row = counts[group]
        cost = ((2 * row * (has - wants) + row**2) * weight).sum(axis=1)
        if n_groups - turn <= (held == 0).sum():
            cost[held > 0] = np.inf  # as many groups left as parts without one
        part = int(np.argmin(cost))
        assigned[group] = part
        has[part] += row
        held[part] += 1

    for _ in range(_SWEEPS):
        moved = False
        for group in rng.permutation(n_groups):
            row, part = counts[group], int(assigned[group])
            if held[part] == 1:
                continue
            gain = ((-2 * row * (has[part] - wants[part]) + row**2) * weight[part]).sum()
            cost = ((2 * row * (has - wants) + row**2) * weight).sum(axis=1) + gain
            cost[part] = 0.0
            best = int(np.argmin(cost))
            if cost[best] < -1e-9:
                assigned[group] = best
                has[part] -= row
                has[best] += row
                held[part] -= 1
                held[best] += 1
                moved = True
        if not moved:
            break

    for first, second in rng.integers(n_groups, size=(min(_SWAPS, 20 * n_groups), 2)):
        a, b = int(assigned[first]), int(assigned[second])
        if a == b:
            continue
        change = counts[second] - counts[first]  # what part a gains and part b loses
        cost = ((2 * change * (has[a] - wants[a]) + change**2) * weight[a]).sum()
        cost += ((-2 * change * (has[b] - wants[b]) + change**2) * weight[b]).sum()
        if cost < -1e-9:
            assigned[first], assigned[second] = b, a
            has[a] += change
            has[b] -= change
    return assigned
