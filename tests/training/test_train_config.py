from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fracture.errors import ConfigurationError, ModelError
from fracture.training import load_recipe, recipe_names
from fracture.training.config import MemberConfig, Recipe
from fracture.training.loss import JointLoss
from fracture.training.tables import merge_tables


def test_defaults_are_the_paper() -> None:
    config = MemberConfig()
    assert (config.batch, config.loop.epochs, config.loop.patience) == (48, 30, 10)
    assert config.optimizer.name == "adam"
    assert config.optimizer.weight_decay == 0
    assert config.init == "random"
    assert config.split.shares == {"train": 0.8, "tune": 0.1, "validation": 0.1}
    assert (config.sampling.balanced, config.sampling.balanced_epochs, config.sampling.later) == (
        "region_label",
        10,
        "natural",
    )
    assert config.loss.map_negatives == 0
    assert config.preprocess.size == 1024
    assert MemberConfig.from_dict({"model": {"pooling": "attention"}}).batch == 32


def test_every_default_has_a_reason() -> None:
    for section in MemberConfig.model_fields.values():
        fields = getattr(section.annotation, "model_fields", {})
        assert [name for name, field in fields.items() if not field.description] == []


@pytest.mark.parametrize(
    "tables",
    [
        {"loop": {"epoch": 3}},
        {"lop": {}},
        {"loop": {"epochs": 0}},
        {"loop": {"epochs": "many"}},
        {"loss": {"map_loss": "l2"}},
        {"optimizer": {"lr": float("nan")}},
        {"split": {"shares": {"training": 1.0}}},
        {"augmentation": {"settings": {"hue": 0.1}}},
        {"preprocess": {"seize": 3}},
        {"preprocess": {"channels": ["lcn"]}},
        {"preprocess": {"stride": 4, "size": 96}},
        {"name": "../elsewhere"},
    ],
)
def test_refused(tables: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        MemberConfig.from_dict(tables)


def test_unknown_model_key_is_refused() -> None:
    with pytest.raises(ModelError, match="depth"):
        MemberConfig.from_dict({"model": {"depth": 3}})


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigurationError, match="the training configuration has faults") as caught:
        MemberConfig.from_dict({"loop": {"epochs": -1}, "loss": {"typo": 1}})
    assert "loop.epochs" in str(caught.value)
    assert "loss.typo" in str(caught.value)


def test_round_trip_and_replace(small: Callable[..., MemberConfig]) -> None:
    config = small(model={"inputs": ["raw", "lcn"]})
    assert config.preprocess.channels == ("raw", "lcn")
    assert MemberConfig.from_dict(config.to_dict()) == config
    assert config.differences(config.replace({"loop": {"workers": 0}, "data": {"cache": "x"}})) == []
    assert config.differences(config.replace({"loop": {"epochs": 9}, "seed": 1})) == ["loop.epochs", "seed"]
    other = config.replace({"split": {"shares": {"train": 0.5, "validation": 0.5}}})
    assert other.split.shares == {"train": 0.5, "validation": 0.5}
    assert config.differences(other) == ["split.shares"]


def test_settings_of_an_older_run_are_read_unless_its_network_is_gone(small: Callable[..., MemberConfig]) -> None:
    config = small()
    old = config.to_dict()
    old["model"]["extents"], old["loss"]["extent"], old["extents"] = False, 0.0, {"epochs": 0, "lr": 1e-3}
    assert MemberConfig.from_dict(old) == config
    for changes in ({"model": {"extents": True}}, {"loss": {"extent": 1.0}}, {"extents": {"epochs": 6}}):
        with pytest.raises((ConfigurationError, ModelError), match=r"with extents? is no longer read"):
            MemberConfig.from_dict(merge_tables(old, changes))


def test_members_merge_over_the_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'seed = 7\n[model]\nbackbone = "resnet18"\nstages = 3\n[loop]\nepochs = 4\nbatch = 6\n'
        '[[member]]\nname = "a"\n[[member]]\nname = "b"\nmodel = { inputs = ["lcn"] }\nloop = { epochs = 5 }\n',
        encoding="utf-8",
    )
    recipe = load_recipe(path)
    a, b = recipe.members
    assert (a.name, a.seed, a.loop.epochs, a.batch, a.recipe) == ("a", 7, 4, 6, "mine")
    assert (b.name, b.seed, b.loop.epochs, b.batch) == ("b", 8, 5, 6)
    assert b.model.stages == 3
    assert b.preprocess.channels == ("lcn",)
    assert recipe.select(["b"]).members == (b,)
    with pytest.raises(ConfigurationError, match="no such member"):
        recipe.select(["c"])


def test_members_need_names_of_their_own() -> None:
    with pytest.raises(ConfigurationError, match="names of their own"):
        Recipe.from_dict({"member": [{"name": "a"}, {"name": "a"}]})
    with pytest.raises(ConfigurationError, match="list of tables"):
        Recipe.from_dict({"member": {"name": "a"}})


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="jones2020"):
        load_recipe("no_such_recipe")
    (tmp_path / "bad.toml").write_text("a = = 1", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"bad\.toml is not a TOML file"):
        load_recipe(tmp_path / "bad.toml")


def test_shipped_recipes() -> None:
    assert recipe_names() == ("jones2020", "pyramid_public", "small_public")
    paper = load_recipe("jones2020")
    assert len({m.name for m in paper.members}) == len({m.model for m in paper.members}) == 10
    assert {m.preprocess.channels for m in paper.members} == {("raw",), ("lcn",), ("raw", "lcn")}
    assert {m.model.pooling for m in paper.members} == {"average", "spp", "attention"}
    assert {m.model.map for m in paper.members} == {True, False}
    assert all(m.model.backbone == "drn_d_22" for m in paper.members)
    for m in paper.members:
        loss = JointLoss.for_model(m.model, m.loss)
        assert m.batch == (32 if m.attention else 48)
        assert loss.localization == pytest.approx((10 if m.attention else 3) * loss.classification * m.model.map)
    assert {m.preprocess.size for m in paper.members} == {1024}
    assert {m.preprocess.shape for m in paper.members} == {"square"}
    assert {m.init for m in paper.members} == {"random"}
    assert {m.optimizer.weight_decay for m in paper.members} == {0.0}
    assert len({m.seed for m in paper.members}) == 10
    ours = load_recipe("small_public")
    assert {tuple(m.split.shares) for m in ours.members} == {("train", "validation")}
    assert all(m.loss.map_negatives > 0 and m.model.norm == "frozen" for m in ours.members)
