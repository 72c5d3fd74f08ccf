"""Grad-CAM (Selvaraju et al. 2017) at the last map of the classifier, which in a DenseNet follows its last dense block.

The heatmaps of Krogue et al. 2020 (Figs 2 and 5) are shown to readers with the top two predictions. Behind the last
map stand an average, a squeeze-and-excitation block and one linear layer, so that the gradients of all six logits are
written down here in closed form: they cost next to nothing beside the forward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fracture.hip.classifier import ClassifierModel


def grad_cam(model: ClassifierModel, features: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and a heatmap per class from one forward pass.

    The weight of a channel is the mean over its cells of the gradient of the class's logit; the map is the positive
    part of the weighted sum of channels, scaled so that its maximum is 1 (all 0 where nothing speaks for the class).

    Args:
        model: In evaluation mode.
        features: (B, channels, h, w), of :meth:`ClassifierModel.features`.

    Returns:
        Logits float32 (B, 6) and maps float32 (B, 6, h, w) in [0, 1].
    """
    with torch.inference_mode():
        plain = features.float()
        average = plain.mean(dim=(2, 3))
        logits = model.logits(features)
        gradients = _gradients(model, average)  # of the averages; a cell's is this over the number of cells
        maps = torch.einsum("bkc,bchw->bkhw", gradients, plain).clamp_(min=0)
        peak = maps.amax(dim=(2, 3), keepdim=True)
        return logits, torch.where(peak > 0, maps / peak.clamp(min=1e-12), torch.zeros_like(maps))


def _gradients(model: ClassifierModel, average: Tensor) -> Tensor:
    """(B, 6, C): gradients of the logits with respect to the channels' averages."""
    rows: Tensor = model.last.weight[None]
    if model.se is None:
        return rows.expand(len(average), -1, -1)
    hidden = model.se.fc1(average)
    scale = torch.sigmoid(model.se.fc2(F.relu(hidden)))
    through = rows * (average * scale * (1 - scale))[:, None]
    back = ((through @ model.se.fc2.weight) * (hidden > 0)[:, None].float()) @ model.se.fc1.weight
    gradients: Tensor = rows * scale[:, None] + back
    return gradients
