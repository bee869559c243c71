"""A mean that forgets: a frame counts half as much as one that came `half_life` frames later."""

from torch import Tensor

from gcvos_mini.memory import check_write, flat, unflat


class Forgetting:
    """Eq. 2 with the weights r^age, r = 0.5^(1/half_life), in place of equal ones.

    G_t = (C_t + r C_(t-1) + r^2 C_(t-2) + ...) / (1 + r + r^2 + ...), as a step towards C_t. An
    endless half-life gives eq. 2 again. Raises ValueError on shapes that do not fit.
    """

    def __init__(self, half_life: float = 20.0):
        self.rate = 0.5 ** (1 / half_life)  # r
        self.weight = 0.0  # 1 + r + r^2 + ... of the frames so far
        self.context = None  # G_t, (B, C_key, C_value)
        self.frames = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the context."""
        return 0 if self.context is None else self.context.nbytes

    def write(self, key: Tensor, value: Tensor) -> None:
        """Add a frame: key (B, C_key, H, W), value (B, C_value, H, W)."""
        check_write(key, value)
        k, v = flat(key), flat(value)  # (B, C, HW)
        new = k @ v.transpose(1, 2) / k.shape[2]  # eq. 1, the mean over positions
        self.frames += 1
        self.weight = self.rate * self.weight + 1
        self.context = (
            new if self.context is None else self.context + (new - self.context) / self.weight
        )

    def read(self, query: Tensor) -> Tensor:
        """What the context says (eq. 3): query (B, C_key, H, W) -> (B, C_value, H, W)."""
        return unflat(self.context.transpose(1, 2) @ flat(query), query)
