from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fracture.errors import ModelError
from fracture.models import BACKBONES, ModelSpec
from fracture.models.spec import family_of


def test_it_is_frozen_hashable_and_survives_json() -> None:
    spec = ModelSpec(backbone="resnet50", inputs=("raw", "lcn"), regions=("wrist", "hip"), pooling="spp", dropout=0.1)
    again = ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.width = 2.0  # type: ignore[misc]


@given(
    backbone=st.sampled_from(BACKBONES),
    inputs=st.sampled_from([("raw",), ("lcn",), ("raw", "lcn")]),
    pooling=st.sampled_from(["average", "spp", "attention"]),
    regions=st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=4),
    dropout=st.floats(0, 0.99),
    has_map=st.booleans(),
)
def test_any_valid_specification_survives_json(
    backbone: str, inputs: Any, pooling: Any, regions: list[str], dropout: float, has_map: bool
) -> None:
    spec = ModelSpec(
        backbone=backbone, inputs=inputs, pooling=pooling, regions=tuple(regions), dropout=dropout, map=has_map
    )
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "vgg16"}, "unknown backbone; got 'vgg16'; allowed: drn_a_18"),
        ({"inputs": ("lcn", "raw")}, "names the planes in order"),
        ({"inputs": "raw"}, "inputs: must be a valid tuple, not 'raw'"),
        ({"inputs": ()}, "names the planes in order"),
        ({"score": False}, "always true"),
        ({"map": 1}, "map: must be a valid boolean"),
        ({"pooling": "max"}, "pooling: must be 'average', 'spp' or 'attention', not 'max'"),
        ({"spp_bins": (4, 4)}, "twice"),
        ({"spp_bins": ()}, "at least 1 item"),
        ({"spp_bins": (0,)}, "spp_bins.0: must be greater"),
        ({"spp_bins": (True,)}, "valid integer"),
        ({"attention_width": 0}, "attention_width: must be greater"),
        ({"attention_width": 8.0}, "valid integer"),
        ({"regions": ("hip", "hip")}, "twice"),
        ({"regions": ("",)}, "regions.0: String should have at least 1 character"),
        ({"width": 0.0}, "equal to 0.0625"),
        ({"width": float("nan")}, "finite number"),
        ({"width": True}, "valid number"),
        ({"stages": 3}, "stages for drn_d_22; got 3; allowed: 4"),
        ({"output_stride": 16}, "allowed: 8"),
        ({"backbone": "resnet18", "stages": 3, "output_stride": 32}, "allowed: 8, 16"),
        ({"backbone": "resnet18", "width": 0.5}, "only the DRN family has a width"),
        ({"backbone": "resnet18", "geometry": "caffe"}, "bottleneck ResNets only"),
        ({"backbone": "mobilenetv2_100", "norm": "group"}, "cannot be exchanged"),
        ({"norm": "layer"}, "norm: must be"),
        ({"dropout": 1.0}, "less than 1"),
        ({"map_skip": True}, "nothing to add at output_stride 8"),
        ({"backbone": "resnet18", "output_stride": 16, "map_skip": True, "map": False}, "set map=True"),
    ],
)
def test_what_no_network_has_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message.replace("(", r"\(")):
        ModelSpec(**values)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ModelError, match="heads: unknown key; depth: unknown key"):
        ModelSpec.from_dict({"backbone": "resnet18", "heads": 2, "depth": 3})
    with pytest.raises(ModelError, match="ModelSpec is made of an object; got list"):
        ModelSpec.from_dict(["resnet18"])  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="unknown field of ModelSpec; got depth"):
        ModelSpec().replace(depth=3)
    with pytest.raises(ModelError, match="unknown backbone"):
        family_of("x")


def test_replace_checks_again() -> None:
    assert ModelSpec().replace(width=0.5).width == 0.5
    with pytest.raises(ModelError, match="width"):
        ModelSpec().replace(width=-1)


def test_specifications_need_no_torch() -> None:
    code = (
        "import sys; from fracture.models import ModelSpec; ModelSpec(); "
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_names_of_the_package() -> None:
    import fracture.models

    assert {"build_model", "ModelSpec"} <= set(dir(fracture.models))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fracture.models.nothing
    for name in fracture.models.__all__:
        assert getattr(fracture.models, name) is not None
