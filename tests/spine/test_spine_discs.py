"""Discs: records of incomplete labels, targets that leave unmarked ones out, the chain and its names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fracture import simulate
from fracture.errors import DataError, PixelValueError, UnreadableFileError
from fracture.spine.centers import SIDE, STRIDE, build_network, peaks
from fracture.spine.chain import chain
from fracture.spine.lumbar.finding import CHAIN, Disc, name_discs
from fracture.spine.lumbar.records import DiscMark, discs_of, read_discs
from fracture.spine.lumbar.training import LumbarConfig, _moved, disc_loss, targets, train
from fracture.spine.picture import fit, read_picture
from fracture.spine.specs import CenterSpec
from fracture.spine.variation import PictureVariation, varied


def spine(count: int = 7, *, gap: float = 60.0, bend: float = 0.12) -> list[Disc]:
    """Discs from the sacrum upward on a curve; the lowest is L5/S1."""
    x, y, angle, found = 300.0, 560.0, 0.5, []
    for k in range(count):
        found.append(Disc(x, y, (x - 40, y - 25, x + 40, y + 25), 0.9, 0.95 if k == 0 else 0.03))
        x, y, angle = x - gap * np.sin(angle), y - gap * np.cos(angle), angle - bend
    return found


def test_discs_are_counted_from_l5_s1_upward() -> None:
    found = name_discs(spine(9)[::-1])
    assert tuple(disc.level for disc in found.discs) == CHAIN
    assert (found.naming, found.remarks) == ("clear", ())


def test_what_lies_off_the_spine_is_not_on_the_chain() -> None:
    discs = spine(6)
    off = [Disc(500, 100, (460, 75, 540, 125), 0.8), Disc(80, 420, (40, 395, 120, 445), 0.5)]
    double = Disc(discs[2].x + 9, discs[2].y + 8, (0, 0, 1, 1), 0.4)
    faint = Disc(discs[3].x, discs[3].y - 30, (0, 0, 1, 1), 0.1)
    found = name_discs([*discs, *off, double, faint])
    assert [(disc.x, disc.y) for disc in found.discs] == [(disc.x, disc.y) for disc in discs]
    assert len(found.candidates) == 10


def test_a_sacral_disc_below_has_no_name_and_two_anchors_are_doubtful() -> None:
    discs = spine(7)
    below = [Disc(*_xy(discs[0]), 0.6, 0.05), *(Disc(*_xy(d), 0.9, 0.02) for d in discs[2:])]
    anchor = Disc(*_xy(discs[1]), 0.9, 0.9)
    found = name_discs([anchor, *below])
    assert [disc.level for disc in found.discs[:3]] == ["", "L5/S1", "L4/L5"]
    assert found.naming == "clear"
    rival = [Disc(*_xy(discs[0]), 0.9, 0.6), anchor, *below[1:]]
    doubtful = name_discs(rival)
    assert doubtful.naming == "doubtful"
    assert "1 below it, may be L5/S1" in doubtful.remarks[0]
    assert "transitional anatomy" in doubtful.remarks[0]


def _xy(disc: Disc) -> tuple[float, float, tuple[float, float, float, float]]:
    return disc.x, disc.y, disc.box


def test_without_a_sacrum_there_are_no_names() -> None:
    found = name_discs([Disc(*_xy(disc), 0.9, 0.05) for disc in spine(5)])
    assert (found.naming, {disc.level for disc in found.discs}) == ("none", {""})
    assert "is the sacrum on the pictures?" in found.remarks[0]
    assert name_discs([]).remarks == ("no disc was found",)


def test_near_the_lower_edge_there_is_no_room_for_a_sacrum() -> None:
    discs = spine(6)
    assert name_discs(discs, discs[0].y + 90).naming == "clear"
    cut = name_discs(discs, discs[0].y + 60)
    assert (cut.naming, {disc.level for disc in cut.discs}) == ("none", {""})
    assert "no room for the sacrum" in cut.remarks[0]


def test_a_missed_disc_makes_the_names_doubtful() -> None:
    discs = spine(7, bend=0.05)
    found = name_discs([disc for k, disc in enumerate(discs) if k != 3])
    if len(found.discs) == 6:
        assert found.naming == "doubtful"
        assert "missed above L3/L4" in found.remarks[0]
    else:  # the gap parts the chain: what is beyond it is not named at all
        assert [disc.level for disc in found.discs] == list(CHAIN[:3])


def test_chains_of_none_and_one() -> None:
    assert chain([]) == []
    assert chain(spine(1)) == spine(1)


def write_set(folder: Path, boxes: list[list[float]], points: dict[str, list[float]] | None) -> Path:
    (folder / "images").mkdir(parents=True)
    film = simulate.lumbar(5, side=128)
    from PIL import Image

    Image.fromarray(film.pixels).save(folder / "images" / "a.png")
    coco: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png", "width": 128, "height": 128}],
        "categories": [{"id": 1, "name": "Buldging"}, {"id": 3, "name": "Normal"}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": 1 + 2 * (k % 2), "bbox": box} for k, box in enumerate(boxes)
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    if points is not None:
        (folder / "disc_levels.json").write_text(json.dumps({"points": {"a.png": points}}))
    return folder


def test_points_name_the_boxes_that_hold_them(tmp_path: Path) -> None:
    points = {"L4/L5": [52.0, 80.0], "L5/S1": [60.0, 110.0], "L1/L2": [50.0, 20.0]}
    (film,) = read_discs(write_set(tmp_path, [[40, 70, 20, 18], [40, 40, 20, 18]], points))
    assert discs_of(film) == (
        DiscMark(50.0, 20.0, None, "L1/L2"),
        DiscMark(50.0, 49.0, (20.0, 18.0), "", False),
        DiscMark(52.0, 80.0, (20.0, 18.0), "L4/L5", True),
        DiscMark(60.0, 110.0, None, "L5/S1"),
    )
    assert (film.extra["complete"], film.extra["anchored"]) == (False, True)


def test_faults_of_a_set_are_told_together(tmp_path: Path) -> None:
    write_set(tmp_path, [[40, 70, 0, 18], [1, 1, 5, 5]], {"L5/S1": [1.0]})
    with pytest.raises(DataError, match=r"without a box of a known category \(1\).*named discs without a place"):
        read_discs(tmp_path)
    (tmp_path / "annotations.json").write_text("[]")
    with pytest.raises(DataError, match="not a COCO file"):
        read_discs(tmp_path)


def cells(x: float, y: float) -> tuple[int, int]:
    return int(y // STRIDE), int(x // STRIDE)


def test_unmarked_discs_count_neither_way() -> None:
    marks = [DiscMark(100, 90, (50, 30)), DiscMark(100, 120, (50, 30)), DiscMark(100, 180, (50, 30))]
    truth, counts = targets(marks, anchored=False)
    assert all(truth[0][cells(mark.x, mark.y)] == 1 for mark in marks)
    assert truth[1].max() == 0
    open_places = [(100, 60), (100, 20), (100, 150), (100, 210)]  # above, far above, in the wide gap, below
    assert [counts[0][cells(x, y)] for x, y in open_places] == [0, 0, 0, 0]
    assert [counts[0][cells(x, y)] for x, y in [(100, 90), (20, 90), (200, 200)]] == [1, 1, 1]
    assert counts[1][cells(100, 100)] == 1  # L5/S1 is never above the lowest marked disc
    assert counts[1][cells(100, 200)] == 0
    np.testing.assert_allclose(np.exp(truth[2:, 30, 25]), (50, 30), rtol=1e-5)
    _, even = targets([DiscMark(100, y) for y in (90, 120, 150)], anchored=False)
    assert [even[0][cells(100, y)] for y in (105, 135)] == [1, 1]  # a body between two marked discs is no disc


def test_named_pictures_count_below_the_sacrum_too() -> None:
    marks = [DiscMark(100, 90, None, "L3/L4"), DiscMark(100, 120, None, "L4/L5"), DiscMark(100, 150, None, "L5/S1")]
    truth, counts = targets(marks, anchored=True)
    assert np.argwhere(truth[1] == 1).tolist() == [list(cells(100, 150))]
    assert counts[1].min() == 1
    assert counts[0][cells(100, 180)] == 1
    assert not truth[2:].any()
    nothing, none = targets([], anchored=False)
    assert nothing.max() == 0
    assert none[0][cells(128, 128)] == 0


def test_variation_moves_marks_as_it_moves_the_picture() -> None:
    plane = np.zeros((SIDE, SIDE), np.uint8)
    plane[99:102, 149:152] = 255
    how = PictureVariation(turn=30, scale=0.3, shift=0.05, mirror=0.5, gamma=0, noise=0)
    for seed in range(8):
        image, matrix = varied(plane, how, np.random.default_rng(seed))
        mark = _moved(DiscMark(150.5 * 2.5, 100.5 * 2.5, (25.0, 20.0)), 2.5, matrix)
        weight = image[0] / image[0].sum()
        y, x = np.mgrid[:SIDE, :SIDE] + 0.5
        assert ((weight * x).sum(), (weight * y).sum()) == pytest.approx((mark.x, mark.y), abs=0.15)
        assert mark.size is not None
        assert mark.size[0] / mark.size[1] == pytest.approx(1.25)


def test_peaks_are_refined_between_cells() -> None:
    maps = np.full((4, 64, 64), -6, np.float32)
    y, x = (np.mgrid[:64, :64] + 0.5) * STRIDE
    p = np.clip(np.exp(-((x - 101.2) ** 2 + (y - 77.5) ** 2) / (2 * 6.0**2)), 1e-4, 0.9)
    maps[0], maps[1, 20, 26], maps[2:, 19, 25] = np.log(p / (1 - p)), 2.0, [[np.log(40)], [np.log(20)]][0]
    maps[3, 19, 25] = np.log(20)
    (best, *rest) = peaks(maps)
    assert rest == []
    assert (best.x, best.y) == pytest.approx((101.2, 77.5), abs=0.6)
    assert (best.width, best.height) == pytest.approx((40, 20), rel=1e-5)
    assert best.last == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)


@pytest.mark.parametrize(("shape", "spacing"), [((640, 640), (1, 1)), ((201, 257), (1, 1)), ((100, 90), (2.0, 1.0))])
def test_pictures_fill_the_square_and_lead_back(shape: tuple[int, int], spacing: tuple[float, float]) -> None:
    pixels = np.zeros(shape, np.float32)
    row, column, half = shape[0] // 2, shape[1] // 3, shape[0] // 12
    pixels[row - half : row + half, column - half : column + half] = 1
    planes, grid = fit(pixels, spacing)
    assert planes.shape == (1, SIDE, SIDE)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    weight = planes[0] / planes[0].sum()
    x0, y0, *_ = grid.box((weight * x).sum(), (weight * y).sum(), 0, 0)
    assert (x0, y0) == pytest.approx((column, row), abs=0.3)
    assert grid.scale_y * spacing[0] == pytest.approx(grid.scale_x * spacing[1], rel=0.01)
    with pytest.raises(PixelValueError, match="without contrast"):
        fit(np.ones(shape, np.float32), spacing)


def test_the_loss_is_least_for_the_truth_and_blind_where_nothing_counts() -> None:
    truth, counts = (torch.from_numpy(part)[None] for part in targets([DiscMark(100, 90, (50, 30))], anchored=False))
    right = torch.cat([torch.logit(truth[:, :2].clamp(1e-3, 1 - 1e-3)), truth[:, 2:]], 1)
    least = disc_loss(right, truth, counts)
    off = right.roll(8, dims=3)
    assert disc_loss(off, truth, counts)["loss"] > 5 * least["loss"]
    assert least["size"] == 0
    blind = right.clone()
    blind[:, :2][counts == 0] = 5.0
    assert disc_loss(blind, truth, counts)["loss"] == least["loss"]


def test_the_network_gives_four_maps_at_a_quarter(tmp_path: Path) -> None:
    network = build_network(CenterSpec(channels=8, norm="batch"), seed=1)
    out = network(torch.rand(2, 1, 64, 96))
    assert out.shape == (2, 4, 16, 24)
    out.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert set(network.parameter_groups()) == {"trunk", "heads"}


def test_it_trains_and_resumes_on_phantoms(tmp_path: Path) -> None:
    simulate.write_lumbar(tmp_path / "real", 3, side=64)
    simulate.write_lumbar(tmp_path / "few", 1, seed=5, side=64)
    tables = {
        "model": {"channels": 8, "norm": "batch"},
        "split": {"folds": 3, "fold": 1, "tune_fold": False},
        "loop": {"epochs": 1, "batch": 3, "workers": 0, "threads": 1},
    }
    config = LumbarConfig.from_dict(tables)
    real, few = read_discs(tmp_path / "real"), read_discs(tmp_path / "few")
    facts = train(config, real, out=tmp_path / "run", train_only=few, device="cpu", progress=False)["discs"]
    assert facts["training"]["judged"] == 1
    assert facts["training"]["history"][0]["films"] == 3
    lines = [json.loads(line) for line in (tmp_path / "run/discs/found.jsonl").read_text().splitlines()]
    assert [set(line) for line in lines] == [{"source", "discs", "naming", "remarks", "candidates"}]
    assert lines[0]["source"].startswith("real/images/")
    again = train(config, real, out=tmp_path / "run", train_only=few, device="cpu", progress=False)
    assert facts == again["discs"]


def test_pictures_with_colored_marks_are_read_gray(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.full((20, 30, 3), 90, np.uint8)
    pixels[3, 4] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").shape == (20, 30)
    (tmp_path / "b.png").write_bytes(b"no picture at all")
    with pytest.raises(UnreadableFileError, match="not a picture"):
        read_picture(tmp_path / "b.png")
