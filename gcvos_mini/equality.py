"""What is equal and what is not: two bracketings of one read, and one network with two memories.

    equivalence(Setting())                   errors of q (k^T v) and (q k^T) v against float64
    live_swap(network, frames, first_mask)   the same video under several memories, side by side

Without its softmax, STM reads (q k^T) v, and the global context q (k^T v): the same products in
another order. Notebook 04 proves it, and shows both here at work.
"""

import itertools
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gcvos_mini.complexity import counted_bytes, counted_operations
from gcvos_mini.memory import Choice, Memory, make_memory, name_of
from gcvos_mini.network import Network
from gcvos_mini.segment import VideoSegmenter, follow

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
          "float64": torch.float64}  # fmt: skip


def clock(device: str | torch.device = "cpu") -> float:
    """Seconds now, after all work handed to the device is done; only differences mean anything."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


# ---- two bracketings ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What the equivalence lab's controls say: T frames of H x W positions, and the channels."""

    frames: int = 4
    height: int = 9
    width: int = 16
    key_dim: int = 64
    value_dim: int = 256
    dtype: str = "float32"

    def __post_init__(self):
        sizes = (self.frames, self.height, self.width, self.key_dim, self.value_dim)
        if min(sizes) < 1 or self.dtype not in DTYPES:
            raise ValueError(f"{self}: want sizes of at least 1, dtype one of {', '.join(DTYPES)}")


