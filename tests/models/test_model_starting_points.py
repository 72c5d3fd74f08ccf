from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, get_args

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fracture.errors import ModelError, WeightsIntegrityError, WeightsNotFoundError
from fracture.hip.spec import Trunk
from fracture.models import BACKBONES, ModelSpec, build_model, initialize, state_for_saving
from fracture.models.spec import IMAGENET_MEAN, IMAGENET_STD
from fracture.models.starting_points import _TIMM_NAMES, check_start, read_tensors

SPEC = ModelSpec(backbone="resnet18", stages=3, output_stride=16)


def rgb(p: Tensor) -> Tensor:
    """Gray in [0, 1] as ImageNet networks take it."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (p - mean) / std


def timm_state(name: str = "resnet18", seed: int = 0) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(seed)
    net = timm.create_model(name, zero_init_last=False) if name.startswith("resnet") else timm.create_model(name)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean = torch.randn(m.num_features) * 0.1
            m.running_var = torch.rand(m.num_features) + 0.5
    return net.eval(), net.state_dict()


def gray(height: int = 96, width: int = 64) -> Tensor:
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("inputs", [("raw",), ("raw", "lcn")])
def test_an_rgb_network_is_folded_exactly_into_planes_and_mask(inputs: tuple[str, ...]) -> None:
    net, state = timm_state()
    model = build_model(SPEC.replace(inputs=inputs, stages=4, output_stride=32, stem_rgb=True)).eval()
    report = initialize(model, state)
    p = gray()
    mask = torch.ones_like(p)
    with torch.no_grad():
        got = model.features((2 * p - 1).expand(-1, len(inputs), -1, -1), mask).deep
        expected = net.forward_features(rgb(p))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert report.backbone_fraction == 1.0
    assert report.adapted


def test_padding_is_what_the_rgb_network_saw_outside_its_image() -> None:
    """Letterbox padding equals zeros after normalization: as if the padded network had gone on for ever."""
    net, state = timm_state()
    model = build_model(SPEC.replace(stem_rgb=True)).eval()
    initialize(model, state)
    p = gray()
    mask = torch.ones_like(p)
    mask[..., 40:] = 0
    with torch.no_grad():
        got = model.backbone.get_submodule("conv1")(torch.cat([(2 * p - 1) * mask, mask], dim=1))
        expected = net.conv1(rgb(p) * mask)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_without_the_mask_plane_folding_is_exact_away_from_borders() -> None:
    net, state = timm_state()
    model = build_model(SPEC).eval()
    report = initialize(model, state)
    assert any("running mean took the constant" in note for note in report.adapted)
    p = gray()
    stem = model.backbone
    with torch.no_grad():
        got = stem.get_submodule("bn1")(stem.get_submodule("conv1")(2 * p - 1))
        expected = net.bn1(net.conv1(rgb(p)))
    torch.testing.assert_close(got[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    assert (got - expected).abs().max() > 1e-2  # and the docstring is right that borders differ


def test_group_norm_says_that_the_constant_is_lost() -> None:
    report = initialize(build_model(SPEC.replace(norm="group")), timm_state()[1])
    assert any("dropped" in note for note in report.adapted)
    assert report.backbone_fraction == 1.0


@pytest.mark.parametrize("prefix", ["", "module.", "model.encoder.", "backbone."])
def test_prefixes_are_tolerated_and_the_report_is_complete(prefix: str, tmp_path: Path) -> None:
    _, state = timm_state()
    save_file({prefix + k: v for k, v in state.items()}, tmp_path / "r18.safetensors")
    model = build_model(SPEC)
    heads = {k: v.clone() for k, v in model.heads.state_dict().items()}
    report = initialize(model, tmp_path / "r18.safetensors")
    assert report.source == "r18.safetensors"
    assert all(k.startswith("heads.") for k in report.missing)
    assert set(report.loaded) | set(report.missing) == {
        k for k in model.state_dict() if not k.endswith("num_batches_tracked")
    }
    assert {k.rsplit("layer4.")[0].removeprefix(prefix) for k in report.unexpected} == {"", "fc.weight", "fc.bias"}
    total = sum(p.numel() for p in model.parameters())
    in_heads = sum(p.numel() for p in model.heads.parameters())
    assert report.fraction == pytest.approx(1 - in_heads / total)
    assert all(torch.equal(v, heads[k]) for k, v in model.heads.state_dict().items())
    assert torch.equal(model.state_dict()["backbone.layer3.1.conv2.weight"], state["layer3.1.conv2.weight"])
    assert json.loads(json.dumps(report.to_dict()))["loaded"] == len(report.loaded)


def test_our_own_weights_start_a_model_with_heads_and_planes_as_they_are() -> None:
    spec = SPEC.replace(inputs=("raw", "lcn"), stem_rgb=True, regions=("a", "b"))
    old = build_model(spec, seed=1)
    saved = {k: v.float() for k, v in state_for_saving(old).items()}
    same = build_model(spec, seed=2)
    report = initialize(same, saved)
    assert not report.missing
    assert not report.adapted
    assert report.fraction == 1.0
    for key, value in same.state_dict().items():
        assert key.endswith("tracked") or torch.equal(value, saved[key])
    other = build_model(spec.replace(regions=("a", "b", "c")), seed=2)
    report = initialize(other, saved)
    assert set(report.missing) == {"heads.region.weight", "heads.region.bias"} <= set(report.unexpected)


def test_a_gray_stem_is_shared_between_planes() -> None:
    _, state = timm_state()
    state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
    one, two = build_model(SPEC), build_model(SPEC.replace(inputs=("raw", "lcn"), stem_rgb=True))
    assert not initialize(one, state).adapted
    assert torch.equal(one.state_dict()["backbone.conv1.weight"], state["conv1.weight"])
    assert initialize(two, state).adapted
    kernel = two.state_dict()["backbone.conv1.weight"]
    torch.testing.assert_close(kernel[:, :2].sum(dim=1, keepdim=True), state["conv1.weight"])
    assert (kernel[:, 2] == 0).all()


def test_torchvision_s_old_densenet_names_load() -> None:
    net, state = timm_state("densenet121")
    old = {}
    for key, value in state.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            if ".denselayer" in key:
                key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[key] = value
    assert any(".norm.1.weight" in key for key in old)
    model = build_model(ModelSpec(backbone="densenet121", output_stride=32, stem_rgb=True)).eval()
    assert initialize(model, old).backbone_fraction == 1.0
    p = gray()
    with torch.no_grad():
        got = model.features(2 * p - 1, torch.ones_like(p)).deep
        torch.testing.assert_close(got, net.forward_features(rgb(p)), rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    model = build_model(SPEC, seed=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    _, state = timm_state()
    with pytest.raises(WeightsIntegrityError, match="does not hold a resnet18"):
        initialize(model, {"a.weight": torch.zeros(3), "b.weight": torch.zeros(3)})
    with pytest.raises(WeightsIntegrityError, match="does not hold a resnet18"):
        initialize(model, {})
    with pytest.raises(WeightsIntegrityError, match=r"layer2\.0\.conv1\.weight has another shape"):
        initialize(model, state | {"layer2.0.conv1.weight": torch.zeros(2, 2, 3, 3)})
    with pytest.raises(WeightsIntegrityError, match="cannot be adapted; got 4"):
        initialize(model, state | {"conv1.weight": torch.zeros(64, 4, 7, 7)})
    with pytest.raises(WeightsIntegrityError, match="four axes"):
        initialize(model, state | {"conv1.weight": torch.zeros(64)})
    with pytest.raises(WeightsNotFoundError, match="no such weight file"):
        initialize(model, tmp_path / "none.safetensors")
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(WeightsIntegrityError, match="pickles, not read here"):
        initialize(model, tmp_path / "pickle.pth")
    with pytest.raises(ModelError, match="unknown reading of the first convolution"):
        initialize(model, state, stem="bgr")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_random_is_repeatable_and_refused_for_frozen_statistics() -> None:
    model = build_model(SPEC, seed=1)
    report = initialize(model, "random", seed=7)
    assert report.source == "random"
    assert report.fraction == 0.0
    expected = build_model(SPEC, seed=7).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in model.state_dict().items())
    with pytest.raises(ModelError, match="needs stored statistics"):
        initialize(build_model(SPEC.replace(norm="frozen")), "random")


def test_a_trunk_is_filled_whole_or_not_at_all() -> None:
    _, state = timm_state()
    del state["layer3.1.conv2.weight"]
    with pytest.raises(WeightsIntegrityError, match=r"it fills 74 of its 75 tensors, and not layer3\.1\.conv2\.weight"):
        initialize(build_model(SPEC), state)


def test_what_can_be_said_before_a_film_is_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--set model\.norm=group --set optimizer\.freeze_stages=0"):
        check_start("frozen", "random", frozen_stages=2)
    with pytest.raises(ModelError, match="random forever"):
        check_start("batch", "random", frozen_stages=2)
    with pytest.raises(WeightsNotFoundError, match="no such weight file"):
        check_start("batch", str(tmp_path / "none.safetensors"))
    check_start("frozen", "pretrained", frozen_stages=2)
    check_start("group", "random")


def test_pretrained_goes_through_the_hub_and_reads_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, state = timm_state()
    save_file(state, tmp_path / "model.safetensors")
    asked: list[tuple[str, str]] = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = build_model(SPEC.replace(stem_rgb=True, stages=4, output_stride=32)).eval()
    report = initialize(model, "pretrained")
    assert asked == [("timm/resnet18.tv_in1k", "model.safetensors")]
    assert report.source == "resnet18.tv_in1k"
    p = gray()
    with torch.no_grad():
        got = model.features(2 * p - 1, torch.ones_like(p)).deep
    torch.testing.assert_close(got, net.forward_features(rgb(p)).detach(), rtol=1e-4, atol=1e-4)


def test_pretrained_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(
        WeightsNotFoundError, match=r"fetch https://huggingface.co/timm/densenet121\.tv_in1k/resolve/main/model"
    ):
        initialize(build_model(ModelSpec(backbone="densenet121", stages=2)), "pretrained")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(backbone="drn_d_22", width=0.125), "no weights for drn_d_22"),
        (ModelSpec(backbone="resnet50", stages=2, geometry="caffe"), "torchvision's geometry"),
    ],
)
def test_pretrained_is_refused_where_there_are_no_such_weights(spec: ModelSpec, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        initialize(build_model(spec), "pretrained")


@pytest.mark.parametrize(
    ("file", "loader", "changes"),
    [
        ("resnet18_tv_stages123", "resnet18", {"backbone": "resnet18"}),
        ("resnet50_caffe_v1_stages123", "resnet50", {"backbone": "resnet50", "geometry": "caffe"}),
        ("mobilenetv2_100_tv_fp32", "mobilenetv2_tv", {"backbone": "mobilenetv2_100", "stages": 4}),
    ],
)
def test_the_real_starting_points(file: str, loader: str, changes: dict[str, Any], shared_pretrained: Path) -> None:
    location = importlib.util.spec_from_file_location("load_pretrained", shared_pretrained / "load_pretrained.py")
    assert location is not None
    assert location.loader is not None
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    net = getattr(module, loader)().eval()
    p = gray(128, 96)
    for output_stride in (16, 8):
        model = build_model(SPEC.replace(**changes, stem_rgb=True, output_stride=output_stride)).eval()
        report = initialize(model, shared_pretrained / f"{file}.safetensors")
        assert report.backbone_fraction == 1.0
        with torch.no_grad():
            got = model.features(2 * p - 1, torch.ones_like(p)).deep
            if loader.startswith("resnet"):
                x = net.maxpool(net.act1(net.bn1(net.conv1(rgb(p)))))
                expected, step = net.layer3(net.layer2(net.layer1(x))), 16 // output_stride
            else:
                expected, step = net.forward_features(rgb(p)), 32 // output_stride
        scale = expected.abs().max().item()
        assert (got[..., ::step, ::step] - expected).abs().max().item() < 1e-5 * scale


def test_reading_keeps_every_tensor(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, tmp_path / "a.safetensors")
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["a"], load_file(tmp_path / "a.safetensors")["a"])


def test_timm_knows_every_name_that_pretrained_asks_for() -> None:
    for backbone, name in _TIMM_NAMES.items():
        assert backbone in (*BACKBONES, *get_args(Trunk))
        config = timm.models.get_pretrained_cfg(name)
        assert config is not None
        assert config.hf_hub_id == f"timm/{name}"
