"""Train on one site, test on the other, and back: does the network read fractures, or where the film was taken?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from studies.sections import told

from fracture._version import __version__
from fracture.atomic import write_json
from fracture.calibration import assemble
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.errors import DataError
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.scores import auc
from fracture.limb.detector import Detector
from fracture.models.devices import Precision
from fracture.training import Recipe, load_recipe, train
from fracture.wing.result import Failure

__all__ = ["FORMAT", "site_transfer"]

FORMAT = "fracture-transfer/1"


def site_transfer(
    recipe: Recipe | str | Path,
    annotated: AnnotatedSet,
    sites: Mapping[str, Sequence[str]],
    *,
    out: str | Path,
    held_out: float = 0.2,
    seed: int = 0,
    resamples: int = 1000,
    device: str = "auto",
    precision: Precision = "auto",
    progress: bool = True,
    say: Callable[[str], object] = lambda _: None,
) -> dict[str, Any] | None:
    """Train the recipe on every site alone and judge it on the others; a call on a folder goes on.

    From each site's films, by group, a part is held out, so that the loss between sites stands beside the loss to new
    groups of the same site. Films of another site whose group was trained on are left out and counted. The starting
    points must not have seen any of the films: weights of a first stage on the same set would tell the answer.

    Args:
        recipe: The recipe; its own split is replaced.
        annotated: The set, whose films say where they were taken.
        sites: Name in the results to the sites it stands for, such as ``{"C": ["C", "C_hires"]}``; at least two names.
        out: Folder; one run per site below it, and ``transfer.json``.
        held_out: Share of a site's films to hold out.
        seed: Of the split and the bootstrap.
        resamples: Of the bootstrap, by group.
        device, precision: Of the judging; the training has its recipe's precision.
        progress: Whether training shows a progress bar.
        say: Called with one line per finished direction.

    Returns:
        The results as JSON, as written; ``None`` where the training was asked to stop.

    Raises:
        DataError: Fewer than two sites, a site without films or named twice, or as for training.
    """
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    sets = _by_site(annotated, sites)
    split = {"file": None, "folds": None, "fold": 0, "shares": {"train": 1 - held_out, "validation": held_out}}
    loaded = loaded.replace({"split": {**split, "seed": seed}})
    folder = Path(out)
    directions = []
    for name, own in sets.items():
        place = folder / f"on_{name}"
        if not train(loaded, own, out=place / "run", device=device, progress=progress).finished:
            return None
        label = f"on-{name.lower()}"
        assemble(
            place / "run",
            place / "weights",
            name=label,
            version="1",
            description=f"trained on site {name} of {annotated.name} alone",
            members=[config.name for config in loaded.members],
        )
        detector = Detector.load(place / "weights", device=device, precision=precision)
        made = Split.read(place / "run" / loaded.members[0].name / "split.json")
        learned = made.part(own, "train")
        seen = {film.group for film in learned}
        rows = _rows(detector, made.part(own, "validation"), f"{name}, held-out groups", seed, resamples)
        left_out = {}
        for first, other in permutations(sets, 2):
            if first == name:
                fresh = sets[other].select(lambda film: film.group not in seen)  # noqa: B023 - called at once
                left_out[other] = len(sets[other]) - len(fresh)
                rows += _rows(detector, fresh, other, seed, resamples)
        directions.append({"train": name, "films": _counts(learned), "left_out": left_out, "rows": rows})
        say(f"trained on {name}: " + "; ".join(f"{row['words']} {row['auc']['value']}" for row in rows))
    result = told(
        {
            "format": FORMAT,
            "fracture": __version__,
            "recipe": loaded.name,
            "members": len(loaded.members),
            "set": annotated.name,
            "sites": {name: list(parts) for name, parts in sites.items()},
            "seed": seed,
            "remark": f"AUC with bootstrap by group; {held_out:.0%} of each site's films, by group, were held out. "
            "The two training sets differ in size, too.",
            "directions": directions,
        }
    )
    write_json(folder / "transfer.json", result)
    return result


def _by_site(annotated: AnnotatedSet, sites: Mapping[str, Sequence[str]]) -> dict[str, AnnotatedSet]:
    listed = [part for parts in sites.values() for part in parts]
    known = sorted({film.site for film in annotated if film.site})
    if len(sites) < 2 or len(set(listed)) < len(listed):
        raise DataError("transfer needs two sites or more, each named once", got=dict(sites), allowed=known)
    sets = {
        name: annotated.select(lambda film, parts=tuple(parts): film.site in parts, name=f"{annotated.name}-{name}")  # type: ignore[misc]
        for name, parts in sites.items()
    }
    if empty := [name for name, part in sets.items() if len(part) == 0]:
        raise DataError(f"{annotated.name} has no film of a site", got=", ".join(empty), allowed=known)
    return sets


def _rows(detector: Detector, films: AnnotatedSet, words: str, seed: int, resamples: int) -> list[dict[str, Any]]:
    """AUC over the films, and over those without hardware where some show it."""
    found = {}
    faults = []
    for film, result in zip(films, detector.examine_many([films.image_path(f) for f in films]), strict=True):
        if isinstance(result, Failure):
            faults.append(f"{film.source}: {result.error}")
        else:
            found[film.source] = result.output.score
    if faults:
        raise DataError(f"{len(faults)} films of {films.name} cannot be read", got="; ".join(faults[:5]))
    cuts = {words: films}
    if any(film.hardware for film in films):
        cuts[f"{words}, without hardware"] = films.select(lambda film: not film.hardware)
    rows = []
    for name, part in cuts.items():
        if len(part) == 0:
            continue
        area = auc(
            [film.fractured for film in part],
            [found[film.source] for film in part],
            bootstrap=Bootstrap(resamples, seed, groups=[film.group for film in part]),
        )
        rows.append({"words": name, **_counts(part), "auc": area.to_dict()})
    return rows


def _counts(films: AnnotatedSet) -> dict[str, int]:
    return {"films": len(films), "fractured": films.positives, "groups": len({film.group for film in films})}
