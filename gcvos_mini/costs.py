"""What a memory costs: time, bytes and operations of one more frame after 1 to 10,000 of them.

    python -m gcvos_mini.benchmark memory --frames 1 10 100 1000 10000

Features are random normal, of one object. Notebooks 02 to 04 and 09 show what this found.
"""

import copy
import itertools
import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from gcvos_mini import complexity
from gcvos_mini.config import MINI, PAPER, Config, sequences_of
from gcvos_mini.davis import load_split
from gcvos_mini.device import pick_device
from gcvos_mini.equality import clock
from gcvos_mini.errors import BadInput, at_least
from gcvos_mini.evaluate import score_masks, segment_sequence
from gcvos_mini.memory import MEMORIES, Choice, Memory, PixelAdaptive, make_memory, name_of
from gcvos_mini.segment import load_segmenter
from gcvos_mini.tables import markdown
from gcvos_mini.throughput import machine, save_report
from gcvos_mini.toy import width_of
from gcvos_mini.trigger import VariationTrigger

ALL = tuple(MEMORIES)
ENOUGH = 10.0  # seconds after which a memory is not timed again
COPIES = 3  # of a memory's state, and of the weights of all its positions, at once in a read


@dataclass(frozen=True)
class Cost:
    """What one more frame of one object costs a memory that then holds `frames` of them."""

    name: str
    frames: int
    nbytes: int  # of the state after the write
    seconds: float | None  # median of write and read; None where it does not fit this machine
    operations: int | None  # multiply-accumulates of write and read


def memory_costs(
    config: Config,
    size: tuple[int, int],
    frames: tuple[int, ...],
    runs: int = 5,
    memories: tuple[Choice, ...] = ALL,
    device: str | torch.device = "cpu",
) -> list[Cost]:
    """Costs of write and read of the T-th frame, for each T in `frames` and each memory.

    config: of a network; size: (h, w) of its feature map. All take turns in every run, so each
    finds the caches as another left them, and a machine that slows down slows all. One that needs
    more room than the device has free is not filled: its bytes are told, its time is None.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(channels, *shape):
        return torch.randn((1, channels, *shape), generator=generator).to(device)

    def pair(*shape):
        """A key and a value of this shape, as of one frame."""
        return draw(config.key_dim, *shape), draw(config.value_dim, *shape)

    held, nbytes, room = {}, {}, free_bytes(device)
    weights = size[0] * size[1] / (config.key_dim + config.value_dim)  # bytes, for each of state
    for case in itertools.product(sorted(frames), memories):
        stop, choice = case
        first, more = growth(choice, config, pair(*size), pair(*size))
        nbytes[case] = first + (stop - 1) * more
        if COPIES * (1 + weights) * nbytes[case] < room:
            held[case] = filled(choice, config, size, pair, stop - 1)
            room -= held[case].nbytes
    (key, value), query = pair(*size), draw(config.key_dim, *size)
    seconds = time_in_turns(held, key, value, query, runs, device)
    costs = []
    for stop, choice in nbytes:
        case, median, operations = (stop, choice), None, None
        if case in held:
            operations = complexity.operations_of(held[case], key, value, query)
            median, nbytes[case] = statistics.median(seconds[case]), held[case].nbytes
        costs.append(Cost(name_of(choice), stop, nbytes[case], median, operations))
    return costs


def growth(choice: Choice, config: Config, *pairs: tuple) -> tuple[int, int]:
    """Bytes that a memory holds after the first of two frames, and those that the second adds."""
    memory = make_memory(choice, config)
    sizes = []
    for key, value in pairs:
        memory.write(key, value)
        sizes.append(memory.nbytes)
    return sizes[0], sizes[1] - sizes[0]


def filled(choice: Choice, config: Config, size: tuple[int, int], pair, count: int) -> Memory:
    """A memory that holds `count` frames.

    One of the table that grows gets them in one piece, as many positions as it would hold: frame by
    frame, it would copy all it has at each of them.
    """
    memory, (first, more) = make_memory(choice, config), growth(choice, config, *2 * [pair(*size)])
    if count and more and name_of(choice) in MEMORIES:
        positions = size[0] * size[1] * (first + (count - 1) * more) // first
        memory.write(*pair(positions, 1))
        memory.frames = count
        return memory
    some = [pair(*size) for _ in range(min(count, 16))]
    for key, value in itertools.islice(itertools.cycle(some), count):
        memory.write(key, value)
    return memory


def time_in_turns(held: dict, key, value, query, runs: int, device) -> dict[tuple, list[float]]:
    """{case: seconds of one write and one read} in each run. held: {case: Memory}, which stays as
    it is: copies are timed."""
    seconds = {case: [] for case in held}
    for _ in range(runs):
        for case, memory in held.items():
            if sum(seconds[case]) > ENOUGH:
                continue
            memory = copy.deepcopy(memory)
            start = clock(device)
            memory.write(key, value)
            memory.read(query)
            seconds[case].append(clock(device) - start)
    return seconds


def free_bytes(device: str | torch.device) -> int:
    """Bytes of memory that a device has: free ones of a graphics card, all of the computer's."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if hasattr(os, "sysconf"):  # not on Windows
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 8 * 2**30


