"""Phantoms of the lumbar spine: places and names by construction, equal by seed, and a set that is read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.simulate.lumbar import CONTRASTS, LEVELS
from fracture.spine.lumbar.records import discs_of, read_discs


def test_equal_seeds_give_equal_pictures() -> None:
    one, two, other = simulate.lumbar(3), simulate.lumbar(3), simulate.lumbar(4)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert one.discs == two.discs
    assert not np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_discs_are_where_and_as_bright_as_the_record_says(contrast: str) -> None:
    brighter = 0
    for seed in range(6):
        film = simulate.lumbar(seed, contrast=contrast, abnormal=0.0)
        assert set(LEVELS) <= {disc.level for disc in film.discs} | {"L1/L2"}
        for low, high in zip(film.discs, film.discs[1:], strict=False):
            assert low.y > high.y  # from the sacrum upward
        for disc in film.discs:
            assert disc.box[0] < disc.x < disc.box[2]
            assert disc.box[1] < disc.y < disc.box[3]
            assert (disc.box[3] - disc.box[1]) * film.spacing > disc.height
        row, column = round(film.discs[1].y), round(film.discs[1].x)
        inside = film.pixels[row - 1 : row + 2, column - 3 : column + 4].mean()
        ends = [film.pixels[row - 1 : row + 2, round(x)].mean() for x in (film.discs[1].box[0], film.discs[1].box[2])]
        brighter += inside > min(ends)
    assert brighter >= 5


def test_transitional_spines_are_counted_from_above() -> None:
    counts = {simulate.lumbar(seed, transitional=1.0).lumbar for seed in range(12)}
    assert counts == {4, 6}
    four = next(film for seed in range(12) if (film := simulate.lumbar(seed, transitional=1.0)).lumbar == 4)
    assert [disc.level for disc in four.discs[:3]] == ["L4/S1", "L3/L4", "L2/L3"]


def test_worn_discs_are_lower_and_the_canal_behind_a_bulge_is_narrower() -> None:
    whole = [disc for seed in range(8) for disc in simulate.lumbar(seed, abnormal=0.0).discs if disc.level in LEVELS]
    worn = [disc for seed in range(8) for disc in simulate.lumbar(seed, abnormal=1.0).discs if disc.level in LEVELS]
    assert not any(disc.degenerated for disc in whole)
    assert all(disc.degenerated for disc in worn)
    assert np.mean([disc.height for disc in worn]) < 0.8 * np.mean([disc.height for disc in whole])
    assert np.mean([disc.canal for disc in worn]) < np.mean([disc.canal for disc in whole]) - 1


def test_a_set_is_written_and_read_back(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["simulate", str(tmp_path / "s"), "-n", "3", "--kind", "lumbar", "--size", "96"])
    assert told.exit_code == 0, told.output
    annotated = read_discs(tmp_path / "s")
    assert len(annotated) == 3
    coco = json.loads((tmp_path / "s" / "annotations.json").read_text())
    for film, image in zip(annotated, coco["images"], strict=True):
        drawn = simulate.lumbar(image["seed"], side=96, transitional=0.1)
        with Image.open(annotated.image_path(film)) as picture:
            np.testing.assert_array_equal(np.asarray(picture), drawn.pixels)
        marks = discs_of(film)
        assert [mark.level for mark in marks] == [disc.level for disc in drawn.discs[::-1]]
        for mark, disc in zip(marks, drawn.discs[::-1], strict=True):
            assert (mark.x, mark.y) == pytest.approx((disc.x, disc.y), abs=0.01)
            assert mark.size is not None
            assert mark.abnormal == disc.degenerated


def test_impossible_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="side 20"):
        simulate.lumbar(0, side=20)
    with pytest.raises(ConfigurationError, match="contrast 'PD'"):
        simulate.lumbar(0, contrast="PD")
    with pytest.raises(ConfigurationError, match="share of transitional"):
        simulate.write_lumbar(tmp_path, 1, transitional=2.0)
    told = CliRunner().invoke(app, ["simulate", str(tmp_path / "x"), "--kind", "lumbar", "--mix", "normal=1"])
    assert isinstance(told.exception, ConfigurationError)
