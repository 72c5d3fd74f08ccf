"""A whole wing in one file: is there dense matter in a small series? It shows the parts; it is of no medical use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fracture.errors import ConfigurationError, UnreadableFileError
from fracture.models.persistence import load_state
from fracture.schema import Share
from fracture.wing.card import BaseCard, Section, Tolerance, WeightFile
from fracture.wing.contract import Wing
from fracture.wing.reader import ReaderBase, Taken
from fracture.wing.result import ResultBase
from fracture.wing.runner import TorchRunner
from fracture.wing.scene import Page, Scene, SceneBox, as_gray, suspicion
from fracture.wing.store import Store, Weights
from fracture.wing.verification import compare
from fracture.wing.volume import Volume

SIDE = 16  # rows and columns of a slice as the network takes it


# The card: what is said about the weights. Unknown keys and wrong types are refused by the base.
class SelfTest(Section):
    """What the network says of ``self_test_series``."""

    probability: Share
    tolerance: Tolerance = 1e-4


class KneeCard(BaseCard):
    FILE: ClassVar[str] = "knee_card.json"

    format: Literal["toy-knee/1"] = "toy-knee/1"
    network: WeightFile
    threshold: Annotated[float, Field(ge=0, le=1)]
    self_test: SelfTest | None = None

    @property
    def files(self) -> Sequence[WeightFile]:
        return (self.network,)


STORE = Store(KneeCard, "toy-knee", "knee networks", "knee_training", roots=(Path(__file__).parent / "weights",))


# The result: plain values, what is drawn, what is written.
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KneeSeries(ResultBase):
    """What the network says of one series; one page for each slice."""

    ok: ClassVar[Literal[True]] = True
    error: ClassVar[None] = None
    _shown = ("source", "probability")

    source: str
    probability: float
    threshold: float
    slice_probabilities: tuple[float, ...]
    spacing: tuple[float, float, float]
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    volume: Volume | None = None

    def to_dict(self) -> dict[str, Any]:
        names = ("source", "probability", "threshold", "seconds")
        return {name: getattr(self, name) for name in names} | {
            "slices": list(self.slice_probabilities),
            "spacing": list(self.spacing),
            "warnings": list(self.warnings),
            "error": None,
        }

    def drop_pixels(self) -> KneeSeries:
        return replace(self, volume=None)

    def scene(self) -> Scene:
        if self.volume is None:
            raise ConfigurationError(f"{self.source}: this result does not hold its series", hint="use keep=True")
        pages = []
        for k, (pixels, value) in enumerate(zip(self.volume.voxels, self.slice_probabilities, strict=True)):
            alarm = value >= self.threshold
            frame = SceneBox(1, 1, pixels.shape[1] - 1, pixels.shape[0] - 1, "sure" if alarm else "calm")
            line = f"Suspicion {suspicion(value, self.threshold):.2f} from 0 to 1; the threshold is 0.5."
            pages.append(Page(as_gray(pixels), f"Slice {k + 1}", (line,), alarm, (frame,)))
        return Scene(tuple(pages))


# The reader: how a source is taken in, prepared and judged. All else is the base's.
@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """What the network takes: float32 (slices, 1, SIDE, SIDE)."""

    planes: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def shape_key(self) -> object:
        return self.planes.shape


class KneeNetwork(nn.Module):
    """Two numbers: a slice's logit is a line through its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 1)

    def forward(self, planes: Tensor) -> Tensor:
        """(B, 1, SIDE, SIDE) to logits (B,)."""
        logits: Tensor = self.head(planes.mean(dim=(2, 3)))[:, 0]
        return logits

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"heads": list(self.parameters())}


class KneeReader(ReaderBase[Volume, Slices, KneeSeries]):
    """Reads ``.npz`` files with ``voxels`` in [0, 1] and ``affine``."""

    single_dims = 3

    def __init__(self, network: KneeNetwork, card: KneeCard, device: str = "cpu") -> None:
        self.card = card
        where = torch.device("cpu" if device == "auto" else device)
        self.runner = TorchRunner(network.eval().to(where), device=where, dtype=torch.float32)

    def take(self, source: Any, *, most_slices: int = 512) -> Volume:
        """One file; ``most_slices`` is an option of ``predict`` now."""
        if isinstance(source, Volume):
            return source
        try:
            with np.load(source, allow_pickle=False) as file:
                voxels, affine = file["voxels"][:most_slices], file["affine"]
        except (OSError, ValueError, KeyError) as error:
            raise UnreadableFileError(f"{source} is not a series", got=error, allowed=".npz") from error
        return Volume(voxels, affine, str(source))

    def prepare(self, record: Volume, /) -> Slices:
        rows, columns = (np.arange(SIDE) * n // SIDE for n in record.voxels.shape[1:])
        return Slices(np.ascontiguousarray(record.voxels[:, None][:, :, rows][..., columns]))

    def examine(self, taken: Sequence[Taken[Volume, Slices]], /) -> list[KneeSeries]:
        """The network on all slices of series of one shape."""
        logits = self.runner.run({"planes": np.concatenate([one.inputs.planes for one in taken])})["output"]
        values = torch.sigmoid(logits.double()).cpu().reshape(len(taken), -1).tolist()
        return [self._result(one, found) for one, found in zip(taken, values, strict=True)]

    def _result(self, one: Taken[Volume, Slices], found: list[float]) -> KneeSeries:
        warnings = (*one.record.warnings, *one.warnings)
        return KneeSeries(
            source=one.record.source,
            probability=max(found),
            threshold=self.card.threshold,
            slice_probabilities=tuple(found),
            spacing=one.record.spacing,
            warnings=warnings,
            volume=one.record,
        )


# The wing: what the rest of the library asks.
def load(weights: Any = None, *, device: str = "auto", precision: str = "auto") -> KneeReader:
    """Open a reader; precision is float32 always."""
    del precision
    return reader_of(STORE.open(weights), device)


def reader_of(weights: Weights[KneeCard], device: str = "cpu") -> KneeReader:
    network = KneeNetwork()
    load_state(network, weights.tensors(weights.card.network), source=weights.card.network.file)
    return KneeReader(network, weights.card, device)


def self_test_series() -> Volume:
    """Made of a formula, so that it never changes."""
    voxels = np.linspace(0, 1, 3 * 24 * 20, dtype=np.float32).reshape(3, 24, 20)
    return Volume(voxels, np.diag([0.5, 0.5, 3.0, 1.0]), "<self-test>")


def self_tests(weights: Weights[KneeCard]) -> Iterator[str]:
    if (test := weights.card.self_test) is None:
        yield "self-test: the card states none"
        return
    found = reader_of(weights).predict(self_test_series()).probability
    yield compare("self-test", [found], [test.probability], test.tolerance)


WING = Wing[KneeCard]("knee-series", STORE, load, self_tests)
