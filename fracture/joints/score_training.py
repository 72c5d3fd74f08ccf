"""Training of the score networks: joints of real films, each time with other lesions painted in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from fracture.data.masking import coarser, other_look
from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import derive_seed, generator
from fracture.digits import unit_length
from fracture.errors import DataError
from fracture.io.reading import read
from fracture.joints.card import ScoreSpec
from fracture.joints.layout import DAMAGES
from fracture.joints.records import Limb, limbs_of
from fracture.joints.scoring import ScoreNetworks, place_of, points_of
from fracture.models.backbone import seeded
from fracture.models.ordered_levels import expected
from fracture.models.starting_points import InitReport, fill, read_tensors
from fracture.preprocess.similarity import crop_at
from fracture.simulate.joints import MOST, Joint, Lesion, draw_lesion, paint_joints, spaced
from fracture.training.config import OptimizerConfig, SplitConfig, StageConfig, StageLoop
from fracture.training.driver import Running
from fracture.training.stage import ArrayStage, PlainPictures

OPTIMIZER = OptimizerConfig(name="adamw", lr=2e-3, weight_decay=1e-4, schedule="cosine", warmup_steps=10)
Plane = NDArray[np.float32]
_JITTER = 0.012  # of the unit length: what the points that networks find are off, about
_film = lru_cache(maxsize=96)(read)  # kept between pictures, as each film is painted many times


class ScoreConfig(StageConfig):
    """A family's score networks; an epoch has ``pictures``, which go around all joints."""

    model: ScoreSpec
    pictures: int = Field(default=2000, ge=1, description="of an epoch; each is painted otherwise")
    repeats: int = Field(default=3, ge=1, description="epochs that see the same lesions in other looks")
    split: SplitConfig = SplitConfig(shares={"train": 0.7, "validation": 0.3})
    optimizer: OptimizerConfig = OPTIMIZER
    loop: StageLoop = StageLoop(epochs=14, patience=None)


class _Item(NamedTuple):
    film: Film
    limb: Limb
    name: str


class JointPictures(PlainPictures):
    """Joints of one family, painted anew for each presentation.

    Args:
        part: Films with their limbs.
        config: Of the network.

    Raises:
        DataError: No joint of the family.
    """

    def __init__(self, part: AnnotatedSet, config: ScoreConfig) -> None:
        super().__init__(part, config.seed)
        self.config, spec = config, config.model
        wanted = points_of(spec.family)
        self.items = [_Item(f, limb, n) for f in part for limb in limbs_of(f) for n in limb.points if n in wanted]
        self._painting, self._kept = -1, dict[int, Any]()
        if not self.items:
            raise DataError(f"{part.name}: no joint of the family {spec.family}", hint="annotate films with points")

    def order(self, epoch: int, turn: int = 0) -> list[Any]:
        """(joint, seed of its lesion, seed of its look): as many as configured, around all joints, shuffled; the same
        lesions for ``repeats`` epochs."""
        seed, count, painting = self.seed, self.config.pictures, epoch // self.config.repeats
        rng = generator(derive_seed(seed, epoch, turn, stream="joints"))
        if painting != self._painting:
            self._painting = painting
            self._kept.clear()
        return [
            (self.items[k % len(self.items)], derive_seed(seed, painting, k), derive_seed(seed, epoch, k + count))
            for k in rng.permutation(count).tolist()
        ]

    def make(self, picture: tuple[_Item, int, int]) -> tuple[Any, ...]:
        """(1, 224, 224); grades of narrowing and erosion, -1 where none is scored; and where they are, (2, 28, 28)."""
        (item, seed, look), spec = picture, self.config.model
        kept = self._kept.get(seed)
        if kept is None:
            rng = generator(seed)
            lesion = draw_lesion(rng, MOST[item.limb.kind])
            plane, traces = self.shown(item, lesion, int(rng.integers(2**31)), rng)
            grades = [getattr(lesion, d) if item.name in points_of(spec.family, d) else -1 for d in DAMAGES]
            kept = self._kept[seed] = (plane.astype(np.float16), grades, traces)
        rng, plane = generator(look), kept[0].astype(np.float32)
        turn = int(rng.choice([-1, 1]))
        plane = other_look(coarser(plane, rng) if spec.located else plane, rng)
        return plane[None, :, ::turn], kept[1], kept[2][..., ::turn]

    def shown(
        self, item: _Item, lesion: Lesion, seed: int, rng: np.random.Generator | None = None
    ) -> tuple[Plane, Plane]:
        """(224, 224), a joint with a lesion that ``seed`` paints, cut as in use, and where it is, see
        :func:`paint_joints`, (2, 28, 28); ``rng`` draws errors of the cut."""
        joint = Joint.of(item.limb.points, item.name)
        part, local = spaced(_film(self.part.image_path(item.film)).pixels, joint)
        x, y = joint.center[0] - local.center[0], joint.center[1] - local.center[1]
        points = {key: (px - x, py - y) for key, (px, py) in item.limb.points.items()}
        place = place_of(points, item.name, self.config.model.family)
        if rng is not None:
            place = place.disturbed(rng, _JITTER * unit_length(points), 6, 0.06)
        traces = np.zeros((2, *part.shape), np.float32)
        plane = crop_at(self.paint(part, local, lesion, seed, traces), place).standardized()
        cuts = [crop_at(trace, place).pixels.reshape(28, 8, 28, 8).mean((1, 3)).clip(0, 1) for trace in traces]
        return plane, np.stack(cuts)

    def paint(self, part: Plane, joint: Joint, lesion: Lesion, seed: int, traces: Plane) -> Plane:
        """A copy of a film's part with a lesion, noted in ``traces``; another painter overrides it."""
        return paint_joints(part, [joint], {joint.name: lesion}, seed, traces)

    def source(self, picture: Any) -> str:
        """The film's name."""
        return str(picture[0].film.source)


