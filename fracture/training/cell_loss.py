"""What a pyramid's cells learn: which cells answer for a fracture, the quality of their boxes, and the boxes.

Assignment as in ATSS (Zhang et al. 2020): per fracture the nine nearest cells of each level are candidates, and those
stay whose anchor, a square of five strides, overlaps the fracture at least by the candidates' mean plus standard
deviation. Quality as in Li et al. 2020 (quality focal loss, beta 2): the target is the IoU that the cell's box reaches.
Boxes by GIoU (Rezatofighi et al. 2019), weighted by that IoU, so that cells that see the fracture well lead.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fracture.models.pyramid import STRIDES, Cells

_NEAREST: Final = 9  # ATSS, k
_ANCHOR: Final = 5.0  # sides of an anchor in strides: 40, 80 and 160 pixels (ours; ATSS has 8)
_LEAST: Final = 0.1  # least weight of a cell's box, so that bad boxes learn too


class BoxTargets(NamedTuple):
    """Boxes of the films of a micro-batch in network pixels, (x0, y0, x1, y1).

    Attributes:
        boxes: float32 (n, 4) per film: fractures that cells answer for.
        ignored: float32 (m, 4) per film: fractures that are there but count neither way (cut by the window).
    """

    boxes: tuple[Tensor, ...]
    ignored: tuple[Tensor, ...]

    def to(self, device: torch.device) -> BoxTargets:
        """The same on another device."""
        move = [tuple(t.to(device, non_blocking=True) for t in part) for part in self]
        return BoxTargets(*move)


class CellLoss(NamedTuple):
    """Sums over the cells of a micro-batch; to be divided by the step's ``weight``.

    Attributes:
        quality: Quality focal loss over all cells that count.
        box: 1 - GIoU of the answering cells' boxes, weighted by their IoU.
        weight: Sum of these weights, detached.
    """

    quality: Tensor
    box: Tensor
    weight: Tensor


@torch.no_grad()
def assign(places: Tensor, boxes: Tensor) -> Tensor:
    """Which fracture each cell answers for.

    Args:
        places: float32 (N, 3), x, y and stride of each cell.
        boxes: float32 (n, 4), n at least 1.

    Returns:
        int64 (N,), index into ``boxes``, or -1. Each fracture has at least one cell.
    """
    half = places[:, 2:] * (_ANCHOR / 2)
    anchors = torch.cat([places[:, :2] - half, places[:, :2] + half], dim=1)
    overlap = _pairwise_iou(anchors, boxes)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = torch.cdist(places[:, :2], middle)
    candidates = []
    for stride in STRIDES:
        level = torch.nonzero(places[:, 2] == stride).squeeze(1)
        near = distance[level].topk(min(_NEAREST, len(level)), dim=0, largest=False).indices
        candidates.append(level[near])
    chosen = torch.cat(candidates)  # (k, n)
    of_chosen = overlap.gather(0, chosen)
    limit = of_chosen.mean(dim=0) + of_chosen.std(dim=0)
    inside = torch.cat([places[:, None, :2] - boxes[None, :, :2], boxes[None, :, 2:] - places[:, None, :2]], dim=2)
    positive = torch.zeros_like(overlap, dtype=torch.bool).scatter_(0, chosen, of_chosen >= limit)
    positive &= inside.amin(dim=2) > 1.0
    for column in torch.nonzero(~positive.any(dim=0)).squeeze(1):  # no middle of a cell lies in it: the nearest cell
        positive[distance[:, column].argmin(), column] = True
    best, index = torch.where(positive, overlap, -1.0).max(dim=1)
    return torch.where(positive.any(dim=1) & (best >= 0), index, -1)


def generalized_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of boxes (n, 4) with boxes (n, 4), pair by pair: two tensors (n,)."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - overlap + 1e-6
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1) + 1e-6
    iou = overlap / union
    return iou, iou - (hull - union) / hull


def cell_loss(cells: Cells, targets: BoxTargets) -> CellLoss:
    """The loss of a micro-batch's cells, float32."""
    quality = cells.quality.float()
    wanted, counts = torch.zeros_like(quality), torch.ones_like(quality)
    zero = quality.sum() * 0.0
    far, weight = zero, zero.detach()
    positions = cells.places[:, None, :2]
    for i, (boxes, ignored) in enumerate(zip(targets.boxes, targets.ignored, strict=True)):
        if len(ignored):
            in_ignored = ((positions >= ignored[None, :, :2]) & (positions <= ignored[None, :, 2:])).all(2).any(1)
            counts[i, in_ignored] = 0.0
        if not len(boxes):
            continue
        index = assign(cells.places, boxes)
        answering = torch.nonzero(index >= 0).squeeze(1)
        iou, giou = generalized_iou(cells.boxes[i, answering].float(), boxes[index[answering]])
        reached = iou.detach().clamp(0, 1)
        share = reached.clamp_min(_LEAST)
        wanted[i, answering], counts[i, answering] = reached, 1.0
        far = far + ((1 - giou) * share).sum()
        weight = weight + share.sum()
    expected = torch.sigmoid(quality)
    plain = F.binary_cross_entropy_with_logits(quality, wanted, reduction="none")
    focus = torch.where(wanted > 0, (wanted - expected).abs().square(), expected.square())
    return CellLoss((plain * focus * counts).sum(), far, weight)


def _pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = (high - low).clamp_min(0).prod(dim=2)
    sizes = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (a, b)]
    return overlap / (sizes[0][:, None] + sizes[1][None] - overlap + 1e-6)
