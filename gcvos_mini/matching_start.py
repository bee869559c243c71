"""A start for the heads: let them match before the first step. Not in the paper.

With random heads q . k means nothing and the value hides the mask, so in a few thousand steps a
network first learns to find whatever stands out, and then ignores its memory. Stages with
`matching_start` begin here instead.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcvos_mini.network import Network


@torch.no_grad()
def start_heads(network: Network, frames: Tensor, masks: Tensor) -> None:
    """Set key, query and value heads from frames (N, 3, S, S) and masks (N, 1, S, S), in place.

    Frames and masks are in [0, 1].

    Key and query become the query encoder's whitened feature (the C_key strongest directions, of
    equal variance), which makes q . k a similarity. Half of the value channels become the memory
    encoder's best linear guess of the mask, which makes the read say "like the object" or "like
    the rest".
    """
    feature = network.query_encoder((frames - network.mean) / network.std)[0]  # (N, C, h, w)
    x = feature.transpose(0, 1).flatten(1).double()  # (C, Nhw)
    mean = x.mean(dim=1, keepdim=True)
    variances, directions = torch.linalg.eigh(torch.cov(x))
    floor = 1e-3 * variances.mean()  # a direction that hardly varies is not blown up
    whitener = (directions / (variances + floor).sqrt()).flip(1)[:, : network.config.key_dim].T
    for head, scale in ((network.key, 1.0), (network.query, 0.25)):  # 0.25: reads of order one
        set_center(head, slice(None), scale * whitener, -scale * (whitener @ mean)[:, 0])

    feature = network.memory_feature(frames, masks)
    x = feature.transpose(0, 1).flatten(1).double()
    mask = F.adaptive_avg_pool2d(masks, feature.shape[-2:]).flatten().double()  # (Nhw,)
    mean = x.mean(dim=1, keepdim=True)
    covariance = torch.cov(x)
    ridge = covariance + 1e-3 * covariance.trace() / len(x) * torch.eye(len(x), device=x.device)
    guess = torch.linalg.solve(ridge, (x - mean) @ (mask - mask.mean()) / len(mask))  # (C,)
    guess /= (guess @ (x - mean)).std()
    network.value.weight /= network.value(feature).std()  # else the read is too faint to be used
    half = network.config.value_dim // 2
    signs = torch.tensor([1.0, -1.0], device=x.device).repeat(half)[:half, None].double()
    set_center(network.value, slice(half), signs * guess, -signs[:, 0] * (guess @ mean))


def set_center(head: nn.Conv2d, channels: slice, weight: Tensor, bias: Tensor) -> None:
    """Make n channels of a 3x3 convolution a 1x1 one, in place: weight (n, C), bias (n,)."""
    head.weight[channels] = 0
    head.weight[channels, :, 1, 1] = weight.to(head.weight.dtype)
    head.bias[channels] = bias.to(head.bias.dtype)
