"""One network of the detector as a stage: joint loss, tuning by AUC, overlays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fracture.atomic import write_atomic
from fracture.data.augment import AugmentSpec, augmented_sheet
from fracture.data.records import AnnotatedSet, Film
from fracture.models import FractureModel, build_model, initialize
from fracture.preprocess import Letterboxed
from fracture.regular import sha256_of
from fracture.training.cache import FilmCache, default_cache_folder
from fracture.training.config import MemberConfig
from fracture.training.dataset import Batch, Films
from fracture.training.driver import Running, prepare_films
from fracture.training.evaluate_tuning import FilmOutput, judge, pooled_auc, write_maps, write_predictions
from fracture.training.logs import write_figure
from fracture.training.loss import Counts, JointLoss
from fracture.training.optim import freeze
from fracture.training.region_head import fit_region_head
from fracture.training.stage import Stage, Step, Tuned
from fracture.training.teacher import Teachers, teacher_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def build_member(config: MemberConfig, parts: Mapping[str, AnnotatedSet], run: Running) -> MemberStage:
    """A member's network at its start, with its films in the cache.

    Raises:
        ModelError, WeightsError: A starting point that does not fit, told before any film is prepared.
        DataError: Films that cannot be read.
    """
    regions = config.model.regions if config.region_head == "model" else parts["train"].regions
    model = build_model(config.model.replace(regions=regions), seed=config.seed)
    start = initialize(model, config.init, seed=config.seed)
    caches = film_caches(config)
    skip = config.data.on_unreadable == "skip"
    parts, faults = prepare_films(parts, caches, run, threads=config.loop.workers, skip_unreadable=skip)
    films = {name: Films(part, caches[name], config, regions) for name, part in parts.items()}
    model.backbone.set_checkpointing(model.backbone.stage_names[: config.loop.checkpoint_stages])
    freeze(model, config.optimizer.freeze_stages)
    return MemberStage(model, config, films, run.device, world=run.world, faults=faults, start=start.to_dict())


class MemberStage(Stage):
    """One network of the detector in training.

    Args:
        model: In float32; trained in place.
        config: The member's configuration.
        films: By part; ``train`` is trained on, ``tune`` stops the training.
        device: Of the model.
        options: Of :class:`fracture.training.stage.Stage`.
    """

    format = "fracture-member/1"
    terms: tuple[str, ...] = ("loss", "localization", "classification", "region", "box", "quality")
    score = "tuning_auc"

    def __init__(
        self,
        model: FractureModel,
        config: MemberConfig,
        films: Mapping[str, Films],
        device: torch.device,
        **options: Any,
    ) -> None:
        parts = {name: one.part for name, one in films.items()}
        super().__init__(model, config, films["train"], parts, device, **options)
        self.films = dict(films)
        self.loss = JointLoss.for_model(model.spec, config.loss)
        names = config.teacher.networks
        self.teachers = Teachers.read(names, model.spec, device) if names else None
        if self.teachers is not None:
            self.terms = (*self.terms, "teacher")
        self.batch_statistics = config.model.norm == "batch"
        # The compiled call shares the model's parameters; checkpoints never see the wrapper.
        self.call = torch.compile(model, dynamic=True) if config.loop.compile else model

    def counts(self, step: Step) -> Sequence[float]:
        """Of :class:`fracture.training.loss.Counts`."""
        return Counts.of([batch.targets for batch in step.batches])

    def losses(self, batch: Batch, totals: Sequence[float]) -> Mapping[str, Tensor]:
        """The joint loss and its terms, and what the network's teachers add."""
        planes = batch.planes.to(self.device, memory_format=self.layout, non_blocking=True)
        mask = batch.mask.to(self.device, non_blocking=True)
        output = self.call(planes, mask)
        told = None if self.teachers is None else self.teachers(planes, mask)
        with torch.autocast(self.device.type, enabled=False):
            targets, counts = batch.targets.to(self.device), Counts(*totals)
            found = list(self.loss(output, targets, counts))
            if told is not None:
                taught = teacher_loss(self.loss, output, told, targets, counts)
                found = [found[0] + self.config.teacher.weight * taught, *found[1:], taught.detach()]
        return dict(zip(self.terms, found, strict=True))

    def settle(self) -> dict[str, Any]:
        """The region head, where it is fitted at the end; every process finds the same."""
        if not self.config.region_views:
            return {}
        part, regions = self.films["train"].part, self.films["train"].regions
        caches = film_caches(self.config)
        whole = Films(part, caches["validation"], self.config, regions)
        near = Films(part, caches["train"], self.config.with_close_ups(), regions)
        views = self.config.region_views
        return {"region_head": fit_region_head(self.model, whole, near, views=views, device=self.device)}

    def tune(self) -> Tuned:
        """AUC over all tuning films."""
        if "tune" not in self.films:
            return Tuned(None, shown=[])
        outputs = self._judged("tune", precision=self.precision, micro_batch=self.config.micro_batch)
        return Tuned(pooled_auc(outputs), shown=outputs)

    def judge(self, folder: Path) -> dict[str, Any]:
        """Predictions and maps of the films that were not trained on; AUC of their parts."""
        aucs = {}
        for part in self.films:
            if part == "train":
                continue
            found = self._judged(part, micro_batch=min(8, self.config.micro_batch))
            aucs[part] = pooled_auc(found)
            if self.world.leads:
                write_predictions(folder / f"predictions_{part}.jsonl", found, model=self.config.name, part=part)
                if self.config.loop.maps and self.model.spec.map:
                    write_maps(folder / f"maps_{part}.safetensors", found)
        taught = {"teachers": dict(self.teachers.files)} if self.teachers is not None else {}
        return {"auc": aucs, **taught, **self._drawn()}

    def _drawn(self) -> dict[str, Any]:
        """How many training films are drawn never and more than once, where a file says so, and the file's checksum."""
        draws = self.films["train"].draws
        if draws is None:
            return {}
        digest = sha256_of(str(self.config.data.draws))
        return {"draws": {"never": int((draws == 0).sum()), "often": int((draws > 1).sum()), "sha256": digest}}

    def _judged(self, part: str, **options: Any) -> list[FilmOutput]:
        loop = self.config.loop
        return judge(
            self.model,
            self.films[part],
            self.device,
            channels_last=loop.channels_last,
            workers=loop.workers,
            world=self.world,
            **options,
        )

    def manifest(self) -> dict[str, Any]:
        """The recipe's name."""
        return {"recipe": self.config.recipe}

    def identity(self) -> dict[str, str]:
        """The file of draws and the networks that teach, where there are any."""
        found = {} if self.config.data.draws is None else {"file of draws": sha256_of(self.config.data.draws)}
        if self.teachers is not None:
            found["teachers"] = " ".join(digest for _, digest in self.teachers.files)
        return found

    def facts(self) -> dict[str, Any]:
        """Model and preprocessing."""
        return {"model": self.model.spec.to_dict(), "preprocess": self.config.preprocess.to_dict()}

    def draw(self, folder: Path, epoch: int, shown: Any) -> None:
        """``augmentation.png`` before the first epoch, ``overlays/epoch_<n>.png`` after each."""
        number, films = self.config.loop.overlays, self.films["train"]
        if epoch and shown and number:
            figure = _overlays(_shown(shown, number), self.films["tune"])
            write_figure(folder / "overlays" / f"epoch_{epoch:03d}.png", figure)
        elif not epoch and number and films.augmentation is not None:
            fractured = [film for film in films.part if film.fractured][:number]
            sheet = [(film, films.cache.load(films.part.image_path(film))) for film in fractured]
            if sheet:
                write_atomic(
                    folder / "augmentation.png",
                    lambda temporary: _rendered(temporary, sheet, films.augmentation, self.config.seed),
                )


