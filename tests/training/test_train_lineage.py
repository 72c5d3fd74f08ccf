"""What a record tells of the trainings before its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fracture.data.records import AnnotatedSet
from fracture.training import train
from fracture.training.config import MemberConfig
from fracture.training.finished import for_card
from fracture.training.lineage import trained_before

Build = Callable[..., MemberConfig]


def test_presentations_and_time_of_ancestors_are_summed(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    whole = {"presentations": 0, "optimizer_steps": 0}
    init = "random"
    for number, seed in enumerate((5, 6, 7)):
        config = small(seed=seed, init=init, loop={"epochs": 1, "maps": False})
        member = train(config, drawn, out=tmp_path / str(number), progress=False).members[0]
        told = member.facts["training"]
        assert told["cpu_seconds"] > 0
        assert told["start"].get("trained", {}).get("presentations", 0) == whole["presentations"]
        whole = {name: whole[name] + told[name] for name in whole}
        init = str(member.weights)
    before = told["start"]["trained"]
    assert before["seeds"] == "6, 5"
    assert before["optimizer_steps"] == whole["optimizer_steps"] - told["optimizer_steps"]
    assert before["seconds"] > 0
    assert for_card(told)["start"]["trained"] == before


def test_a_start_that_nothing_tells_of_is_told_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    for source in ("random", "pretrained", file, None):
        assert trained_before(source) == {}
    file.write_bytes(b"")
    assert trained_before(file) == {}
    for text in ("no JSON", "[]", "{}", '{"training": {"presentations": 5}}'):
        file.with_suffix(".json").write_text(text)
        assert trained_before(file) == {}
    member = {"file": file.name, "training": {"seed": 3, "presentations": 8, "start": {"source": "pretrained"}}}
    file.with_suffix(".json").unlink()
    file.with_name("card.json").write_text(json.dumps({"members": [{"file": "other"}, member]}))
    assert trained_before(file) == {"trained": {"seeds": "3", "presentations": 8}}
    member["training"] |= {"cpu_seconds": 9.0, "start": {"trained": {"seeds": "2", "presentations": 4}}}
    file.with_name("card.json").write_text(json.dumps({"members": [member]}))
    assert trained_before(file) == {"trained": {"seeds": "3, 2", "presentations": 12}}
