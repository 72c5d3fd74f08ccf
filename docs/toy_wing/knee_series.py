"""A whole wing in one file: is there dense matter in a small series? It shows the parts; it is of no medical use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fracture.data.records import AnnotatedSet, Film
from fracture.errors import ConfigurationError, UnreadableFileError
from fracture.models.devices import resolve_device
from fracture.models.persistence import load_state
from fracture.schema import Share
from fracture.training.config import StageConfig
from fracture.training.driver import Running, run_stage, running
from fracture.training.stage import PlainPictures, Stage
from fracture.wing.card import BaseCard, SelfTest, WeightFile
from fracture.wing.contract import Wing
from fracture.wing.reader import ReaderBase, Taken
from fracture.wing.result import ResultBase
from fracture.wing.runner import TorchRunner
from fracture.wing.scene import Page, Scene, SceneBox, as_gray, suspicion
from fracture.wing.store import Store, Weights
from fracture.wing.verification import self_test
from fracture.wing.volume import Volume

SIDE = 16  # rows and columns of a slice as the network takes it
Planes = NDArray[np.float32]  # (slices, 1, SIDE, SIDE)


# The card: what is said about the weights. Unknown keys and wrong types are refused by the base.
class KneeCard(BaseCard):
    FILE: ClassVar[str] = "knee_card.json"

    format: Literal["toy-knee/1"] = "toy-knee/1"
    network: WeightFile
    threshold: Share
    self_test: SelfTest | None = None

    @property
    def files(self) -> Sequence[WeightFile]:
        return (self.network,)


STORE = Store(KneeCard, "toy-knee", "knee networks", "knee_series.train", roots=(Path(__file__).parent / "weights",))


# The result: plain values, which are written as they are, and what there is to see.
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KneeSeries(ResultBase):
    """What the network says of one series; one page for each slice."""

    _shown = ("source", "probability")
    _pixels = ("volume",)

    source: str
    probability: float
    threshold: float
    slices: tuple[float, ...]
    spacing: tuple[float, float, float]
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    volume: Volume | None = None

    def scene(self) -> Scene:
        if self.volume is None:
            raise ConfigurationError(f"{self.source}: this result does not hold its series", hint="use keep=True")
        pages = []
        for k, (pixels, value) in enumerate(zip(self.volume.voxels, self.slices, strict=True)):
            alarm = value >= self.threshold
            frame = SceneBox(1, 1, pixels.shape[1] - 1, pixels.shape[0] - 1, "sure" if alarm else "calm")
            line = f"Suspicion {suspicion(value, self.threshold):.2f} from 0 to 1; the threshold is 0.5."
            pages.append(Page(as_gray(pixels), f"Slice {k + 1}", (line,), alarm, (frame,)))
        return Scene(tuple(pages))


# The reader: how a source is taken in, prepared and judged. All else is the base's.
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


class KneeReader(ReaderBase[Volume, Planes, KneeSeries]):
    """Reads ``.npz`` files with ``voxels`` in [0, 1] and ``affine``."""

    single_dims = 3

    def __init__(self, network: KneeNetwork, card: KneeCard, device: str = "cpu") -> None:
        self.card, where = card, resolve_device(device)
        self.runner = TorchRunner(network.eval().to(where), device=where, dtype=torch.float32)

    def take(self, source: Any, *, most_slices: int = 512) -> Volume:
        """One file; ``most_slices`` is an option of ``predict`` now."""
        if isinstance(source, Volume):
            return source
        try:
            with np.load(source, allow_pickle=False) as file:
                return Volume(file["voxels"][:most_slices], file["affine"], str(source))
        except (OSError, ValueError, KeyError) as error:
            raise UnreadableFileError(f"{source} is not a series", got=error, allowed=".npz") from error

    def prepare(self, record: Volume, /) -> Planes:
        rows, columns = (np.arange(SIDE) * n // SIDE for n in record.voxels.shape[1:])
        return np.ascontiguousarray(record.voxels[:, None][:, :, rows][..., columns])

    def examine(self, taken: Sequence[Taken[Volume, Planes]], /) -> list[KneeSeries]:
        """The network on all slices of series of one shape."""
        logits = self.runner.run({"planes": np.concatenate([one.inputs for one in taken])})["output"]
        values = torch.sigmoid(logits.double()).cpu().reshape(len(taken), -1).tolist()
        return [self._result(one, found) for one, found in zip(taken, values, strict=True)]

    def _result(self, one: Taken[Volume, Planes], found: list[float]) -> KneeSeries:
        return KneeSeries(
            source=one.record.source,
            probability=max(found),
            threshold=self.card.threshold,
            slices=tuple(found),
            spacing=one.record.spacing,
            warnings=(*one.record.warnings, *one.warnings),
            volume=one.record,
        )


# The wing: what the rest of the library asks.
def reader_of(weights: Weights[KneeCard], *, device: str = "cpu", precision: str = "float32") -> KneeReader:
    del precision  # float32 always
    network = KneeNetwork()
    load_state(network, weights.tensors(weights.card.network), source=weights.card.network.file)
    return KneeReader(network, weights.card, device)


def self_test_series() -> Volume:
    """Made of a formula, so that it never changes."""
    voxels = np.linspace(0, 1, 3 * 24 * 20, dtype=np.float32).reshape(3, 24, 20)
    return Volume(voxels, np.diag([0.5, 0.5, 3.0, 1.0]), "<self-test>")


def self_tests(weights: Weights[KneeCard]) -> Iterator[str]:
    yield self_test(reader_of(weights), weights.card.self_test, self_test_series())


WING = Wing[KneeCard]("knee-series", STORE, reader_of, self_tests)


# Training: the pictures and the losses are the wing's own; `run_stage` does the rest.
class KneePictures(PlainPictures):
    """Every series once an epoch: its slices, and whether it shows dense matter."""

    def __init__(self, part: AnnotatedSet, reader: KneeReader) -> None:
        super().__init__(part)
        self.reader = reader

    def make(self, picture: Film) -> tuple[Planes, int]:
        return self.reader.prepare(self.reader.take(self.part.image_path(picture))), picture.fractured


class KneeStage(Stage):
    def losses(self, batch: Sequence[tuple[Planes, int]], totals: Sequence[float]) -> Mapping[str, Tensor]:
        """Binary cross-entropy of the most suspicious slice of each series."""
        logits = torch.stack([self.model(torch.from_numpy(planes).to(self.device)).max() for planes, _ in batch])
        truth = torch.tensor([float(label) for _, label in batch], device=logits.device)
        return {"loss": binary_cross_entropy_with_logits(logits, truth, reduction="sum") / totals[0]}


def train(annotated: AnnotatedSet, reader: KneeReader, out: Path, config: StageConfig) -> dict[str, Any]:
    """Networks and facts below ``out``; ``knee.safetensors`` goes beside a card."""

    def build(parts: Mapping[str, AnnotatedSet], run: Running) -> Stage:
        return KneeStage(KneeNetwork(), config, KneePictures(parts["train"], reader), parts, run.device)

    with running(out, device="cpu", progress=False) as run:
        return run_stage("knee", config, annotated, build, run)
