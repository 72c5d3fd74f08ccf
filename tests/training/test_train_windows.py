"""Windows at many sizes: where pixels go, boxes go too; looks stay in range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture.data.appearance import AppearanceSpec, change_appearance
from fracture.data.records import Film
from fracture.errors import ConfigurationError
from fracture.preprocess import Geometry, Letterboxed
from fracture.training.config import MemberConfig, WindowsConfig
from fracture.training.windows import cut_window

WIDTH, HEIGHT = 300, 400
STILL = WindowsConfig(size=224, long_side=(448, 448), rotation=0.0, aspect=0.0, upside_down=0.0, looks=False)


def film(box: tuple[float, float, float, float] | None) -> tuple[Letterboxed, Film]:
    """A dark film with a bright rectangle as its fracture."""
    pixels = np.full((416, 320), 0.1, np.float32)
    mask = np.zeros(pixels.shape, np.bool_)
    mask[:HEIGHT, :WIDTH] = True
    if box is not None:
        x0, y0, x1, y1 = (int(v) for v in box)
        pixels[y0:y1, x0:x1] = 1.0
    geometry = Geometry((WIDTH, HEIGHT), (0, 0, WIDTH, HEIGHT), (WIDTH, HEIGHT), (320, 416))
    boxes = () if box is None else (box,)
    return Letterboxed(pixels * mask, mask, geometry), Film("a.png", WIDTH, HEIGHT, int(bool(boxes)), boxes=boxes)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    x=st.integers(10, 240),
    y=st.integers(10, 340),
    side=st.integers(20, 48),
    turned=st.sampled_from([0.0, 1.0]),
)
def test_a_window_s_box_is_where_its_pixels_are(seed: int, x: int, y: int, side: int, turned: float) -> None:
    boxed, annotated = film((x, y, x + side, y + side + 8))
    changes = {"near": 1.0, "turned": turned}
    window = cut_window(boxed, annotated, STILL.model_copy(update=changes), np.random.default_rng(seed))
    assert (abs(window.matrix[0, 0]) < 1e-9) == bool(turned)
    assert window.pixels.shape == window.mask.shape == (224, 224)
    for box in window.boxes:
        rows, columns = np.nonzero(window.pixels > 0.55)
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(box, seen, atol=1.01)
    assert len(window.boxes) + len(window.ignored) == 1  # near: a fracture's middle is always inside
    assert not window.pixels[~window.mask].any()


def test_turned_boxes_lie_between_outline_and_ellipse() -> None:
    boxed, annotated = film((100, 100, 160, 120))
    turned = STILL.model_copy(update={"rotation": 30.0, "near": 1.0})
    for seed in range(60):
        window = cut_window(boxed, annotated, turned, np.random.default_rng(seed))
        if len(window.boxes):
            corners = np.array([(100, 100), (160, 100), (160, 120), (100, 120)], float)
            moved = corners @ window.matrix[:, :2].T + window.matrix[:, 2]
            outer = np.clip([*moved.min(axis=0), *moved.max(axis=0)], 0, 224)
            assert (window.boxes[0][:2] >= outer[:2] - 1e-3).all()
            assert (window.boxes[0][2:] <= outer[2:] + 1e-3).all()


def test_nine_in_ten_windows_of_a_fractured_film_show_it() -> None:
    boxed, annotated = film((20, 20, 40, 40))
    config = WindowsConfig(size=96, long_side=(448, 900))
    shown = [len(cut_window(boxed, annotated, config, np.random.default_rng(k)).boxes) for k in range(300)]
    assert 0.8 < np.mean(shown) < 0.97


def test_film_sizes_are_drawn_between_the_limits() -> None:
    boxed, annotated = film(None)
    config = WindowsConfig(size=96, long_side=(448, 900), looks=False)
    scales = [
        np.sqrt(abs(np.linalg.det(cut_window(boxed, annotated, config, np.random.default_rng(k)).matrix[:, :2])))
        for k in range(300)
    ]
    sides = np.array(scales) * HEIGHT
    assert 440 < sides.min() < 480
    assert 850 < sides.max() < 910


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_looks_stay_in_range_and_repeat(seed: int) -> None:
    pixels = np.random.default_rng(seed).random((64, 48), dtype=np.float32)
    often = AppearanceSpec(
        curve=1, inverted=0.5, blurred=1, sharpened=1, noisy=1, compressed=1, coarse=1, collimated=1, lettered=1
    )
    one, other = (change_appearance(pixels, often, np.random.default_rng(seed)) for _ in range(2))
    assert one.dtype == np.float32
    assert one.shape == pixels.shape
    assert 0.0 <= one.min() <= one.max() <= 1.0
    np.testing.assert_array_equal(one, other)


def test_no_look_is_the_film_itself() -> None:
    pixels = np.random.default_rng(1).random((64, 48), dtype=np.float32)
    shares = [name for name in AppearanceSpec.__dataclass_fields__ if name != "noise"]
    none = AppearanceSpec(**dict.fromkeys(shares, 0.0))
    np.testing.assert_array_equal(change_appearance(pixels, none, np.random.default_rng(0)), pixels)
    inverted = AppearanceSpec(**{name: float(name == "inverted") for name in shares})
    np.testing.assert_allclose(change_appearance(pixels, inverted, np.random.default_rng(0)), 1 - pixels)


def test_noise_lies_between_the_deviations_that_are_asked_for() -> None:
    shares = {name: float(name == "noisy") for name in AppearanceSpec.__dataclass_fields__ if name != "noise"}
    spec, flat = AppearanceSpec(**shares, noise=(0.04, 0.08)), np.full((200, 200), 0.5, np.float32)
    spread = [float(change_appearance(flat, spec, np.random.default_rng(seed)).std()) for seed in range(20)]
    assert 0.03 < min(spread) < max(spread) < 0.085  # a coarser grain is a fifth weaker


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="noisy"):
        AppearanceSpec(noisy=2.0)
    with pytest.raises(ConfigurationError, match="noise"):
        AppearanceSpec(noise=(0.0, 0.1))
    assert WindowsConfig(looks={"noisy": 0.5, "noise": [0.01, 0.1]}).appearance == AppearanceSpec(
        noisy=0.5, noise=(0.01, 0.1)
    )
    with pytest.raises(ConfigurationError, match="unknown"):
        WindowsConfig(size=96, looks={"glitter": 1.0})
    with pytest.raises(ConfigurationError, match="long_side"):
        WindowsConfig(long_side=(900, 448))
    with pytest.raises(ConfigurationError, match="exclude"):
        MemberConfig.from_dict({"windows": {"size": 96}, "crops": {"epochs": 1}})


def test_the_recipe_reads(tmp_path: Path) -> None:
    from fracture.training import load_recipe

    (member,) = load_recipe("pyramid_public").members
    assert member.model.pyramid
    assert member.windows.size == 448
    assert MemberConfig.from_dict(member.to_dict()) == member
