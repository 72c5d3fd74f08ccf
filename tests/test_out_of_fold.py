"""Calibration by the networks of folds: who judges what, what is copied, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fracture.calibration.out_of_fold as out_of_fold
import fracture.calibration.run as plain
from fracture.calibration import calibrate, calibrate_out_of_fold
from fracture.calibration.cases import Case
from fracture.calibration.folds import FoldWeights, check_unseen, read_fold, share_out
from fracture.calibration.platt import fit_platt
from fracture.calibration.sweep import GRID, Sweep
from fracture.cli import app
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split, rotate_folds, split_folds
from fracture.errors import ConfigurationError, DataError, UnreadableFileError
from fracture.limb.card import Calibration, Card
from fracture.limb.detector import Detector
from fracture.limb.fast import fast_view
from fracture.limb.operating_points import OperatingPoints, find_threshold
from fracture.limb.store import open_weights
from fracture.wing.result import Failure
from fracture.wing.verification import verify_weights
from tests.fake_cases import fake_case, fake_films, fake_logit
from tests.weights import write_weights

FOLDS = 3
CHEAP: dict[str, Any] = {"precision": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def films() -> AnnotatedSet:
    return fake_films(90)


@pytest.fixture(scope="module")
def base(films: AnnotatedSet) -> Split:
    return split_folds(films, FOLDS, seed=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, base: Split) -> Path:
    """``all`` with members 0 to 2, ``fold0`` to ``fold2`` with one of them each, and ``other`` with member 3."""
    root = tmp_path_factory.mktemp("folds")
    card = write_weights(root / "four", sizes=(64,) * 4, channels=(("raw",),) * 4, maps=(True,) * 4)

    def folder(name: str, numbers: Sequence[int], fold: int | None = None) -> None:
        (root / name).mkdir()
        chosen = tuple(card.members[i] for i in numbers)
        for member in chosen:
            shutil.copyfile(root / "four" / member.file, root / name / member.file)
        if fold is not None:
            training = {"config": {"split": {"fold": fold, "tune_fold": True}}, "split": {"sha256": base.checksum}}
            chosen = tuple(member.model_copy(update={"training": training}) for member in chosen)
            base.write(root / name / "split.json")
        card.model_copy(update={"name": name, "members": chosen}).write(root / name)

    folder("all", (0, 1, 2))
    folder("other", (3,))
    for fold in range(FOLDS):
        folder(f"fold{fold}", (fold,), fold)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Made-up scores per film and member in the place of networks; counts how often each film was examined."""
    seen: Counter[str] = Counter()

    def examine(
        detector: Detector, annotated: AnnotatedSet, *, progress: Callable[[int], object] | None = None
    ) -> tuple[list[Case], list[Failure]]:
        cases, failures = [], []
        for film in annotated:
            seen[film.source] += 1
            if film.extra.get("broken"):
                failures.append(Failure(film.source, UnreadableFileError("damaged")))
                continue
            if progress is not None:
                progress(1)
            names = [member.name for member in detector.ensemble.members]
            cases.append(fake_case(film, {name: fake_logit(film, name) for name in names}, detector.card))
        return cases, failures

    monkeypatch.setattr(out_of_fold, "examine_films", examine)
    monkeypatch.setattr(plain, "examine_films", examine)
    monkeypatch.setattr(Sweep.over.__func__, "__defaults__", (GRID[:4],))  # the full grid takes seconds
    return seen


def judges(root: Path) -> list[Path]:
    return [root / f"fold{fold}" for fold in range(FOLDS)]


def edit(folder: Path, change: Callable[[Card], dict[str, Any]]) -> None:
    card = Card.read(folder)
    card.model_copy(update=change(card)).write(folder)


def train_as(folder: Path, **split: Any) -> None:
    """Change the split settings that the members' training facts tell."""

    def change(card: Card) -> dict[str, Any]:
        told = [{**m.training, "config": {"split": {**m.training["config"]["split"], **split}}} for m in card.members]
        return {"members": tuple(m.model_copy(update={"training": t}) for m, t in zip(card.members, told, strict=True))}

    edit(folder, change)


