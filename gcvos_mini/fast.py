"""Everything that is there for speed alone; the other modules hold the plain float32 code.

    network = prepare(load_model("mini"), pick_precision())     masks on 99.9 % of pixels the same
    for frame in ahead(frames): ...                             read in a thread
    with beside(write_mask) as write: ...                       written in a thread

Measured by `python -m gcvos_mini.benchmark segment`.
"""

import copy
import ctypes
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gcvos_mini.errors import BadInput
from gcvos_mini.network import Network

Item = TypeVar("Item")
Precision = Literal["float32", "bfloat16", "float16"]


def multiplies_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for it; one that has not takes several times as long."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = getattr(torch.cpu, "get_capabilities", dict)()  # newer torch than we ask for has it
    return device.type == "cpu" and any(
        able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
    )


def pick_precision(name: Precision | None = None, device: str | torch.device = "cpu") -> Precision:
    """The precision of this name, or the one in which the device multiplies fastest.

    That is bfloat16 where it has instructions for it, else float16 on CUDA, else float32. Raises
    BadInput on float16 where only a GPU can do it.
    """
    device = torch.device(device)
    if name == "float16" and device.type == "cpu":
        raise BadInput("--precision float16: for GPUs; give bfloat16 or float32 on a CPU")
    if name is not None:
        return name
    if multiplies_in_bfloat16(device):
        return "bfloat16"
    return "float16" if device.type == "cuda" else "float32"


def prepare(network: Network, precision: Precision, compiled: bool = False) -> Network:
    """A copy for inference: batch norm folded, channels last, convolutions in `precision`.

    Its interface is the same: frames, masks, keys, values and log odds stay in float32, and so
    does the memory's state. compiled: also with torch.compile, which takes some ten seconds at the
    first frame; raises BadInput where there is no compiler.
    """
    fast = copy.deepcopy(network).eval()
    fold_batch_norm(fast)
    for part in fast.children():  # not the network's own mean and std of the pixels
        part.to(dtype=getattr(torch, precision), memory_format=torch.channels_last)
    if compiled:
        compile_parts(fast)
    return fast


def fold_batch_norm(network: nn.Module) -> None:
    """Multiply each frozen batch norm into the convolution before it: the same up to rounding.

    Relies on what holds in torchvision's ResNets: the two stand next to each other.
    """
    for module in list(network.modules()):
        parts = list(module.named_children())
        for (conv_name, conv), (norm_name, norm) in zip(parts, parts[1:]):
            if isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())


def compile_parts(network: Network) -> None:
    """torch.compile the three parts of a network in place. BadInput where there is no compiler."""
    if network.mean.device.type == "cpu" and not shutil.which("g++"):
        raise BadInput("--compile: no C++ compiler here; install g++, or leave --compile away")
    for name in ("encode_query", "encode_memory", "decode"):
        setattr(network, name, torch.compile(getattr(network, name), dynamic=False))


def keep_large_buffers() -> None:
    """Let glibc keep freed memory up to 1 GiB for the next layer, in place of giving it back.

    At 480p a frame otherwise costs some 55,000 page faults, a fifth of its time. Only Linux.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc's; musl has none
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        libc.mallopt(trim_threshold, 2**30)
        libc.mallopt(mmap_threshold, 2**30)


def ahead(items: Iterable[Item], most: int = 4) -> Iterator[Item]:
    """The same items, up to `most` of them made beforehand in a thread.

    An error comes where its item would have come.
    """
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:  # one thread: the items stay in order
        waiting = deque(pool.submit(next, iterator, end) for _ in range(most))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, iterator, end))
            yield item


@contextmanager
def beside(function: Callable[..., None], most: int = 8) -> Iterator[Callable[..., None]]:
    """A function that runs in a thread, call after call, at most `most` of them waiting.

    All calls are done when the `with` ends, also by an error. What a call raises comes from a
    later call, or at the end.
    """
    waiting = deque()

    def call(*arguments):
        waiting.append(pool.submit(function, *arguments))
        while len(waiting) > most:
            waiting.popleft().result()

    with ThreadPoolExecutor(1) as pool:
        yield call
        for done in waiting:
            done.result()
