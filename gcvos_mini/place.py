"""What training shows the decoder in place of the previous frame's mask (Config.previous_mask).

In use the decoder sees the mask found one frame ago: nearly where the object is now, and not quite
right. The frames of a training clip lie far apart, so its earlier masks would teach that objects
jump, and a network that believes it takes what looks alike anywhere in the picture. Here the true
mask is moved a little and spoiled instead.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = 0.5  # how far the shape of a false piece is thrown, as a share of the frame
COARSE = 16  # pixels of a mask of which half the decoder sees only blots


def as_before(masks: Tensor, shake: float, ghosts: float = 0.0, blank: float = 0.0) -> Tensor:
    """True masks of a frame, (N, 1, S, S) -> such as the frame before might have been given.

    shake: shift, as a share of the frame at most, short ones more often; size changes by half as
    much. ghosts: share that has a false piece, and share that lacks a true one. blank: share that
    is empty.
    """
    shown = moved(masks, shake)
    if ghosts:
        piece = moved(masks.roll(1, dims=0), FAR)  # of another object's shape
        hole = moved(masks.roll(-1, dims=0), FAR)
        shown = torch.maximum(shown, piece * chosen(masks, ghosts))
        shown = shown * (1 - hole * chosen(masks, ghosts))
        blots = F.avg_pool2d(shown, COARSE)
        blots = F.interpolate(blots, shown.shape[-2:], mode="bilinear", align_corners=False)
        shown = torch.where(chosen(masks, 0.5) > 0, blots, shown)
    return shown * (1 - chosen(masks, blank))


def moved(masks: Tensor, shake: float) -> Tensor:
    """Masks (N, 1, S, S), each shifted and scaled by an amount of its own."""
    like = {"device": masks.device, "dtype": masks.dtype}
    angle = 2 * torch.pi * torch.rand(len(masks), **like)
    step = 2 * shake * torch.rand(len(masks), **like) ** 2  # the grid is two wide: -1 to 1
    matrix = torch.zeros(len(masks), 2, 3, **like)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 + shake * (torch.rand(len(masks), **like) - 0.5)
    matrix[:, :, 2] = step[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    grid = F.affine_grid(matrix, list(masks.shape), align_corners=False)
    return F.grid_sample(masks, grid, align_corners=False)


def chosen(masks: Tensor, share: float) -> Tensor:
    """1 for this share of the masks (N, 1, S, S), by chance, and 0 for the others: (N, 1, 1, 1)."""
    draw = torch.rand(len(masks), 1, 1, 1, device=masks.device, dtype=masks.dtype)
    return (draw < share).to(masks.dtype)