def sources(fold: FoldWeights, part: str) -> set[str]:
    return set(fold.held[part])


# --- who judges what ---------------------------------------------------------------------------------------------


def test_the_turn_of_a_fold_is_read_from_the_members(root: Path, base: Split) -> None:
    fold = read_fold(root / "fold1")
    turn = rotate_folds(base, 1)
    assert fold.train == set(turn.parts["train"])
    assert (sources(fold, "validation"), sources(fold, "tune")) == (set(base.parts["fold1"]), set(base.parts["fold2"]))
    train_as(root / "fold1", tune_fold=False)
    fold = read_fold(root / "fold1")
    assert fold.train == set(turn.parts["train"]) | set(base.parts["fold2"])
    assert set(fold.held) == {"train", "validation"}


def test_each_film_is_judged_by_the_turn_that_validates_on_it(root: Path, films: AnnotatedSet, base: Split) -> None:
    folds = [read_fold(folder) for folder in judges(root)]
    for parts in (("validation",), ("validation", "tune")):  # in turn, each film is in one part of each kind
        shares = share_out(folds, films, parts)
        for i, share in enumerate(shares):
            assert {film.source for film in share} == set(base.parts[f"fold{i}"])
    tuned = share_out(folds, films, ("tune",))
    assert {film.source for film in tuned[0]} == set(base.parts["fold1"])
    # Without one fold's judge, its films are left to the one that tuned on them.
    some = share_out(folds[:2], films)
    assert {film.source for film in some[1]} == {*base.parts["fold1"], *base.parts["fold2"]}
    train_as(root / "fold0", tune_fold=False)
    assert len(share_out([read_fold(root / "fold0")], films)[0]) == len(base.parts["fold0"])  # it has no tune part


def test_films_that_a_judge_was_trained_on_are_refused(root: Path, films: AnnotatedSet) -> None:
    folds = [read_fold(folder) for folder in judges(root)]
    with pytest.raises(DataError, match=r"fold0 was trained on .* of the films it is to judge"):
        share_out(folds[:1], films, ("train",))
    held = sorted(folds[0].held["validation"])[0]
    leak = replace(folds[0], train=folds[0].train | {held})
    with pytest.raises(DataError, match=rf"fold0 was trained on 1 .*{held}"):
        share_out([leak], films)


def test_groups_that_straddle_are_refused(root: Path, films: AnnotatedSet) -> None:
    fold = read_fold(root / "fold0")
    trained, held = sorted(fold.train)[0], sorted(fold.held["validation"])[0]
    group = films.film(trained).group
    mixed = replace(films, films=tuple(replace(f, group=group) if f.source == held else f for f in films))
    with pytest.raises(DataError, match=rf"same groups as 1 .*{held}"):
        share_out([fold], mixed, ("validation",))
    folds = [replace(read_fold(folder), train=frozenset()) for folder in judges(root)]
    with pytest.raises(DataError, match="films of one group are judged by fold"):
        share_out(folds, mixed, ("validation",))
    lacking = films.select(lambda film: film.source != trained)
    with pytest.raises(DataError, match=rf"lacks 1 films that fold0 was trained on.*{trained}"):
        share_out([fold], lacking)


def test_two_judges_for_a_film_are_refused(root: Path, films: AnnotatedSet) -> None:
    first = read_fold(root / "fold0")
    twin = read_fold(root / "fold1")
    with pytest.raises(DataError, match="films are in the part validation of several folders"):
        share_out([first, replace(twin, held=first.held, train=first.train)], films)
    with pytest.raises(DataError, match=r"distinct names; got fold0, fold0"):
        share_out([first, first], films)
    with pytest.raises(DataError, match="distinct names"):
        share_out([], films)
    with pytest.raises(DataError, match=r"no split .* has such a part; got test; allowed: tune, validation"):
        share_out([first], films, ("validation", "test"))


