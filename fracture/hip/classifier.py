"""Stage two: what a hip shows. A trunk, a squeeze-and-excitation block, average pooling, softmax over six classes.

Krogue et al. 2020, Model Architecture: DenseNet-169 with a squeeze-and-excitation block (Hu et al. 2018) at its end
and a softmax of six outputs; compared with VGG-19, Inception-v3 and Inception-ResNet-v2 under the same conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracture.errors import ModelError
from fracture.hip.classes import CLASSES
from fracture.hip.spec import ClassifierSpec
from fracture.models.attention import SqueezeExcitation, ViewAttention
from fracture.models.backbone import seeded
from fracture.models.starting_points import InitReport
from fracture.models.trunks import bare_trunk, feature_trunk, parameter_groups, start


class ClassifierModel(nn.Module):
    """The network; get one from :func:`build_classifier`. Its input is :func:`fracture.preprocess.rgb.rgb_input`'s.

    Args:
        spec: What it is.
    """

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        self.spec = spec
        kinds: dict[str, Any] = {"geometry": spec.geometry, "norm": spec.norm}
        self.cut = spec.is_resnet and spec.stages < 4
        if self.cut:
            self.trunk = feature_trunk(spec.trunk, (spec.stages,), **kinds)
            channels = int(self.trunk.feature_info.channels()[-1])
        else:
            self.trunk = bare_trunk(spec.trunk, **kinds)
            channels = 512 if spec.trunk == "vgg19" else int(self.trunk.num_features)
        self.channels = channels
        self.se = SqueezeExcitation(channels, spec.se_reduction) if spec.se_reduction else None
        self.attention = ViewAttention(channels) if spec.fusion == "attention" else None
        self.dropout = nn.Dropout(spec.dropout)
        self.last = nn.Linear(channels, len(CLASSES))

    @property
    def lowered(self) -> nn.Module:
        """What a reader may run in less than float32; see :class:`fracture.wing.networks.NetworkReader`."""
        trunk: nn.Module = self.trunk
        return trunk

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``"heads"`` and ``"trunk"``."""
        return parameter_groups(self, ("se.", "attention.", "last."))

    def features(self, x: Tensor) -> Tensor:
        """The last map, (B, channels, h, w): after the last dense block of a DenseNet.

        Raises:
            ModelError: Not (B, 3, H, W), or smaller than 75 pixels for an Inception.
        """
        if x.ndim != 4 or x.shape[1] != 3 or (self.spec.trunk.startswith("inception") and min(x.shape[2:]) < 75):
            raise ModelError("the classifier's input", got=tuple(x.shape), allowed="(B, 3, H, W)")
        found: Tensor = self.trunk(x)[-1] if self.cut else self.trunk.forward_features(x)
        return found

    packed = features  # what a reader's engine runs; the rest follows in torch, since heatmaps need the last map

    def pooled(self, features: Tensor) -> Tensor:
        """(B, channels) in float32: the weighted channels' averages."""
        average = features.float().mean(dim=(2, 3))
        # The weights are one number per channel, so they may be applied before the average or after.
        return average if self.se is None else average * self.se(average)

    def logits(self, features: Tensor) -> Tensor:
        """(B, 6) from the last map."""
        found: Tensor = self.last(self.dropout(self.pooled(features)))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Judge hips.

        Args:
            x: (B, 3, H, W); or (B, V, 3, H, W), V views of each hip, which are fused by the learned attention, or by
                the mean of their pooled maps where there is none.

        Returns:
            Logits, float32 (B, 6), in the order of ``CLASSES``.
        """
        if x.ndim == 4:
            return self.logits(self.features(x))
        views = self.pooled(self.features(x.flatten(0, 1))).view(x.shape[0], x.shape[1], -1)
        fused = views.mean(dim=1) if self.attention is None else self.attention(views)
        found: Tensor = self.last(self.dropout(fused))
        return found


def build_classifier(spec: ClassifierSpec, *, seed: int | None = None) -> ClassifierModel:
    """A new network with random weights; with ``seed`` always the same ones, torch's generator left as it was."""
    return seeded(ClassifierModel, spec, seed)


def initialize_classifier(model: ClassifierModel, init: str | Path | Mapping[str, Tensor] = "random") -> InitReport:
    """Set the start, see :func:`fracture.hip.networks.start`."""
    return start(model, init, network=model.spec.trunk, trunk="trunk.")


def allowed_mask(allowed: Sequence[Sequence[str]]) -> Tensor:
    """bool (n, 6): True where a class is possible.

    Raises:
        ModelError: A hip without a possible class.
    """
    mask = torch.tensor([[name in classes for name in CLASSES] for classes in allowed], dtype=torch.bool)
    if mask.numel() == 0 or not bool(mask.any(dim=1).all()):
        raise ModelError("every hip that is trained on needs a possible class", got=list(allowed))
    return mask


def hip_loss(logits: Tensor, allowed: Tensor, weights: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Class-weighted cross-entropy, marginalized over what is not known: one loss per hip.

    A hip whose class is known costs -log p of it, as usual. One that is known to be among several (a neck fracture of
    unknown displacement) costs -log of their summed probability: it trains what is known, and nothing about the rest
    (ours). Its weight is the mean of the possible classes' weights.

    Args:
        logits: (n, 6).
        allowed: bool (n, 6).
        weights: (6,) weights of the classes.
        smoothing: Share of the loss that is cross-entropy against all classes alike; the paper states none.

    Returns:
        (n,), float32.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    known = -torch.logsumexp(log_p.masked_fill(~allowed, -torch.inf), dim=1)
    if smoothing:
        known = (1 - smoothing) * known - smoothing * log_p.mean(dim=1)
    share = allowed.float()
    return known * (share @ weights.float()) / share.sum(dim=1)


def class_weights(allowed: Tensor) -> Tensor:
    """(6,) weights inverse to how often each class occurs, with mean 1 over the hips; a class without hips has 1.

    A hip with several possible classes counts for each of them in equal parts (ours).
    """
    share = allowed.double()
    counts = (share / share.sum(dim=1, keepdim=True)).sum(dim=0)
    present = counts > 0
    weights = torch.ones(len(CLASSES), dtype=torch.float64)
    weights[present] = counts.sum() / (int(present.sum()) * counts[present])
    return weights.float()