def benchmark_memory(
    frames: tuple[int, ...] = (1, 10, 100, 1000, 10000),
    runs: int = 5,
    memory: tuple[str, ...] = ALL,
    device: str | None = None,
    json: Path | None = None,
) -> None:
    """Time, operations and bytes of one write and one read, at MINI's and the paper's sizes.

    Prints Markdown. Ratios are to the first memory. Where a memory would not fit, its bytes alone.

    Args:
        frames: how many frames a memory holds after the write.
        runs: timed runs; the table has their median.
        memory: which memories; gc, stm, stm-linear, pam, or module:Class of your own.
        device: cuda, mps or cpu; the best there is if not given.
        json: write the figures to this file too.
    """
    if not frames:
        raise BadInput("--frames: missing; give at least one number of frames")
    for count in frames:
        at_least(1, frames=count)
    at_least(1, runs=runs)
    check_memories(memory)
    on = pick_device(device)
    sizes = [(MINI, MINI.height, width_of(MINI.height)), (PAPER, 384, 384), (PAPER, 480, 854)]
    tables, report = [], machine(on) | {"sizes": []}
    for config, height, width in tqdm(sizes, "memory", unit="size", disable=None):
        h, w = complexity.map_size(height, width)
        costs = memory_costs(config, (h, w), frames, runs, memory, on)
        title = f"{config.name}: {width}x{height} pixels, a {w}x{h} map, "
        title += f"key {config.key_dim}, value {config.value_dim}"
        tables += [f"{title}, on {on}\n", cost_table(costs) + "\n"]
        report["sizes"].append({"title": title, "costs": [asdict(cost) for cost in costs]})
    print("\n".join(tables))
    if json is not None:
        save_report(json, report)


def benchmark_trigger(
    data: Path,
    year: Literal[2016, 2017] = 2016,
    split: str = "train",
    sequences: tuple[str, ...] = (),
    enough: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 1.0, 3.0),
    checkpoint: str = "mini",
    device: str | None = None,
    json: Path | None = None,
) -> None:
    """SwiftNet's memory with its trigger at several thresholds: updates against accuracy.

    Prints Markdown: the share of the frames that were written, J&F, and the state at the end.

    Args:
        data: folder of a data set in DAVIS layout.
        year: 2016, one object (any non-zero value), or 2017, several.
        split: name of the list of sequences in ImageSets.
        sequences: only these of the split.
        enough: thresholds of the running variation, in frames of which every pixel varies; at 0
            any change is enough.
        checkpoint: a shipped network's name, or a safetensors file.
        device: cuda, mps or cpu; the best there is if not given.
        json: write the figures to this file too.
    """
    segmenter = load_segmenter(checkpoint, device=device)
    videos = load_split(data, year, split, only=sequences_of(sequences))
    rows = []
    total = len(enough) * sum(len(video.frames) for video in videos)
    with tqdm(total=total, unit="frame", disable=None) as progress:
        for threshold in enough:
            trigger = VariationTrigger(enough=threshold)
            segmenter.memory_choice = PixelAdaptive(wants=trigger)
            written, state = 0, []
            with tempfile.TemporaryDirectory() as folder:
                for video in videos:
                    out = Path(folder) / video.name
                    segment_sequence(video, year, segmenter, out, progress)
                    written += segmenter.memory.frames
                    state.append(segmenter.memory.nbytes / len(segmenter.ids))
                scores = score_masks(data, year, split, folder, only=[v.name for v in videos])
            rows.append({
                "enough": threshold, "written": written * len(enough) / total,
                "JF_mean": scores["mean"]["JF_mean"], "interval": scores["interval"],
                "state_bytes": statistics.mean(state),
            })  # fmt: skip
    if json is not None:
        save_report(json, {"sequences": [v.name for v in videos], "rows": rows})
    cells = [
        (f"{row['enough']:g}", f"{row['written']:.0%}", f"{row['JF_mean']:.3f}",
         "{:.3f} to {:.3f}".format(*row["interval"]), f"{row['state_bytes'] / complexity.MIB:.2f}")
        for row in rows
    ]  # fmt: skip
    print(markdown(("enough", "frames written", "J&F", "95 %", "state, MiB an object"), cells))


def check_memories(memories: tuple[str, ...]) -> None:
    """Raise BadInput where none is given."""
    if not memories:
        raise BadInput(f"--memory: missing; give at least one of {', '.join(ALL)}")


def cost_table(costs: list[Cost]) -> str:
    """[Cost] as Markdown, with ratios to the first memory at the same number of frames."""
    base = {cost.frames: cost for cost in costs if cost.name == costs[0].name}
    ratio = f"/ {costs[0].name}"
    header = ("memory", "frames", "write + read, ms", ratio, "multiply-accumulates, M",
              "state, MiB", ratio)  # fmt: skip
    rows = []
    for cost in costs:
        timed = ("does not fit", "", "")
        if cost.seconds is not None:
            same = base[cost.frames].seconds
            times = f"{cost.seconds / same:.2f}" if same else ""
            timed = (f"{1e3 * cost.seconds:.2f}", times, f"{cost.operations / 1e6:.1f}")
        state = f"{cost.nbytes / complexity.MIB:.3f}"
        rows.append((cost.name, cost.frames, *timed, state,
                     f"{cost.nbytes / base[cost.frames].nbytes:.2f}"))  # fmt: skip
    return markdown(header, rows)