def test_members_of_several_turns_hold_nothing_out(root: Path, films: AnnotatedSet, base: Split) -> None:
    cards = [Card.read(root / "fold0"), Card.read(root / "fold1")]
    mixed = cards[0].model_copy(update={"members": (*cards[0].members, *cards[1].members)})
    mixed.write(root / "fold0")
    fold = read_fold(root / "fold0")
    assert fold.train == {*base.parts["fold0"], *base.parts["fold2"]}
    assert not fold.held["validation"]
    with pytest.raises(DataError, match="has no film to judge"):
        share_out([fold], films)


def test_a_split_that_is_not_the_members_is_refused(root: Path, films: AnnotatedSet, base: Split) -> None:
    rotate_folds(base, 0).write(root / "fold0" / "split.json")
    with pytest.raises(DataError, match=r"not the split that member_0.safetensors was trained by"):
        read_fold(root / "fold0")
    (root / "fold0" / "split.json").unlink()
    with pytest.raises(DataError, match=r"holds no split.json"):
        read_fold(root / "fold0")
    base.write(root / "other" / "split.json")
    with pytest.raises(DataError, match="does not say which turn"):
        read_fold(root / "other")
    turn = rotate_folds(base, 2)
    turn.write(root / "other" / "split.json")  # a card without training facts: the file is believed
    assert sources(read_fold(root / "other"), "validation") == set(base.parts["fold2"])


def test_weights_are_not_calibrated_on_films_they_were_trained_on(
    root: Path, films: AnnotatedSet, base: Split, examined: Counter[str]
) -> None:
    with pytest.raises(DataError, match=r"fold0 was trained on \d+ of these 90 films"):
        calibrate(root / "fold0", films, **CHEAP)
    assert not examined
    held = rotate_folds(base, 0).part(films, "validation", "tune")
    check_unseen(open_weights(root / "fold0"), held)
    check_unseen(open_weights(root / "fold0"), replace(films, name="another set"))
    check_unseen(open_weights(root / "all"), films)


