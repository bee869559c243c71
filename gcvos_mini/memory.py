"""Three memories behind one interface.

    memory.write(key, value)         key (B, C_key, H, W), value (B, C_value, H, W)
    context = memory.read(query)     query (B, C_key, H, W) -> (B, C_value, H, W)
    memory.nbytes, memory.frames     bytes of the state; frames written

`GlobalContext` is the paper's module (eqs. 1 to 3, notebook 03), `SpaceTime` the memory of STM
(notebook 02), `PixelAdaptive` that of SwiftNet (notebook 09). B counts the objects: each object
has keys and values of its own. All are differentiable, so training uses them as they are.

A memory of your own is a class with these four, in a file of yours. Wherever a memory is asked for
(VideoSegmenter, training, `--memory` of every command), give a name from `MEMORIES`, the class, or
"module:Class". `flat`, `unflat` and `check_write` are for it; notebook 03 writes one. One that also
has `wants(frame, masks)` is shown each frame of a video and says whether it is to be written, as
SwiftNet's does (trigger.py).

The paper's eq. 1 does not normalise the sum over positions. `normalization` names the choice:
    "none"     eq. 1 as printed: the context grows with the number of positions
    "mean"     the sum divided by the number of positions H W: the same at any resolution
    "softmax"  efficient attention: each key channel softmaxed over the positions of its frame,
               each query softmaxed over its channels

The mean of eq. 2 gives all frames the same weight, though only the first has a true mask.
`first_share` keeps that frame's context apart, to be that share of what is read; 0 is eq. 2.
"""

import copy
import importlib
import math
from collections.abc import Callable
from typing import Protocol, Self

import torch
from torch import Tensor

from gcvos_mini.config import PAPER, Config
from gcvos_mini.errors import BadInput
from gcvos_mini.trigger import VariationTrigger

NORMALIZATIONS = ("none", "mean", "softmax")


class Memory(Protocol):
    """What every memory has. Shapes: B objects, a map of H x W positions at stride 16."""

    frames: int  # written so far

    @property
    def nbytes(self) -> int:
        """Bytes of the state."""

    def write(self, key: Tensor, value: Tensor) -> None:
        """Add a frame: key (B, C_key, H, W), value (B, C_value, H, W)."""

    def read(self, query: Tensor) -> Tensor:
        """What the past says to a frame: query (B, C_key, H, W) -> (B, C_value, H, W)."""


# what `make_memory` takes: a name or "module:Class", a class, a function, or a memory to copy
Choice = str | type | Callable[[], Memory] | Memory


def at_least_float32(x: Tensor) -> Tensor:
    """The same tensor in float32 where its numbers are shorter, else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def flat(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, HW) in float32 or wider: a state in half precision stops moving."""
    return at_least_float32(x.flatten(2))


def unflat(read: Tensor, query: Tensor) -> Tensor:
    """(B, C_value, HW) -> (B, C_value, H, W), with the query's size and dtype."""
    return read.unflatten(2, query.shape[-2:]).to(query.dtype)


def check_write(key: Tensor, value: Tensor) -> None:
    """Raise ValueError unless key and value are (B, C, H, W) of the same B, H and W."""
    if key.ndim != 4 or value.ndim != 4 or key.shape[0] != value.shape[0]:
        shapes = f"key {tuple(key.shape)} and value {tuple(value.shape)}"
        raise ValueError(f"{shapes}: want (B, C, H, W)")
    if key.shape[-2:] != value.shape[-2:]:
        raise ValueError(f"key {tuple(key.shape)} and value {tuple(value.shape)} differ in size")


def _check_share(first_share):
    if not 0 <= first_share <= 1:
        raise ValueError(f"first_share {first_share}: want a share in [0, 1]")


