"""Loading the DRN authors' ImageNet checkpoints, once converted to safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fracture.errors import ModelError
from fracture.models.drn import DrnClassifier
from fracture.models.multitask import FractureModel
from fracture.models.persistence import load_state
from fracture.models.starting_points import InitReport, initialize, read_tensors

__all__ = ["load_published_drn"]


def load_published_drn(model: DrnClassifier | FractureModel, source: str | Path | Mapping[str, Tensor]) -> InitReport:
    """Load weights that are named as in the DRN authors' checkpoints, in place and completely.

    The checkpoints at ``dl.yf.io/drn`` (BSD-3-Clause) are pickles, which this library does not read; convert
    one with ``safetensors.torch.save_file(torch.load(path, weights_only=True), "drn.safetensors")``.
    DRN-C-58's dead projection (``layer7.0.downsample``) is dropped. In a :class:`FractureModel` the first
    convolution is rewritten from RGB for our planes, see :func:`fracture.models.starting_points.initialize`;
    its heads stay as they are.

    Args:
        model: A classifier of the same name and classes, or a model with that DRN as its backbone at width 1.
        source: A safetensors file or a mapping of tensors.

    Raises:
        ModelError: The model's backbone is no DRN.
        WeightsNotFoundError: No such file.
        WeightsIntegrityError: Tensors are missing or of other shapes, or the file is not readable.
    """
    tensors = dict(source) if isinstance(source, Mapping) else read_tensors(source)
    name = "tensors" if isinstance(source, Mapping) else Path(source).name
    dead = tuple(key for key in tensors if key.startswith("layer7.0.downsample."))
    alive = {key: value for key, value in tensors.items() if key not in dead}
    if isinstance(model, DrnClassifier):
        load_state(model, {k if k.startswith("fc.") else f"backbone.{k}": v for k, v in alive.items()}, name)
        loaded = tuple(k for k in model.state_dict() if not k.endswith("num_batches_tracked"))
        return InitReport(name, loaded=loaded, unexpected=dead, fraction=1.0, backbone_fraction=1.0)
    if model.spec.family != "drn":
        raise ModelError("the model's backbone is no DRN", got=model.spec.backbone)
    report = initialize(model, alive, stem="rgb")
    return replace(report, source=name, unexpected=(*report.unexpected, *dead))
