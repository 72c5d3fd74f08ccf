"""Weights: found by name and path, checked before use, refused when tampered with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fracture.errors import CardError, WeightsIntegrityError, WeightsNotFoundError
from fracture.limb.boxes import BoxParameters
from fracture.limb.card import CARD_FILE, Card
from fracture.limb.ensemble import Ensemble
from fracture.limb.store import STORE, available, find, open_weights
from fracture.wing.verification import self_test_film, verify_weights
from tests.weights import write_weights


@pytest.fixture
def weights(tiny_weights: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_weights, tmp_path / "copy"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / CARD_FILE
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))


def test_card_round_trip(tiny_weights: Path, tmp_path: Path) -> None:
    card = Card.read(tiny_weights)
    card.write(tmp_path)
    assert Card.read(tmp_path) == card
    assert not list(tmp_path.glob("*.part"))


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(WeightsNotFoundError, match=r"card\.json"):
        find("no-such-weights")
    with pytest.raises(WeightsNotFoundError, match="did you mean 'fracatlas-small'"):
        find("fracatlas_smal")


def test_shipped_weights_are_found_by_name(repository: Path) -> None:
    shipped = sorted(path.parent.name for path in (repository / "weights").glob("*/card.json"))
    assert list(available()) == shipped
    for name in shipped:
        assert open_weights(name).card.name == name


def test_the_default_ones_are_those_that_ship_whatever_lies_in_the_working_folder(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_weights, tmp_path / STORE.default)
    monkeypatch.chdir(tmp_path)
    assert STORE.open().folder != Path(STORE.default)
    assert STORE.open(STORE.default).folder == Path(STORE.default), "a folder that is named goes first"


def test_a_changed_byte_is_refused(weights: Path) -> None:
    path = weights / "member_0.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsIntegrityError, match="SHA-256"):
        Ensemble.load(open_weights(weights))


def test_a_missing_file_is_refused(weights: Path) -> None:
    (weights / "member_1.safetensors").unlink()
    with pytest.raises(WeightsIntegrityError, match="member_1"):
        Ensemble.load(open_weights(weights))


def test_a_pickle_is_refused(weights: Path) -> None:
    import hashlib

    path = weights / "member_0.safetensors"
    torch.save({"weight": torch.zeros(3)}, path)
    document = json.loads((weights / CARD_FILE).read_text())
    document["members"][0]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(weights, members=document["members"])
    opened = open_weights(weights)
    with pytest.raises(WeightsIntegrityError, match="not a safetensors file"):
        opened.tensors(opened.card.members[0])


def test_tensors_of_another_network_are_refused(weights: Path) -> None:
    import hashlib

    path = weights / "member_0.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = torch.zeros(7)
    safetensors.torch.save_file(tensors, path)
    document = json.loads((weights / CARD_FILE).read_text())
    document["members"][0]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(weights, members=document["members"])
    with pytest.raises(WeightsIntegrityError, match=name):
        Ensemble.load(open_weights(weights))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"threshhold": 0.5}, "threshhold"),
        ({"format_version": 99}, "format version"),
        ({"name": "../evil"}, "name"),
        ({"members": []}, "members"),
        ({"region_cutoff": 2.0}, "region_cutoff"),
    ],
)
def test_malformed_cards_are_refused(weights: Path, changes: dict[str, object], match: str) -> None:
    edit(weights, **changes)
    with pytest.raises(CardError, match=match):
        Card.read(weights)


def test_a_card_of_older_code_is_read_unless_its_networks_are_gone(weights: Path) -> None:
    card = Card.read(weights)
    document = json.loads((weights / CARD_FILE).read_text())
    members = document["members"]
    members[0]["model"]["extents"] = False
    for wanted in (True, False):
        edit(weights, members=members, boxes={**document["boxes"], "use_extents": wanted})
        old = Card.read(weights)
        assert old.members[0].model_spec == card.members[0].model_spec
        assert BoxParameters.from_dict(old.boxes) == BoxParameters.from_dict(card.boxes)
    members[0]["model"]["extents"] = True
    edit(weights, members=members)
    with pytest.raises(CardError) as caught:
        Card.read(weights)
    for part in (
        "a ModelSpec with extents is no longer read",
        "got extents = True",
        "allowed: extents = False",
        "anew",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["../member_0.safetensors", "/etc/passwd", "a\\b.safetensors", "member_0.pt", ".."])
def test_a_member_outside_the_folder_is_refused(weights: Path, name: str) -> None:
    document = json.loads((weights / CARD_FILE).read_text())
    document["members"][0]["file"] = name
    edit(weights, members=document["members"])
    with pytest.raises(CardError, match="file"):
        Card.read(weights)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "null", '{"name": NaN}'])
def test_a_card_that_is_no_card_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / CARD_FILE).write_text(content)
    with pytest.raises(CardError):
        Card.read(tmp_path)


def test_inputs_must_match_the_planes(weights: Path) -> None:
    document = json.loads((weights / CARD_FILE).read_text())
    document["members"][0]["preprocess"]["channels"] = ["lcn"]
    edit(weights, members=document["members"])
    with pytest.raises(CardError, match="planes"):
        Card.read(weights)


def test_verify_passes_and_tells_what_it_checked(tiny_weights: Path) -> None:
    lines = list(verify_weights(tiny_weights))
    assert any("SHA-256" in line for line in lines)
    assert any("self-test" in line for line in lines)


def test_verify_notices_a_score_that_moved(tmp_path: Path) -> None:
    from fracture.detector import load

    write_weights(tmp_path / "w")
    probability = load(tmp_path / "w", precision="float32", device="cpu").predict(self_test_film()).probability
    edit(tmp_path / "w", self_test={"probability": probability, "tolerance": 1e-4})
    assert any(f"{probability:.5f}" in line for line in verify_weights(tmp_path / "w"))
    edit(tmp_path / "w", self_test={"probability": 0.9, "tolerance": 1e-4})
    with pytest.raises(WeightsIntegrityError, match="self-test"):
        list(verify_weights(tmp_path / "w"))


def test_every_shipped_set_verifies(repository: Path) -> None:
    folders = [path.parent for path in (repository / "weights").glob("*/card.json")]
    assert folders
    for folder in folders:
        assert any("self-test: 0" in line for line in verify_weights(folder)), folder
