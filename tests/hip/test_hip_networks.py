"""Localizer and classifier: shapes, targets, rules, the marginalized loss, attention over views, Grad-CAM, starts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision.ops import box_iou

from fracture.errors import ConfigurationError, ModelError, WeightsIntegrityError
from fracture.hip.classes import CLASSES
from fracture.hip.classifier import (
    SqueezeExcitation,
    allowed_mask,
    build_classifier,
    class_weights,
    hip_loss,
    initialize_classifier,
)
from fracture.hip.explain import grad_cam
from fracture.hip.fusion import fuse
from fracture.hip.localizer import HeadOutput, build_localizer, choose, initialize_localizer
from fracture.hip.spec import ClassifierSpec, LocalizerSpec, Rules
from fracture.models.attention import ViewAttention
from tests.hip.weights import CLASSIFIER, LOCALIZER

SIZE = (400, 300)


def test_the_localizer_judges_every_anchor_and_decodes_what_it_was_taught() -> None:
    model = build_localizer(LOCALIZER, seed=1).eval()
    with torch.no_grad():
        output = model(torch.randn(2, 3, 96, 128))
    assert output.class_logits.shape == (2, len(output.anchors), 2)
    assert output.deltas.shape == (2, len(output.anchors), 4)
    # Anchors that own a hip say so, with the deltas that the loss asks for: the candidates must be the hips.
    boxes = torch.tensor([[10.0, 20, 50, 70], [70, 25, 112, 80]])
    labels = torch.tensor([1, 0])
    logits = torch.full_like(output.class_logits[:1], -8.0)
    deltas = torch.zeros_like(output.deltas[:1])
    for box, label in zip(boxes, labels, strict=True):
        logits[0, :, label] = -8
        delta = model._box_coder.encode_single(box.expand_as(output.anchors), output.anchors)
        place = int(delta.abs().sum(dim=1).argmin())
        logits[0, place, label] = 4.0
        deltas[0, place] = delta[place]
    found = model.candidates(HeadOutput(logits, deltas, output.anchors))[0]
    best = {side: next(box for s, score, box in found if s == side and score > 0.9) for side in (0, 1)}
    np.testing.assert_allclose(best[1], boxes[0], atol=1e-3)
    np.testing.assert_allclose(best[0], boxes[1], atol=1e-3)
    targets = [{"boxes": boxes, "labels": labels}]
    taught = model.loss(HeadOutput(logits, deltas, output.anchors), targets)
    other = model.loss(HeadOutput(logits.flip(2), deltas, output.anchors), targets)
    assert taught["classification"] < other["classification"]  # the sides matter


def test_the_localizer_learns_with_gradients_everywhere() -> None:
    model = build_localizer(LOCALIZER, seed=1).train()
    output = model(torch.randn(2, 3, 96, 96))
    targets = [
        {"boxes": torch.tensor([[10.0, 20, 50, 70]]), "labels": torch.tensor([0])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    sum(model.loss(output, targets).values()).backward()  # type: ignore[union-attr]
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("kind", ["l1", "giou"])
def test_the_box_loss_is_the_one_that_the_specification_names(kind: Literal["l1", "giou"]) -> None:
    model = build_localizer(replace(LOCALIZER, box_loss=kind), seed=1).eval()
    with torch.no_grad():
        output = model(torch.randn(1, 3, 96, 128))
    true = torch.tensor([[10.0, 20, 50, 70]])
    moved = torch.tensor([[14.0, 20, 54, 70]])  # 36 of 44 columns are common, and no hull is larger than the union
    exact, off = (model._box_coder.encode_single(b.expand_as(output.anchors), output.anchors) for b in (true, moved))
    owners = box_iou(true, output.anchors)[0] >= 0.5
    assert owners.any()
    target = [{"boxes": true, "labels": torch.tensor([0])}]
    losses = [
        float(model.loss(HeadOutput(output.class_logits, deltas[None], output.anchors), target)["bbox_regression"])
        for deltas in (exact, off)
    ]
    expected = 1 - 36 / 44 if kind == "giou" else float((exact - off)[owners].abs().sum(dim=1).mean())
    np.testing.assert_allclose(losses, [0, expected], atol=1e-5)


def test_the_box_loss_is_one_of_two() -> None:
    with pytest.raises(ModelError, match="box_loss"):
        replace(LOCALIZER, box_loss="l2")  # type: ignore[arg-type]


@pytest.mark.parametrize("least", [0.2, 0.45, 0.51, 0.9])
def test_candidates_from_a_score_on_are_the_same_ones(least: float) -> None:
    model = build_localizer(LOCALIZER, seed=1).eval()
    with torch.no_grad():
        output = model(torch.randn(1, 3, 96, 128))
    logits = torch.randn(output.class_logits.shape, generator=torch.Generator().manual_seed(3))
    output = output._replace(class_logits=logits)
    every = model.candidates(output)[0]
    assert model.candidates(output, least=least)[0] == [row for row in every if row[1] >= least]


def test_an_empty_film_teaches_that_nothing_is_there() -> None:
    model = build_localizer(LOCALIZER, seed=1).train()
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}]
    losses = model.loss(model(torch.randn(1, 3, 64, 64)), empty)
    assert torch.isfinite(losses["classification"])
    assert losses["bbox_regression"] == 0


def test_the_same_seed_builds_the_same_network() -> None:
    states = [build_localizer(LOCALIZER, seed=seed).state_dict() for seed in (3, 3, 4)]
    key = "backbone.body.conv1.weight"
    assert torch.equal(states[0][key], states[1][key])
    assert not torch.equal(states[0][key], states[2][key])


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 3, 60, 64), (3, 64, 64)])
def test_what_the_localizer_does_not_take(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="input"):
        build_localizer(LOCALIZER, seed=1)(torch.zeros(shape))


def test_at_most_one_box_per_side() -> None:
    rows = [
        (1, 0.9, (20.0, 100.0, 120.0, 250.0)),
        (1, 0.7, (150.0, 100.0, 220.0, 250.0)),
        (0, 0.8, (280.0, 100.0, 380.0, 250.0)),
        (0, 0.4, (20.0, 100.0, 120.0, 250.0)),
    ]
    found = choose(rows, SIZE, Rules(score=0.3))
    assert [(one.side, one.score) for one in found] == [("right", 0.9), ("left", 0.8)]


def test_one_hip_is_not_two_of_both_sides() -> None:
    rows = [(1, 0.6, (20.0, 100.0, 120.0, 250.0)), (0, 0.9, (25.0, 100.0, 120.0, 250.0))]
    assert [one.side for one in choose(rows, SIZE, Rules(score=0.3))] == ["left"]
    other = [*rows, (1, 0.4, (250.0, 100.0, 350.0, 250.0))]
    assert [(one.side, one.score) for one in choose(other, SIZE, Rules(score=0.3))] == [("right", 0.4), ("left", 0.9)]


def test_none_off_the_film_or_of_implausible_size() -> None:
    rules = Rules(score=0.3)
    assert choose([], SIZE, rules) == ()
    assert choose([(1, 0.2, (20.0, 100.0, 120.0, 250.0))], SIZE, rules) == ()
    assert choose([(1, 0.9, (-90.0, 100.0, 20.0, 250.0))], SIZE, rules) == ()
    assert choose([(1, 0.9, (20.0, 20.0, 25.0, 26.0))], SIZE, rules) == ()
    assert choose([(1, 0.9, (0.0, 0.0, 400.0, 300.0))], SIZE, rules) == ()
    cut = choose([(1, 0.9, (-30.0, 100.0, 70.0, 250.0))], SIZE, rules)
    assert cut[0].box == (0.0, 100.0, 70.0, 250.0)
    with pytest.raises(ConfigurationError, match="score"):
        Rules(score=1.2)


@pytest.mark.parametrize(
    "spec",
    [
        {"body": "vgg19"},
        {"levels": (2, 4)},
        {"levels": (1, 2)},
        {"anchors": (32, 64)},
        {"norm": "instance"},
        {"geometry": "caffe", "body": "resnet18"},
    ],
)
def test_localizers_that_cannot_be(spec: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        LocalizerSpec(**spec)  # type: ignore[arg-type]


def test_specifications_go_through_json() -> None:
    spec = LocalizerSpec(body="resnet18", levels=(3,), anchors=(64, 128, 256), ratios=(1.0, 2.0))
    assert LocalizerSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(ModelError, match="trunks: unknown key"):
        ClassifierSpec.from_dict({"trunks": "vgg19"})
    with pytest.raises(ModelError, match="stages"):
        ClassifierSpec(trunk="densenet121", stages=3)


def test_the_papers_classifier_has_the_parameters_that_it_says() -> None:
    model = build_classifier(ClassifierSpec(), seed=0)
    assert model.channels == 1664
    assert model.se is not None
    assert sum(p.numel() for p in model.se.parameters()) == 2 * 1664 * 104
    trunk = sum(p.numel() for p in model.trunk.parameters())
    assert trunk + 1665 * 1000 == 14_149_480  # DenseNet-169 with its 1,000 classes


@pytest.mark.parametrize("trunk", ["vgg19", "inception_v3", "mobilenetv2_100"])
def test_other_trunks_by_name(trunk: str) -> None:
    model = build_classifier(ClassifierSpec(trunk=trunk), seed=0).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 96, 96))
    assert logits.shape == (1, 6)
    assert not any("pre_logits" in name for name, _ in model.named_parameters())


def test_squeeze_and_excitation_is_that_of_the_map() -> None:
    block, features = SqueezeExcitation(16, 4), torch.rand(2, 16, 5, 7)
    average = features.mean(dim=(2, 3))
    weighted = features * block(average)[:, :, None, None]
    torch.testing.assert_close(weighted.mean(dim=(2, 3)), average * block(average))


def test_the_loss_is_cross_entropy_where_the_class_is_known() -> None:
    logits = torch.randn(5, 6)
    labels = torch.tensor([0, 1, 2, 4, 5])
    allowed = torch.nn.functional.one_hot(labels, 6).bool()
    weights = torch.tensor([1.0, 2, 3, 4, 5, 6])
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=weights, reduction="none")
    torch.testing.assert_close(hip_loss(logits, allowed, weights), expected)


def test_the_loss_trains_only_what_is_known() -> None:
    logits = torch.zeros(1, 6, requires_grad=True)
    neck = allowed_mask([("displaced_neck", "nondisplaced_neck")])
    loss = hip_loss(logits, neck, torch.ones(6))
    torch.testing.assert_close(loss, torch.log(torch.tensor([3.0])))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[0, 1] == logits.grad[0, 2] < 0  # both neck classes rise alike
    assert (logits.grad[0, [0, 3, 4, 5]] > 0).all()
    sure = hip_loss(torch.tensor([[0.0, 9.0, 9.0, 0, 0, 0]]), neck, torch.ones(6))
    assert sure < 1e-2  # which of the two it is costs nothing
    with pytest.raises(ModelError, match="possible class"):
        allowed_mask([()])


def test_class_weights_are_inverse_to_frequency() -> None:
    allowed = allowed_mask([("normal",)] * 8 + [("arthroplasty",)] * 2)
    weights = class_weights(allowed)
    assert weights[0] == pytest.approx(10 / (2 * 8))
    assert weights[5] == pytest.approx(10 / (2 * 2))
    assert weights[1] == 1.0


def test_grad_cam_is_that_of_the_definition() -> None:
    model = build_classifier(CLASSIFIER, seed=2).eval()
    with torch.inference_mode():
        features = model.features(torch.randn(2, 3, 64, 64))
    logits, maps = grad_cam(model, features)
    assert maps.shape == (2, 6, *features.shape[2:])
    plain = features.clone().requires_grad_(True)
    torch.testing.assert_close(model.logits(plain), logits, atol=1e-5, rtol=1e-4)
    for k in range(6):
        gradient = torch.autograd.grad(model.logits(plain)[:, k].sum(), plain)[0].mean(dim=(2, 3))
        cam = (gradient[:, :, None, None] * features).sum(dim=1).clamp(min=0)
        peak = cam.amax(dim=(1, 2), keepdim=True)
        torch.testing.assert_close(maps[:, k], torch.where(peak > 0, cam / peak, cam), atol=1e-4, rtol=1e-3)


def test_several_views_do_not_depend_on_their_order() -> None:
    model = build_classifier(ClassifierSpec(trunk="resnet18", stages=2, fusion="attention"), seed=2).eval()
    x = torch.randn(1, 3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x[:, [2, 0, 1]]), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model(x[:, :1]), model(x[:, 0]), atol=1e-5, rtol=1e-4)
    attention = ViewAttention(8)
    assert attention.weights(torch.randn(2, 5, 8)).sum(dim=1).tolist() == pytest.approx([1.0, 1.0])


def test_fusion_of_probabilities() -> None:
    clear, broken = [0.9, 0.02, 0.02, 0.02, 0.02, 0.02], [0.2, 0.1, 0.5, 0.1, 0.05, 0.05]
    mean, any_view = fuse([clear, broken], "mean"), fuse([clear, broken], "or")
    np.testing.assert_allclose(mean, (np.array(clear) + broken) / 2)
    assert any_view.sum() == pytest.approx(1)
    assert any_view[1:4].sum() == pytest.approx(1 - (1 - 0.06) * (1 - 0.7))
    assert CLASSES[int(any_view.argmax())] == "nondisplaced_neck"
    np.testing.assert_allclose(fuse([clear], "or"), clear)
    with pytest.raises(ConfigurationError, match="fusion"):
        fuse([clear], "max")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="views"):
        fuse([], "mean")


def test_held_statistics_stay(tmp_path: Path) -> None:
    spec = ClassifierSpec(trunk="resnet18", stages=2, norm="frozen")
    model = build_classifier(spec, seed=1)
    with pytest.raises(ModelError, match="stored statistics"):
        initialize_classifier(model, "random")
    path = tmp_path / "start.safetensors"
    source = {k.removeprefix("trunk."): v for k, v in model.state_dict().items() if k.startswith("trunk.")}
    source["trunk_of_another.weight"] = torch.zeros(1)
    safetensors.torch.save_file({k: v.clone() + 0.25 for k, v in source.items()}, path)
    report = initialize_classifier(model, path)
    assert report.backbone_fraction == 1.0
    assert report.unexpected == ("trunk_of_another.weight",)
    before = model.trunk.bn1.running_mean.clone()
    model.train()(torch.randn(4, 3, 64, 64))
    assert torch.equal(model.trunk.bn1.running_mean, before)


def test_a_start_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"conv1.weight": torch.zeros(8, 3, 7, 7), "bn1.weight": torch.zeros(8)}, path)
    with pytest.raises(WeightsIntegrityError, match=r"does not hold a resnet18: it fills 2 of its \d+ tensors"):
        initialize_localizer(build_localizer(LOCALIZER, seed=1), path)


def test_torchvision_s_own_names_fill_the_paper_s_classifier() -> None:
    """Its first releases, whose files are still the ones that are downloaded, write norm.1 for norm1."""
    import torchvision

    model = build_classifier(ClassifierSpec(), seed=0)
    given = torchvision.models.densenet169().state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", k): v for k, v in given.items()}
    assert sum(k not in given for k in old) > 800
    report = initialize_classifier(model, old)
    assert report.backbone_fraction == 1.0
    assert torch.equal(model.trunk.features.denseblock3.denselayer7.conv2.weight,
                       given["features.denseblock3.denselayer7.conv2.weight"])  # fmt: skip
    before = model.state_dict()["trunk.features.conv0.weight"].clone()
    few = {k: torch.zeros_like(v) for k, v in given.items() if "denselayer" not in k}
    with pytest.raises(WeightsIntegrityError, match=r"it fills 24 of its 844 tensors, and not features\.denseblock1"):
        initialize_classifier(model, few)
    assert torch.equal(model.state_dict()["trunk.features.conv0.weight"], before)


def test_torchvision_s_detector_fills_pyramid_and_heads_too() -> None:
    import torchvision

    model = build_localizer(LocalizerSpec(), seed=0)
    given = torchvision.models.detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    old = {re.sub(r"(_blocks\.\d)\.0\.", r"\1.", k): v for k, v in given.items()}
    old = {re.sub(r"(_head\.conv)\.(\d)\.0\.", lambda m: f"{m[1]}.{2 * int(m[2])}.", k): v for k, v in old.items()}
    assert sum(k not in given for k in old) > 20
    report = initialize_localizer(model, old)
    assert report.backbone_fraction == 1.0
    assert {name.rsplit(".", 1)[0] for name in report.missing} == {"head.classification_head.cls_logits"}
    assert torch.equal(model.head.classification_head.conv[2][0].weight,
                       given["head.classification_head.conv.2.0.weight"])  # fmt: skip


def test_the_shared_code_asks_timm_for_imagenet_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    spec = ClassifierSpec(trunk="resnet18", stages=2, norm="frozen")
    source = {k.removeprefix("trunk."): v for k, v in build_classifier(spec, seed=5).state_dict().items()}
    safetensors.torch.save_file(source, tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: str(tmp_path / "model.safetensors"))
    model = build_classifier(spec, seed=6)
    report = initialize_classifier(model, "pretrained")
    assert report.source == "resnet18.tv_in1k"
    assert torch.equal(model.trunk.conv1.weight, source["conv1.weight"])
    with pytest.raises(ModelError, match="no weights for inception_v3"):
        initialize_classifier(build_classifier(ClassifierSpec(trunk="inception_v3"), seed=1), "pretrained")


def test_statistics_that_hold_the_activation_are_held_or_replaced_too() -> None:
    trunk = "mobilenetv2_100"
    frozen = build_classifier(ClassifierSpec(trunk=trunk, norm="frozen"), seed=1).train()
    plain = build_classifier(ClassifierSpec(trunk=trunk), seed=1).eval()
    norms = [m for m in frozen.trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(frozen.eval()(x), plain(x))
    groups = build_classifier(ClassifierSpec(trunk=trunk, norm="group"), seed=1)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in groups.modules())
    assert sum(isinstance(m, nn.GroupNorm) for m in groups.modules()) == len(norms)
    with torch.no_grad():
        assert groups(x).shape == (1, 6)


def test_real_starting_points(shared_pretrained: Path) -> None:
    small = LocalizerSpec(body="resnet18", levels=(3,), channels=32, anchors=(64, 128, 256), norm="frozen")
    report = initialize_localizer(build_localizer(small), shared_pretrained / "resnet18_tv_stages123.safetensors")
    assert report.backbone_fraction == 1.0
    caffe = LocalizerSpec(
        body="resnet50", levels=(2, 3), channels=32, anchors=(32, 64, 128, 256), norm="frozen", geometry="caffe"
    )
    model = build_localizer(caffe)
    report = initialize_localizer(model, shared_pretrained / "resnet50_caffe_v1_stages123.safetensors")
    assert report.backbone_fraction == 1.0
    assert model.backbone.body.layer3[0].conv1.stride == (2, 2)
