"""STM's softmax in a state of constant size, as far as random features can follow it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gcvos_mini.memory import check_write, flat, unflat


class RandomFeatures:
    """A global context of m random positive features, read as a softmax (Choromanski et al. 2020).

    phi(x) = exp(w . x - |x|^2 / 2) has phi(q) . phi(k) = exp(q . k) on average, over w drawn from
    the normal distribution; keys and queries are divided by C_key^(1/4), as STM divides q . k by
    its square root. What is kept are sums, scaled by the largest exponent seen, which the quotient
    of a read does not see. Notebook 04 has the error. Raises ValueError on shapes that do not fit.
    """

    def __init__(self, features: int = 256, seed: int = 0):
        self.features, self.seed = features, seed  # m
        self.sums = None  # (B, m, C_value + 1): the last column is the softmax's denominator
        self.largest = None  # exponent by which the sums are scaled, (B, 1, 1)
        self.frames = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the sums, and of the random directions."""
        return 0 if self.sums is None else self.sums.nbytes + self.directions.nbytes

    def exponents(self, x):
        """log phi, (B, C_key, HW) -> (B, m, HW)."""
        x = x / x.shape[1] ** 0.25
        return self.directions @ x - x.square().sum(dim=1, keepdim=True) / 2

    def write(self, key: Tensor, value: Tensor) -> None:
        """Add a frame: key (B, C_key, H, W), value (B, C_value, H, W)."""
        check_write(key, value)
        k, v = flat(key), F.pad(flat(value), (0, 0, 0, 1), value=1.0)  # a row of ones
        if self.sums is None:
            draw = torch.Generator().manual_seed(self.seed)
            self.directions = torch.randn(self.features, k.shape[1], generator=draw).to(k)
            self.largest, self.sums = k.new_full((len(k), 1, 1), -torch.inf), 0.0
        exponents = self.exponents(k)
        largest = torch.maximum(self.largest, exponents.amax(dim=(1, 2), keepdim=True).detach())
        weights = (exponents - largest).exp()  # (B, m, HW)
        self.sums = self.sums * (self.largest - largest).exp() + weights @ v.transpose(1, 2)
        self.largest = largest
        self.frames += 1

    def read(self, query: Tensor) -> Tensor:
        """What the context says: query (B, C_key, H, W) -> (B, C_value, H, W)."""
        weights = self.exponents(flat(query)).softmax(dim=1)  # its scale cancels in the quotient
        read = self.sums.transpose(1, 2) @ weights  # (B, C_value + 1, HW)
        return unflat(read[:, :-1] / (read[:, -1:] + 1e-12), query)
