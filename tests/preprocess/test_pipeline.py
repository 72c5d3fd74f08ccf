"""The whole preprocessing: masks, planes, golden values."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from fracture.errors import ConfigurationError, PixelValueError
from fracture.io.radiograph import Radiograph
from fracture.preprocess import PREPROCESS_VERSION, PreprocessSpec, letterbox, normalize, pipeline, prepare, prepare_all


def film() -> Radiograph:
    y, x = np.mgrid[0:240, 0:180].astype(np.float32)
    pixels = 0.08 + 0.6 * np.exp(-(((x - 90) / 30) ** 2)) * (1 + 0.1 * np.sin(y / 5)) * (y > 30) * (y < 220)
    return Radiograph(np.clip(pixels, 0, 1).astype(np.float32))


SPEC = PreprocessSpec(size=128, shape="stride", channels=("raw", "lcn"), lcn_scaling="percentile")


def test_padding_is_zero_in_every_plane() -> None:
    prepared = prepare(film(), SPEC)
    assert prepared.planes.shape == (2, *prepared.mask.shape)
    assert prepared.planes.dtype == np.float32
    assert not prepared.mask.all()
    assert not prepared.planes[:, ~prepared.mask].any()
    assert float(np.abs(prepared.planes).max()) <= 1.0


def test_prepare_is_letterbox_then_normalize() -> None:
    boxed = letterbox(film(), SPEC)
    planes = normalize(boxed.pixels, boxed.mask, SPEC)
    assert np.array_equal(planes, prepare(film(), SPEC).planes)


def test_the_order_of_channels_is_the_specification_s() -> None:
    swapped = PreprocessSpec(size=128, shape="stride", channels=("lcn", "raw"), lcn_scaling="percentile")
    assert np.array_equal(prepare(film(), swapped).planes[::-1], prepare(film(), SPEC).planes)


def test_shared_work_changes_nothing() -> None:
    specs = [
        SPEC,
        PreprocessSpec(size=128, shape="stride", channels=("lcn",)),
        PreprocessSpec(size=128, shape="stride", channels=("raw",)),
        PreprocessSpec(size=256, channels=("raw", "lcn")),
    ]
    for spec, prepared in zip(specs, prepare_all(film(), specs), strict=True):
        alone = prepare(film(), spec)
        assert np.array_equal(prepared.planes, alone.planes)
        assert np.array_equal(prepared.mask, alone.mask)
        assert prepared.geometry == alone.geometry


def test_ten_members_of_three_inputs_cost_one_letterbox_and_two_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for work in (letterbox, normalize):

        def counted(*given: Any, _work: Any = work) -> Any:
            calls.append(_work.__name__)
            return _work(*given)

        monkeypatch.setattr(pipeline, work.__name__, counted)
    members = [PreprocessSpec(size=128, channels=channels) for channels in (("raw",), ("lcn",), ("raw", "lcn"))]
    prepare_all(film(), (members * 4)[:10])
    assert sorted(calls) == ["letterbox", "normalize", "normalize"]


def test_a_redaction_rectangle_is_not_image() -> None:
    pixels = film().pixels.copy()
    pixels[100:140, 60:120] = 0.0
    boxed = letterbox(Radiograph(pixels), PreprocessSpec(size=256, shape="stride", crop=False))
    inner = boxed.geometry.boxes_to_network((62, 102, 118, 138)).round().astype(int)
    assert not boxed.mask[inner[1] : inner[3], inner[0] : inner[2]].any()
    assert boxed.mask[: inner[1] - 4, : boxed.geometry.scaled_size[0]].all()


def test_golden_values() -> None:
    """A change here changes every model: raise PREPROCESS_VERSION with it."""
    prepared = prepare(film(), SPEC)
    assert PREPROCESS_VERSION == 1
    assert prepared.geometry.crop == (27, 25, 154, 225)
    assert prepared.geometry.scaled_size == (81, 128)
    assert prepared.planes.shape == (2, 128, 96)
    np.testing.assert_allclose(
        [
            prepared.planes[0].mean(),
            prepared.planes[0].std(),
            prepared.planes[1].mean(),
            prepared.planes[1].std(),
        ],
        GOLDEN,
        atol=2e-3,
    )
    np.testing.assert_allclose(prepared.planes[:, 64, 10:60:10].ravel(), GOLDEN_ROW, atol=5e-3)


GOLDEN = [-0.30926, 0.41137, -0.01226, 0.31774]
GOLDEN_ROW = [-0.7379, -0.4413, 0.0696, 0.3523, 0.0696, -0.1378, -0.2014, 0.2105, 0.404, 0.2105]


def test_json_round_trip_and_unknown_keys() -> None:
    assert PreprocessSpec.from_dict(SPEC.to_dict()) == SPEC
    with pytest.raises(ConfigurationError, match="clahe: unknown key"):
        PreprocessSpec.from_dict({**SPEC.to_dict(), "clahe": True})
    with pytest.raises(ConfigurationError, match="version"):
        PreprocessSpec.from_dict({**SPEC.to_dict(), "version": 0})


@pytest.mark.parametrize(
    "bad",
    [
        {"size": 100},
        {"channels": ()},
        {"channels": ("rgb",)},
        {"lcn_window": 8},
        {"shape": "round"},
        {"size": 0},
    ],
)
def test_impossible_specifications_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="PreprocessSpec"):
        PreprocessSpec(**bad)  # type: ignore[arg-type]


def test_normalize_refuses_other_arrays() -> None:
    with pytest.raises(PixelValueError):
        normalize(np.zeros((4, 4), np.float64), np.ones((4, 4), bool), SPEC)  # type: ignore[arg-type]


def test_the_result_does_not_depend_on_the_run() -> None:
    digest = {hashlib.sha256(prepare(film(), SPEC).planes.tobytes()).hexdigest() for _ in range(3)}
    assert len(digest) == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_each_axis_is_interpolated_by_its_own_change_of_size(axis: int) -> None:
    """Faults 33: rows that are doubled while columns stay came out in steps, columns did not."""
    y, x = np.mgrid[:192, :160].astype(np.float32)
    square = (0.5 + 0.4 * np.sin(x / 7) * np.cos(y / 9)).astype(np.float32)
    halved = square.reshape(96, 2, 160).mean(axis=1) if axis == 0 else square.reshape(192, 80, 2).mean(axis=2)
    spacing = (0.4, 0.2) if axis == 0 else (0.2, 0.4)
    spec = PreprocessSpec(size=192, crop=False)
    expected = letterbox(Radiograph(square, spacing=(0.2, 0.2)), spec).pixels
    found = letterbox(Radiograph(np.ascontiguousarray(halved), spacing=spacing), spec).pixels
    assert np.abs(found - expected)[4:188, 4:156].max() < 0.01
    told = letterbox(Radiograph(np.ascontiguousarray(halved), aspect=2.0 if axis == 0 else 0.5), spec).pixels
    assert np.array_equal(told, found)  # faults 30: PixelAspectRatio says the same where the spacing is unknown


def test_one_axis_shrinks_while_the_other_grows() -> None:
    y, x = np.mgrid[:100, :1000].astype(np.float32)
    film = (0.5 + 0.4 * np.sin(x / 50) * np.cos(y / 9)).astype(np.float32)
    boxed = letterbox(Radiograph(film, aspect=5.0), PreprocessSpec(size=512, crop=False))
    assert boxed.geometry.scaled_size == (512, 256)
    u, v = (np.arange(512) + 0.5) / 0.512 - 0.5, (np.arange(256) + 0.5) / 2.56 - 0.5
    expected = 0.5 + 0.4 * np.sin(u[None, :] / 50) * np.cos(v[:, None] / 9)
    assert np.abs(boxed.pixels[:256] - expected)[4:-4, 4:-4].max() < 0.01
