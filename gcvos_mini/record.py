"""What a network wrote and asked in a video, and what follows from it (notebook 08).

    record = watch(model, frames, first_mask)
    weights = record.implied_weights(t, y, x)     what the global context's read amounts to
    weights = record.softmax_weights(t, y, x)     STM's, of the same keys and query
    mask = Ghost(model, record).look(t, {3: "taken out"})

A read is linear in what was written (eq. 3 of eqs. 1 and 2), so what every past pixel gives to a
pixel of today is exact, though the network never forms it; and a past frame can be taken out,
written twice or falsified, and the same frame looked at again.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gcvos_mini.memory import GlobalContext, make_memory
from gcvos_mini.network import Network
from gcvos_mini.segment import VideoSegmenter, follow


@dataclass
class Record:
    """One video under a memory. Frame 0 has the given mask, and asks nothing."""

    frames: np.ndarray  # uint8 (T, H, W, 3)
    masks: np.ndarray  # uint8 (T, H, W), the given one, then those found
    ids: list[int]  # of the O objects
    keys: np.ndarray  # float32 (T, O, C_key, h, w), as written
    values: np.ndarray  # float32 (T, O, C_value, h, w), as written
    queries: np.ndarray  # float32 (T, C_key, h, w); zero at frame 0
    normalization: str  # of the context, "none" or "mean"
    first_share: float
    soft_masks: np.ndarray | None = None  # float32 (T, O, H', W') at working size, for a Ghost

    def shares(self, t: int) -> np.ndarray:
        """How much each of the t past frames counts in what frame t reads, (t,); the sum is 1.

        Eq. 2 gives 1/t each; the first frame has its `first_share` besides.
        """
        shares = np.full(t, (1 - self.first_share) / t)
        shares[0] += self.first_share
        return shares

    def _similarity(self, t, y, x, index):
        """q . k of cell (y, x) of frame t with all past positions, (t, h, w)."""
        if not 0 < t < len(self.frames):
            raise ValueError(f"frame {t}: want 1 to {len(self.frames) - 1}; frame 0 asks nothing")
        return np.einsum("c,tchw->thw", self.queries[t, :, y, x], self.keys[:t, index])

    def implied_weights(self, t: int, y: int, x: int, index: int = 0) -> np.ndarray:
        """Weight of every past position in what cell (y, x) of frame t reads, (t, h, w).

        For object number `index`, under the global context. The values under these weights sum up
        to the read, exactly: eqs. 1 and 2 put into eq. 3. Raises ValueError where frame t has no
        past.
        """
        weights = self._similarity(t, y, x, index) * self.shares(t)[:, None, None]
        return weights / weights[0].size if self.normalization == "mean" else weights

    def softmax_weights(self, t: int, y: int, x: int, index: int = 0) -> np.ndarray:
        """The weights that STM's softmax(q . k / sqrt(C_key)) makes of the same, (t, h, w), sum 1.

        Raises ValueError where frame t has no past.
        """
        similarity = self._similarity(t, y, x, index) / math.sqrt(self.keys.shape[2])
        weights = np.exp(similarity - similarity.max())
        return weights / weights.sum()


def watch(
    model: Network,
    frames: np.ndarray,
    first_mask: np.ndarray,
    height: int | None = None,
    progress: Callable[[np.ndarray], Iterable[np.ndarray]] = iter,
    memory: str = "gc",
) -> Record:
    """Segment frames uint8 (T, H, W, 3) from a first mask uint8 (H, W) of ids, and keep a Record.

    model: with normalization "none" or "mean"; height: as in VideoSegmenter; progress: wraps the
    frames, such as tqdm; memory: by which the masks are found, as make_memory takes it. Raises
    ValueError on another normalization: then weights are not q . k.
    """
    config = model.config
    if config.normalization not in ("none", "mean"):
        raise ValueError(f"normalization {config.normalization!r}: weights are q . k without it")
    segmenter = VideoSegmenter(model, memory, height=height)
    masks, keys, values, queries, soft_masks = [], [], [], [], []
    for _, mask in follow(segmenter, progress(frames), first_mask):
        asked = segmenter.query if masks else torch.zeros_like(segmenter.key[0])  # (C_key, h, w)
        masks.append(mask)
        queries.append(asked.cpu().numpy())
        keys.append(segmenter.key.cpu().numpy())
        values.append(segmenter.value.cpu().numpy())
        soft_masks.append(segmenter.previous.cpu().numpy())
    return Record(
        np.stack(frames), np.stack(masks), segmenter.ids, np.stack(keys), np.stack(values),
        np.stack(queries), config.normalization, config.first_share, np.stack(soft_masks),
    )  # fmt: skip


EDITS = ("as it was", "taken out", "written twice", "written twice, taken out once",
         "no object in its mask", "inside out", "values shuffled")  # fmt: skip

TIMES = {"taken out": 0, "written twice": 2, "written twice, taken out once": 2}


class Ghost:
    """Looks at a frame again as if its past had been another.

    model: the network of the record; height: as given to `watch`. An edit of a past frame is one of
    EDITS: "inside out" swaps object and background in its mask, "values shuffled" moves its value
    vectors to random positions, so that they no longer stand beside their keys, and "written twice,
    taken out once" must leave things as they were. A first frame that is taken out leaves its
    `first_share` to the next one. Only the memory is edited: a network with Config.previous_mask is
    shown the mask of the frame before as it was.
    """

    def __init__(self, model: Network, record: Record, height: int | None = None):
        self.model, self.record = model, record
        self.segmenter = VideoSegmenter(model, "gc", height=height)
        self.segmenter.start(record.frames[0], record.masks[0])

    def memory(self, t: int, edits: dict[int, str]) -> GlobalContext:
        """The global context that frame t would read, with {past frame: edit}.

        Raises ValueError on an unknown edit, a frame that is not past, or if no frame is left.
        """
        for i, edit in edits.items():
            if edit not in EDITS or not 0 <= i < t:
                raise ValueError(f"frame {i} {edit!r}: want a frame before {t}, one of {EDITS}")
        memory = make_memory("gc", self.model.config)
        for i in range(t):
            edit = edits.get(i, "as it was")
            written = self.written(i, edit)
            for _ in range(TIMES.get(edit, 1)):
                memory.write(*written)
            if edit.endswith("taken out once"):
                memory.remove(*written)
        if memory.frames == 0:
            raise ValueError(f"frame {t}: every past frame is taken out, nothing is left to read")
        return memory

    def written(self, i: int, edit: str = "as it was") -> tuple[Tensor, Tensor]:
        """Key (O, C_key, h, w) and value (O, C_value, h, w) of past frame i under an edit."""
        record, device = self.record, self.segmenter.device
        if edit == "no object in its mask":
            return self.segmenter.encode(record.frames[i], np.zeros_like(record.masks[i]))
        if edit == "inside out":
            return self._inside_out(i)
        key, value = (torch.from_numpy(x[i]).to(device) for x in (record.keys, record.values))
        if edit == "values shuffled":
            order = torch.from_numpy(np.random.default_rng(i).permutation(value[0, 0].numel()))
            value = value.flatten(2)[:, :, order].unflatten(2, value.shape[2:])
        return key, value

    @torch.inference_mode()
    def _inside_out(self, i):
        """Each object's mask swapped with everything else."""
        parts = [
            self.segmenter.encode(self.record.frames[i], np.where(self.record.masks[i] == n, 0, n))
            for n in self.record.ids
        ]  # of object o the o-th row counts
        return tuple(
            torch.stack([part[kind][o] for o, part in enumerate(parts)]) for kind in (0, 1)
        )

    def look(self, t: int, edits: dict[int, str] | tuple[()] = ()) -> np.ndarray:
        """The mask of frame t, uint8 (H, W), under {past frame: edit}; raises as `memory` does."""
        self.segmenter.memory = self.memory(t, dict(edits))
        before = torch.from_numpy(self.record.soft_masks[t - 1])
        self.segmenter.previous = before.to(self.segmenter.device)
        return self.segmenter.find(self.record.frames[t])
