"""Cards of every wing: each fault is named, at every depth, and what ships comes back byte for byte."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fracture.cli.main import app
from fracture.errors import CardError, WeightsIntegrityError, WeightsNotFoundError
from fracture.hip.card import HipCard
from fracture.hip.store import STORE as HIPS
from fracture.joints.card import JointsCard
from fracture.limb.card import CARD_FILE, Card
from fracture.limb.store import STORE, open_weights
from fracture.spine.cervical.card import CervicalCard
from fracture.spine.lumbar.card import LumbarCard
from fracture.wing import store as wing_store
from fracture.wing.card import BaseCard
from fracture.wing.contract import find_wing
from fracture.wing.verification import compare, verify_weights
from tests.weights import write_weights

SHIPPED = {
    "fracatlas-small": Card,
    "hip-small": HipCard,
    "joints-small": JointsCard,
    "lumbar-small": LumbarCard,
    "cervical-small": CervicalCard,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small card of the detector."""
    write_weights(tmp_path / "w", sizes=(64,), channels=(("raw",),), maps=(True,))
    return tmp_path / "w"


def rewritten(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / CARD_FILE
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(("name", "kind"), SHIPPED.items())
def test_what_ships_comes_back_byte_for_byte(name: str, kind: type[BaseCard], repository: Path, tmp_path: Path) -> None:
    home = repository / "weights" / name
    card = kind.read(home)
    assert card.write(tmp_path).read_bytes() == (home / kind.FILE).read_bytes()
    assert kind.read(tmp_path) == card
    assert {part.file for part in card.files} == {path.name for path in home.glob("*.safetensors")}


@pytest.mark.parametrize(("name", "kind"), SHIPPED.items())
def test_two_networks_do_not_share_a_file(name: str, kind: type[BaseCard], repository: Path) -> None:
    document = json.loads((repository / "weights" / name / kind.FILE).read_text(encoding="utf-8"))
    parts = [*document.values(), *document.get("members", ())]
    one, other = [part for part in parts if isinstance(part, dict) and "file" in part][:2]
    one["file"] = other["file"]
    with pytest.raises(CardError, match="name the same file"):
        kind.parse(document, "a card")


def point(document: Any) -> Any:
    return document["operating_points"]["nodes"]["any"]["high_sensitivity"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d["members"][0]["preprocess"].update(size=32_768), "members.0.preprocess.*4096, not 32768"),
        (lambda d: d["members"][0]["preprocess"].update(size="512"), "size: must be a valid integer, not '512'"),
        (lambda d: d["members"][0]["preprocess"].update(channels=None), "channels"),
        (lambda d: d["members"][0]["preprocess"].update(sise=64), "sise: unknown key"),
        (lambda d: d["members"][0]["preprocess"].pop("version"), "the version is missing"),
        (lambda d: d["members"][0]["preprocess"].update(lcn_sigma=True), "lcn_sigma"),
        (lambda d: d["members"][0]["model"].update(regions=["wrist"] * 2), "regions"),
        (lambda d: d["members"][0]["model"].update(stages=2.0), "stages"),
        (lambda d: d["members"][0].update(file="a\0b.safetensors"), "file"),
        (lambda d: d["boxes"].update(threshhold=0.3), "boxes: .*threshhold: unknown key"),
        (lambda d: d["boxes"].update(threshold=10**30), "64 bits"),
        (lambda d: d["boxes"].update(upsample=True), "upsample"),
        (lambda d: d["boxes"].update(max_candidates=10**9), "max_candidates"),
        (lambda d: point(d).update(treshold=0.3), "treshold: unknown key"),
        (lambda d: point(d).update(threshold="0.3"), "threshold: must be a valid number"),
        (lambda d: point(d).update(data="x" * 5000), "4096 characters"),
        (lambda d: d["operating_points"]["nodes"].update(fracatlas_hnad={"map_threshold": 0.5}), "fracatlas_hnad"),
        (lambda d: d["operating_points"]["nodes"]["any"].update(map_treshold=0.5), "map_treshold"),
        (lambda d: d.update(tree={"regions": [{"name": "any", "parent": None, "kind": 3}]}), "kind"),
        (lambda d: d.update(attribution="one text"), "attribution"),
        (lambda d: d.update(limitations=["x"] * 1000), "limitations"),
        (lambda d: d.update(version="\ud800"), "schema"),
        (lambda d: d.update(region_cutoff=float("nan")), "NaN"),
        (lambda d: d.update(metrics={"a": float("inf")}), "Infinity"),
        (lambda d: d.update(format_version=True), "format_version"),
        (lambda d: d.update(self_test={"probability": 0.5, "tolerance": 2}), "tolerance"),
    ],
)
def test_a_fault_at_any_depth_is_named_when_the_card_is_read(
    folder: Path, change: Callable[[Any], Any], named: str
) -> None:
    rewritten(folder, change)
    with pytest.raises(CardError, match=named):
        Card.read(folder)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"name": "tiny"', '"name": "tiny", "name": "other"', "'name' is given twice"),
        ('"metrics": {}', '"metrics": {"a": ' + "[" * 60 + "]" * 60 + "}", "nested too deeply"),
        ('"metrics": {}', '"metrics": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('"metrics": {}', '"metrics": {"a": 1e999}', "not finite"),
        ('"metrics": {}', '"metrics": {"a": ' + "9" * 5000 + "}", "64 bits"),
    ],
)
def test_what_a_schema_cannot_see_is_named_too(folder: Path, old: str, new: str, named: str) -> None:
    path = folder / CARD_FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CardError, match=named):
        Card.read(folder)


