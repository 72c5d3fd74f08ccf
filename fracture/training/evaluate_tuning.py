"""What a network says about a part of the set while it is trained, and after: AUC, predictions, maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.stats import rankdata

from fracture.atomic import write_atomic, write_text
from fracture.data.records import Film
from fracture.models import FractureModel
from fracture.models.spec import MAP_STRIDE
from fracture.preprocess import Geometry
from fracture.training.dataset import Films, evaluation_batches
from fracture.training.world import World


@dataclass(frozen=True, slots=True, eq=False)
class FilmOutput:
    """What a network says about one film.

    Attributes:
        film: The film.
        geometry: Its letterbox.
        logit: The score's logit.
        regions: Probability per name of the region head; empty without one.
        map: float16 (H / 8, W / 8) probabilities in the film's own network frame; None without a map.
    """

    film: Film
    geometry: Geometry
    logit: float
    regions: dict[str, float]
    map: NDArray[np.float16] | None

    @property
    def probability(self) -> float:
        """The score."""
        return float(1.0 / (1.0 + np.exp(-np.float64(self.logit))))


@torch.inference_mode()
def judge(
    model: FractureModel,
    films: Films,
    device: torch.device,
    *,
    precision: torch.dtype = torch.float32,
    micro_batch: int = 8,
    maps: bool = True,
    channels_last: bool = True,
    workers: int = 1,
    world: World | None = None,
) -> list[FilmOutput]:
    """Every film of a part once, unaugmented; all processes get all films, in the order of the part.

    Raises:
        InputError: A film cannot be read.
    """
    world = world or World()
    training = model.training
    model.eval()
    found: list[FilmOutput] = []
    layout = torch.channels_last if channels_last else torch.contiguous_format
    batches = evaluation_batches(films, micro_batch=micro_batch, rank=world.rank, world=world.size, workers=workers)
    for batch in batches:
        planes = batch.planes.to(device, memory_format=layout)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            output = model(planes, batch.mask.to(device))
        scores = output.score_logit.float().cpu().tolist()
        shown = None if output.region_logits is None else output.region_logits.float().sigmoid().cpu().tolist()
        drawn = None
        if maps and output.map_logits is not None:
            drawn = output.map_logits.float().sigmoid().cpu().numpy()
        for i, (film, geometry) in enumerate(zip(batch.films, batch.geometries, strict=True)):
            width, height = geometry.network_size
            found.append(
                FilmOutput(
                    film,
                    geometry,
                    scores[i],
                    {} if shown is None else dict(zip(films.regions, shown[i], strict=True)),
                    None
                    if drawn is None
                    else drawn[i, 0, : height // MAP_STRIDE, : width // MAP_STRIDE].astype(np.float16),
                )
            )
    model.train(training)
    place = {film.source: i for i, film in enumerate(films.part)}
    return sorted(world.gathered(found), key=lambda output: place[output.film.source])


def pooled_auc(outputs: Sequence[FilmOutput]) -> float | None:
    """AUC over all films, whatever their region (the paper's stopping criterion); None with one label only."""
    labels = np.array([o.film.fractured for o in outputs], np.bool_)
    positive = int(labels.sum())
    negative = labels.size - positive
    if positive == 0 or negative == 0:
        return None
    ranks = rankdata(np.array([o.logit for o in outputs]))
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def write_predictions(path: Path, outputs: Sequence[FilmOutput], *, model: str, part: str) -> None:
    """JSON lines as of ``fracture predict --json`` (no thresholds, no boxes yet), each with its reference.

    ``fractured``, ``threshold`` and ``operating_point`` are null: a film must not be judged by a threshold that
    does not exist yet.

    Raises:
        OutputError: The file cannot be written.
    """
    lines = [json.dumps(_line(output, model=model, part=part), allow_nan=False) for output in outputs]
    write_text(path, "\n".join(lines) + "\n")


def _line(output: FilmOutput, *, model: str, part: str) -> dict[str, Any]:
    film = output.film
    return {
        "source": film.source,
        "width": output.geometry.source_size[0],
        "height": output.geometry.source_size[1],
        "probability": output.probability,
        "fractured": None,
        "region": film.regions[0] if len(film.regions) == 1 else None,
        "region_source": "reference" if len(film.regions) == 1 else None,
        "threshold": None,
        "operating_point": None,
        "boxes": [],
        "model": model,
        "seconds": None,
        "error": None,
        "logit": output.logit,
        "region_probabilities": output.regions,
        "part": part,
        "group": film.group,
        "reference": {
            "fractured": film.fractured,
            "regions": list(film.regions),
            "views": list(film.views),
            "boxes": [list(box) for box in film.boxes],
            "localized": film.localized,
            "hardware": film.hardware,
            "site": film.site,
            "label_conflict": film.label_conflict,
        },
    }


def write_maps(path: Path, outputs: Sequence[FilmOutput]) -> None:
    """Probability maps as float16 safetensors: one (H / 8, W / 8) tensor per film, named by its source.

    The header's ``geometries`` is JSON: source -> ``Geometry.to_dict()``, which with ``grid_to_source(8)`` takes a
    map's cells back to source pixels.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {o.film.source: np.ascontiguousarray(o.map) for o in outputs if o.map is not None}
    geometries = {o.film.source: o.geometry.to_dict() for o in outputs if o.map is not None}
    header = {"stride": str(MAP_STRIDE), "geometries": json.dumps(geometries)}
    write_atomic(path, lambda temporary: save_file(tensors, str(temporary), metadata=header))