class GlobalContext:
    """The global context module: a state of (B, C_key, C_value), however long the video.

    With a `first_share` above 0 the state is two such matrices. Raises ValueError on shapes that do
    not fit, or on a read before the first write.
    """

    def __init__(self, normalization: str = "none", first_share: float = 0.0):
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization {normalization!r}: choose from {NORMALIZATIONS}")
        _check_share(first_share)
        self.normalization = normalization
        self.first_share = first_share
        self.context = None  # G_t, (B, C_key, C_value), float32
        self.first = None  # C_1, kept where first_share asks for it
        self.frames = 0  # t

    @classmethod
    def for_network(cls, config: Config) -> Self:
        """A fresh one with the normalization and first_share of a network's Config."""
        return cls(config.normalization, config.first_share)

    @property
    def nbytes(self) -> int:
        """Bytes of the context, and of the first frame's where it is kept apart."""
        return sum(x.nbytes for x in (self.context, self.first) if x is not None)

    def frame_context(self, key: Tensor, value: Tensor) -> Tensor:
        """C_t of one frame, (B, C_key, C_value): each key channel weighs all positions (eq. 1)."""
        check_write(key, value)
        k, v = flat(key), flat(value)  # (B, C_key, HW), (B, C_value, HW)
        if self.normalization == "softmax":
            k = k.softmax(dim=2)
        context = k @ v.transpose(1, 2)  # eq. 1: C_t = k(X_t)^T v(X_t)
        return context / k.shape[2] if self.normalization == "mean" else context

    def write(self, key: Tensor, value: Tensor) -> None:
        """Take a frame into the mean (eqs. 1, 2): key (B, C_key, H, W), value (B, C_value, H, W).

        Raises ValueError on shapes that do not fit.
        """
        with torch.autocast(key.device.type, enabled=False):
            new = self.frame_context(key, value)
        old = torch.zeros_like(new) if self.context is None else self.context
        if self.first_share and self.first is None:
            self.first = new
        self.frames += 1
        # eq. 2, G_t = (t-1)/t G_{t-1} + 1/t C_t, as a step towards C_t (Welford): the newest share
        # is computed by itself, so it is not lost when (t-1)/t rounds to 1 (notebook 03).
        self.context = old + (new - old) / self.frames

    def remove(self, key: Tensor, value: Tensor) -> None:
        """Take a written frame out again: the mean of the others, to rounding. Shapes as in write.

        A first frame that is kept apart (`first_share`) stays there. Raises ValueError where fewer
        than two frames are left.
        """
        if self.frames < 2:
            raise ValueError(f"{self.frames} frames in the context: cannot take one out")
        with torch.autocast(key.device.type, enabled=False):
            gone = self.frame_context(key, value)
        self.frames -= 1
        self.context = self.context + (self.context - gone) / self.frames

    def read(self, query: Tensor) -> Tensor:
        """What the context says to a frame (eq. 3): (B, C_key, H, W) -> (B, C_value, H, W).

        Raises ValueError before the first write.
        """
        if self.context is None:
            raise ValueError("nothing written yet: write a frame before reading")
        with torch.autocast(query.device.type, enabled=False):
            q = flat(query)  # (B, C_key, HW)
            if self.normalization == "softmax":
                q = q.softmax(dim=1)
            context = self.context
            if self.first_share:
                context = torch.lerp(context, self.first, self.first_share)
            read = context.transpose(1, 2) @ q  # eq. 3: R_t = q(X_t) G_t, (B, C_value, HW)
        return unflat(read, query)


