"""The model card: the same bytes from the same inputs, every number from a file, and refusals with reasons."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from studies.sections import told
from typer.testing import CliRunner

from fracture.cli import app
from fracture.data.splits import Split
from fracture.errors import ConfigurationError
from fracture.limb.card import Card
from fracture.limb.store import DEFAULT_WEIGHTS
from fracture.reporting import model_card, read_aims
from fracture.reporting.aims import Aim, find, verdict
from fracture.reporting.markdown import as_estimate, shown, table

PAGE = "docs/model_card.md"


@pytest.fixture(scope="module")
def card(repository: Path) -> Card:
    return Card.read(repository / "weights" / DEFAULT_WEIGHTS)


def test_it_says_what_the_card_says(card: Card) -> None:
    page = model_card(card)
    assert page == model_card(card)
    for text in (card.label, card.intended_use, card.license, *card.attribution, *card.limitations):
        assert text in page
    for member in card.members:
        assert member.sha256 in page
        assert member.training["split"]["sha256"] in page
        assert f"{member.training['seconds'] / 60:.1f}" in page
        assert str(member.training["device"]) in page
        assert f"torch {member.training['versions']['torch']}" in page
    area = card.metrics["film"]["all"]["auc"]
    assert f"{area['value']:.3f} ({area['interval'][0]:.3f}–{area['interval'][1]:.3f})" in page
    for node, points in card.operating_points["nodes"].items():
        for name in ("high_sensitivity", "high_specificity"):
            if name in points:
                point = points[name]
                assert f"| {node} | {name.replace('_', ' ')}" in page
                assert f"{point['threshold']:.4f} | {point['n_positive']} / {point['n_negative']}" in page


def test_what_a_start_had_been_through_is_told(card: Card) -> None:
    first = card.members[0]
    before = {"seeds": "21, 11", "presentations": 36000, "seconds": 26000.0, "cpu_seconds": 25000.0}
    facts = {**first.training, "cpu_seconds": 60.0, "start": {**first.training["start"], "trained": before}}
    changed = card.model_copy(update={"members": (first.model_copy(update={"training": facts}),)})
    page = model_card(changed)
    assert "| 36000 films, seed 21, 11, minutes 433.3 (416.7) |" in page
    assert f"| {facts['seconds'] / 60:.1f} (1.0) |" in page
    assert f"together: {(facts['seconds'] + 26000) / 3600:.2f} hours" in page


def test_every_table_is_rectangular(card: Card) -> None:
    blocks = re.findall(r"(?:^\|.*\|$\n)+", model_card(card), flags=re.MULTILINE)
    assert len(blocks) >= 7
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_a_card_without_results(tiny_weights: Path) -> None:
    page = model_card(Card.read(tiny_weights))
    assert "holds no measured results" in page
    assert "random numbers for tests" in page


def test_metrics_of_a_later_kind_are_shown(card: Card) -> None:
    more = {
        "calibration": {"after": {"ece": {"value": 0.0213, "interval": [0.01, 0.04]}}},
        "carries_over": "as expected",
        "film": {"all": {**card.metrics["film"]["all"], "ece": {"value": 0.0321}}},
    }
    page = model_card(card.model_copy(update={"metrics": {**card.metrics, **more}}))
    assert "| calibration: after: ece | 0.021 (0.010–0.040) |" in page
    assert "- carries over: as expected" in page
    assert "| ece |" in page
    assert "| 0.032 |" in page


def test_fast_subset_and_input_check(card: Card) -> None:
    card = card.model_copy(update={"fast": None, "input_check": None})
    page = model_card(card)
    assert "The fast subset" not in page
    assert "Input check" not in page
    member = card.members[1]
    film = {"all": {"films": 9, "fractured": 4, "auc": {"value": 0.77}}}
    fast = {
        "members": [{"file": member.file, "sha256": member.sha256}],
        "operating_points": card.operating_points,
        "boxes": card.boxes,
        "metrics": {"film": film},
        "loses": {"auc": {"value": -0.013, "interval": [-0.03, 0.004]}},
    }
    check = {
        "file": "features.safetensors",
        "sha256": "0" * 64,
        "member": member.file,
        "member_sha256": member.sha256,
        "limit": 12.5,
        "rule": "99 % of 670 films",
        "false_alarms": {"held out": {"value": 0.01, "count": 2, "n": 200}},
    }
    more = Card.model_validate({**card.model_dump(mode="json"), "fast": fast, "input_check": check})
    page = model_card(more)
    assert f"Members: {Path(member.file).stem}; with thresholds" in page
    assert "| auc | -0.013 (-0.030 to 0.004) |" in page
    assert "| all | 9 | 4 | 0.770 |" in page
    assert "| rule | 99 % of 670 films |" in page
    assert "| held out | 0.010, 2/200 |" in page


def test_the_split_beside_the_weights(card: Card, repository: Path) -> None:
    split = Split.read(repository / "weights" / DEFAULT_WEIGHTS / "split.json")
    assert "the one that every member's training names" in model_card(card, split=split)
    other = Split(split.parts, split.name, 99, split.method, split.fingerprint)
    assert f"**not** the one that the training of {card.members[0].file}" in model_card(card, split=other)


def test_results_of_other_weights_are_refused(card: Card) -> None:
    cost = {"format": "fracture-cost/1", "weights": "another 1"}
    with pytest.raises(ConfigurationError, match="measured on other weights; got another 1"):
        model_card(card, extras=[cost])
    with pytest.raises(ConfigurationError, match="needs a format"):
        model_card(card, extras=[{"format": "mine"}])
    with pytest.raises(ConfigurationError, match="incomplete"):
        model_card(card, extras=[{"format": "fracture-table/1"}])
    with pytest.raises(ConfigurationError, match="its own markdown"):
        model_card(card, extras=[{**cost, "weights": card.label}])
    with pytest.raises(ConfigurationError, match="not one of fracture evaluate"):
        model_card(card, report={"format": "x"})


def test_weights_of_folds_may_have_judged(card: Card) -> None:
    folder = {"name": "f0", "version": "1", "members": {"a": "0" * 64}, "films": 9, "fractured": 4, "groups": 3}
    told = {"folders": [{**folder, "split_sha256": "1" * 64}], "carried_over": "It has not been measured."}
    folded = card.model_copy(update={"metrics": {**card.metrics, "out_of_fold": told}})
    result = {"format": "fracture-sites/1", "models": ["f0 1"], "films": 9, "fractured": 4}
    page = model_card(folded, extras=[{**result, "markdown": "## Sites"}])
    assert "| f0 1 | a | 9 | 4 | 3 | 111111111111 |" in page
    assert "out of fold: carried over: It has not been measured." in page
    with pytest.raises(ConfigurationError, match="measured on other weights; got f0 1"):
        model_card(card, extras=[result])


def test_extras_in_their_order(card: Card) -> None:
    cost = {
        "format": "fracture-cost/1", "weights": card.label, "film": "454 x 373", "precision": "bfloat16", "threads": 2,
        "processor": "EPYC", "torch": "2", "repeats": 9, "aim": 4,
        "baseline": {"name": "ResNet-50", "milliseconds": 50.0},
        "rows": [{"name": "predict", "milliseconds": 150.04, "ratio": {"value": 3.001, "low": 2.9, "high": 3.1}}],
    }  # fmt: skip
    own = {
        "format": "fracture-table/1",
        "title": "Tried",
        "columns": ["what", "AUC"],
        "rows": [["a|b", {"value": 0.9}]],
    }
    aims = (
        Aim(name="cost", at_most=4.0, source="cost", path=("rows", "predict", "ratio")),
        Aim(name="AUC", at_least=0.99, path=("metrics", "film", "all", "auc")),
        Aim(name="FROC", at_least=0.8, path=("metrics", "boxes", "froc sensitivity at 0.5*")),
        Aim(name="size", at_most=50, digits=1, source="files", path=("megabytes",)),
        Aim(name="ECE", at_most=0.03, source="report", path=("headline", "All films", "result", "ece")),
    )
    cost = told(cost)
    page = model_card(card, extras=[own, cost], aims=aims, misses="- a foot\n", sizes={"a": 30_000_000, "b": 250_000})
    assert page.index("## Tried") < page.index("## Cost") < page.index("looked at\n\n- a foot")
    assert "| predict | 150.0 | 3.00 (2.90–3.10) |" in page
    assert "| a\\|b | 0.900 |" in page
    assert "| cost | at most 4.00 | 3.001 (2.900–3.100) | reached |" in page
    assert "| size | at most 50.0 | 30.2 | reached |" in page
    assert "| size | 30.2 MB |" in page
    gap = 0.99 - card.metrics["film"]["all"]["auc"]["value"]
    assert f"missed by {gap:.3f} |" in page
    assert "| ECE | at most 0.03 |  | not measured (no report given) |" in page
    assert re.search(r"\| FROC \| at least 0.80? \| 0\.\d{3} \(.*\) \| missed by 0\.\d", page)
    twice = [cost, {**cost, "rows": []}]
    with pytest.raises(ConfigurationError, match="two results of the same kind"):
        model_card(card, extras=twice, aims=aims)


def test_verdicts() -> None:
    def judged(value: Any, **aim: Any) -> str:
        return verdict(Aim(name="x", path=("v",), **aim), {"card": {"v": value}}).text

    assert judged(0.96, at_least=0.95) == "reached"
    assert (
        judged({"value": 0.96, "interval": [0.94, 0.97]}, at_least=0.95) == "reached, but the interval crosses the aim"
    )
    assert judged({"value": 0.96, "low": 0.951, "high": 0.97}, at_least=0.95) == "reached"
    assert (
        judged({"value": 0.02, "low": 0.01, "high": 0.05}, at_most=0.03) == "reached, but the interval crosses the aim"
    )
    assert judged(0.879, at_least=0.95) == "missed by 0.071"
    assert judged(0.444, at_least=0.8, percent=True) == "missed by 35.6 points"
    assert judged(5.25, at_most=4, digits=1) == "missed by 1.2"
    assert judged(0.94999, at_least=0.95) == "missed by less than 0.001"
    assert judged(0.95, at_least=0.95) == "reached"
    assert judged(None, at_least=0.95) == "not measured (not in the card)"
    assert judged({"value": None, "reason": "no film"}, at_least=0.95) == "not defined: no film"
    with pytest.raises(ConfigurationError, match="does not lead to a number"):
        judged("text", at_least=0.95)


def test_paths() -> None:
    content = {"a": [{"name": "x", "n": 1}, {"name": "y", "n": 2}], "long key": 3, "long word": 4}
    assert find(content, ("a", "y", "n")) == 2
    assert find(content, ("a", -2, "n")) == 1
    assert find(content, ("long k*",)) == 3
    assert find(content, ("a", 7, "n")) is find(content, ("b", "c")) is find(content, ("long key", "x")) is None
    with pytest.raises(ConfigurationError, match="fits several"):
        find(content, ("long*",))


def test_aims_from_files(tmp_path: Path) -> None:
    toml, js = tmp_path / "aims.toml", tmp_path / "aims.json"
    toml.write_text('[[aim]]\nname = "AUC"\nat_least = 0.95\nfrom = "report"\npath = ["headline", 0, "result"]\n')
    js.write_text(
        json.dumps({"aim": [{"name": "AUC", "at_least": 0.95, "from": "report", "path": ["headline", 0, "result"]}]})
    )
    assert (
        read_aims(toml)
        == read_aims(js)
        == (Aim(name="AUC", at_least=0.95, source="report", path=("headline", 0, "result")),)
    )
    toml.write_text(
        '[[aim]]\nname = "AUC"\nat_least = 1\nat_most = 2\npath = ["x"]\n[[aim]]\nname = "y"\nat_lest = 1\npath = []\n'
    )
    with pytest.raises(ConfigurationError, match=r"aim\.0:.*either at_least or at_most.*aim\.1\.at_lest"):
        read_aims(toml)
    for text in ("aim = 1", "", "[[aims]]\nx = 1", "not toml"):
        toml.write_text(text)
        with pytest.raises(ConfigurationError):
            read_aims(toml)


def test_cells() -> None:
    assert table(("a", "b"), []) == ""
    assert table(("a", "b"), [("x|y\nz", None)]) == "| a | b |\n|---|---|\n| x\\|y z |  |"
    with pytest.raises(ConfigurationError, match="another length"):
        table(("a",), [(1, 2)])
    assert shown(152) == "152"
    assert shown(True) == shown("x") == shown({"x": 1}) == ""
    assert shown({"value": 0.5, "interval": [0.25, 0.75], "count": 1, "n": 2}, percent=True, counts=True) == (
        "50.0 (25.0–75.0), 1/2"
    )
    assert as_estimate({"value": None, "reason": "why"}).reason == "why"  # type: ignore[union-attr]


def test_command(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("misses.md").write_text("A foot.")
    arguments = ["model-card", DEFAULT_WEIGHTS, "--misses", "misses.md"]
    printed = CliRunner().invoke(app, arguments)
    assert printed.exit_code == 0, printed.output
    written = CliRunner().invoke(app, [*arguments, "--out", "docs/card.md"])
    assert written.exit_code == 0, written.output
    assert Path("docs/card.md").read_text() == printed.stdout
    assert shlex.join(["fracture", *arguments]) in printed.stdout
    assert str(tmp_path) not in printed.stdout
    Path("bad.json").write_text("[1]")
    for wrong in (["--extra", "bad.json"], ["--extra", "none.json"], ["--aims", "misses.md"], ["--report", "."]):
        result = CliRunner().invoke(app, [*arguments, *wrong])
        assert isinstance(result.exception, ConfigurationError)


def test_the_committed_page_is_what_the_command_makes(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page quotes the command that made it; run again, it gives the same bytes."""
    page = repository / PAGE
    if not page.is_file():
        pytest.skip(f"there is no {PAGE} yet")
    text = page.read_text(encoding="utf-8")
    (command,) = re.findall(r"^fracture (model-card .+)$", text, flags=re.MULTILINE)
    monkeypatch.chdir(repository)
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output
    assert result.stdout == text
