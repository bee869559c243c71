"""The delta rule: a frame corrects what the memory says to its keys, in place of adding to it."""

import torch
from torch import Tensor

from gcvos_mini.memory import check_write, flat, unflat


class Delta:
    """G_t = G_(t-1) + (A + ridge a I)^-1 B, with A = K^T K / HW and B = K^T (V - K G_(t-1)) / HW.

    K (HW, C_key) and V (HW, C_value) are the frame's keys and values, a the mean of A's diagonal.
    V - K G is what the memory does not know yet. With a ridge of 0 it then answers this frame's
    keys as well as any matrix can; with a large one it takes a small step, as the rule of Widrow
    and Hoff (1960) does. Raises ValueError on shapes that do not fit.
    """

    def __init__(self, ridge: float = 1.0):
        self.ridge = ridge
        self.context = None  # G_t, (B, C_key, C_value)
        self.frames = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the context."""
        return 0 if self.context is None else self.context.nbytes

    def write(self, key: Tensor, value: Tensor) -> None:
        """Correct the memory with a frame: key (B, C_key, H, W), value (B, C_value, H, W)."""
        check_write(key, value)
        k, v = flat(key), flat(value)  # (B, C, HW)
        if self.context is None:
            self.context = k.new_zeros(len(k), k.shape[1], v.shape[1])
        unknown = v - self.context.transpose(1, 2) @ k  # (B, C_value, HW)
        covariance = k @ k.transpose(1, 2) / k.shape[2]  # A, (B, C_key, C_key)
        size = covariance.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None] + 1e-6
        identity = torch.eye(k.shape[1], device=k.device, dtype=k.dtype)
        step = k @ unknown.transpose(1, 2) / k.shape[2]  # B, (B, C_key, C_value)
        system = covariance + (self.ridge + 1e-4) * size * identity  # never singular
        self.context = self.context + torch.linalg.solve(system, step)
        self.frames += 1

    def read(self, query: Tensor) -> Tensor:
        """What the context says (eq. 3): query (B, C_key, H, W) -> (B, C_value, H, W)."""
        return unflat(self.context.transpose(1, 2) @ flat(query), query)
