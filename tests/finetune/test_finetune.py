"""Fine-tuning: what learns and what stays, thresholds found or inherited, and a card that says what it cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import fracture
from fracture.cli import app
from fracture.data.records import AnnotatedSet
from fracture.detector import Detector
from fracture.errors import ConfigurationError, DataError, FractureError, RegionError
from fracture.finetune import FineTuned, FineTunePolicy, finetune
from fracture.finetune.members import start_member
from fracture.finetune.run import tree_with
from fracture.limb.card import Calibration, Card
from fracture.limb.store import open_weights
from fracture.regions import DEFAULT_TREE, RegionTree
from fracture.wing.verification import verify_weights
from tests.training.conftest import draw_film
from tests.weights import write_weights

BRIEF = FineTunePolicy(head_films=16, thaw_films=32, batch=4, lr=1e-3, head_lr=1e-2)
REGIONS = ("fracatlas_hand", "fracatlas_leg")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    """Twenty-four drawn films, half of them fractured, twelve groups; nobody named a region."""
    root = tmp_path_factory.mktemp("new")
    drawn = (replace(draw_film(root / f"new{n:02d}.png", n), regions=()) for n in range(24))
    return AnnotatedSet(tuple(drawn), "new films", root, attribution="drawn by the tests")


@pytest.fixture(scope="module")
def old_films(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    root = tmp_path_factory.mktemp("old")
    drawn = (
        replace(draw_film(root / f"old{n:02d}.png", 100 + n), regions=(REGIONS[n // 2 % 2],), group=f"o{n // 2}")
        for n in range(32)
    )
    return AnnotatedSet(tuple(drawn), "old films", root)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    scale = Calibration(slope=1.5, intercept=-0.25)
    write_weights(folder, sizes=(96,), channels=(("raw",),), maps=(True,), regions=REGIONS, calibration=scale)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tuned(
    base: Path, films: AnnotatedSet, old_films: AnnotatedSet, tmp_path_factory: pytest.TempPathFactory
) -> FineTuned:
    out = tmp_path_factory.mktemp("tuned") / "weights"
    detector = fracture.load(base, precision="float32")
    return detector.finetune(
        films,
        region="scaphoid",
        parent="wrist",
        out=out,
        old=old_films,
        policy=BRIEF,
        cache=out.parent / "cache",
        precision="float32",
        progress=False,
    )


def test_the_card_names_its_parent_and_grows_the_tree(tuned: FineTuned, base: Path) -> None:
    assert type(tuned.detector) is fracture.Detector  # it can be taught again
    old = Card.read(base)
    card = Card.read(tuned.folder)
    assert card == tuned.card
    assert card.name == "tiny-scaphoid"
    assert card.parent is not None
    assert card.parent["name"] == old.name
    assert card.parent["members"] == {member.file: member.sha256 for member in old.members}
    assert card.region_tree.ancestors("scaphoid")[0] == "wrist"
    assert card.members[0].model_spec.regions == (*REGIONS, "scaphoid")
    assert card.members[0].sha256 != old.members[0].sha256
    assert "drawn by the tests" in card.attribution
    assert any("few films" in text for text in card.limitations)
    assert list(verify_weights(tuned.folder))
    assert (tuned.folder / "split.json").exists()


def test_too_few_films_inherit_and_say_so(tuned: FineTuned, films: AnnotatedSet) -> None:
    prediction = fracture.load(tuned.folder).predict(films.image_path(films[0]), region="scaphoid")
    assert prediction.operating_node == "fracatlas_hand"  # no node for the wrist; the data set's hand covers it
    assert "scaphoid has none of its own" in str(prediction.operating_reason)
    assert "of the 13 needed" in str(prediction.operating_reason)
    assert tuned.report["operating points"]["high_sensitivity"]["node"] == "fracatlas_hand"


def test_other_regions_keep_their_thresholds(tuned: FineTuned, base: Path) -> None:
    before, after = Card.read(base).operating_points, tuned.card.operating_points
    assert {node: after["nodes"][node] for node in before["nodes"]} == before["nodes"]
    assert set(after["nodes"]) == set(before["nodes"])
    assert tuned.card.members[0].calibration == Card.read(base).members[0].calibration  # they are on its scale


def test_the_report_measures_new_and_old(tuned: FineTuned) -> None:
    new, old = tuned.report["new region"], tuned.report["old regions"]
    for row in (new, old["all"]):
        assert row["change"]["value"] == pytest.approx(row["after"]["value"] - row["before"]["value"])
        low, high = row["change"]["interval"]
        assert low <= row["change"]["value"] <= high
    assert old["measured"] is True
    assert set(old) == {"measured", "all", *REGIONS}
    assert tuned.report["films"]["old films trained on"] == 16  # all there are in the half that is not measured


def test_old_films_teach_the_region_head(tuned: FineTuned, base: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    alone = finetune(
        base, films, region="scaphoid", out=tmp_path / "alone", policy=BRIEF, cache=tmp_path, progress=False
    )
    with_old = load_file(str(tuned.folder / "member_0.safetensors"))["heads.region.bias"]
    without = load_file(str(tmp_path / "alone" / "member_0.safetensors"))["heads.region.bias"]
    assert float(without[-1]) == pytest.approx(-6.0, abs=1e-2)  # never recognized, as the documentation says
    assert abs(float(with_old[-1]) + 6.0) > 1e-3
    assert alone.report["old regions"]["measured"] is False
    assert "not measured" in alone.card.limitations[-1]
    assert alone.card.region_tree.ancestors("scaphoid")[0] == "wrist"  # whose Body Part Examined it was


def test_enough_films_give_thresholds_of_their_own(base: Path, tmp_path: Path) -> None:
    drawn = tuple(replace(draw_film(tmp_path / f"{n:03d}.png", n), regions=()) for n in range(84))
    many = AnnotatedSet(drawn, "many", tmp_path)
    result = finetune(
        base,
        many,
        region="scaphoid",
        out=tmp_path / "out",
        policy=FineTunePolicy(head_films=8, thaw_films=0, batch=8),
        cache=tmp_path / "cache",
        progress=False,
    )
    applied = result.report["operating points"]
    assert {name: row["node"] for name, row in applied.items()} == {
        "high_sensitivity": "scaphoid",
        "high_specificity": "scaphoid",
    }
    point = result.detector.operating_points.nodes["scaphoid"].high_sensitivity
    assert point is not None
    assert point.n_positive >= 13
    assert point.sensitivity is not None
    assert point.sensitivity >= 0.925


def _changed(old: Path, new: Path) -> set[str]:
    """Top-level parts of the network whose weights differ."""
    a, b = load_file(str(old)), load_file(str(new))
    return {
        ".".join(name.split(".")[:2])
        for name in a
        if a[name].shape == b[name].shape and not torch.allclose(a[name].float(), b[name].float(), atol=1e-6, rtol=1e-3)
    }


def test_the_policy_says_what_learns(base: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    file = "member_0.safetensors"
    arguments = {"region": "scaphoid", "cache": tmp_path / "cache", "progress": False}
    heads = FineTunePolicy(head_films=8, thaw_films=0, keep=0.0, batch=4)
    finetune(base, films, out=tmp_path / "heads", policy=heads, **arguments)
    changed = _changed(base / file, tmp_path / "heads" / file)
    assert changed
    assert all(part.startswith("heads") for part in changed)

    thaw = FineTunePolicy(head_films=0, thaw_films=16, thaw_stages=1, keep=0.0, lr=1e-3, batch=4)
    finetune(base, films, out=tmp_path / "thaw", policy=thaw, **arguments)
    stages = {part for part in _changed(base / file, tmp_path / "thaw" / file) if part.startswith("backbone")}
    assert stages == {"backbone.layer2"}  # the last of the two that these networks have


def test_the_result_is_the_stated_mean(base: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    file = "member_0.safetensors"
    policy = FineTunePolicy(head_films=8, thaw_films=16, keep=0.75, lr=1e-3, batch=4)
    finetune(
        base, films, region="scaphoid", out=tmp_path / "out", run=tmp_path / "run", policy=policy,
        cache=tmp_path / "cache", progress=False,
    )  # fmt: skip
    old, mixed = load_file(str(base / file)), load_file(str(tmp_path / "out" / file))
    new = load_file(str(tmp_path / "run" / "thaw" / file))
    for name in ("heads.score.weight", "backbone.layer2.0.conv1.weight"):
        expected = 0.75 * old[name].float() + 0.25 * new[name].float()
        torch.testing.assert_close(mixed[name].float(), expected, rtol=2e-3, atol=1e-5)
        assert not torch.equal(old[name], mixed[name])


def test_a_repeated_call_goes_on_and_gives_the_same(base: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    arguments = {"region": "scaphoid", "policy": BRIEF, "cache": tmp_path / "cache", "progress": False}
    first = finetune(base, films, out=tmp_path / "a", **arguments)
    begun = {path: path.stat().st_mtime_ns for path in (tmp_path / "a-training").rglob("*.safetensors")}
    again = finetune(base, films, out=tmp_path / "a", **arguments)
    assert again.card.members[0].sha256 == first.card.members[0].sha256
    assert begun == {path: path.stat().st_mtime_ns for path in (tmp_path / "a-training").rglob("*.safetensors")}


def test_a_region_that_the_weights_know_gets_no_second_row(base: Path) -> None:
    weights = open_weights(base)
    known = start_member(weights, weights.card.members[0], "fracatlas_hand", seed=0)
    assert known.region_row is None
    assert known.config.model.regions == REGIONS
    new = start_member(weights, weights.card.members[0], "scaphoid", seed=0)
    assert new.region_row == 2
    assert new.config.model.norm == "frozen"


def test_requests_that_cannot_be_met(base: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder of the old weights"):
        finetune(base, films, region="scaphoid", out=base)
    with pytest.raises(ConfigurationError, match="region tree already"):
        finetune(base, films, region="wrist", parent="lower_extremity", out=tmp_path / "a")
    with pytest.raises(RegionError):
        finetune(base, films, region="scaphoid", parent="carpus", out=tmp_path / "a")
    healthy = films.select(lambda film: not film.fractured)
    with pytest.raises(DataError, match="no fractured film"):
        finetune(base, healthy, region="scaphoid", out=tmp_path / "a")
    with pytest.raises(ConfigurationError, match="keep"):
        FineTunePolicy(keep=1.0)
    loaded = fracture.load(base)
    with pytest.raises(ConfigurationError, match="not loaded from a folder"):
        Detector(loaded.ensemble, loaded.card).finetune(films, region="scaphoid", out=tmp_path / "a")


def test_command(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    rows = ["image,group,region,view,fractured,x0,y0,x1,y1"]
    for n in range(12):
        film = draw_film(data / "images" / f"{n}.png", n)
        box = ",".join(f"{v:g}" for v in film.boxes[0]) if film.boxes else ",,,"
        rows.append(f"images/{n}.png,{film.group},,frontal,{film.fractured},{box}")
    (data / "films.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    command = ["finetune", str(base), "--data", str(data / "films.csv"), "--region", "Scapula"]
    command += ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--quiet"]
    command += ["--set", "head_films=4", "--set", "thaw_films=4", "--set", "batch=4"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["region"] == "scapula"
    assert report["policy"]["thaw_films"] == 4
    tree = Card.read(tmp_path / "out").region_tree
    assert tree.ancestors("scapula")[0] == "shoulder"
    assert tree.from_dicom("SCAPULA") == ("scapula",)


@pytest.mark.parametrize(
    ("region", "parent", "above"),
    [
        ("scapula", None, "shoulder"),
        ("patella", None, "knee"),
        ("calcaneus", "foot", "foot"),
        ("Radius", None, "forearm"),
        ("ulna", "wrist", "wrist"),
        ("distal radius", None, "any"),
        ("heel", "foot", "foot"),
    ],
)
def test_a_bone_inside_a_region_becomes_one_of_its_own(region: str, parent: str | None, above: str) -> None:
    tree, name = tree_with(DEFAULT_TREE, region, parent)
    assert name == region.lower().replace(" ", "_")
    assert tree.ancestors(name)[0] == above
    assert tree.normalize(region) == name
    assert RegionTree.from_dict(tree.to_dict()) == tree


@pytest.mark.parametrize(("region", "means"), [("Hips", "hip"), ("lower leg", "tibia_fibula"), ("wrist", "wrist")])
def test_another_spelling_of_a_region_is_that_region(region: str, means: str) -> None:
    assert tree_with(DEFAULT_TREE, region) == (DEFAULT_TREE, means)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--region", "7th rib!"], "lower-case identifier"),
        (["--region", "patella", "--parent", "kneee"], "did you mean 'knee'"),
        (["--region", "wrist", "--parent", "foot"], "leave the parent out"),
        (["--region", "patella", "--name", "My Weights"], "name 'My Weights'"),
        (["--region", "patella", "--method", "magic"], "conformal"),
        (["--region", "patella", "--set", "keeps=1"], "keeps"),
    ],
)
def test_names_are_checked_before_anything_is_read(base: Path, tmp_path: Path, wrong: list[str], told: str) -> None:
    """Neither --data nor --old is there: what is told is the name."""
    places = ["--data", str(tmp_path / "no"), "--old", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["finetune", str(base), *places, *wrong])
    assert isinstance(result.exception, FractureError)
    assert told in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_no_film_is_presented_too_often() -> None:
    policy = FineTunePolicy()
    assert policy.presentations("heads", 10) == 200
    assert policy.presentations("thaw", 20) == 400
    assert policy.presentations("heads", 1000) == policy.head_films
    assert policy.presentations("thaw", 1000) == policy.thaw_films


def test_a_pyramid_learns_boxes_on_windows_and_one_for_boxes_only_stays_so(films: AnnotatedSet, tmp_path: Path) -> None:
    card = write_weights(
        tmp_path / "base", sizes=(96, 96), channels=(("raw",), ("raw",)), regions=REGIONS, pyramid=True
    )
    scored, boxes = card.members
    known = {"config": {"windows": {"size": 96, "long_side": [96, 128], "stored": 128}}}
    boxes = boxes.model_copy(update={"boxes_only": True, "training": known})
    card.model_copy(update={"members": (scored, boxes)}).write(tmp_path / "base")
    policy = FineTunePolicy(head_films=8, thaw_films=8, batch=4)
    tuned = fracture.load(tmp_path / "base", precision="float32").finetune(
        films, region="scaphoid", out=tmp_path / "tuned", policy=policy, precision="float32", progress=False
    )
    assert [member.boxes_only for member in tuned.card.members] == [False, True]
    assert tuned.card.members[1].calibration is None
    sizes = {
        path.parent.name + "/" + path.stem: json.loads(path.read_text())["training"]["config"]["windows"]["size"]
        for path in sorted(tmp_path.rglob("member_*.json"))
    }
    assert sizes == {f"{phase}/member_{k}": 96 * k for phase in policy.phases() for k in (0, 1)}
