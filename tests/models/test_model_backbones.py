"""Each backbone against an independent account of it: published counts, timm's features, the dilation's definition."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fracture.errors import ModelError, WeightsIntegrityError
from fracture.models import ModelSpec, build_model, initialize
from fracture.models.backbone import FixedBatchNorm2d, convert_norm, group_count
from fracture.models.densenet import DenseNetBackbone, DilatedAverage
from fracture.models.drn import DrnBackbone
from fracture.models.mobilenet import MobileNetBackbone
from fracture.models.resnet import ResNetBackbone

# Trainable parameters with 1000 classes, from the specification; C-58 without its dead projection.
PUBLISHED = {
    "drn_a_18": 11_689_512,
    "drn_a_34": 21_797_672,
    "drn_a_50": 25_557_032,
    "drn_c_26": 21_126_584,
    "drn_c_42": 31_234_744,
    "drn_c_58": 41_591_608 - 1_049_600,
    "drn_d_22": 16_393_752,
    "drn_d_24": 21_114_392,
    "drn_d_38": 26_501_912,
    "drn_d_40": 31_222_552,
    "drn_d_54": 35_809_176,
    "drn_d_56": 40_529_816,
    "drn_d_105": 54_801_304,
    "drn_d_107": 59_521_944,
}


def randomized(net: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            n = m.num_features
            m.running_mean = torch.randn(n, generator=generator) * 0.1
            m.running_var = torch.rand(n, generator=generator) + 0.5
            m.weight.data = torch.rand(n, generator=generator) * 0.5 + 0.5
            m.bias.data = torch.randn(n, generator=generator) * 0.1
    return net.eval()


def image(planes: int = 3, height: int = 96, width: int = 64) -> Tensor:
    return torch.randn(1, planes, height, width, generator=torch.Generator().manual_seed(9))


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize("name", PUBLISHED)
def test_drn_parameter_counts_to_the_unit(name: str) -> None:
    with torch.device("meta"):
        net = DrnBackbone(name, planes=3)
    assert sum(p.numel() for p in net.parameters()) + 1000 * (net.channels + 1) == PUBLISHED[name]
    assert net.stride == 8


def test_drn_initialization_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    conv = DrnBackbone("drn_d_22", planes=1).get_submodule("layer6.0.conv2")
    assert isinstance(conv, nn.Conv2d)
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)


def test_drn_layout_of_dilations() -> None:
    def dilations(name: str, level: str) -> set[int]:
        net = DrnBackbone(name, planes=1, width=0.125)
        return {
            m.dilation[0]
            for m in net.get_submodule(level).modules()
            if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
        }

    for name in ("drn_c_42", "drn_d_54"):
        assert [dilations(name, f"layer{n}") for n in range(3, 9)] == [{1}, {1}, {2}, {4}, {2}, {1}]
    assert dilations("drn_a_34", "layer3") == dilations("drn_a_50", "layer3") == {1, 2}
    assert dilations("drn_a_34", "layer4") == {1, 4}
    with pytest.raises(ModelError, match="unknown DRN"):
        DrnBackbone("drn_e_1", planes=1)


def test_drn_a_without_dilation_is_a_resnet() -> None:
    """DRN-A is a ResNet whose last strides were removed; undoing that on its own modules gives timm's function."""
    for name, twin in (("drn_a_18", "resnet18"), ("drn_a_50", "resnet50")):
        reference = randomized(timm.create_model(twin, num_classes=0))
        ours = DrnBackbone(name, planes=3).eval()
        ours.load_state_dict(reference.state_dict())
        for level, (factor, stride) in {"layer3": (2, 2), "layer4": (4, 2)}.items():
            stage: Any = ours.get_submodule(level)
            strided = stage[0].conv1 if twin == "resnet18" else stage[0].conv2
            strided.stride = (stride, stride)
            stage[0].downsample[0].stride = (stride, stride)
            for m in stage.modules():
                if isinstance(m, nn.Conv2d) and m.dilation == (factor, factor):
                    m.dilation = m.padding = (1, 1)
        with torch.no_grad():
            close(ours(image()).deep, reference.forward_features(image()))


def published_tensors(name: str) -> dict[str, Tensor]:
    """A state dict laid out as the authors' checkpoint, dead projection, counters and classifier included."""
    net = randomized(DrnBackbone(name, planes=3), seed=4)
    tensors = {k: v.clone() for k, v in net.state_dict().items()}
    tensors |= {"fc.weight": torch.randn(1000, net.channels, 1, 1), "fc.bias": torch.randn(1000)}
    if name == "drn_c_58":
        tensors["layer7.0.downsample.0.weight"] = torch.randn(512, 2048, 1, 1)
        for part, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            tensors[f"layer7.0.downsample.1.{part}"] = torch.full((512,), value)
    return tensors


