"""The ensemble: unweighted means, maps on one grid, precision and devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from fracture.errors import ConfigurationError
from fracture.io.radiograph import Radiograph
from fracture.limb.ensemble import Ensemble, _regrid
from fracture.limb.store import open_weights
from fracture.models.devices import resolve_precision
from tests.test_detector import film
from tests.weights import write_weights


def radiograph(seed: int = 0) -> Radiograph:
    return Radiograph(film(seed).astype(np.float32) / 255)


def test_the_mean_is_unweighted(tmp_path: Path) -> None:
    write_weights(tmp_path, sizes=(128, 128, 128), channels=(("raw",),) * 3, maps=(True, True, False))
    ensemble = Ensemble.load(open_weights(tmp_path), device="cpu", precision="float32")
    prepared = ensemble.prepare(radiograph())
    output = ensemble.run([prepared])[0]
    planes, mask = ensemble.tensors([prepared.inputs[0]])
    with torch.inference_mode():
        alone = [member.model(planes, mask) for member in ensemble.members]
    scores = [torch.sigmoid(o.score_logit)[0].item() for o in alone]
    assert output.score == pytest.approx(np.mean(scores), abs=1e-6)
    maps = [torch.sigmoid(o.map_logits)[0, 0].numpy() for o in alone if o.map_logits is not None]
    assert len(maps) == 2
    assert output.map is not None
    valid = prepared.inputs[0].mask.reshape(maps[0].shape[0], 8, maps[0].shape[1], 8).any(axis=(1, 3))
    np.testing.assert_allclose(output.map, np.mean(maps, axis=0) * valid, atol=1e-6)


def test_the_map_is_zero_outside_the_film(tmp_path: Path) -> None:
    write_weights(tmp_path)
    ensemble = Ensemble.load(open_weights(tmp_path), device="cpu", precision="float32")
    prepared = ensemble.prepare(radiograph())
    output = ensemble.run([prepared])[0]
    width, height = prepared.inputs[0].geometry.scaled_size
    assert output.map is not None
    assert not output.map[-(-height // 8) :].any()
    assert not output.map[:, -(-width // 8) :].any()


def test_batches_of_other_shapes_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path)
    ensemble = Ensemble.load(open_weights(tmp_path), device="cpu", precision="float32")
    tall = ensemble.prepare(radiograph())
    wide = ensemble.prepare(Radiograph(np.ascontiguousarray(radiograph().pixels.T)))
    with pytest.raises(ConfigurationError, match="equal shapes"):
        ensemble.run([tall, wide])


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 2.0), st.floats(-20, 20), st.floats(-20, 20))
def test_regridding_keeps_source_coordinates(ratio: float, shift_x: float, shift_y: float) -> None:
    """A map that is linear in source coordinates stays so on another grid."""
    own, target = (8.0, 8.0, 0.0, 0.0), (8.0 * ratio, 8.0 * ratio, shift_x, shift_y)

    def ramp(grid: tuple[float, float, float, float], shape: tuple[int, int]) -> np.ndarray:
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
        return 0.001 * (x * grid[0] + grid[2]) + 0.002 * (y * grid[1] + grid[3])

    values = ramp(own, (60, 60)).astype(np.float32)
    result = _regrid(values, own, target, (20, 20))
    expected = ramp(target, (20, 20))
    y, x = np.mgrid[0:20, 0:20] + 0.5
    sx, sy = x * target[0] + target[2], y * target[1] + target[3]
    inside = (sx > 8) & (sx < 472) & (sy > 8) & (sy < 472)
    # OpenCV interpolates at 1/32 of a cell, which is 1/4 source pixel here.
    np.testing.assert_allclose(result[inside], expected[inside], atol=0.003 * 0.26)


def test_precision_follows_the_processor() -> None:
    dtype = resolve_precision("auto", torch.device("cpu"))
    assert dtype in (torch.float32, torch.bfloat16)
    assert resolve_precision("float32", torch.device("cpu")) is torch.float32
