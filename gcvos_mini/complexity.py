"""Tables 1 and 2 of the paper, counted from shapes instead of quoted.

    python -m gcvos_mini.complexity

What Table 1 leaves unsaid, and what gives all eight of its entries (asserted in the tests):

- its "FLOPS" are multiply-accumulates, so twice as many floating-point operations;
- the STM read counts both products, q k^T and weights v, although section 3.1.3 names only the
  second (C_M H^2 W^2 T);
- t counts the frames after the first, so that the memory holds T = max(t, 1) frames;
- its memory is the query, and for each stored frame its key, value, logits and softmax weights;
  the context that is read is not counted. "MB" is MiB, float32;
- the GC row is the read alone. The write, k^T v, costs the same once more, see `gc_write_*`.

Sizes below are those of the feature map; `map_size` turns an input size into one.
The paper swaps C_M and C_N between sections; here key_dim is 128 and value_dim 512.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gcvos_mini.config import PAPER, STRIDE, Config
from gcvos_mini.memory import Memory
from gcvos_mini.network import Network
from gcvos_mini.tables import markdown

MIB = 2**20
Count = int | np.ndarray  # one size, or an array of them: the formulas take both


def map_size(height: int, width: int, stride: int = STRIDE) -> tuple[int, int]:
    """Size (h, w) of the feature map of an input of height x width pixels, padded to the stride."""
    return math.ceil(height / stride), math.ceil(width / stride)


# Operations are multiply-accumulates: (a, b) @ (b, c) is a * b * c of them. All counts are of one
# object; height and width are those of the feature map, N = height * width, T = frames.


def stm_read_operations(
    height: Count, width: Count, frames: Count, key_dim: int = 128, value_dim: int = 512
) -> Count:
    """Multiply-accumulates of (q k^T) v over `frames` stored frames, the softmax not counted.

    Table 1, rows STM; section 3.1.3 names the second product alone.
    """
    pixels = height * width
    logits = pixels * key_dim * (pixels * frames)  # (N, C_key) @ (C_key, N T)
    read = pixels * (pixels * frames) * value_dim  # (N, N T) @ (N T, C_value)
    return logits + read


def gc_write_operations(
    height: Count, width: Count, key_dim: int = 128, value_dim: int = 512
) -> Count:
    """Multiply-accumulates of eq. 1, k^T v, for one frame."""
    return key_dim * (height * width) * value_dim  # (C_key, N) @ (N, C_value)


def gc_read_operations(
    height: Count, width: Count, key_dim: int = 128, value_dim: int = 512
) -> Count:
    """Multiply-accumulates of eq. 3, q G, for one frame: C_M C_N H W of section 3.1.3; Table 1."""
    return (height * width) * key_dim * value_dim  # (N, C_key) @ (C_key, C_value)


def stm_read_bytes(
    height: Count,
    width: Count,
    frames: Count,
    key_dim: int = 128,
    value_dim: int = 512,
    dtype_bytes: int = 4,
) -> Count:
    """Bytes alive in the STM read: query, and keys, values, logits, softmax weights per frame.

    Table 1, rows STM.
    """
    pixels = height * width
    per_frame = pixels * (key_dim + value_dim) + 2 * pixels * pixels
    return (pixels * key_dim + frames * per_frame) * dtype_bytes


def gc_write_bytes(
    height: Count, width: Count, key_dim: int = 128, value_dim: int = 512, dtype_bytes: int = 4
) -> Count:
    """Bytes alive in the GC write: key and value of one frame, its context and the running mean."""
    pixels = height * width
    return (pixels * (key_dim + value_dim) + 2 * key_dim * value_dim) * dtype_bytes


def gc_read_bytes(
    height: Count, width: Count, key_dim: int = 128, value_dim: int = 512, dtype_bytes: int = 4
) -> Count:
    """Bytes alive in the GC read: the query and the context, however many frames (Table 1)."""
    return (height * width * key_dim + key_dim * value_dim) * dtype_bytes


def counted_operations(
    height: Count, width: Count, frames: Count, key_dim: int, value_dim: int
) -> tuple[Count, Count]:
    """Multiply-accumulates of (q (k^T v), (q k^T) v), all T frames at once: T writes, one read."""
    write = gc_write_operations(height, width, key_dim, value_dim)
    read = gc_read_operations(height, width, key_dim, value_dim)
    similarity = stm_read_operations(height, width, frames, key_dim, value_dim)
    return frames * write + read, similarity


def counted_bytes(
    height: Count, width: Count, frames: Count, key_dim: int, value_dim: int, dtype_bytes: int
) -> tuple[Count, Count]:
    """Most bytes alive at once: (in a write or a read of the context, in STM's read)."""
    dims = key_dim, value_dim, dtype_bytes
    write = gc_write_bytes(height, width, *dims)
    read = gc_read_bytes(height, width, *dims)
    return np.maximum(write, read), stm_read_bytes(height, width, frames, *dims)


def operations_of(memory: Memory, key: Tensor, value: Tensor, query: Tensor) -> int:
    """Multiply-accumulates of one write and one read of any memory, counted while it does them.

    key, query (B, C_key, H, W), value (B, C_value, H, W). The memory holds the frame afterwards.
    Matrix products and convolutions count, as torch counts them; softmax and sums do not.
    """
    with FlopCounterMode(display=False) as counter:
        memory.write(key, value)
        memory.read(query)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations


def break_even_frames(height: int, width: int, key_dim: int = 128, value_dim: int = 512) -> float:
    """T (real) at which q (k^T v) costs as much as (q k^T) v, all T frames multiplied at once.

    q (k^T v) is T writes and one read. Above this T it is the cheaper order; infinity means
    never: the map is so small that a frame's context costs more than its correlation. Notebook 04.
    """
    pixels = height * width
    context = key_dim * value_dim  # operations per pixel, of one write or one read
    saved_per_frame = pixels * (key_dim + value_dim) - context
    return context / saved_per_frame if saved_per_frame > 0 else math.inf


def break_even_frames_running(
    height: int, width: int, key_dim: int = 128, value_dim: int = 512
) -> float:
    """T (real) at which one write and one read of the running context (eq. 2) equal an STM read.

    This is what each new frame of a video costs, since old frames are never multiplied again.
    """
    per_frame = stm_read_operations(height, width, 1, key_dim, value_dim)
    write = gc_write_operations(height, width, key_dim, value_dim)
    read = gc_read_operations(height, width, key_dim, value_dim)
    return (write + read) / per_frame


def break_even_frames_kept(
    height: int, width: int, key_dim: int = 128, value_dim: int = 512
) -> float:
    """T (real) at which the stored keys and values fill as many bytes as the running context.

    T N (C_key + C_value) = C_key C_value, in one dtype. With `break_even_frames`, in operations:
    1 / T_operations = 1 / T_kept - 1, so in bytes the context pays first, and on any map.
    """
    return key_dim * value_dim / (height * width * (key_dim + value_dim))


def break_even_frames_alive(
    height: int, width: int, key_dim: int = 128, value_dim: int = 512
) -> float:
    """T (real) at which `stm_read_bytes` equals `gc_read_bytes`; the query is in both."""
    pixels = height * width
    return key_dim * value_dim / (pixels * (key_dim + value_dim) + 2 * pixels * pixels)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of Table 1: `frames` is the paper's t, None for "any"."""

    method: str
    frames: int | None
    operations: int  # multiply-accumulates
    nbytes: int


def table_1(
    height: int = 384,
    width: int = 384,
    frames: Iterable[int] = (0, 10, 100),
    key_dim: int = 128,
    value_dim: int = 512,
    dtype_bytes: int = 4,
) -> list[Row]:
    """Rows of Table 1: a read for an input of height x width pixels, counted as the paper does.

    frames: the paper's t, the frames after the first, see above. The last row is the GC's.
    """
    size = map_size(height, width)
    dims = key_dim, value_dim
    rows = []
    for t in frames:
        stored = max(t, 1)
        operations = stm_read_operations(*size, stored, *dims)
        rows.append(Row("STM", t, operations, stm_read_bytes(*size, stored, *dims, dtype_bytes)))
    operations = gc_read_operations(*size, *dims)
    rows.append(Row("GC", None, operations, gc_read_bytes(*size, *dims, dtype_bytes)))
    return rows


def parameters(config: Config) -> int:
    """Number of learnt parameters of Network(config), counted on the real modules."""
    with torch.device("meta"):  # shapes without storage
        network = Network(config)
    return sum(parameter.numel() for parameter in network.parameters())


def table_2() -> list[tuple[int, int, int]]:
    """Rows (value_dim, key_dim, parameters) of Table 2, which prints millions, rounded down."""
    configs = [dataclasses.replace(PAPER, key_dim=dim, value_dim=512) for dim in (128, 512)]
    return [(config.value_dim, config.key_dim, parameters(config)) for config in configs]


def main(key_dim: int = 128, value_dim: int = 512) -> None:
    """Print Table 1 (at 384x384, 480p and 1080p) and Table 2 as Markdown, counted from shapes.

    Args:
        key_dim: channels of key and query in Table 1.
        value_dim: channels of value in Table 1.
    """
    for title, height, width in [("384x384", 384, 384), ("480p", 480, 854), ("1080p", 1080, 1920)]:
        h, w = map_size(height, width)
        print(f"Table 1 at {title}: a {w}x{h} map, key {key_dim}, value {value_dim}\n")
        rows = [
            (
                row.method,
                "any" if row.frames is None else row.frames,
                f"{row.operations / 1e9:.2f} G",
                f"{row.nbytes / MIB:.1f} MiB",
            )
            for row in table_1(height, width, key_dim=key_dim, value_dim=value_dim)
        ]
        print(markdown(("Read", "t", "Multiply-accumulates", "Memory"), rows))
        at_once = break_even_frames(h, w, key_dim, value_dim)
        running = break_even_frames_running(h, w, key_dim, value_dim)
        print(f"\nq (k^T v) is cheaper than (q k^T) v above T = {at_once:.3f} frames at once,")
        print(f"a write and a read of the running context above T = {running:.3f}.")
        kept = break_even_frames_kept(h, w, key_dim, value_dim)
        print(f"In bytes, the context is smaller than the stored frames above T = {kept:.3f}.\n")
    print("Table 2: parameters of the whole network\n")
    rows = [(f"{value}x{key}", f"{count:,}") for value, key, count in table_2()]
    print(markdown(("Context", "Parameters"), rows))


if __name__ == "__main__":
    import tyro

    from gcvos_mini.errors import exit_on_bad_input

    exit_on_bad_input(lambda: tyro.cli(main))