def test_published_c58_loads_without_its_dead_projection(tmp_path: Path) -> None:
    tensors = published_tensors("drn_c_58")
    assert sum(v.numel() for k, v in tensors.items() if "downsample.1.running" not in k and "layer7.0.d" in k) == (
        1_049_600
    )
    save_file(tensors, tmp_path / "c58.safetensors")
    model = build_model(ModelSpec(backbone="drn_c_58"))
    report = initialize(model, tmp_path / "c58.safetensors")
    assert report.backbone_fraction == 1.0
    assert len(report.unexpected) == 7
    assert all(k.startswith(("layer7.0.downsample.", "fc.")) for k in report.unexpected)
    for key, value in model.backbone.state_dict().items():
        if not key.startswith(("conv1.", "bn1.running_mean")) and not key.endswith("num_batches_tracked"):
            assert torch.equal(value, tensors[key])


def test_published_layer_names_of_the_three_forms() -> None:
    for name, names in {
        "drn_a_18": ("conv1.weight", "bn1.weight", "layer3.0.downsample.0.weight", "layer4.1.conv2.weight"),
        "drn_c_26": ("conv1.weight", "layer1.0.conv1.weight", "layer7.0.bn2.bias", "layer8.0.conv1.weight"),
        "drn_d_22": ("layer0.0.weight", "layer0.1.running_mean", "layer2.0.weight", "layer8.1.bias"),
    }.items():
        state = DrnBackbone(name, planes=3, width=0.125).state_dict()
        assert set(names) <= set(state)


def test_published_drn_into_a_model_keeps_its_function() -> None:
    tensors = published_tensors("drn_d_22")
    published = DrnBackbone("drn_d_22", planes=3).eval()
    published.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("fc.")})
    model = build_model(ModelSpec(backbone="drn_d_22", stem_rgb=True))
    report = initialize(model, tensors)
    assert report.backbone_fraction == 1.0
    assert set(report.unexpected) == {"fc.weight", "fc.bias"}
    p = torch.rand(1, 1, 64, 64)
    rgb = (p - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        1, 3, 1, 1
    )
    with torch.no_grad():
        close(model.eval().features(2 * p - 1, torch.ones(1, 1, 64, 64)).deep, published(rgb).deep)


def test_published_weights_must_be_complete_and_fit() -> None:
    tensors = published_tensors("drn_d_22")
    removed = tensors.pop("layer5.1.conv2.weight")
    with pytest.raises(WeightsIntegrityError, match=r"and not layer5\.1\.conv2\.weight"):
        initialize(build_model(ModelSpec(backbone="drn_d_22")), tensors)
    tensors["layer5.1.conv2.weight"] = removed
    with pytest.raises(WeightsIntegrityError, match="another shape"):
        initialize(build_model(ModelSpec(backbone="drn_d_22", width=0.5)), tensors)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_resnet_features_are_those_of_timm(name: str, output_stride: int) -> None:
    reference = randomized(timm.create_model(name, num_classes=0, output_stride=output_stride))
    ours = ResNetBackbone(name, planes=3, output_stride=output_stride).eval()
    ours.load_state_dict(reference.state_dict())
    with torch.no_grad():
        assert torch.equal(ours(image()).deep, reference.forward_features(image()))


@pytest.mark.parametrize(
    ("name", "geometry"), [("resnet34", "torchvision"), ("resnet50", "torchvision"), ("resnet50", "caffe")]
)
def test_dilated_resnets_keep_every_value_of_the_coarse_grid(name: str, geometry: Any) -> None:
    nets = [ResNetBackbone(name, planes=1, output_stride=s, geometry=geometry).eval() for s in (32, 16, 8)]
    randomized(nets[0])
    with torch.no_grad():
        coarse = nets[0](image(1)).deep
        for net, step in zip(nets[1:], (2, 4), strict=True):
            net.load_state_dict(nets[0].state_dict())
            fine = net(image(1)).deep
            assert fine.shape[2] == step * coarse.shape[2]
            close(fine[..., ::step, ::step], coarse)