def context_first(keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
    """q (k^T v): keys (T, N, C_key), values (T, N, C_value), query (M, C_key) -> (M, C_value)."""
    k, v = keys.flatten(0, 1), values.flatten(0, 1)  # (TN, C)
    return query @ ((k.T @ v) / len(keys))  # eqs. 1 and 2 for all frames at once, then eq. 3


def similarity_first(keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
    """(q k^T) v, STM's order without its softmax; shapes as in context_first."""
    k, v = keys.flatten(0, 1), values.flatten(0, 1)  # (TN, C)
    return ((query @ k.T) / len(keys)) @ v


def features(setting: Setting, seed: int = 0) -> list[Tensor]:
    """Random normal keys (T, N, C_key), values (T, N, C_value), query (N, C_key), in the dtype."""
    generator = torch.Generator().manual_seed(seed)
    positions, dtype = setting.height * setting.width, DTYPES[setting.dtype]
    wide = torch.promote_types(dtype, torch.float32)
    shapes = [(setting.frames, positions, setting.key_dim),
              (setting.frames, positions, setting.value_dim),
              (positions, setting.key_dim)]  # fmt: skip
    return [torch.randn(shape, generator=generator, dtype=wide).to(dtype) for shape in shapes]


@dataclass(frozen=True)
class Equivalence:
    """Errors, multiply-accumulates and bytes of both bracketings.

    Errors are norms, as shares of the exact read's; bytes the most that are alive at once.
    """

    context_error: float  # of q (k^T v) against float64
    similarity_error: float  # of (q k^T) v against float64
    difference: float  # of one against the other
    context_operations: int
    similarity_operations: int
    context_bytes: int
    similarity_bytes: int


def equivalence(setting: Setting, seed: int = 0, queries: int = 64) -> Equivalence:
    """Both bracketings of the linear read on random features: their errors and costs.

    The reference is float64, frame by frame, on the features as the dtype has rounded them, so
    that only the arithmetic is judged. (In float64 the reference rounds as much as what it
    judges.) Errors are taken over the first `queries` positions; counts over all of them.
    """
    keys, values, query = features(setting, seed)
    query = query[:queries]
    exact = sum(query.double() @ k.double().T @ v.double() for k, v in zip(keys, values))
    exact = exact / setting.frames
    reads = [bracketing(keys, values, query).double()
             for bracketing in (context_first, similarity_first)]  # fmt: skip
    norm = exact.norm()
    size = setting.height, setting.width, setting.frames, setting.key_dim, setting.value_dim
    return Equivalence(
        *(((read - exact).norm() / norm).item() for read in reads),
        ((reads[0] - reads[1]).norm() / norm).item(),
        *counted_operations(*size),
        *map(int, counted_bytes(*size, DTYPES[setting.dtype].itemsize)),
    )


def time_bracketings(
    setting: Setting, seed: int = 0, runs: int = 5, limit: float = 2.0
) -> tuple[float, float]:
    """Median seconds of (context first, similarity first), in turns: at most `runs` of each.

    No new turn begins after `limit` seconds. The first turn warms up and is left out, unless it
    is the only one.
    """
    tensors, begin, seconds = features(setting, seed), clock(), []
    for _ in range(runs + 1):
        turn = []
        for bracketing in (context_first, similarity_first):
            start = clock()
            bracketing(*tensors)
            turn.append(clock() - start)
        seconds.append(turn)
        if clock() - begin > limit:
            break
    measured = seconds[1:] or seconds
    return tuple(statistics.median(column) for column in zip(*measured))


# ---- one network, several memories -------------------------------------------------------------


class Timed:
    """A memory that adds up the seconds its writes and reads take."""

    def __init__(self, memory: Memory):
        self.memory = memory
        self.seconds = 0.0

    @property
    def frames(self) -> int:
        """Frames that the memory holds."""
        return self.memory.frames

    @property
    def nbytes(self) -> int:
        """Bytes of the memory's state."""
        return self.memory.nbytes

    def write(self, key: Tensor, value: Tensor) -> None:
        """Write to the memory, timed: key (B, C_key, H, W), value (B, C_value, H, W)."""
        start = clock(key.device)
        self.memory.write(key, value)
        self.seconds += clock(key.device) - start

    def read(self, query: Tensor) -> Tensor:
        """Read from the memory, timed: (B, C_key, H, W) -> (B, C_value, H, W)."""
        start = clock(query.device)
        context = self.memory.read(query)
        self.seconds += clock(query.device) - start
        return context


@dataclass(frozen=True)
class Swapped:
    """One frame of live_swap. Dicts go by the memories' names."""

    index: int  # of the frame; 1 is the first that is segmented
    frame: np.ndarray  # uint8 (H, W, 3)
    masks: dict[str, np.ndarray]  # uint8 (H, W) object ids
    memory_seconds: dict[str, float]  # one read and one write
    step_seconds: dict[str, float]  # the whole step, encoders and decoder included
    nbytes: dict[str, int]  # of the state, after the write
    equal: dict[str, float]  # share of pixels with the same id as under the first memory
    difference: dict[str, float]  # largest difference of a probability from the first memory's


def live_swap(
    network: Network,
    frames: Iterable[np.ndarray],
    first_mask: np.ndarray,
    memories: Iterable[Choice] = ("gc", "stm-linear"),
    height: int | None = None,
) -> Iterator[Swapped]:
    """Run one network with several memories side by side; yield a Swapped per frame.

    network: from load_model; frames: uint8 (H, W, 3) each, any iterable; first_mask: uint8 (H, W)
    of object ids; memories: as make_memory takes them; height: at which the network works.
    Each memory has a segmenter of its own, which feeds its own masks back. Raises BadInput as
    VideoSegmenter does.
    """

    def segmenter(memory):
        def timed():
            return Timed(make_memory(memory, network.config))

        return VideoSegmenter(network, timed, height=height)

    runs = {name_of(memory): segmenter(memory) for memory in memories}
    frames, *copies = itertools.tee(frames, 1 + len(runs))  # read once, before any clock runs
    steps = {name: follow(run, copy, first_mask) for (name, run), copy in zip(runs.items(), copies)}
    for index, frame in enumerate(frames):
        masks, memory_seconds, step_seconds = {}, {}, {}
        for name, run in runs.items():
            start, before = clock(run.device), run.memory.seconds
            _, masks[name] = next(steps[name])
            step_seconds[name] = clock(run.device) - start
            memory_seconds[name] = run.memory.seconds - before
        if index == 0:  # given, not segmented
            continue
        first = next(iter(runs))
        soft = {name: run.probabilities for name, run in runs.items()}
        yield Swapped(
            index,
            frame,
            masks,
            memory_seconds,
            step_seconds,
            {name: run.memory.nbytes for name, run in runs.items()},
            {name: float((mask == masks[first]).mean()) for name, mask in masks.items()},
            {name: float((p - soft[first]).abs().max()) for name, p in soft.items()},
        )
