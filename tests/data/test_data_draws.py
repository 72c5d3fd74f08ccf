"""Films drawn often or never."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from typer.testing import CliRunner

from fracture.cli.main import app
from fracture.data.coco_writer import write_coco
from fracture.data.draws import MiningSpec, mine_draws, read_draws, write_draws
from fracture.data.records import AnnotatedSet, Film
from fracture.data.sampling import Mode, SamplingSpec, epoch_order
from fracture.errors import ConfigurationError, DataError, UnreadableDataError

FILMS = [Film(f"{k}.png", 1, 1, int(k >= 8), regions=("hand",)) for k in range(10)]


def test_the_surest_false_alarms_are_never_drawn_and_the_next_ones_often() -> None:
    fractured = np.array([False] * 8 + [True] * 2)
    scores = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.99, 0.0])
    draws = mine_draws(fractured, scores, MiningSpec(doubtful=1 / 8, hard=2 / 8, times=4))
    assert draws.tolist() == [1, 0, 1, 4, 1, 4, 1, 1, 1, 1]


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=40),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 100),
)
def test_shares_are_of_the_normal_films(
    films: list[tuple[bool, float]], doubtful: float, hard: float, times: int
) -> None:
    fractured = np.array([label for label, _ in films], bool)
    scores = np.array([score for _, score in films])
    draws = mine_draws(fractured, scores, MiningSpec(doubtful, hard, times))
    normal = int((~fractured).sum())
    never = round(doubtful * normal)
    assert (draws[fractured] == 1).all()
    assert (draws == 0).sum() == never
    if times > 1:
        assert (draws == times).sum() == min(round(hard * normal), normal - never)
    kept = scores[~fractured & (draws > 0)]
    assert not kept.size or not never or scores[draws == 0].min() >= kept.max()


def test_films_of_a_file_are_drawn_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "draws.csv"
    draws = np.array([0, 3, *[1] * 8])
    names = [film.source for film in FILMS]
    write_draws(path, names, draws)
    assert path.read_text() == "source,draws\n0.png,0\n1.png,3\n"
    assert read_draws(path, names).tolist() == draws.tolist()
    assert read_draws(path, names[1:]).tolist() == draws.tolist()[1:]


@pytest.mark.parametrize(("mode", "expected"), [("natural", 3 / 11), ("label", 0.5 * 3 / 9), ("region_label", 1 / 6)])
def test_an_epoch_follows_the_draws(mode: Mode, expected: float) -> None:
    draws = np.array([0, 3, *[1] * 8])
    spec = SamplingSpec(balanced_epochs=1000, balanced=mode, films_per_epoch=18)
    drawn = Counter(k for epoch in range(200) for k in epoch_order(FILMS, spec, seed=0, epoch=epoch, draws=draws))
    assert drawn[0] == 0
    assert drawn[1] / 3600 == pytest.approx(expected, abs=0.01)
    assert drawn[2] * 3 == pytest.approx(drawn[1], rel=0.15)


def test_a_natural_epoch_is_as_long_as_the_draws_say() -> None:
    draws = np.array([0, 3, *[1] * 8])
    order = epoch_order(FILMS, SamplingSpec(balanced_epochs=0), seed=0, epoch=0, draws=draws)
    assert Counter(order.tolist()) == {k: int(count) for k, count in enumerate(draws) if count}
    ones = np.ones(10, np.int64)
    for spec in (SamplingSpec(), SamplingSpec(balanced_epochs=0), SamplingSpec(balanced="label")):
        plain = epoch_order(FILMS, spec, seed=3, epoch=1)
        assert epoch_order(FILMS, spec, seed=3, epoch=1, draws=ones).tolist() == plain.tolist()


def test_faults_are_told(tmp_path: Path) -> None:
    names = [film.source for film in FILMS]
    path = tmp_path / "draws.csv"
    with pytest.raises(UnreadableDataError):
        read_draws(path, names)
    for text, told in (
        ("source,draws\n0.png,1.5\n", "no whole number"),
        ("source,draws\n0.png,101\n", "no whole number"),
        ("source,draws\n0.png,2\n0.png,2\n", "listed twice"),
        ("source,draws\nother.png,2\n", "none of its films is trained on"),
        ("source,often\n0.png,2\n", "columns are missing"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=told):
            read_draws(path, names)
    with pytest.raises(ConfigurationError, match="none that is drawn"):
        epoch_order(FILMS, SamplingSpec(), seed=0, epoch=0, draws=np.zeros(10, np.int64))
    with pytest.raises(ConfigurationError, match="one finite score"):
        mine_draws(np.array([True]), np.array([np.nan]))


def test_the_command_writes_what_training_reads(small_set: AnnotatedSet, tmp_path: Path) -> None:
    write_coco(small_set, tmp_path / "annotations.json")
    lines = [{"source": f.source, "probability": 0.9 if f.source == "images/02.png" else 0.5} for f in small_set]
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    words = ["mine", predictions, tmp_path / "annotations.json", "--out", tmp_path / "draws.csv", "--doubtful", "0.2"]
    result = CliRunner().invoke(app, [*map(str, words), "--hard", "0.4", "--times", "2"])
    assert result.exit_code == 0, result.output
    assert "doubtful: images/02.png" in result.output
    found = read_draws(tmp_path / "draws.csv", [film.source for film in small_set])
    assert [small_set[k].source for k in np.flatnonzero(found == 0)] == ["images/02.png"]
    assert (found == 2).sum() == 2
    assert all(not small_set[k].fractured for k in np.flatnonzero(found != 1))
    words[4] = predictions
    assert isinstance(CliRunner().invoke(app, [*map(str, words)]).exception, ConfigurationError)
