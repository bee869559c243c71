"""Objects that enter a video after its first frame: a memory of their own, read with the others.

Any memory serves, since a lot that entered later is simply a memory that has seen fewer frames.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gcvos_mini.memory import Memory


class Cohorts:
    """Objects that entered a video at different frames: one memory for each lot of them.

    Written and read as one memory, B counts the objects of all lots in the order they came.
    make: gives a fresh memory; memory, objects: of the first lot.
    """

    def __init__(self, make: Callable[[], Memory], memory: Memory, objects: int):
        self.make = make
        self.lots = [[memory, objects]]

    def enter(self, objects: int) -> None:
        """So many objects more, which have not been seen before."""
        self.lots.append([self.make(), objects])

    @property
    def frames(self) -> int:
        """Frames that the first lot has seen."""
        return self.lots[0][0].frames

    @property
    def nbytes(self) -> int:
        """Bytes of all states."""
        return sum(memory.nbytes for memory, _ in self.lots)

    def wants(self, image: Tensor, masks: Tensor) -> bool:
        """Whether any lot wants this frame, where memories look at it first (trigger.py)."""
        asked = [getattr(memory, "wants", None) for memory, _ in self.lots]
        return any(
            [wants is None or wants(image, m) for wants, m in zip(asked, self._split(masks))]
        )

    def _split(self, x):
        return x.split([objects for _, objects in self.lots])

    def write(self, key: Tensor, value: Tensor) -> None:
        """A frame of all objects: key (B, C_key, H, W), value (B, C_value, H, W)."""
        for (memory, _), k, v in zip(self.lots, self._split(key), self._split(value)):
            memory.write(k, v)

    def read(self, query: Tensor) -> Tensor:
        """What each object's past says: (B, C_key, H, W) -> (B, C_value, H, W)."""
        parts = zip(self.lots, self._split(query))
        return torch.cat([memory.read(q) for (memory, _), q in parts])

    def remove(self, key: Tensor, value: Tensor) -> None:
        """Take a frame out of every lot; one that saw no other starts afresh."""
        for lot, k, v in zip(self.lots, self._split(key), self._split(value)):
            if lot[0].frames == 1:
                lot[0] = self.make()
            else:
                lot[0].remove(k, v)
