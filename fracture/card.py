"""The card: everything about a set of weights that is not a tensor.

``weights/<name>/card.json`` stands beside the safetensors files it describes. It is checked against a schema when it
is read; an unknown key is an error, not a note, so that a misspelt threshold cannot be silently ignored.
"""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fracture.errors import CardError, FractureError
from fracture.models.spec import ModelSpec
from fracture.preprocess.spec import PreprocessSpec
from fracture.regions import DEFAULT_TREE, RegionTree

__all__ = ["CARD_FILE", "CARD_VERSION", "Calibration", "Card", "FastCard", "FastMember", "InputCheckCard", "MemberCard"]

CARD_FILE = "card.json"
CARD_VERSION = 1
_LARGEST_CARD = 4 * 2**20  # bytes; a card is text that people read


def _inside_the_folder(value: str) -> str:
    path = PurePosixPath(value)
    if len(path.parts) != 1 or path.name in ("", ".", "..") or "\\" in value or path.suffix != ".safetensors":
        raise ValueError("must be the plain name of a .safetensors file in the card's own folder")
    return value


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, AfterValidator(_inside_the_folder)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Calibration(_Strict):
    """Platt scaling of one member's score: sigmoid(slope * logit + intercept). Never a pickled estimator."""

    slope: float = Field(gt=0)
    intercept: float

    def __call__(self, logit: float) -> float:
        """The calibrated probability for a raw logit, float in [0, 1]."""
        z = self.slope * logit + self.intercept
        return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))


class MemberCard(_Strict):
    """One network of the ensemble."""

    file: FileName
    sha256: Sha256
    model: dict[str, Any]
    preprocess: dict[str, Any]
    calibration: Calibration | None = None
    training: dict[str, Any] = Field(default_factory=dict)

    @property
    def model_spec(self) -> ModelSpec:
        """The network's specification."""
        return ModelSpec.from_dict(self.model)

    @property
    def preprocess_spec(self) -> PreprocessSpec:
        """What the network is fed."""
        return PreprocessSpec.from_dict(self.preprocess)


class SelfTest(_Strict):
    """What the ensemble says in float32 on the self-test film (``fracture.store.self_test_film``)."""

    probability: float = Field(ge=0, le=1)
    tolerance: float = Field(default=0.01, gt=0)


class FastMember(_Strict):
    """A member of the fast subset; its own calibration, since it was fitted for the subset.

    The checksum is the member's: a subset whose thresholds were found with other tensors is refused.
    """

    file: FileName
    sha256: Sha256
    calibration: Calibration | None = None


class FastCard(_Strict):
    """What ``fast=True`` runs: some of the members, with thresholds and box rules of their own.

    A subset's scores have another distribution than the ensemble's, so nothing of the card's may be reused.
    ``metrics`` are the subset's own, as in ``Card.metrics``; ``loses`` holds the differences from the whole ensemble
    on the same films, with intervals (:func:`fracture.calibration.fast.measure_loss`); both are for people.
    """

    members: tuple[FastMember, ...] = Field(min_length=1)
    operating_points: dict[str, Any]
    boxes: dict[str, Any]
    region_cutoff: float = Field(default=0.5, ge=0, le=1)
    metrics: dict[str, Any] = Field(default_factory=dict)
    loses: dict[str, Any] = Field(default_factory=dict)
    self_test: SelfTest | None = None


class InputCheckCard(_Strict):
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

    file: FileName
    sha256: Sha256
    member: FileName
    member_sha256: Sha256
    limit: float = Field(gt=0)
    rule: str
    false_alarms: dict[str, Any] = Field(default_factory=dict)


class Card(_Strict):
    """The specification record of a set of weights.

    ``operating_points`` and ``boxes`` are the dictionaries of ``OperatingPoints`` and ``BoxParameters``; ``fast`` and
    ``input_check`` are for weights that have a fast subset, or statistics of real films' features;
    ``data``, ``metrics`` and each member's ``training`` are for people and take any JSON.
    """

    format: Literal["fracture-card"] = "fracture-card"
    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str
    created: str
    description: str
    license: str
    attribution: tuple[str, ...]
    intended_use: str
    limitations: tuple[str, ...]
    members: tuple[MemberCard, ...] = Field(min_length=1)
    operating_points: dict[str, Any]
    boxes: dict[str, Any]
    tree: dict[str, Any] | None = None
    region_cutoff: float = Field(default=0.5, ge=0, le=1)
    data: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    self_test: SelfTest | None = None
    parent: dict[str, Any] | None = None
    fast: FastCard | None = None
    input_check: InputCheckCard | None = None

    @model_validator(mode="after")
    def _one_file_each(self) -> Card:
        files = [member.file for member in self.members]
        if len(set(files)) != len(files):
            raise ValueError("two members name the same file")
        return self

    @model_validator(mode="after")
    def _sections_fit_the_members(self) -> Card:
        checksums = {member.file: member.sha256 for member in self.members}
        fast = [member.file for member in self.fast.members] if self.fast is not None else []
        if self.fast is not None:
            if len(set(fast)) != len(fast) or any(checksums.get(m.file) != m.sha256 for m in self.fast.members):
                raise ValueError("fast: made for other members than the card's; calibrate the subset again")
            if len(fast) == len(checksums):
                raise ValueError("fast: names every member, and so is no subset")
        if (check := self.input_check) is not None:
            if checksums.get(check.member) != check.member_sha256:
                raise ValueError("input_check: made for another member than the card's; make it again")
            if check.file in checksums:
                raise ValueError("input_check: its file is a member's")
            if fast and check.member not in fast:
                raise ValueError("input_check: its member is not in the fast subset, which would run unchecked")
        return self

    @property
    def label(self) -> str:
        """Name and version, as a prediction quotes them."""
        return f"{self.name} {self.version}"

    @property
    def region_tree(self) -> RegionTree:
        """The card's own region tree, or the shipped one."""
        return DEFAULT_TREE if self.tree is None else RegionTree.from_dict(self.tree)

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read ``folder/card.json``.

        Raises:
            CardError: No card, no JSON, or not what the schema asks for; the message names every fault.
        """
        path = folder / CARD_FILE
        try:
            if path.stat().st_size > _LARGEST_CARD:
                raise CardError(f"{path} is too large for a card", allowed=f"{_LARGEST_CARD} bytes")
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CardError(
                f"{folder} holds no {CARD_FILE}", hint="pass the folder that holds the card and its safetensors files"
            ) from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise CardError(f"{path} cannot be read as JSON", got=type(error).__name__) from error
        if isinstance(document, dict) and document.get("format_version", CARD_VERSION) != CARD_VERSION:
            raise CardError(
                f"{path} is a card of another format version",
                got=document.get("format_version"),
                allowed=CARD_VERSION,
                hint="install the version of fracture that wrote it",
            )
        try:
            card = cls.model_validate_json(json.dumps(document))
            for member in card.members:
                if member.model_spec.inputs != member.preprocess_spec.channels:
                    raise CardError(
                        f"member {member.file}: the network's inputs differ from the prepared planes",
                        got=member.model_spec.inputs,
                        allowed=member.preprocess_spec.channels,
                    )
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part) for part in fault['loc']) or 'card'}: {fault['msg']}" for fault in error.errors()
            )
            raise CardError(f"{path} does not follow the card's schema", got=faults) from error
        except CardError:
            raise
        except FractureError as error:
            raise CardError(f"{path}: {error}") from error
        return card

    def write(self, folder: Path) -> Path:
        """Write ``folder/card.json`` atomically and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path, draft = folder / CARD_FILE, folder / (CARD_FILE + ".part")
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(path)
        return path