def film_caches(config: MemberConfig) -> dict[str, FilmCache]:
    """Where the films of each part are kept; windows are cut from films that nobody enlarged, to interpolate once."""
    folder = config.data.cache or default_cache_folder()
    whole = FilmCache(folder, config.preprocess, pixels=config.data.pixels)
    train = whole
    if config.windows.size:
        spec = replace(config.preprocess, size=config.windows.stored, enlarge=False, shape="stride")
        train = FilmCache(folder, spec, pixels=config.data.pixels)
    return {"train": train, "tune": whole, "validation": whole}


def _shown(outputs: Sequence[FilmOutput], number: int) -> list[FilmOutput]:
    """The same films after every epoch: half of them fractured where there are so many, in the order of the set."""
    positive = [o for o in outputs if o.film.fractured]
    negative = [o for o in outputs if not o.film.fractured]
    half = min(len(positive), max(-(-number // 2), number - len(negative)))
    return [*positive[:half], *negative[: number - half]]


def _overlays(outputs: Sequence[FilmOutput], films: Films) -> Figure:
    """Film, map and true boxes side by side."""
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(3.2 * len(outputs), 4), layout="constrained")
    for axes, output in zip(figure.subplots(1, len(outputs), squeeze=False)[0], outputs, strict=True):
        boxed = films.cache.load(films.part.image_path(output.film))
        height, width = boxed.pixels.shape
        axes.imshow(boxed.pixels, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
        if output.map is not None:
            heat = output.map.astype(np.float32)
            shade = np.clip(heat, 0, 1) * 0.6
            axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=shade, extent=(0, width, height, 0))
        for x0, y0, x1, y1 in output.geometry.boxes_to_network(np.reshape(output.film.boxes, (-1, 4))):
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="lime", linewidth=1.2))
        said = "fracture" if output.film.fractured else "normal"
        axes.set_title(f"{Path(output.film.source).stem}\n{said}, score {output.probability:.3f}", fontsize=8)
        axes.set_axis_off()
    return figure


def _rendered(path: Path, films: Sequence[tuple[Film, Letterboxed]], spec: AugmentSpec | None, seed: int) -> None:
    """The sheet goes to a name with its ending, then to ``path``: its writer chooses the format by the ending."""
    named = path.with_name(path.name + ".png")
    try:
        augmented_sheet(films, named, spec, seed=seed)
        named.replace(path)
    finally:
        named.unlink(missing_ok=True)
