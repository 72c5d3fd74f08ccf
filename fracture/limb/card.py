"""The card of the limbs' detector: everything about its weights that is not a tensor.

``weights/<name>/card.json`` stands beside the safetensors files it describes; :mod:`fracture.wing.card` says how strict
it is.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from fracture.limb.boxes import BoxParameters
from fracture.limb.operating_points import OperatingPoints
from fracture.models.spec import ModelSpec
from fracture.preprocess.spec import PreprocessSpec
from fracture.regions import DEFAULT_TREE, RegionTree
from fracture.schema import JsonObject, Line, Share, spec_of
from fracture.wing.card import BaseCard, FileName, Section, SelfTest, Sha256, WeightFile

CARD_FILE = "card.json"
_Points = Annotated[JsonObject, spec_of(OperatingPoints)]
_Boxes = Annotated[JsonObject, spec_of(BoxParameters)]


class Calibration(Section):
    """Platt scaling of one member's opinion: sigmoid(slope * logit + peak * best + intercept). Never a pickled object.

    ``best`` is the logit of the highest quality among the boxes that the member tells. A small fracture that the pooled
    score passes over has a box all the same, so a network with a pyramid has two opinions of a film (ours); ``peak`` is
    0 where a member tells no boxes.
    """

    slope: float = Field(ge=0, le=1e6)
    intercept: float = Field(ge=-1e6, le=1e6)
    peak: float = Field(default=0.0, ge=0, le=1e6)

    @model_validator(mode="after")
    def _rises(self) -> Calibration:
        if not self.slope + self.peak > 0:
            raise ValueError("slope and peak are both 0: the score would be the same for every film")
        return self

    def __call__(self, logit: float, best: float = 0.0) -> float:
        """The calibrated probability for a raw logit and the logit of the best box's quality, float in [0, 1]."""
        z = self.slope * logit + self.peak * best + self.intercept
        return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))


class View(Section):
    """A further way in which a film is shown to a network; what it says of all its views is averaged.

    Attributes:
        size: Longer side in pixels, instead of the preprocessing's; ``None``: as there.
        mirrored: Left and right are exchanged.
    """

    size: int | None = Field(default=None, ge=1, le=4096)
    mirrored: bool = False


class MemberCard(WeightFile):
    """One network of the ensemble.

    ``views`` are shown to it beside the film as ``preprocess`` has it: its logits and maps are averaged over them, and
    the boxes of all are joined as those of several networks are (test-time augmentation; ours).

    ``boxes_only`` is for a network whose boxes are better than its opinion: it tells boxes, and has no part in the
    means of scores, maps and regions. ``regions_only`` is for a network that was taught what part of the body a film
    shows: it tells regions, and nothing else. ``regions_left_out`` is for one whose region head is worse than another
    member's: it has no part in the mean of regions. ``boxes_left_out`` is for one whose opinion is better than its
    boxes: it tells none, has no say in their order (:attr:`EnsembleOutput.box_score`), and has its part in the means.
    """

    model: Annotated[JsonObject, spec_of(ModelSpec)]
    preprocess: Annotated[JsonObject, spec_of(PreprocessSpec)]
    calibration: Calibration | None = None
    boxes_only: bool = False
    boxes_left_out: bool = False
    regions_only: bool = False
    regions_left_out: bool = False
    views: tuple[View, ...] = Field(default=(), max_length=8, strict=False)
    training: JsonObject = Field(default_factory=dict)

    @property
    def model_spec(self) -> ModelSpec:
        """The network's specification."""
        return ModelSpec.from_dict(self.model)

    @property
    def preprocess_spec(self) -> PreprocessSpec:
        """What the network is fed."""
        return PreprocessSpec.from_dict(self.preprocess)

    @property
    def has_opinion(self) -> bool:
        """Whether it has a part in the film's score and map."""
        return not (self.boxes_only or self.regions_only)

    @model_validator(mode="after")
    def _planes(self) -> MemberCard:
        if self.model_spec.inputs != self.preprocess_spec.channels:
            raise ValueError(
                f"the network's inputs {self.model_spec.inputs} differ from the prepared planes "
                f"{self.preprocess_spec.channels}"
            )
        if self.boxes_only and not self.model_spec.pyramid:
            raise ValueError("boxes_only: the network has no pyramid, which tells boxes")
        if self.boxes_left_out and not (self.model_spec.pyramid and self.has_opinion):
            raise ValueError("boxes_left_out: the network must have a pyramid, and a part in the film's score")
        if self.regions_only and (self.boxes_only or self.regions_left_out or not self.model_spec.regions):
            raise ValueError("regions_only: the network must have a region head, and no other part in the ensemble")
        if not self.has_opinion and self.calibration is not None:
            raise ValueError("a network whose score does not count (boxes_only, regions_only) has no calibration")
        if self.calibration is not None and self.calibration.peak and not self.model_spec.pyramid:
            raise ValueError("calibration.peak: the network has no pyramid, which tells boxes")
        return self


