"""Grad-CAM (Selvaraju et al. 2017) at the last map of the classifier, which in a DenseNet follows its last dense block.

The heatmaps of Krogue et al. 2020 (Figs 2 and 5) are shown to readers with the top two predictions. Everything after
the last map is small, so the gradients of all six classes cost next to nothing beside the forward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fracture.hip.classes import CLASSES
from fracture.hip.classifier import ClassifierModel

__all__ = ["grad_cam"]


def grad_cam(model: ClassifierModel, features: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and a heatmap per class from one forward pass.

    The weight of a channel is the mean over its cells of the gradient of the class's logit; the map is the positive
    part of the weighted sum of channels, scaled so that its maximum is 1 (all 0 where nothing speaks for the class).

    Args:
        model: In evaluation mode.
        features: (B, channels, h, w), of :meth:`ClassifierModel.features`; no gradient is needed.

    Returns:
        Logits float32 (B, 6) and maps float32 (B, 6, h, w) in [0, 1].
    """
    with torch.inference_mode(False), torch.enable_grad():
        # The logits depend on the map through its averages alone, so the gradient of every cell is that of the
        # average over the number of cells: the averages are all that must be differentiated.
        plain = features.detach().float().clone()
        average = plain.mean(dim=(2, 3)).requires_grad_(True)
        logits = model.logits(average[:, :, None, None])
        gradients = [
            torch.autograd.grad(logits[:, k].sum(), average, retain_graph=k + 1 < len(CLASSES))[0]
            for k in range(len(CLASSES))
        ]
    with torch.no_grad():
        cells = plain.shape[2] * plain.shape[3]
        maps = torch.einsum("bkc,bchw->bkhw", torch.stack(gradients, dim=1) / cells, plain).clamp(min=0)
        peak = maps.amax(dim=(2, 3), keepdim=True)
        maps = torch.where(peak > 0, maps / peak.clamp(min=1e-12), torch.zeros_like(maps))
    return logits.detach(), maps
