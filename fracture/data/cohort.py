"""Who is in a set: the table of Jones et al. 2020 (Table 1), and test sets sampled as theirs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import derive_seed, generator
from fracture.data.splits import Split
from fracture.data.views import VIEWS
from fracture.errors import DataError


@dataclass(frozen=True, slots=True)
class Cohort:
    """One column of the table. Ranges are (median, least, greatest); None where nothing is known.

    Attributes:
        name: The set or part.
        sites: Hospitals or devices that are named.
        films: Radiographs.
        views: Films per view (a film with several exposures counts for each), ``"unknown"`` included.
        regions: Films per region.
        per_region: Films per region.
        fractured: Films with a fracture.
        boxes: Box annotations.
        boxes_per_fractured: Mean, least and greatest number of boxes on fractured films that have any.
        groups: Patients, or what stands in for them.
        groups_per_region: Patients per region.
        male: Male patients.
        sex_missing: Patients of unknown sex.
        age: Age in years of patients where known (their first film's).
        age_missing: Patients of unknown age.
        hardware: Films with plates, nails, screws or wires, where that is known.
    """

    name: str
    sites: int
    films: int
    views: Mapping[str, int]
    regions: Mapping[str, int]
    per_region: tuple[float, int, int] | None
    fractured: int
    boxes: int
    boxes_per_fractured: tuple[float, int, int] | None
    groups: int
    groups_per_region: tuple[float, int, int] | None
    male: int
    sex_missing: int
    age: tuple[float, float, float] | None
    age_missing: int
    hardware: int


@dataclass(frozen=True, slots=True)
class CohortTable:
    """Cohorts side by side.

    Attributes:
        cohorts: One per column.
    """

    cohorts: tuple[Cohort, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text, row by row, each row's name first."""
        columns = self.cohorts

        def row(name: str, values: Iterable[str]) -> tuple[str, ...]:
            return (name, *values)

        return [
            row("", (c.name for c in columns)),
            row("sites", (str(c.sites) if c.sites else "not given" for c in columns)),
            row("radiographs", (f"{c.films:,}" for c in columns)),
            *(row(f"  {v}", (_share(c.views.get(v, 0), c.films) for c in columns)) for v in (*VIEWS, "unknown")),
            row("regions", (str(len(c.regions)) for c in columns)),
            row("radiographs per region, median (range)", (_range(c.per_region) for c in columns)),
            row("with fracture", (_share(c.fractured, c.films) for c in columns)),
            row("with hardware", (_share(c.hardware, c.films) for c in columns)),
            row("box annotations", (f"{c.boxes:,}" for c in columns)),
            row("boxes per fractured radiograph, mean (range)", (_range(c.boxes_per_fractured, 1) for c in columns)),
            row("patients or groups", (f"{c.groups:,}" for c in columns)),
            row("patients per region, median (range)", (_range(c.groups_per_region) for c in columns)),
            row("male", (_known(_share(c.male, c.groups - c.sex_missing), c.sex_missing, c.groups) for c in columns)),
            row("age, median (range)", (_known(_range(c.age), c.age_missing, c.groups) for c in columns)),
        ]

    def to_markdown(self) -> str:
        """The table in Markdown."""
        head, *body = self.rows()
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        names = Cohort.__dataclass_fields__
        return {c.name: {n: _plain(getattr(c, n)) for n in names if n != "name"} for c in self.cohorts}


def cohort_table(annotated: AnnotatedSet, split: Split | None = None) -> CohortTable:
    """Describe a set as the paper's Table 1 does, and each part of its split.

    Sex and age come from ``extra["sex"]`` (F or M) and ``extra["age"]`` (years), per patient. Patients are the set's
    groups; where those are not patients, neither are these numbers.

    Args:
        annotated: The set.
        split: Its parts, a column each; the whole alone where left out.
    """
    cohorts = [_cohort(annotated.name, annotated.films)]
    if split is not None:
        cohorts += [_cohort(name, split.part(annotated, name).films) for name in split.parts]
    return CohortTable(tuple(cohorts))


@dataclass(frozen=True, slots=True)
class TestSample:
    """A test set and how it was drawn.

    Attributes:
        films: The sampled set.
        regions: Per region: ``films``, ``fractured``, and what was there: ``films_available``,
            ``fractured_available``.
        shortfalls: What could not be reached, in words; empty where all targets were.
    """

    __test__ = False  # not a test, whatever its name

    films: AnnotatedSet
    regions: Mapping[str, Mapping[str, int]]
    shortfalls: tuple[str, ...]


def sample_test_set(
    annotated: AnnotatedSet, *, per_region: int = 1000, fractures_per_region: int = 100, seed: int = 0
) -> TestSample:
    """Sample a test set region by region, enriched to a minimum of fractures, at random within each label.

    Jones et al. 2020 (Methods, "Test dataset"): about 1,000 films per region with at least 100 fractures, positives
    and negatives each at random within the region. A region gets its natural share of fractures, or the minimum where
    that is more. Films of several regions count for each; regions with the fewest films choose first (our choice).

    Prevalence, and so predictive values, in such a sample are not those of the clinic.

    Args:
        annotated: Films to draw from.
        per_region: Films that each region should have; all where it has fewer.
        fractures_per_region: Of these at least so many fractured.
        seed: Of the draw.

    Raises:
        DataError: A minimum above the target, or a target below one.
    """
    if not 0 <= fractures_per_region <= per_region or per_region < 1:
        raise DataError(
            "targets of a test set",
            got=f"{fractures_per_region} fractures of {per_region} films per region",
            allowed="0 <= fractures_per_region <= per_region",
        )
    pools: dict[str, dict[int, list[str]]] = {}
    for film in annotated:
        for region, label in film.strata:
            pools.setdefault(region, {0: [], 1: []})[label].append(film.source)
    rng = generator(derive_seed(seed, 0, 0, stream="test set"))
    chosen: set[str] = set()
    for region in sorted(pools, key=lambda r: (len(pools[r][0]) + len(pools[r][1]), r)):
        pool = pools[region]
        share = len(pool[1]) / (len(pool[0]) + len(pool[1]))
        fractured = min(len(pool[1]), max(fractures_per_region, round(per_region * share)))
        normal = min(len(pool[0]), per_region - fractured)
        for label, wanted in ((1, fractured), (0, normal)):
            rest = [source for source in pool[label] if source not in chosen]
            missing = max(0, wanted - (len(pool[label]) - len(rest)))
            chosen.update(rest[i] for i in rng.permutation(len(rest))[:missing])
    sampled = annotated.select(lambda film: film.source in chosen, name=f"{annotated.name}/test")
    counted = Counter(stratum for film in sampled for stratum in film.strata)
    regions = {
        region: {
            "films": counted[region, 0] + counted[region, 1],
            "fractured": counted[region, 1],
            "films_available": len(pool[0]) + len(pool[1]),
            "fractured_available": len(pool[1]),
        }
        for region, pool in sorted(pools.items())
    }
    shortfalls = [
        f"{region}: {row[key]} {what} of {wanted} wanted, {row[available]} available"
        for region, row in regions.items()
        for key, available, what, wanted in (
            ("films", "films_available", "films", per_region),
            ("fractured", "fractured_available", "fractures", fractures_per_region),
        )
        if row[key] < wanted
    ]
    return TestSample(sampled, regions, tuple(shortfalls))


def _cohort(name: str, films: Sequence[Film]) -> Cohort:
    views = Counter(view for film in films for view in (film.views or ("unknown",)))
    regions = Counter(region for film in films for region in film.regions)
    patients: dict[str, set[str]] = {}
    first: dict[str, Film] = {}
    for film in films:
        first.setdefault(film.group, film)
        for region in film.regions:
            patients.setdefault(region, set()).add(film.group)
    sexes = [str(film.extra.get("sex") or "").upper()[:1] for film in first.values()]
    ages = [float(age) for film in first.values() if isinstance(age := film.extra.get("age"), int | float)]
    ages = [age for age in ages if math.isfinite(age)]
    boxes = [len(film.boxes) for film in films if film.boxes]
    return Cohort(
        name=name,
        sites=len({film.site for film in films if film.site}),
        films=len(films),
        views=dict(views),
        regions=dict(sorted(regions.items())),
        per_region=_spread(regions.values()),
        fractured=sum(film.fractured for film in films),
        boxes=sum(boxes),
        boxes_per_fractured=(sum(boxes) / len(boxes), min(boxes), max(boxes)) if boxes else None,
        groups=len(first),
        groups_per_region=_spread(len(members) for members in patients.values()),
        male=sexes.count("M"),
        sex_missing=sum(sex not in ("M", "F") for sex in sexes),
        age=(float(median(ages)), min(ages), max(ages)) if ages else None,
        age_missing=len(first) - len(ages),
        hardware=sum(bool(film.hardware) for film in films),
    )


def _spread(counts: Iterable[int]) -> tuple[float, int, int] | None:
    values = list(counts)
    return (float(median(values)), min(values), max(values)) if values else None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:.0f} %)" if total > 0 else f"{count:,}"


def _range(values: tuple[float, float, float] | None, digits: int = 0) -> str:
    if values is None:
        return "not given"
    return f"{values[0]:,.{digits}f} ({values[1]:,.0f}–{values[2]:,.0f})"


def _known(text: str, missing: int, total: int) -> str:
    if missing >= total:
        return "not given"
    return f"{text}, {missing:,} missing" if missing else text