class SpaceTime:
    """STM's memory: every key and value of every written frame is kept.

    With `softmax=True` the weights of all stored positions are softmax(q . k / sqrt(C_key)).
    With `softmax=False` they are q . k / T, which makes it the same operator as GlobalContext with
    the same normalization ("none" or "mean") and the same `first_share`: only the order of the
    products differs (notebook 04). Raises ValueError on shapes that do not fit, or on a read before
    the first write.
    """

    def __init__(self, softmax: bool = True, normalization: str = "none", first_share: float = 0.0):
        if normalization not in ("none", "mean"):
            raise ValueError(f"normalization {normalization!r}: SpaceTime has 'none' and 'mean'")
        if softmax and first_share:
            raise ValueError(f"first_share {first_share}: only without the softmax")
        _check_share(first_share)
        self.softmax = softmax
        self.normalization = normalization
        self.first_share = first_share
        self.keys = self.values = None  # (B, C_key, THW), (B, C_value, THW)
        self.frames = 0  # T

    @classmethod
    def linear(cls, config: Config) -> Self:
        """A fresh one without softmax: GlobalContext's operator for a network's Config."""
        return cls(False, config.normalization, config.first_share)

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values: they grow with every frame."""
        return 0 if self.keys is None else self.keys.nbytes + self.values.nbytes

    def write(self, key: Tensor, value: Tensor) -> None:
        """Keep a frame: key (B, C_key, H, W), value (B, C_value, H, W).

        Raises ValueError on shapes that do not fit.
        """
        check_write(key, value)
        k, v = flat(key), flat(value)
        self.keys = k if self.keys is None else torch.cat([self.keys, k], dim=2)
        self.values = v if self.values is None else torch.cat([self.values, v], dim=2)
        self.frames += 1

    def remove(self, key: Tensor, value: Tensor) -> None:
        """Delete a written frame, the newest of these keys and values. Shapes as in write.

        Raises ValueError where there is none, or it is the only one.
        """
        size = key.shape[2] * key.shape[3]  # HW
        for t in reversed(range(self.frames)):
            here = slice(t * size, (t + 1) * size)
            if self.frames > 1 and torch.equal(self.keys[:, :, here], flat(key)):
                rest = [*range(here.start), *range(here.stop, self.keys.shape[2])]
                self.keys, self.values = self.keys[:, :, rest], self.values[:, :, rest]
                self.frames -= 1
                return
        raise ValueError(f"no such frame among {self.frames}: cannot take it out")

    def weights(self, query: Tensor) -> Tensor:
        """The weight of each stored position for each query position: (B, C_key, H, W) ->
        (B, THW, HW). Raises ValueError before the first write.
        """
        if self.keys is None:
            raise ValueError("nothing written yet: write a frame before reading")
        similarity = self.keys.transpose(1, 2) @ flat(query)  # (B, THW, HW)
        if self.softmax:
            return (similarity / math.sqrt(query.shape[1])).softmax(dim=1)
        positions = self.keys.shape[2] // self.frames  # HW
        share = similarity.new_full((self.frames,), (1 - self.first_share) / self.frames)  # (T,)
        share[0] += self.first_share
        if self.normalization == "mean":
            share = share / positions
        return similarity * share.repeat_interleave(positions)[:, None]

    def read(self, query: Tensor) -> Tensor:
        """The stored values under these weights: (B, C_key, H, W) -> (B, C_value, H, W).

        Oh et al. 2019, "Space-time memory read". Raises ValueError before the first write.
        """
        with torch.autocast(query.device.type, enabled=False):
            read = self.values @ self.weights(query)  # (B, C_value, HW)
        return unflat(read, query)


class PixelAdaptive:
    """SwiftNet's memory: of a new frame only the positions least like the memory are added.

    `share` of a frame's positions is kept, those with the lowest best cosine similarity to the
    stored keys; the first frame is kept whole. Reading is STM's. Source: Wang et al. 2021, "Pixel-
    Adaptive Memory". Each object keeps positions of its own, the same number for all. wants: the
    trigger that says which frames of a video are written at all; None writes every one.
    Raises ValueError on shapes that do not fit, or on a read before the first write.
    """

    def __init__(self, share: float = 0.1, wants: VariationTrigger | None = None):
        if not 0 < share <= 1:
            raise ValueError(f"share {share}: want a share in (0, 1]")
        self.share = share
        self.wants = wants  # asked by VideoSegmenter before a frame is written
        self.store = SpaceTime(softmax=True)
        self.frames = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the positions kept: they grow by a share of every frame."""
        return self.store.nbytes

    def write(self, key: Tensor, value: Tensor) -> None:
        """Keep what is new in a frame: key (B, C_key, H, W), value (B, C_value, H, W).

        All of the first frame, later the `share` of it least like the keys that are stored. Raises
        ValueError on shapes that do not fit.
        """
        check_write(key, value)
        if self.frames > 0:
            new = self._most_different(key)  # (B, n)
            key, value = (
                x.flatten(2).gather(2, new[:, None].expand(-1, x.shape[1], -1))[..., None]
                for x in (key, value)
            )  # (B, C, n, 1)
        self.store.write(key, value)
        self.frames += 1

    def _most_different(self, key):
        stored = torch.nn.functional.normalize(self.store.keys, dim=1)  # (B, C_key, K)
        fresh = torch.nn.functional.normalize(flat(key), dim=1)  # (B, C_key, HW)
        nearest = (fresh.transpose(1, 2) @ stored).amax(dim=2)  # (B, HW)
        count = max(1, round(self.share * nearest.shape[1]))
        return nearest.topk(count, dim=1, largest=False).indices

    def read(self, query: Tensor) -> Tensor:
        """As SpaceTime.read, over the positions kept: (B, C_key, H, W) -> (B, C_value, H, W).

        Raises ValueError before the first write.
        """
        return self.store.read(query)


