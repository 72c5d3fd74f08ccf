"""What a network is, as data: :class:`ModelSpec`, small, frozen, JSON-able, and free of torch.

A specification describes the function, not how it is trained or run: initialization, freezing, activation
checkpointing and precision are chosen elsewhere and change nothing here. Fields that the paper (Jones et al.
2020) leaves open say so in their documentation.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from fracture.errors import FractureError, ModelError
from fracture.schema import Gone, Name, Record

Family = Literal["drn", "resnet", "densenet", "mobilenet"]
Pooling = Literal["average", "spp", "attention"]
Norm = Literal["batch", "group", "frozen"]
Geometry = Literal["torchvision", "caffe"]

MAP_STRIDE: Final = 8
"""Pixels of the network's input per cell of the probability map, along each axis, whatever the backbone."""

_DRN: Final = tuple(
    f"drn_{name}"
    for name in (
        "a_18", "a_34", "a_50", "c_26", "c_42", "c_58",
        "d_22", "d_24", "d_38", "d_40", "d_54", "d_56", "d_105", "d_107",
    )
)  # fmt: skip
_RESNET: Final = ("resnet18", "resnet34", "resnet50", "resnet101")
_DENSENET: Final = ("densenet63", "densenet121", "densenet169")
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Normalization of RGB in [0, 1] that torchvision's and most of timm's ImageNet weights expect."""

_MOBILENET: Final = ("mobilenetv2_100",)

BACKBONES: Final[tuple[str, ...]] = _DRN + _RESNET + _DENSENET + _MOBILENET
"""Every backbone name that :class:`ModelSpec` knows."""

# stages kept -> stride of the network without dilation
_NATURAL_STRIDE: Final[dict[Family, dict[int, int]]] = {
    "drn": {4: 8},
    "resnet": {2: 8, 3: 16, 4: 32},
    "densenet": {2: 8, 3: 16, 4: 32},
    "mobilenet": {4: 32},
}


def family_of(backbone: str) -> Family:
    """The family of a backbone name.

    Raises:
        ModelError: The name is not one of :data:`BACKBONES`.
    """
    if backbone in _DRN:
        return "drn"
    if backbone in _RESNET:
        return "resnet"
    if backbone in _DENSENET:
        return "densenet"
    if backbone in _MOBILENET:
        return "mobilenet"
    raise ModelError("unknown backbone", got=repr(backbone), allowed=BACKBONES)


@dataclass(frozen=True)
class ModelSpec(Record):
    """One network: backbone, inputs, pooling and heads.

    The defaults are our choice where the paper is silent; the paper's ensemble is the recipe ``jones2020``.

    Attributes:
        backbone: One of :data:`BACKBONES`. The paper uses "minor variants" of the dilated residual network
            (DRN) and names no depth.
        inputs: Planes in the order the network takes them: ``("raw",)``, ``("lcn",)`` or ``("raw", "lcn")``.
        score: Whether there is an image-level score; always true (Jones 2020: every member gives one).
        map: Whether there is a pixel-wise map at stride 8 (Jones 2020: a subset of the members).
        pooling: ``"average"`` (over valid cells), ``"spp"`` (spatial pyramid of maxima, He et al. 2014) or
            ``"attention"`` (gated attention pooling, Ilse et al. 2018). The paper does not say which form its
            attention takes; see :class:`fracture.models.pooling.AttentionPool` for why we chose this one.
        spp_bins: Grid sizes of the pyramid, used with ``pooling="spp"``; ``(6, 3, 2, 1)`` are those of He et
            al., the default ``(4, 2, 1)`` is our choice (21 instead of 50 cells per channel).
        attention_width: Hidden units of the attention gate, used with ``pooling="attention"`` (our choice).
        regions: Names the region head tells apart, as independent sigmoids (a film may show several); empty
            for no such head. Our addition: the paper does not say where the region comes from.
        width: Multiplier of the channel counts, for DRN only; 1.0 is the published network.
        stages: Residual stages or dense blocks kept, from the input on; 4 is the whole network. DRN: always
            4.
        output_stride: Stride of the deepest features, reached by dilation: 8, 16 or 32. DRN: always 8.
        norm: ``"batch"``; ``"group"`` (Wu and He 2018, at most 32 groups; for batches of a few films); or
            ``"frozen"``: batch normalization whose stored statistics are used in training too and never
            updated, while its scale and shift learn. ``"frozen"`` makes sense only with loaded weights.
        dropout: Probability of dropping a pooled feature before the linear score and region heads, in
            training.
        geometry: ``"torchvision"``, or ``"caffe"`` for the original MSRA ResNet-50/-101 weights: stride in
            the first 1 x 1 convolution of a stage, and the stem's max-pool without padding but in ceil mode.
        stem_rgb: Whether the first convolution takes the valid mask as one more plane. With it a network that
            was trained on RGB normalized by ImageNet's mean and standard deviation can be loaded exactly,
            borders included; see :func:`fracture.models.starting_points.initialize`.
        map_skip: Whether the map is decoded at stride 8 from the upsampled deep features plus a lateral 1 x 1
            projection of the backbone's stride-8 stage (one step of a feature pyramid, Lin et al. 2017).
            Needs ``map`` and an ``output_stride`` above 8. Our addition, not in the paper: it gives the map
            its resolution back at a fraction of the price of dilation.
        pyramid: Whether the heads read a feature pyramid at strides 8, 16 and 32, whose cells tell boxes and their
            quality; see :mod:`fracture.models.pyramid`. Needs ``map`` and an ``output_stride`` of 8 or 16, and takes
            the place of ``map_skip``. Our addition: the outline of a region of the map gives a box's size to a cell on
            each side only, and a fracture is four cells wide.

    Raises:
        ModelError: A value out of range, or a combination that no network has.
    """

    ERROR: ClassVar[type[FractureError]] = ModelError
    _GONE: ClassVar[Gone] = {"extents": (False,)}

    backbone: str = "drn_d_22"
    inputs: tuple[str, ...] = ("raw",)
    score: bool = True
    map: bool = True
    pooling: Pooling = "average"
    spp_bins: Annotated[tuple[Annotated[int, Field(ge=1, le=32)], ...], Field(min_length=1, max_length=8)] = (4, 2, 1)
    attention_width: Annotated[int, Field(ge=1, le=4096)] = 128
    regions: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    width: Annotated[float, Field(ge=0.0625, le=4)] = 1.0
    stages: int = 4
    output_stride: int = 8
    norm: Norm = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    geometry: Geometry = "torchvision"
    stem_rgb: bool = False
    map_skip: bool = False
    pyramid: bool = False

    def _check(self) -> None:
        if self.inputs not in (("raw",), ("lcn",), ("raw", "lcn")):
            raise ModelError(
                "ModelSpec.inputs names the planes in order",
                got=self.inputs,
                allowed="('raw',), ('lcn',) or ('raw', 'lcn')",
            )
        if not self.score:
            raise ModelError("ModelSpec.score is always true", got=self.score, hint="leave it out")
        for name in ("spp_bins", "regions"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ModelError(f"ModelSpec.{name} has an entry twice", got=getattr(self, name))
        self._check_combinations(family_of(self.backbone))

    def _check_combinations(self, family: Family) -> None:
        natural = _NATURAL_STRIDE[family]
        if self.stages not in natural:
            raise ModelError(f"ModelSpec.stages for {self.backbone}", got=self.stages, allowed=sorted(natural))
        strides = [s for s in (8, 16, 32) if s <= natural[self.stages]]
        if self.output_stride not in strides:
            raise ModelError(
                f"ModelSpec.output_stride for {self.backbone} with {self.stages} stages",
                got=self.output_stride,
                allowed=strides,
            )
        if family != "drn" and self.width != 1.0:
            raise ModelError(
                f"only the DRN family has a width; {self.backbone} has one size", got=self.width, allowed=1.0
            )
        if self.geometry == "caffe" and self.backbone not in ("resnet50", "resnet101"):
            raise ModelError(
                "geometry 'caffe' exists for the bottleneck ResNets only",
                got=self.backbone,
                allowed=("resnet50", "resnet101"),
            )
        if family == "mobilenet" and self.norm != "batch":
            raise ModelError(
                f"the normalization of {self.backbone} cannot be exchanged", got=self.norm, allowed="batch"
            )
        if self.pyramid and (not self.map or self.map_skip or self.output_stride == 32):
            raise ModelError(
                "ModelSpec.pyramid has a map and boxes of its own, and levels at strides 8, 16 and 32",
                got=f"map={self.map}, map_skip={self.map_skip}, output_stride={self.output_stride}",
                allowed="map=True, map_skip=False, output_stride=8 or 16",
            )
        if self.map_skip and not self.map:
            raise ModelError("ModelSpec.map_skip decodes the map, but map is false", hint="set map=True")
        if self.map_skip and self.output_stride == MAP_STRIDE:
            raise ModelError(
                "ModelSpec.map_skip has nothing to add at output_stride 8, the map's own",
                hint="set output_stride=16 or 32, or map_skip=False",
            )

    @property
    def planes(self) -> int:
        """Number of image planes the model takes (the valid mask comes separately)."""
        return len(self.inputs)

    @property
    def family(self) -> Family:
        """The backbone's family."""
        return family_of(self.backbone)

    @property
    def size_multiple(self) -> int:
        """Height and width of the input must be multiples of this many pixels."""
        return 32 if self.pyramid else max(MAP_STRIDE, self.output_stride)

    def replace(self, **changes: Any) -> ModelSpec:
        """A copy with some fields changed, checked again.

        Raises:
            ModelError: Unknown fields, or a specification that cannot be built.
        """
        unknown = sorted(set(changes) - _FIELDS)
        if unknown:
            raise ModelError("unknown field of ModelSpec", got=", ".join(unknown), allowed=sorted(_FIELDS))
        return dataclasses.replace(self, **changes)


_FIELDS: Final = frozenset(field.name for field in dataclasses.fields(ModelSpec))
