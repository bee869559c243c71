"""A mean whose network decides what each new frame is worth."""

from torch import Tensor

from gcvos_mini.memory import check_write, flat, unflat


class Gated:
    """G_t = (1 - g) G_(t-1) + g C_t, where g in (0, 1) comes from the frame itself.

    The first key channel is the gate: its mean over the positions, through a sigmoid. So it is
    learned like any key, from frame and mask, for each object; the other channels are keys as in
    eq. 1. The first frame has g = 1. Raises ValueError on shapes that do not fit.
    """

    START = -2.0  # a gate of 0: a new frame is worth an eighth

    def __init__(self):
        self.context = None  # G_t, (B, C_key - 1, C_value)
        self.frames = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the context."""
        return 0 if self.context is None else self.context.nbytes

    def write(self, key: Tensor, value: Tensor) -> None:
        """Add a frame: key (B, C_key, H, W), value (B, C_value, H, W)."""
        check_write(key, value)
        gate, k = flat(key).split([1, key.shape[1] - 1], dim=1)
        new = k @ flat(value).transpose(1, 2) / k.shape[2]  # eq. 1, the mean over positions
        self.frames += 1
        if self.context is None:
            self.context = new
            return
        worth = (gate.mean(dim=2, keepdim=True) + self.START).sigmoid()  # g, (B, 1, 1)
        self.context = self.context + worth * (new - self.context)

    def read(self, query: Tensor) -> Tensor:
        """What the context says (eq. 3): query (B, C_key, H, W) -> (B, C_value, H, W)."""
        return unflat(self.context.transpose(1, 2) @ flat(query)[:, 1:], query)