# The one table: what a name stands for, made for a network's Config.
MEMORIES = {
    "gc": GlobalContext.for_network,
    "stm": lambda config: SpaceTime(),
    "stm-linear": SpaceTime.linear,
    "pam": lambda config: PixelAdaptive(wants=VariationTrigger()),
}


def make_memory(choice: Choice, config: Config = PAPER) -> Memory:
    """A fresh memory for a network's Config (the paper's if not given).

    choice: a name of `MEMORIES`, "module:Class", a class (or any function without arguments that
    makes one), or a memory not yet written to, which is copied. A class with `for_network(config)`,
    as GlobalContext and what is derived from it, is made by that. Raises BadInput on a name that is
    none, on a module or class that cannot be found or made, and on a memory that holds frames.
    """
    if isinstance(choice, str):
        if choice in MEMORIES:
            return MEMORIES[choice](config)
        choice = find_class(choice)
    if hasattr(choice, "read") and not isinstance(choice, type):
        memory = copy.deepcopy(choice)
    else:
        try:
            make = getattr(choice, "for_network", None)
            memory = make(config) if make else choice()
        except TypeError as error:  # not callable, or wants arguments
            raise BadInput(
                f"memory {name_of(choice)}: cannot be made ({error}); give a class that needs no "
                "arguments, or one with for_network(config)"
            ) from error
    missing = [part for part in ("write", "read", "nbytes", "frames") if not hasattr(memory, part)]
    if missing:
        raise BadInput(f"memory {name_of(choice)}: has no {missing[0]}; see gcvos_mini/memory.py")
    if memory.frames:
        raise BadInput(f"memory {name_of(choice)}: holds {memory.frames} frames; give a fresh one")
    return memory


def find_class(name: str) -> Callable[..., Memory]:
    """The class that "module:Class" names; the module is looked for in the current folder too.

    Raises BadInput on a name without a colon, and where the import fails.
    """
    module, _, wanted = name.partition(":")
    if not wanted:
        raise BadInput(
            f"memory {name!r}: no such memory; choose from {', '.join(MEMORIES)}, or give your own "
            "as module:Class"
        )
    try:
        return getattr(importlib.import_module(module), wanted)
    except Exception as error:  # of any kind: it is the person's own module that runs here
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(
            f"memory {name!r}: cannot be imported ({reason}); write module:Class, and run the "
            "command in the folder that holds module.py"
        ) from error


def name_of(choice: Choice) -> str:
    """What a checkpoint and a table call a memory: its name in `MEMORIES`, or "module:Class"."""
    if isinstance(choice, str):
        return choice
    made = choice if hasattr(choice, "__qualname__") else type(choice)
    return f"{made.__module__}:{made.__qualname__}"
