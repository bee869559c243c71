"""Eq. 3 divided by its weights, so that a read is a weighted mean: linear attention."""

import torch.nn.functional as F
from torch import Tensor

from gcvos_mini.memory import check_write, flat, unflat


class Normalised:
    """R = q G / (q . z), with z the sum of all keys: a read's weights are positive and sum to 1.

    Keys and queries go through elu(x) + 1 first, else the sum could be 0 (Katharopoulos et al.
    2020). As sums grow without end, means are kept: the quotient is the same. Raises ValueError on
    shapes that do not fit.
    """

    def __init__(self):
        self.context = None  # (B, C_key, C_value + 1): the last column is z
        self.frames = 0

    @property
    def nbytes(self) -> int:
        """Bytes of both sums."""
        return 0 if self.context is None else self.context.nbytes

    def write(self, key: Tensor, value: Tensor) -> None:
        """Add a frame: key (B, C_key, H, W), value (B, C_value, H, W)."""
        check_write(key, value)
        k, v = F.elu(flat(key)) + 1, F.pad(flat(value), (0, 0, 0, 1), value=1.0)  # a row of ones
        new = k @ v.transpose(1, 2) / k.shape[2]
        self.frames += 1
        old = 0 * new if self.context is None else self.context
        self.context = old + (new - old) / self.frames

    def read(self, query: Tensor) -> Tensor:
        """What the context says: query (B, C_key, H, W) -> (B, C_value, H, W)."""
        read = self.context.transpose(1, 2) @ (F.elu(flat(query)) + 1)  # (B, C_value + 1, HW)
        return unflat(read[:, :-1] / read[:, -1:], query)
