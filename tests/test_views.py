"""Further views of a film: mirrored and at other sizes, through the same network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fracture.io.radiograph import Radiograph
from fracture.limb.card import Card, View
from fracture.limb.ensemble import Ensemble, EnsembleOutput
from fracture.limb.fast import fast_card
from fracture.limb.store import open_weights
from tests.test_detector import film
from tests.weights import write_weights


def judged(folder: Path, pixels: np.ndarray, views: tuple[View, ...], *, pyramid: bool) -> EnsembleOutput:
    card = Card.read(folder) if (folder / "card.json").exists() else None
    if card is None:
        card = write_weights(folder, sizes=(128,), channels=(("raw",),), maps=(True,), pyramid=pyramid)
    # Without the crop, which need not cut a film and its mirror image alike.
    preprocess = {**card.members[0].preprocess, "crop": False}
    member = card.members[0].model_copy(update={"views": views, "preprocess": preprocess})
    card.model_copy(update={"members": (member,)}).write(folder)
    ensemble = Ensemble.load(open_weights(folder), device="cpu", precision="float32")
    return ensemble.run([ensemble.prepare(Radiograph(pixels))])[0]


def pixels() -> np.ndarray:
    # As wide as the network's stride asks for: a film that is padded on one side is not mirrored exactly.
    return np.ascontiguousarray(film(3)[:96, :128].astype(np.float32) / 255)


def test_the_mean_over_a_film_and_its_mirror_image_is_that_of_the_mirrored_film(tmp_path: Path) -> None:
    one = pixels()
    both = (View(mirrored=True),)
    here, there = (judged(tmp_path, image, both, pyramid=False) for image in (one, np.ascontiguousarray(one[:, ::-1])))
    assert here.score == pytest.approx(there.score, abs=1e-5)
    assert here.map is not None
    assert there.map is not None
    np.testing.assert_allclose(here.map, there.map[:, ::-1], atol=1e-5)
    assert judged(tmp_path, one, (), pyramid=False).score != pytest.approx(here.score, abs=1e-5)


def test_boxes_of_a_mirrored_view_lie_where_the_film_has_them(tmp_path: Path) -> None:
    one = pixels()
    width = one.shape[1]
    (plain,) = judged(tmp_path, np.ascontiguousarray(one[:, ::-1]), (), pyramid=True).told
    first, mirrored = judged(tmp_path, one, (View(mirrored=True),), pyramid=True).told
    np.testing.assert_allclose(mirrored.quality, plain.quality, atol=1e-5)
    expected = np.stack([width - plain.boxes[:, 2], plain.boxes[:, 1], width - plain.boxes[:, 0], plain.boxes[:, 3]], 1)
    np.testing.assert_allclose(mirrored.boxes, expected, atol=1e-3)
    assert not np.allclose(first.boxes, mirrored.boxes, atol=1)


def test_logits_and_peaks_are_means_over_views_of_any_size(tmp_path: Path) -> None:
    one = pixels()
    small = judged(tmp_path, one, (), pyramid=True)
    card = Card.read(tmp_path)
    larger = {**card.members[0].preprocess, "size": 256, "enlarge": True}
    as_is = {**card.members[0].preprocess, "enlarge": True}
    for preprocess in (as_is, larger):
        member = card.members[0].model_copy(update={"preprocess": preprocess})
        card.model_copy(update={"members": (member,)}).write(tmp_path)
        large = judged(tmp_path, one, (), pyramid=True)
    card.model_copy(update={"members": (card.members[0].model_copy(update={"preprocess": as_is}),)}).write(tmp_path)
    both = judged(tmp_path, one, (View(size=256),), pyramid=True)
    name = "member_0"
    assert both.member_logits[name] == pytest.approx((small.member_logits[name] + large.member_logits[name]) / 2)
    assert both.member_peaks[name] == pytest.approx((small.member_peaks[name] + large.member_peaks[name]) / 2)
    assert len(both.told) == 2
    assert both.map is not None
    assert large.map is not None
    assert both.map.shape == large.map.shape  # the finest grid of all


def test_a_fast_subset_looks_once(tmp_path: Path) -> None:
    card = write_weights(tmp_path, pyramid=True)
    seen = tuple(m.model_copy(update={"views": (View(mirrored=True),)}) for m in card.members)
    (alone,) = fast_card(card.model_copy(update={"members": seen}), ["member_1"]).members
    assert alone.views == ()
    assert alone.sha256 == card.members[1].sha256
