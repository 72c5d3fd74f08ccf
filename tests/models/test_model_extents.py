"""The extent head: its promise, and that nothing else knows of it."""

from __future__ import annotations

import pytest
import torch

from fracture.errors import ModelError
from fracture.models import ModelSpec, build_model, fuse_for_inference
from fracture.models.inference import in_precision

from .model_contract import films, with_statistics

PLAIN = ModelSpec(backbone="resnet18", stages=3, output_stride=16, map_skip=True, regions=("hand",))


@pytest.mark.parametrize("changes", [{}, {"output_stride": 8, "map_skip": False}, {"map_skip": False}])
def test_distances_are_positive_float32_at_the_maps_cells(changes: dict[str, object]) -> None:
    spec = PLAIN.replace(extents=True, **changes)
    planes, mask = films(spec, 2, 64, 96)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = with_statistics(build_model(spec, seed=3)).eval()(planes, mask)
    assert out.map_logits is not None
    assert out.extents is not None
    assert out.extents.dtype == torch.float32
    assert out.extents.shape == (2, 4, *out.map_logits.shape[2:])
    assert out.extents.min() > 0
    assert 0.5 < out.extents.median() < 8  # an untrained head speaks of boxes of about four cells


def test_the_other_outputs_are_those_of_the_model_without() -> None:
    planes, mask = films(PLAIN, 2, 64, 96)
    without, with_them = (with_statistics(build_model(s, seed=3)).eval() for s in (PLAIN, PLAIN.replace(extents=True)))
    with torch.no_grad():
        a, b = without(planes, mask), with_them(planes, mask)
    assert a.extents is None
    for one, other in zip(a[:3], b[:3], strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_bfloat16_moves_a_side_by_little() -> None:
    spec = PLAIN.replace(extents=True)
    planes, mask = films(spec, 1, 64, 96)
    model = fuse_for_inference(with_statistics(build_model(spec, seed=3)))
    with torch.no_grad():
        exact = model(planes, mask).extents
        rough = in_precision(model, torch.bfloat16)(planes.bfloat16(), mask).extents
    assert exact is not None
    assert rough is not None
    assert rough.dtype == torch.float32
    assert (rough / exact).log().abs().max() < 0.1


def test_extents_without_a_map_are_refused() -> None:
    with pytest.raises(ModelError, match="extents"):
        ModelSpec(map=False, extents=True)
    with pytest.raises(ModelError, match="must be a valid boolean"):
        ModelSpec(extents=1)  # type: ignore[arg-type]