def test_films_of_training_are_known_by_their_files(
    root: Path, films: AnnotatedSet, base: Split, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(root / "fold0", folder)
    films = replace(films, root=tmp_path / "site")
    films.root.mkdir()
    for film in films:
        films.image_path(film).write_text(film.source)  # what stands in it is all that counts here
    base.signed(films).write(folder / "split.json")
    assert Split.read(folder / "split.json").checksum == base.checksum
    parts = rotate_folds(base, 0)
    trained, held = parts.part(films, "train")[0], parts.part(films, "validation", "tune")
    check_unseen(open_weights(folder), held)

    def as_named(name: str, file: Path) -> AnnotatedSet:
        (tmp_path / "local" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, tmp_path / "local" / name)
        return AnnotatedSet((replace(trained, source=name),), name="elsewhere", root=tmp_path / "local")

    with pytest.raises(DataError, match="was trained on 1 of these 1 films"):
        check_unseen(open_weights(folder), as_named("monday.png", films.image_path(trained)))
    another = replace(as_named(trained.source, films.image_path(held[0])), name=films.name)
    check_unseen(open_weights(folder), another)  # the name of a film of training, and not its file


# --- calibration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["empirical", "conformal"])
def test_weights_made_of_fold_members(
    root: Path, films: AnnotatedSet, base: Split, examined: Counter[str], tmp_path: Path, method: Any
) -> None:
    before = {folder.name: Card.read(folder) for folder in judges(root)}
    result = calibrate_out_of_fold(
        root / "all", films, judges(root), method=method, folds=3, out=tmp_path / "oof", **CHEAP
    )
    assert examined == Counter(film.source for film in films)  # each once
    card = Card.read(root / "all")
    assert card == result.card
    assert {folder.name: Card.read(folder) for folder in judges(root)} == before

    scores: dict[str, float] = {}
    for i, member in enumerate(card.members):  # calibrated on the films of the member's own fold, and only these
        own = [film for film in films if film.source in base.parts[f"fold{i}"]]
        logits = [fake_logit(film, f"member_{i}") for film in own]
        assert member.calibration == fit_platt(logits, [film.fractured for film in own])
        scores |= {film.source: member.calibration(z) for film, z in zip(own, logits, strict=True)}
    points = OperatingPoints.from_dict(card.operating_points)
    root_point = points.nodes["any"].high_sensitivity
    assert root_point is not None
    expected = find_threshold(
        [scores[film.source] for film in films], [film.fractured for film in films], target=0.925, method=method
    )
    assert root_point.threshold == expected
    assert (root_point.n_positive, root_point.n_negative, root_point.method) == (30, 60, method)
    for words in ("out of fold", "fold0, fold1, fold2", "all averages 3 members"):
        assert words in root_point.data
        assert words in str(points.nodes["any"].map_threshold_source)
    told = card.metrics["out_of_fold"]
    assert [folder["films"] for folder in told["folders"]] == [len(base.parts[f"fold{i}"]) for i in range(3)]
    assert {folder["split_sha256"] for folder in told["folders"]} == {base.checksum}
    assert "judged by the one member of the folder" in told["carried_over"]
    assert 0 < card.metrics["calibration"]["after"]["brier"]["value"] < 0.25
    assert card.metrics["prevalence"]["count"] == 30
    assert any("self-test: 0" in line for line in verify_weights(root / "all"))

    lines = [json.loads(line) for line in (tmp_path / "oof" / "predictions.jsonl").read_text().splitlines()]
    assert {line["source"] for line in lines} == {film.source for film in films}
    for line in lines:
        fold = next(i for i in range(3) if line["source"] in base.parts[f"fold{i}"])
        assert line["model"] == f"fold{fold}"
        assert list(line["member_scores"]) == [f"member_{fold}"]
        assert "candidates" in line
        assert line["probability"] != scores[line["source"]]  # cross-fitted, not what ships


def test_a_network_for_regions_alone_may_be_of_no_fold(root: Path, films: AnnotatedSet, examined: Counter[str]) -> None:
    other = Card.read(root / "other").members[0].model_copy(update={"regions_only": True})
    shutil.copyfile(root / "other" / other.file, root / "all" / other.file)
    edit(root / "all", lambda card: {"members": (*card.members, other)})
    card = calibrate_out_of_fold(root / "all", films, judges(root), folds=3, **CHEAP).card
    assert [member.calibration is not None for member in card.members] == [True, True, True, False]
    assert "all averages 3 members" in card.metrics["out_of_fold"]["carried_over"]
    again = calibrate_out_of_fold(root / "all", films, judges(root), folds=3, calibrate_members=False, **CHEAP).card
    assert [member.calibration for member in again.members] == [None] * 4  # copied from the folds, which have none


def test_cross_fitting_takes_its_share_of_every_fold(
    root: Path, films: AnnotatedSet, base: Split, examined: Counter[str]
) -> None:
    """With the very number of folds and seed of the training: else one member would have no film to be fitted on."""
    result = calibrate_out_of_fold(root / "all", films, judges(root), folds=3, seed=0, **CHEAP)
    held = films.subset(sorted(base.parts["fold1"], key=[f.source for f in films].index))
    by_source = {p.source: p for p in result.predictions}
    for part in split_folds(held, 3, seed=0).parts.values():
        rest = [film for film in held if film.source not in part]
        fitted = fit_platt([fake_logit(film, "member_1") for film in rest], [film.fractured for film in rest])
        for source in part:
            assert by_source[source].probability == fitted(fake_logit(films.film(source), "member_1"))


def test_calibrators_of_the_fold_cards_are_copied_where_none_is_fitted(
    root: Path, films: AnnotatedSet, examined: Counter[str]
) -> None:
    for i, folder in enumerate(judges(root)):
        known = Calibration(slope=1.0 + i, intercept=-0.5)
        edit(folder, lambda card, c=known: {"members": (card.members[0].model_copy(update={"calibration": c}),)})
    result = calibrate_out_of_fold(root / "all", films, judges(root), calibrate_members=False, **CHEAP)
    assert [m.calibration.slope for m in result.card.members if m.calibration] == [1.0, 2.0, 3.0]
    assert "not cross-fitted" in result.metrics["calibration"]["members"]


def test_sisters_lend_their_thresholds(root: Path, films: AnnotatedSet, base: Split, examined: Counter[str]) -> None:
    result = calibrate_out_of_fold(root / "other", films, judges(root), **CHEAP)
    assert [member.calibration for member in result.card.members] == [None]
    point = OperatingPoints.from_dict(result.card.operating_points).nodes["any"].high_sensitivity
    assert point is not None
    judge = {source: f"member_{i}" for i in range(3) for source in base.parts[f"fold{i}"]}
    raw = [Calibration(slope=1, intercept=0)(fake_logit(film, judge[film.source])) for film in films]
    assert point.threshold == pytest.approx(find_threshold(raw, [f.fractured for f in films], target=0.925))
    assert "no member of other took part" in point.data
    assert "No member of other judged" in result.metrics["out_of_fold"]["carried_over"]
    with pytest.raises(DataError, match=r"by name.*got member_0; allowed: member_3"):
        calibrate_out_of_fold(root / "other", films, judges(root), calibrate_members=True, **CHEAP)


def test_sisters_of_one_name_share_a_calibrator(
    root: Path, films: AnnotatedSet, base: Split, examined: Counter[str]
) -> None:
    for folder in (root / "other", *judges(root)):
        file = Card.read(folder).members[0].file
        (folder / file).rename(folder / "net.safetensors")
        edit(folder, lambda card: {"members": (card.members[0].model_copy(update={"file": "net.safetensors"}),)})
    result = calibrate_out_of_fold(root / "other", films, judges(root), calibrate_members=True, **CHEAP)
    ordered = [film for i in range(3) for film in films if film.source in base.parts[f"fold{i}"]]
    expected = fit_platt([fake_logit(film, "net") for film in ordered], [film.fractured for film in ordered])
    assert result.card.members[0].calibration == expected


def test_scores_on_two_scales_are_refused(root: Path, films: AnnotatedSet, examined: Counter[str]) -> None:
    known = Calibration(slope=2.0, intercept=0.0)
    edit(root / "other", lambda card: {"members": (card.members[0].model_copy(update={"calibration": known}),)})
    with pytest.raises(DataError, match=r"different scales.*assemble those .* again"):
        calibrate_out_of_fold(root / "other", films, judges(root), **CHEAP)
    with pytest.raises(DataError, match=r"some members of all .* 2 of 3"):
        calibrate_out_of_fold(root / "all", films, judges(root)[:2], **CHEAP)
    assert not examined


def test_requests_are_checked_before_the_networks_run(
    root: Path, films: AnnotatedSet, examined: Counter[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        calibrate_out_of_fold(root / "all", films, judges(root), out=tmp_path / "file" / "oof", **CHEAP)
    with pytest.raises(ConfigurationError, match=r"unknown method.*'best'; allowed: empirical, conformal"):
        calibrate(root / "all", films, method="best", **CHEAP)  # type: ignore[arg-type]
    assert not examined


@pytest.mark.parametrize("method", ["empirical", "conformal"])
def test_members_are_calibrated_on_request(
    root: Path, films: AnnotatedSet, examined: Counter[str], method: Any
) -> None:
    edit(root / "all", lambda card: {"metrics": {"fine_tuning": {"kept": True}, "out_of_fold": {"stale": True}}})
    result = calibrate(root / "all", films, calibrate_members=True, method=method, **CHEAP)
    assert examined == Counter(film.source for film in films)
    labels = [film.fractured for film in films]
    for member in result.card.members:
        name = Path(member.file).stem
        assert member.calibration == fit_platt([fake_logit(film, name) for film in films], labels)
    assert result.card.metrics["fine_tuning"] == {"kept": True}
    assert "out_of_fold" not in result.card.metrics
    # Left as they are by the next calibration without the option.
    again = calibrate(root / "all", films, method=method, **CHEAP)
    assert again.card.members == result.card.members
    assert again.card.operating_points == result.card.operating_points
    assert again.metrics["calibration"]["members"] == "calibrators as they were in the card; not cross-fitted"


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_takes_folds(
    root: Path, films: AnnotatedSet, examined: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fracture.data.readers.read_annotations", lambda data, *_, **__: films)
    folds = [word for folder in judges(root) for word in ("--out-of-fold", str(folder))]
    cheap = ["--data", "fake", "--precision", "float32", "--device", "cpu"]
    done = CliRunner().invoke(app, ["calibrate", str(root / "all"), *folds, *cheap, "--part", "validation"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["out_of_fold"]["folders"][0]["name"] == "fold0"
    assert all(member.calibration for member in Card.read(root / "all").members)
    done = CliRunner().invoke(app, ["calibrate", str(root / "all"), *cheap, "--calibrate-members"])
    assert done.exit_code == 0, done.output
    assert "cross-fitted" in json.loads(done.stdout)["calibration"]["members"]
    for wrong in ([*folds, "--split", "split.json"], ["--part", "validation"]):
        refused = CliRunner().invoke(app, ["calibrate", str(root / "all"), *wrong, *cheap])
        assert isinstance(refused.exception, ConfigurationError)


def test_one_network_of_the_folds_is_fast_with_the_points_of_single_networks(
    root: Path, films: AnnotatedSet, examined: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fracture.data.readers.read_annotations", lambda data, *_, **__: films)
    folds = [word for folder in judges(root) for word in ("--out-of-fold", str(folder))]
    asked = ["calibrate", str(root / "all"), *folds, "--data", "fake", "--precision", "float32", "--device", "cpu"]
    done = CliRunner().invoke(app, [*asked, "--fast", "member_1"])
    assert done.exit_code == 0, done.output
    assert examined == Counter(film.source for film in films)  # each once
    card = Card.read(root / "all")
    assert card.fast is not None
    assert [member.file for member in card.fast.members] == ["member_1.safetensors"]
    assert card.fast.members[0].calibration == card.members[1].calibration
    assert card.fast.operating_points == card.operating_points
    assert "is not seen" in card.fast.loses["all numbers"]["reason"]
    assert any("fast" in line for line in verify_weights(root / "all"))
    assert fast_view(card).members[0].calibration == card.members[1].calibration
    several = CliRunner().invoke(app, [*asked, "--fast", "member_0", "--fast", "member_1"])
    assert isinstance(several.exception, ConfigurationError)
    assert "2 in the subset" in str(several.exception)


def test_films_that_fail_out_of_fold_are_left_out_and_told(
    root: Path, films: AnnotatedSet, examined: Counter[str], tmp_path: Path
) -> None:
    broken = replace(films, films=tuple(replace(f, extra={"broken": 1}) if f.source < "003" else f for f in films))
    result = calibrate_out_of_fold(root / "all", broken, judges(root), out=tmp_path / "oof", **CHEAP)
    assert sorted(failure.source for failure in result.failures) == ["000.png", "001.png", "002.png"]
    assert len(result.predictions) == 87
    assert "3 of them could not be judged" in result.metrics["films"]
    lines = [json.loads(line) for line in (tmp_path / "oof" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 90
    shown = CliRunner().invoke(app, ["calibrate", "--help"])
    assert "1: done, but some films could not be read" in " ".join(shown.stdout.split())