def test_every_fault_is_told_at_once(folder: Path) -> None:
    rewritten(folder, lambda d: (d["boxes"].update(suppress=2, colour=1), d.update(region_cutoff=-1, licence="x")))
    with pytest.raises(CardError) as caught:
        Card.read(folder)
    for name in ("suppress", "colour", "region_cutoff", "licence"):
        assert name in str(caught.value)


def test_hostile_cards_end_in_card_errors(shared_data: Path, folder: Path) -> None:
    hostile = sorted((shared_data.parent / "faults" / "hostile").glob("card_*.json"))
    if not hostile:
        pytest.skip("needs the hostile cards beside the project")
    for path in hostile:
        shutil.copyfile(path, folder / CARD_FILE)
        with pytest.raises(CardError):
            Card.read(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
@pytest.mark.parametrize("file", [CARD_FILE, "member_0.safetensors"])
def test_a_named_pipe_is_refused_and_not_waited_for(folder: Path, file: str) -> None:
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises((CardError, WeightsIntegrityError), match="not a regular file"):
        list(verify_weights(folder))


def test_what_weights_may_be(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_weights(folder)
    member, path = opened.card.members[0], folder / "member_0.safetensors"
    whole = opened.tensors(member)
    moved = path.rename(tmp_path / "blob")
    path.symlink_to(moved)  # as in the cache of a model hub
    assert opened.tensors(member).keys() == whole.keys()
    path.unlink()
    path.mkdir()
    with pytest.raises(WeightsIntegrityError, match=r"not a regular file|a folder"):
        opened.tensors(member)
    path.rmdir()
    moved.rename(path)
    monkeypatch.setattr(wing_store, "MAX_WEIGHT_BYTES", 1000)
    with pytest.raises(WeightsIntegrityError, match="larger than the limit"):
        opened.tensors(member)


def test_one_verify_for_every_kind(repository: Path) -> None:
    for name, answer in {"fracatlas-small": "self-test: 0.", "hip-small": "self-test: 0."}.items():
        for given in (name, str(repository / "weights" / name)):
            assert find_wing(given)[1].samefile(repository / "weights" / name)
        assert any(line.startswith(answer) for line in verify_weights(repository / "weights" / name))
    hips = CliRunner().invoke(app, ["hip", "verify", "hip-small"])
    assert hips.exit_code == 0
    assert hips.output == CliRunner().invoke(app, ["verify", "hip-small"]).output


def test_weights_of_no_wing_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"fracatlas-small, hip-small.*card\.json or hip_card\.json"):
        find_wing("nothing-of-this-name")
    with pytest.raises(CardError, match="no such file"):
        list(verify_weights(tmp_path))
    with pytest.raises(WeightsNotFoundError, match=r"no hip networks.*hip_card\.json"):
        HIPS.find("fracatlas-small")
    assert STORE.locate("a\0b") is None


def test_an_answer_that_moved_fails() -> None:
    assert compare("x", [0.5, 0.25], [0.5, 0.26], 0.02) == "x: 0.50000, 0.25000 (card: 0.50000, 0.26000)"
    for found in ([0.5, 0.3], [0.5, float("nan")]):
        with pytest.raises(WeightsIntegrityError, match="scores differently"):
            compare("x", found, [0.5, 0.26], 0.02)
