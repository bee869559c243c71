"""What training minimises, and the score it shows: over the frames of a batch of short clips.

Shapes: B clips of T frames, O objects at most, S x S pixels. Only objects with a mask in the first
frame are there. The cross-entropy is the paper's section 3.3; the region term is read into section
4.1, which names a "hybrid loss". Notebook 06.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gcvos_mini.config import Stage


def in_first_frame(masks: Tensor) -> Tensor:
    """Which objects a clip of masks (B, T, O, S, S) has: bool (B, O)."""
    return masks[:, 0].flatten(2).any(dim=2)


def hard_pixel_cross_entropy(logits: Tensor, truth: Tensor, share: float) -> Tensor:
    """Mean cross-entropy over the `share` of each frame's pixels in which it is largest.

    logits (N, classes, S, S), truth (N, S, S) of class numbers. Share 1 is the loss of section 3.3.
    """
    losses = F.cross_entropy(logits, truth.long(), reduction="none").flatten(1)  # (N, SS)
    hardest = max(1, round(share * losses.shape[1]))
    return losses.topk(hardest, dim=1).values.mean()


def dice_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """1 - 2 |P T| / (|P| + |T|) with soft P: the region term. (..., S, S), (..., S, S) -> (...)."""
    overlap = (probability * truth).sum(dim=(-2, -1))
    size = probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    return 1 - (2 * overlap + 1) / (size + 1)  # +1: two empty masks agree


def clip_loss(logits: Tensor, masks: Tensor, stage: Stage) -> Tensor:
    """Loss of logits (B, T - 1, O + 1, S, S) against masks (B, T, O, S, S), frames 2 to T.

    Cross-entropy plus `stage.region` times the region term, in which every clip counts the same,
    however many objects it has.
    """
    logits, there = logits.float(), in_first_frame(masks)  # (B, O)
    truth = masks[:, 1:] * there[:, None, :, None, None]  # what came later is background
    numbers = torch.arange(1, masks.shape[2] + 1, device=masks.device)
    classes = (truth * numbers[:, None, None]).sum(dim=2)  # (B, T - 1, S, S)
    loss = hard_pixel_cross_entropy(logits.flatten(0, 1), classes.flatten(0, 1), stage.hard_pixels)
    if stage.region:
        region = dice_loss(logits.softmax(dim=2)[:, :, 1:], truth).mean(dim=1)  # (B, O)
        share = there / there.sum(dim=1, keepdim=True)  # of each object in its clip
        loss = loss + stage.region * (share * region).sum(dim=1).mean()
    return loss


def batch_J(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean J of the objects' masks on frames 2 to T, a scalar tensor. Shapes as in clip_loss."""
    there = in_first_frame(masks)
    # On a CPU, argmax over a dimension that is not the last takes twenty times as long as max.
    winner = logits.max(dim=2).indices[:, None]  # (B, 1, T - 1, S, S)
    numbers = torch.arange(1, logits.shape[2], device=logits.device)  # (O,)
    prediction = (winner == numbers[:, None, None, None])[there]  # (N, T - 1, S, S)
    truth = masks[:, 1:].transpose(1, 2)[there].bool()
    overlap, union = (x.sum(dim=(2, 3)) for x in (prediction & truth, prediction | truth))
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0).mean()
