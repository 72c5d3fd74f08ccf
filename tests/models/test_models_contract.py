"""The contract, for every family, pooling and head. Narrow or short networks, so that it stays quick."""

from __future__ import annotations

from fracture.models import ModelSpec
from tests.models.model_contract import ModelContract


class TestDrnDAverage(ModelContract):
    spec = ModelSpec(backbone="drn_d_22", width=0.5)


class TestDrnCPyramidBothInputs(ModelContract):
    spec = ModelSpec(
        backbone="drn_c_26", width=0.25, inputs=("raw", "lcn"), pooling="spp", regions=("wrist", "hip"), dropout=0.2
    )


class TestDrnDAttention(ModelContract):
    spec = ModelSpec(backbone="drn_d_54", width=0.125, inputs=("lcn",), pooling="attention", attention_width=16)


class TestDrnAScoreOnly(ModelContract):
    spec = ModelSpec(backbone="drn_a_50", width=0.125, map=False, pooling="spp", spp_bins=(6, 3, 2, 1))


class TestDrnDGroupNorm(ModelContract):
    spec = ModelSpec(backbone="drn_d_24", width=0.25, norm="group", regions=("wrist",))


class TestResNet18Cut(ModelContract):
    spec = ModelSpec(backbone="resnet18", stages=3, stem_rgb=True)


class TestResNet18Skip(ModelContract):
    spec = ModelSpec(
        backbone="resnet18",
        stages=3,
        output_stride=16,
        map_skip=True,
        inputs=("raw", "lcn"),
        stem_rgb=True,
        pooling="attention",
        regions=("a", "b", "c"),
    )


class TestResNet34Whole(ModelContract):
    spec = ModelSpec(backbone="resnet34", output_stride=32, map_skip=True)


class TestResNet50CaffeFrozen(ModelContract):
    spec = ModelSpec(backbone="resnet50", stages=3, output_stride=16, geometry="caffe", norm="frozen", stem_rgb=True)


class TestDenseNet121(ModelContract):
    spec = ModelSpec(backbone="densenet121", output_stride=8, pooling="attention")


class TestDenseNet169Cut(ModelContract):
    spec = ModelSpec(backbone="densenet169", stages=2, output_stride=8, pooling="spp")


class TestMobileNet(ModelContract):
    spec = ModelSpec(backbone="mobilenetv2_100", output_stride=16, map_skip=True, regions=("a", "b"))