def test_cut_resnets_end_where_they_say() -> None:
    whole = randomized(ResNetBackbone("resnet18", planes=1))
    cut = ResNetBackbone("resnet18", planes=1, stages=3, output_stride=16).eval()
    cut.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("layer4")})
    with torch.no_grad():
        x = whole._apply_stage(tuple(m for _, names in whole.plan[:-1] for m in names), image(1))  # type: ignore[operator]
        out = cut(image(1))
    assert torch.equal(out.deep, x)
    assert cut.channels == 256
    assert out.skip.shape == (1, 128, 12, 8)
    assert cut.skip_channels == 128


@pytest.mark.parametrize(
    ("name", "timms"),
    [("densenet63", {"block_config": (3, 6, 12, 8)}), ("densenet121", {}), ("densenet169", {})],
)
def test_densenet_features_are_those_of_timm_dilated_or_not(name: str, timms: dict[str, Any]) -> None:
    known = "densenet121" if timms else name  # timm has no name for ours
    reference = randomized(timm.create_model(known, num_classes=0, **timms))
    state = {k.removeprefix("features."): v for k, v in reference.state_dict().items()}
    with torch.no_grad():
        coarse = reference.forward_features(image())
        for output_stride, step in ((32, 1), (16, 2), (8, 4)):
            ours = DenseNetBackbone(name, planes=3, output_stride=output_stride).eval()
            ours.load_state_dict(state)
            out = ours(image())
            assert out.deep.shape[2] * output_stride == 96
            close(out.deep[..., ::step, ::step], coarse)
            assert out.skip.shape == (1, ours.skip_channels, 12, 8)


def test_densenet_169_has_the_published_number_of_parameters() -> None:
    net = DenseNetBackbone("densenet169", planes=3)
    assert sum(p.numel() for p in net.parameters()) + 1664 * 1000 + 1000 == 14_149_480


def test_cut_densenets_end_in_the_normalization_of_the_next_transition() -> None:
    whole = randomized(DenseNetBackbone("densenet121", planes=1))
    cut = DenseNetBackbone("densenet121", planes=1, stages=3, output_stride=16).eval()
    own = cut.state_dict()
    cut.load_state_dict({k: v for k, v in whole.state_dict().items() if k in own})
    seen: list[Tensor] = []
    handle = whole.get_submodule("transition3.conv").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        out = cut(image(1))
        whole(image(1))
    handle.remove()
    assert torch.equal(out.deep, seen[0])
    assert cut.channels == 1024


def test_dilated_average_is_the_strided_one_on_its_grid() -> None:
    x = image(2, 8, 12)
    got = DilatedAverage(1)(x)
    assert got.shape == x.shape
    torch.testing.assert_close(got[..., ::2, ::2], nn.functional.avg_pool2d(x, 2))
    got = DilatedAverage(2)(x)
    torch.testing.assert_close(got[..., ::4, ::4], nn.functional.avg_pool2d(x[..., ::2, ::2], 2))
    assert "dilation=2" in repr(DilatedAverage(2))


@pytest.mark.parametrize("output_stride", [8, 32])
def test_mobilenet_features_are_those_of_timm(output_stride: int) -> None:
    reference = randomized(timm.create_model("mobilenetv2_100", num_classes=0, output_stride=output_stride))
    ours = MobileNetBackbone("mobilenetv2_100", planes=3, output_stride=output_stride).eval()
    ours.load_state_dict(reference.state_dict())
    with torch.no_grad():
        out = ours(image())
        assert torch.equal(out.deep, reference.forward_features(image()))
    assert out.deep.shape[1] == ours.channels
    assert out.skip.shape == (1, ours.skip_channels, 12, 8)


def test_fixed_batch_norm_uses_and_keeps_its_statistics_in_training() -> None:
    norm = nn.Sequential(nn.BatchNorm2d(3))
    randomized(norm)
    x = image()
    expected = norm(x)
    convert_norm(norm, "frozen")
    assert isinstance(norm[0], FixedBatchNorm2d)
    norm.train()
    assert torch.equal(norm(x), expected)
    assert torch.equal(norm.eval()(x), expected)
    norm.train()(x).sum().backward()
    assert norm[0].weight.grad is not None


def test_group_norm_keeps_names_scale_and_shift() -> None:
    net = randomized(ResNetBackbone("resnet18", planes=1, stages=2, output_stride=8))
    before = {k: v.clone() for k, v in net.named_parameters()}
    convert_norm(net, "group")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert {k: v.shape for k, v in net.named_parameters()} == {k: v.shape for k, v in before.items()}
    assert all(torch.equal(v, before[k]) for k, v in net.named_parameters())
    assert [group_count(c) for c in (512, 64, 48, 16, 8, 1)] == [32, 32, 24, 8, 4, 1]
