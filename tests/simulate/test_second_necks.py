"""The second simulator of necks: its bones, its fractures, and a set that another simulator draws."""

import json
from pathlib import Path

import numpy as np
import pytest
import second_cervical_bones
import second_cervical_breaks
import second_cervical_simulator
from second_cervical_bones import STEP, Block, bone
from second_cervical_breaks import torn

from fracture import simulate


def test_it_shares_no_code_with_the_first() -> None:
    for module in (second_cervical_bones, second_cervical_breaks, second_cervical_simulator):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert "cervical_shapes" not in text
        assert "cervical_fractures" not in text


def _broken(kind: str, name: str, seed: int = 0) -> tuple[Block, float, list[tuple[np.ndarray, ...]]]:
    draw = np.random.default_rng(seed)
    made = bone(name, 1.0, 0.0, draw)
    _, far, pieces = torn(made, draw, kind)
    return made, far, pieces


def test_a_spinous_process_breaks_and_moves_by_what_is_said() -> None:
    made, far, pieces = _broken("spinous", "C7", 1)
    (stayed, *_), (left, _, motion, zone) = pieces
    middle = made.origin + np.array(np.nonzero(left > 0.5)).mean(axis=1)[::-1] * STEP
    assert np.linalg.norm(motion[:3, :3] @ middle + motion[:3, 3] - middle) == pytest.approx(far, abs=0.2)
    assert middle[1] > made.at["lamina"][1], "the tip leaves, behind the arch"
    share = (stayed.sum() + left.sum()) / made.occupied.sum()
    assert 0.9 < share < 1, "a bone breaks, it does not vanish"
    assert (zone & (made.occupied > 0.5)).sum() * STEP**3 > 20


def test_a_pressed_body_loses_height_in_front() -> None:
    made, far, ((now, *_),) = _broken("wedge", "C5")
    front, middle = (round((at - o) / STEP) for at, o in ((-0.6 * 8.0, made.origin[1]), (0.0, made.origin[0])))
    before, after = ((occupied[:, front, middle] > 0.5).sum() * STEP for occupied in (made.occupied, now))
    assert 0.3 * far < before - after < far + 1.0


def test_a_set_of_another_simulator(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    made = simulate.neck(3, fracture_rate=1.0, spacing=(4.0, 3.0))
    seeds: list[int] = []
    summary = simulate.write_necks(tmp_path / "necks", 2, seed=1, draw=lambda seed: seeds.append(seed) or made)
    written = json.loads((tmp_path / "necks" / "annotations.json").read_text())
    assert summary.films == 2
    assert len(set(seeds)) == 2
    assert written["necks"][1]["points"].keys() == made.points.keys()
    assert "another simulator" in written["info"]["description"]