class ScoreStage(ArrayStage):
    """A family's networks in training."""

    format = "fracture-joints-score/1"
    terms = ("loss", *DAMAGES)

    def losses(self, batch: Any, totals: Sequence[float]) -> Mapping[str, Tensor]:
        """See :meth:`fracture.models.ordered_levels.OrderedLevels.losses`; both networks' added."""
        planes, grades, traces = self.stacked(batch)
        where = planes.new_zeros(())
        found = dict.fromkeys(self.model.damages, where)
        for place, (damage, network) in enumerate(self.model.damages.items()):
            if not (scored := grades[:, place] >= 0).any():
                continue
            chosen = planes[scored].contiguous(memory_format=self.layout), grades[scored, place], traces[scored, place]
            found[damage], drawn = (loss / totals[0] for loss in network.losses(*chosen))
            where = where + drawn
        return {"loss": torch.stack([*found.values(), where]).sum(), **found}

    def judge(self, folder: Path) -> dict[str, Any]:
        """Mean absolute error on painted lesions of films that were not trained on."""
        del folder
        if "validation" not in self.parts:
            return {}
        rows = list(score_rows(self.model, JointPictures(self.parts["validation"], self.config), self.device))
        scored = {d: [row for row in rows if row["point"] in points_of(self.config.model.family, d)] for d in DAMAGES}
        error = {d: float(np.mean([abs(r[f"{d}_value"] - r[d]) for r in scored[d]] or [0])) for d in DAMAGES}
        return {"results": {"validation": {"joints": len(rows), "mean_absolute_error": error}}}


def score_rows(
    model: ScoreNetworks,
    pictures: JointPictures,
    device: torch.device,
    *,
    times: int = 1,
    seed: int = 0,
    jitter: int | None = None,
) -> Iterator[dict[str, Any]]:
    """What networks say of painted joints: film, joint, grades, and of each damage ``_value`` and ``_spread``.

    Args:
        model: The networks; they are in evaluation mode for the while.
        pictures: Whose joints.
        device: Of the model.
        times: Lesions for each joint.
        seed: Of lesions and painter.
        jitter: Seed of the errors of found points; None: the points as annotated.
    """
    was = model.training
    model.eval()
    for number, item in enumerate(pictures.items * times):
        rng = generator(derive_seed(seed, 0, number, stream="judge"))
        lesion = draw_lesion(rng, MOST[item.limb.kind])
        painting = int(rng.integers(2**31))
        errors = None if jitter is None else np.random.default_rng([painting, jitter])
        planes = torch.from_numpy(pictures.shown(item, lesion, painting, errors)[0])[None, None]
        told: dict[str, Any] = {"source": item.film.source, "group": item.film.group, "point": item.name}
        told |= {"narrowing": lesion.narrowing, "erosion": lesion.erosion}
        with torch.inference_mode():
            for damage, logits in model(planes.to(device)).items():
                value, spread = expected(logits)
                told |= {f"{damage}_value": float(value[0]), f"{damage}_spread": float(spread[0])}
        yield told
    model.train(was)


def build_score_stage(config: ScoreConfig, parts: Mapping[str, AnnotatedSet], run: Running) -> ScoreStage:
    """A stage for :func:`fracture.training.driver.run_stage`, from random weights or those of another family.

    Raises:
        DataError: No joint of the family, or a film that cannot be read.
        WeightsError: ``config.init`` holds no score networks of this width.
    """
    model = seeded(ScoreNetworks, config.model, config.seed)
    start = InitReport("random").to_dict()
    if config.init != "random":
        first, name = f"damages.{DAMAGES[0]}.body.", str(config.init)
        start = fill(model, read_tensors(name), name, network="score network", trunk=first, homes=("",)).to_dict()
    pictures = JointPictures(parts["train"], config)
    return ScoreStage(model, config, pictures, parts, run.device, world=run.world, start=start)