class FastMember(WeightFile):
    """A member of the fast subset; its own calibration, since it was fitted for the subset.

    The checksum is the member's: a subset whose thresholds were found with other tensors is refused.
    """

    calibration: Calibration | None = None


class FastCard(Section):
    """What ``fast=True`` runs: some of the members, with thresholds and box rules of their own.

    A subset's scores have another distribution than the ensemble's, so nothing of the card's may be reused.
    ``metrics`` are the subset's own, as in ``Card.metrics``; ``loses`` holds the differences from the whole ensemble
    on the same films, with intervals (:func:`fracture.calibration.fast.measure_loss`); both are for people.
    """

    members: tuple[FastMember, ...] = Field(min_length=1, max_length=64, strict=False)
    operating_points: _Points
    boxes: _Boxes
    region_cutoff: Share = 0.5
    metrics: JsonObject = Field(default_factory=dict)
    loses: JsonObject = Field(default_factory=dict)
    self_test: SelfTest | None = None


class InputCheckCard(WeightFile):
    """Where the distribution of real films' features lies, and how far from it a picture is called no radiograph.

    Attributes:
        file: Safetensors file of the distribution (:class:`fracture.input_check.FeatureDistribution`).
        sha256: Of that file.
        member: The member whose features it describes.
        member_sha256: Of the member's tensors: features of other tensors mean nothing here.
        limit: A distance above it is warned of.
        rule: How the limit was found, in words, with the films it comes from.
        false_alarms: Measured on held-out films, for people.
    """

    member: FileName
    member_sha256: Sha256
    limit: float = Field(gt=0, le=1e6)
    rule: Line
    false_alarms: JsonObject = Field(default_factory=dict)


class Card(BaseCard):
    """The specification record of a set of weights.

    ``operating_points`` and ``boxes`` are the dictionaries of ``OperatingPoints`` and ``BoxParameters``; ``fast`` and
    ``input_check`` are for weights that have a fast subset, or statistics of real films' features;
    ``data``, ``metrics`` and each member's ``training`` are for people and take any JSON.
    """

    FILE: ClassVar[str] = CARD_FILE

    format: Literal["fracture-card"] = "fracture-card"
    members: tuple[MemberCard, ...] = Field(min_length=1, max_length=64, strict=False)
    operating_points: _Points
    boxes: _Boxes
    tree: Annotated[JsonObject, spec_of(RegionTree)] | None = None
    region_cutoff: Share = 0.5
    data: JsonObject = Field(default_factory=dict)
    metrics: JsonObject = Field(default_factory=dict)
    self_test: SelfTest | None = None
    parent: JsonObject | None = None
    fast: FastCard | None = None
    input_check: InputCheckCard | None = None

    @model_validator(mode="after")
    def _one_has_an_opinion(self) -> Card:
        if not any(member.has_opinion for member in self.members):
            raise ValueError("members: at least one must be neither boxes_only nor regions_only, for the film's score")
        return self

    @model_validator(mode="after")
    def _sections_fit_the_members(self) -> Card:
        checksums = {member.file: member.sha256 for member in self.members}
        fast = [member.file for member in self.fast.members] if self.fast is not None else []
        if self.fast is not None:
            if len(set(fast)) != len(fast) or any(checksums.get(m.file) != m.sha256 for m in self.fast.members):
                raise ValueError("fast: made for other members than the card's; calibrate the subset again")
            if len(fast) == len(checksums):
                raise ValueError("fast: names every member and so is not a subset")
        if (check := self.input_check) is not None:
            if checksums.get(check.member) != check.member_sha256:
                raise ValueError("input_check: made for another member than the card's; make it again")
            if check.file in checksums:
                raise ValueError("input_check: its file is a member's")
            if fast and check.member not in fast:
                raise ValueError("input_check: its member is not in the fast subset, which would run unchecked")
        return self

    @model_validator(mode="after")
    def _nodes_are_in_the_tree(self) -> Card:
        tree = self.region_tree
        for part in (self, self.fast):
            nodes = part.operating_points.get("nodes", {}) if part is not None else {}
            if unknown := sorted(node for node in nodes if node not in tree):
                raise ValueError(f"operating_points: no such regions: {', '.join(unknown)}")
        return self

    def as_parent(self) -> JsonObject:
        """How a card names the weights that its own were made from."""
        members = {member.file: member.sha256 for member in self.members}
        return {"name": self.name, "version": self.version, "members": members, "parent": self.parent}

    @property
    def region_tree(self) -> RegionTree:
        """The card's own region tree, or the shipped one."""
        return DEFAULT_TREE if self.tree is None else RegionTree.from_dict(self.tree)
