"""Boxes of networks with a feature pyramid, from the weights' folder to the prediction."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import fracture
from fracture.limb.boxes import BoxParameters, find_boxes, find_candidates
from fracture.limb.card import Calibration, Card
from fracture.limb.cell_boxes import CellBoxes, best_cells
from fracture.models.pyramid import Cells
from fracture.preprocess import Geometry
from fracture.wing.result import Failure, GridToSource
from tests.weights import write_weights

FILM = np.random.default_rng(0).random((150, 200)).astype(np.float32)
MAP = np.zeros((4, 4), np.float32)
RULES = BoxParameters(quality=0.3, suppress=0.4, film_power=0.5, candidate_floor=0.05)
WHOLE = {"to_source": GridToSource(8, 8), "size": (100, 100)}


def told(*rows: tuple[float, float, float, float, float]) -> CellBoxes:
    array = np.array(rows, np.float64).reshape(-1, 5)
    return CellBoxes(array[:, :4], array[:, 4])


def test_cells_come_back_in_source_pixels_on_the_film() -> None:
    geometry = Geometry((200, 100), (20, 10, 180, 90), (320, 160), (320, 160))  # twice as large, cropped
    cells = Cells(
        torch.tensor([[-2.0, 3.0, 0.0, 5.0]]),
        torch.tensor([[[0.0, 0, 10, 10], [100, 40, 140, 60], [300, 150, 400, 200], [400, 10, 420, 20]]]),
        torch.zeros(4, 3),
    )
    (found,) = best_cells(cells, [geometry])
    np.testing.assert_allclose(found.boxes, [(70, 30, 90, 40), (170, 85, 180, 90), (20, 10, 25, 15)])
    np.testing.assert_allclose(found.quality, 1 / (1 + np.exp([-3.0, 0.0, 2.0])))  # what lies off the film is left out


def test_of_many_cells_the_surest_come_in_the_order_of_a_whole_sort() -> None:
    geometry = Geometry((640, 640), (0, 0, 640, 640), (640, 640), (640, 640))
    logits = torch.from_numpy(np.random.default_rng(3).integers(-6, 3, 2000).astype(np.float32) / 2)  # many are equal
    corner = torch.arange(2000) % 600
    boxes = torch.stack([corner, corner, corner + 20, corner + 30], 1).float()
    (found,) = best_cells(Cells(logits[None], boxes[None], torch.zeros(2000, 3)), [geometry])
    best = np.argsort(-logits.numpy(), kind="stable")[:300]
    np.testing.assert_array_equal(found.boxes, boxes.numpy()[best])


def test_reported_boxes_reach_the_quality_and_the_best_one_always_is() -> None:
    boxes = told((0, 0, 20, 20, 0.8), (50, 50, 70, 70, 0.31), (20, 60, 40, 80, 0.2), (80, 0, 95, 10, 0.01))
    reported = find_boxes(MAP, RULES, score=0.25, operating_point="high_specificity", told=[boxes], **WHOLE)
    assert [(b.x0, b.score) for b in reported] == [(0, pytest.approx(0.4)), (50, pytest.approx(0.155))]
    listed = find_candidates(MAP, RULES, score=0.25, operating_point="high_specificity", told=[boxes], **WHOLE)
    assert listed[:2] == reported
    assert [(b.x0, b.operating_point) for b in listed[2:]] == [(20, None)]  # the last lies below the floor
    (best,) = find_boxes(MAP, RULES, told=[told((0, 0, 20, 20, 0.02))], **WHOLE)
    assert best.score == pytest.approx(0.02)
    assert find_boxes(MAP, RULES, told=[told()], **WHOLE) == ()


def test_boxes_of_two_networks_are_joined() -> None:
    (both,) = find_boxes(MAP, RULES, told=[told((0, 0, 20, 20, 0.6)), told((2, 0, 22, 20, 0.6))], **WHOLE)
    assert (both.x0, both.x1, both.score) == (pytest.approx(1), pytest.approx(21), pytest.approx(0.6))


def test_a_detector_with_pyramids_reads_their_boxes(tmp_path: Path) -> None:
    write_weights(tmp_path, sizes=(128, 160), pyramid=True, thresholds={"any": (0.0, 0.9)})
    detector = fracture.load(tmp_path, device="cpu", precision="float32")
    prediction = detector.predict(FILM, candidates=True)
    assert prediction.fractured
    assert prediction.boxes
    assert prediction.candidates is not None
    assert prediction.candidates[0] == prediction.boxes[0]
    assert prediction.probability_map is not None
    for box in prediction.candidates:
        assert 0 <= box.x0 < box.x1 <= 200
        assert 0 <= box.y0 < box.y1 <= 150
    (again,) = detector.predict_many([FILM], candidates=True)
    assert again.ok
    assert again.boxes == prediction.boxes


def test_a_member_for_boxes_only_has_no_part_in_the_means(tmp_path: Path) -> None:
    """Its boxes are the pair's; score, map and regions are the other's alone."""
    both, alone = tmp_path / "both", tmp_path / "alone"
    card = write_weights(both, sizes=(128, 160), pyramid=True, thresholds={"any": (0.0, 0.9)})
    first, second = card.members
    card.model_copy(update={"members": (first, second.model_copy(update={"boxes_only": True}))}).write(both)
    write_weights(alone, sizes=(128, 160), pyramid=True, thresholds={"any": (0.0, 0.9)})
    card.model_copy(update={"members": (first,)}).write(alone)
    pair, single = (fracture.load(folder, device="cpu", precision="float32").predict(FILM) for folder in (both, alone))
    assert pair.probability == single.probability
    assert pair.member_scores == single.member_scores
    assert pair.region_probabilities == single.region_probabilities
    assert pair.probability_map is not None
    assert single.probability_map is not None
    np.testing.assert_array_equal(pair.probability_map, single.probability_map)
    assert pair.boxes != single.boxes


def test_a_member_whose_regions_are_left_out_has_a_part_in_all_else(tmp_path: Path) -> None:
    both, without, alone = (tmp_path / name for name in ("both", "without", "alone"))
    card = write_weights(both, sizes=(128, 160), pyramid=True)
    first, second = card.members
    shutil.copytree(both, without)
    card.model_copy(update={"members": (first.model_copy(update={"regions_left_out": True}), second)}).write(without)
    shutil.copytree(both, alone)
    card.model_copy(update={"members": (second,)}).write(alone)
    told = {
        folder.name: fracture.load(folder, device="cpu", precision="float32").predict(FILM)
        for folder in (both, without, alone)
    }
    assert told["without"].region_probabilities == told["alone"].region_probabilities
    assert told["without"].region_probabilities != told["both"].region_probabilities
    assert told["without"].member_scores == told["both"].member_scores


def test_a_member_for_regions_only_tells_nothing_else(tmp_path: Path) -> None:
    both, alone, other = (tmp_path / name for name in ("both", "alone", "other"))
    card = write_weights(both, sizes=(128, 160), pyramid=True, thresholds={"any": (0.0, 0.9)})
    first, second = card.members
    shutil.copytree(both, alone)
    card.model_copy(update={"members": (first,)}).write(alone)
    shutil.copytree(both, other)
    card.model_copy(update={"members": (second,)}).write(other)
    asked = first.model_copy(update={"regions_left_out": True}), second.model_copy(update={"regions_only": True})
    card.model_copy(update={"members": asked}).write(both)
    told = {
        folder.name: fracture.load(folder, device="cpu", precision="float32").predict(FILM)
        for folder in (both, alone, other)
    }
    assert told["both"].region_probabilities == told["other"].region_probabilities
    assert told["both"].member_scores == told["alone"].member_scores
    assert told["both"].boxes == told["alone"].boxes
    np.testing.assert_array_equal(told["both"].probability_map, told["alone"].probability_map)


def test_a_member_whose_boxes_are_left_out_has_a_part_in_all_else(tmp_path: Path) -> None:
    both, without, alone = (tmp_path / name for name in ("both", "without", "alone"))
    card = write_weights(both, sizes=(128, 160), pyramid=True, thresholds={"any": (0.0, 0.9)})
    told = Calibration(slope=0.5, intercept=-0.25, peak=0.75)
    first, second = (member.model_copy(update={"calibration": told}) for member in card.members)
    card.model_copy(update={"members": (first, second)}).write(both)
    shutil.copytree(both, without)
    card.model_copy(update={"members": (first, second.model_copy(update={"boxes_left_out": True}))}).write(without)
    shutil.copytree(both, alone)
    card.model_copy(update={"members": (first,)}).write(alone)
    found = {
        folder.name: fracture.load(folder, device="cpu", precision="float32").examine_many([FILM])
        for folder in (both, without, alone)
    }
    outputs = {name: one.output for name, (one,) in found.items() if not isinstance(one, Failure)}
    assert outputs["without"].member_scores == outputs["both"].member_scores  # its best box has its say in its score
    assert outputs["without"].regions == outputs["both"].regions
    np.testing.assert_array_equal(outputs["without"].map, outputs["both"].map)
    assert [len(outputs[name].told) for name in ("both", "without", "alone")] == [2, 1, 1]
    np.testing.assert_array_equal(outputs["without"].told[0].boxes, outputs["alone"].told[0].boxes)
    assert outputs["both"].box_score == outputs["both"].score
    assert outputs["without"].box_score == outputs["alone"].score != outputs["without"].score
    again = outputs["without"].recalibrated({"member_0": told, "member_1": None})
    assert again.box_score == outputs["alone"].score
    shown = {
        folder.name: fracture.load(folder, device="cpu", precision="float32").predict(FILM)
        for folder in (both, without, alone)
    }
    assert shown["without"].probability == shown["both"].probability
    assert shown["without"].boxes == shown["alone"].boxes != ()  # with their scores


def test_the_best_box_has_its_say_where_the_calibrator_gives_it_one(tmp_path: Path) -> None:
    card = write_weights(tmp_path, sizes=(128, 160), pyramid=True)
    plain = fracture.load(tmp_path, device="cpu", precision="float32").predict(FILM)
    told = Calibration(slope=0.5, intercept=-0.25, peak=0.75)
    card.model_copy(update={"members": tuple(m.model_copy(update={"calibration": told}) for m in card.members)}).write(
        tmp_path
    )
    detector = fracture.load(tmp_path, device="cpu", precision="float32")
    (found,) = detector.examine_many([FILM])
    assert not isinstance(found, Failure)
    output = found.output
    assert output.member_peaks.keys() == output.member_logits.keys()
    for name, logit in output.member_logits.items():
        assert output.member_scores[name] == told(logit, output.member_peaks[name])
    best = max(float(one.quality[0]) for one in output.told)
    assert max(output.member_peaks.values()) == pytest.approx(np.log(best / (1 - best)))
    assert output.raw_score == plain.probability
    assert output.score == pytest.approx(np.mean(list(output.member_scores.values())))


def test_a_region_threshold_is_of_the_quality_where_cells_tell_boxes(tmp_path: Path) -> None:
    card = write_weights(tmp_path, sizes=(128, 160), pyramid=True, thresholds={"any": (0.0, 0.9)})
    shown = {}
    for threshold in (1.0, 1e-6):
        points = card.operating_points
        points = {**points, "nodes": {"any": {**points["nodes"]["any"], "map_threshold": threshold}}}
        card.model_copy(update={"operating_points": points}).write(tmp_path)
        prediction = fracture.load(tmp_path, device="cpu", precision="float32").predict(FILM, candidates=True)
        assert prediction.map_threshold == threshold
        shown[threshold] = prediction
    assert len(shown[1.0].boxes) == 1  # the best is shown whatever its quality
    assert len(shown[1e-6].boxes) > 1


def test_who_can_be_for_boxes_only(tmp_path: Path) -> None:
    pyramids = write_weights(tmp_path / "p", pyramid=True).members
    plain = write_weights(tmp_path / "m", calibration=Calibration(slope=1.0, intercept=0.0))
    asked = [{**one.model_dump(), "boxes_only": True} for one in pyramids]
    values = plain.model_dump()
    for members, said in (
        ([{**values["members"][0], "boxes_only": True, "calibration": None}, values["members"][1]], "no pyramid"),
        (asked, "at least one must be neither"),
        ([{**asked[0], "regions_only": True}, values["members"][1]], "no other part"),
        ([{**asked[0], "boxes_left_out": True}, values["members"][1]], "boxes_left_out: the network must have"),
        ([{**values["members"][0], "boxes_left_out": True}, values["members"][1]], "boxes_left_out: the network must"),
        ([{**pyramids[0].model_dump(), "regions_only": True}], "at least one must be neither"),
        ([{**asked[0], "calibration": {"slope": 1.0, "intercept": 0.0}}, values["members"][1]], "has no calibration"),
        (
            [{**values["members"][0], "calibration": {"slope": 1.0, "intercept": 0.0, "peak": 1.0}}],
            "peak: the network has no pyramid",
        ),
        ([{**asked[0], "boxes_only": False, "calibration": {"slope": 0.0, "intercept": 0.0}}], "both 0"),
    ):
        with pytest.raises(ValueError, match=said):
            Card(**{**values, "members": members})
