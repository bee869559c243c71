"""Side by side: memories, networks and evaluators, every ratio measured in one run.

python -m gcvos_mini.benchmark memory      one write and one read after 1, 10 and 100 frames
python -m gcvos_mini.benchmark segment     frames per second of one network with each memory
python -m gcvos_mini.benchmark evaluate    scoring, beside the official evaluator
python -m gcvos_mini.benchmark keys        how well single key channels find the objects
python -m gcvos_mini.benchmark length      scores along a long embedded clip
"""

import copy
import itertools
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from gcvos_mini import complexity
from gcvos_mini.config import MINI, PAPER, STRIDE, Config
from gcvos_mini.davis import Sequence, load_split
from gcvos_mini.device import pick_device
from gcvos_mini.equality import clock, live_swap
from gcvos_mini.errors import BadInput, at_least, exit_on_bad_input
from gcvos_mini.evaluate import score_masks
from gcvos_mini.keymaps import extremes, key_scores
from gcvos_mini.masks import read_sequence_mask, write_mask
from gcvos_mini.memory import MEMORIES, Choice, make_memory, name_of
from gcvos_mini.metrics import boundary_accuracy, region_similarity
from gcvos_mini.network import load_model
from gcvos_mini.segment import VideoSegmenter, follow, load_segmenter
from gcvos_mini.tables import markdown
from gcvos_mini.toy import VAL, clip_frames, width_of

ALL = tuple(MEMORIES)


@dataclass(frozen=True)
class Cost:
    """What one more frame of one object costs a memory that then holds `frames` of them."""

    name: str
    frames: int
    seconds: float  # median of write and read
    nbytes: int  # of the state after the write
    operations: int  # multiply-accumulates of write and read


def memory_costs(
    config: Config,
    size: tuple[int, int],
    frames: tuple[int, ...],
    runs: int = 5,
    memories: tuple[Choice, ...] = ALL,
    device: str | torch.device = "cpu",
) -> list[Cost]:
    """Costs of write and read of the T-th frame, for each T in `frames` and each memory.

    config: of a network; size: (h, w) of its feature map. Memories take turns in every run, so each
    finds the caches as another left them. Features are random normal, of one object, equal for all.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(channels):
        return torch.randn((1, channels, *size), generator=generator).to(device)

    def frame():
        return draw(config.key_dim), draw(config.value_dim)

    held = {name_of(memory): make_memory(memory, config) for memory in memories}
    costs, written = [], 0
    for stop in sorted(frames):
        for _ in range(written, stop - 1):
            key, value = frame()
            for memory in held.values():
                memory.write(key, value)
        (key, value), query = frame(), draw(config.key_dim)
        written, seconds = stop - 1, {name: [] for name in held}
        for _ in range(runs):
            for name, memory in held.items():
                memory = copy.deepcopy(memory)
                start = clock(device)
                memory.write(key, value)
                memory.read(query)
                seconds[name].append(clock(device) - start)
        for name, memory in held.items():
            memory = copy.deepcopy(memory)
            operations = complexity.operations_of(memory, key, value, query)
            median = statistics.median(seconds[name])
            costs.append(Cost(name, stop, median, memory.nbytes, operations))
    return costs


def benchmark_memory(
    frames: tuple[int, ...] = (1, 10, 100),
    runs: int = 5,
    memory: tuple[str, ...] = ALL,
    device: str | None = None,
) -> None:
    """Time, operations and bytes of one write and one read, at MINI's and the paper's sizes.

    Prints Markdown. Ratios are to the first memory.

    Args:
        frames: how many frames a memory holds after the write.
        runs: timed runs; the table has their median.
        memory: which memories; gc, stm, stm-linear, pam, or module:Class of your own.
        device: cuda, mps or cpu; the best there is if not given.
    """
    if not frames:
        raise BadInput("--frames: missing; give at least one number of frames")
    for count in frames:
        at_least(1, frames=count)
    at_least(1, runs=runs)
    check_memories(memory)
    on = pick_device(device)
    sizes = [(MINI, MINI.height, width_of(MINI.height)), (PAPER, 384, 384)]
    tables = []
    for config, height, width in tqdm(sizes, "memory", unit="size", disable=None):
        h, w = complexity.map_size(height, width)
        costs = memory_costs(config, (h, w), frames, runs, memory, on)
        tables.append(
            f"{config.name}: {width}x{height} pixels, a {w}x{h} map, "
            f"key {config.key_dim}, value {config.value_dim}, on {on}\n"
        )
        tables.append(cost_table(costs) + "\n")
    print("\n".join(tables))


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
    rows = [
        (
            cost.name,
            cost.frames,
            f"{1e3 * cost.seconds:.2f}",
            f"{cost.seconds / base[cost.frames].seconds:.2f}",
            f"{cost.operations / 1e6:.1f}",
            f"{cost.nbytes / complexity.MIB:.3f}",
            f"{cost.nbytes / base[cost.frames].nbytes:.2f}",
        )
        for cost in costs
    ]
    return markdown(header, rows)


def benchmark_segment(
    clip: str = "two-friends",
    frames: int = 40,
    height: int | None = None,
    checkpoint: str = "mini",
    memory: tuple[str, ...] = ALL,
    device: str | None = None,
) -> None:
    """Frames per second of one network with each memory, and ratios to the first, as Markdown.

    Args:
        clip: an embedded clip.
        frames: its length.
        height: lines of the clip, at which the network works; the checkpoint's own if not given.
        checkpoint: a shipped network's name, or a safetensors file.
        memory: which memories; gc, stm, stm-linear, pam, or module:Class of your own.
        device: cuda, mps or cpu; the best there is if not given.
    """
    at_least(2, frames=frames)
    at_least(STRIDE, height=height)
    check_memories(memory)
    on = pick_device(device)
    network = load_model(checkpoint, device=on)
    height = height or network.config.height or 240
    images, masks = zip(*clip_frames(clip, height, frames=frames))
    swap = live_swap(network, images, masks[0], memory, height=height)
    swapped = list(tqdm(swap, "segment", frames - 1, unit="frame", disable=None))
    total = {n: sum(s.step_seconds[n] for s in swapped) for n in memory}
    inside = {n: sum(s.memory_seconds[n] for s in swapped) for n in memory}
    first = memory[0]
    header = ("memory", "frames/s", f"/ {first}", "write + read, ms", "state, MiB",
              f"pixels as {first}")  # fmt: skip
    rows = [
        (n, f"{len(swapped) / total[n]:.2f}", f"{total[first] / total[n]:.3f}",
         f"{1e3 * inside[n] / len(swapped):.2f}", f"{swapped[-1].nbytes[n] / complexity.MIB:.3f}",
         f"{sum(s.equal[n] for s in swapped) / len(swapped):.4%}")
        for n in memory
    ]  # fmt: skip
    size = f"{images[0].shape[1]}x{height} pixels"
    print(f"{clip}: {frames} frames of {size}, {checkpoint}, on {on}\n")
    print(markdown(header, rows))


def benchmark_keys(
    data: Path,
    year: Literal[2016, 2017] = 2017,
    split: str = "val",
    checkpoint: str = "mini",
    height: int | None = None,
    device: str | None = None,
) -> None:
    """How well the strength of a single key channel tells object from background, as Markdown.

    AUC is the chance that a random object cell has a stronger key than a random background cell
    (Fig. 6): 1 for a channel that keeps to the object, 0 for one that keeps off it. Keys are of the
    masks that the network finds, so what is lost there is lost here; next to it stands the same
    channel's AUC where every frame is written with its true mask. The last row is of the one
    channel that is best, and the one that is lowest, over all objects.

    Args:
        data: folder of a data set in DAVIS layout.
        year: 2016, one object (any non-zero value), or 2017, several.
        split: name of the list of sequences in ImageSets.
        checkpoint: a shipped network's name, or a safetensors file.
        height: height in pixels at which the network works; the checkpoint's own if not given, or
            the frames' where that is less.
        device: cuda, mps or cpu; the best there is if not given.
    """
    at_least(STRIDE, height=height)
    network = load_model(checkpoint, device=pick_device(device))
    sequences = load_split(data, year, split)
    names, scores = [], []
    for sequence in tqdm(sequences, "keys", unit="sequence", disable=None):
        found, true = (key_scores(network, sequence, year, height, t) for t in (False, True))
        scores += zip(found, true)
        names += [(sequence.name, o) for o in range(1, len(found) + 1)]
    each = [extremes(*score) for score in scores]
    mean = np.mean(each, axis=0).astype(object)
    mean[[0, 3]] = ""  # the mean of channel numbers says nothing
    names += [("**mean**", len(scores)), ("**one channel for all**", len(scores))]
    rows = [
        (*name, *(f"{x:.3f}" if isinstance(x, float) else x for x in row))
        for name, row in zip(names, [*each, mean, extremes(*np.mean(scores, axis=0))])
    ]
    columns = ("AUC", "with true masks")
    header = ("sequence", "object", "best channel", *columns, "lowest channel", *columns)
    print(markdown(header, rows))


def benchmark_length(
    clips: tuple[str, ...] = tuple(VAL),
    frames: int = 1000,
    head: int = 100,
    memory: str | None = None,
    checkpoint: str = "mini",
    device: str | None = None,
) -> None:
    """J&F along long embedded clips, in the first frames and in all, as Markdown.

    The first and the last frame do not count, as in DAVIS.

    Args:
        clips: names of embedded clips; all eight of the validation split if none.
        frames: their length.
        head: the first frames with which the whole is compared.
        memory: gc, stm, stm-linear, pam, or module:Class of your own; the one that the network was
            trained with if not given.
        checkpoint: a shipped network's name, or a safetensors file.
        device: cuda, mps or cpu; the best there is if not given.
    """
    at_least(7, frames=frames)
    at_least(2, head=head)
    segmenter = load_segmenter(checkpoint, memory, device=device)
    parts = np.linspace(1, frames - 1, 6).astype(int)  # five parts of equal length
    rows = []
    for clip in clips:
        JF = scores_along(segmenter, clip, frames)
        means = [JF[: head - 1].mean(), JF.mean(), JF.mean() - JF[: head - 1].mean()]
        means += [JF[a - 1 : b - 1].mean() for a, b in zip(parts[:-1], parts[1:])]
        rows.append((clip, *means))
    rows.append(("**mean**", *np.mean([row[1:] for row in rows], axis=0)))
    rows = [(row[0], *(f"{value:.3f}" for value in row[1:])) for row in rows]
    fifths = [f"{a} to {b - 1}" for a, b in zip(parts[:-1], parts[1:])]
    print(markdown(("clip", f"first {head}", "all", "difference", *fifths), rows))


def scores_along(segmenter: VideoSegmenter, clip: str, frames: int) -> np.ndarray:
    """J&F (T - 2,) of every frame of an embedded clip but the first and the last, over objects."""
    images, truths = itertools.tee(clip_frames(clip, frames=frames))
    first_mask = next(clip_frames(clip, frames=1))[1]
    masks = follow(segmenter, (image for image, _ in images), first_mask)
    scores = []
    for (_, truth), (_, mask) in tqdm(zip(truths, masks), clip, frames, unit="frame", disable=None):
        both = [np.stack([labels == i for i in segmenter.ids]) for labels in (mask, truth)]
        scores.append((region_similarity(*both) + boundary_accuracy(*both)).mean() / 2)
    return np.array(scores[1:-1])


def as_2017(sequences: list[Sequence], year: int, masks: Path, folder: Path) -> None:
    """Copy truth and predictions of [Sequence] to folder, in the form of DAVIS 2017.

    The official evaluator wants ids in place of 2016's 255, and takes the length of a sequence from
    its frames, which it does not open: they are empty files.
    """
    (folder / "ImageSets" / "2017").mkdir(parents=True)
    names = "".join(f"{sequence.name}\n" for sequence in sequences)
    (folder / "ImageSets" / "2017" / "val.txt").write_text(names)
    for sequence in tqdm(sequences, "copying", unit="sequence", disable=None):
        (folder / "JPEGImages" / "480p" / sequence.name).mkdir(parents=True)
        for frame, path in sequence.masks.items():
            (folder / "JPEGImages" / "480p" / sequence.name / f"{frame}.jpg").touch()
            own = Path(sequence.name, f"{frame}.png")
            write_mask(folder / "Annotations" / "480p" / own, read_sequence_mask(path, year))
            if (masks / own).is_file():  # the first and the last need not be there
                write_mask(folder / "masks" / own, read_sequence_mask(masks / own, year))


def import_official(folder: Path) -> type:
    """The official evaluator's class, from a checkout. Raises BadInput where it is none."""
    sys.path.insert(0, str(folder))
    try:
        from davis2017.evaluation import DAVISEvaluation
    except ImportError as error:
        raise BadInput(
            f"{folder}: the official evaluator cannot be imported ({error}); clone "
            "https://github.com/davisvideochallenge/davis2017-evaluation, pip install what it needs"
        ) from error
    return DAVISEvaluation


def benchmark_evaluate(
    data: Path,
    masks: Path,
    official: Path,
    year: Literal[2016, 2017] = 2017,
    split: str = "val",
    runs: int = 1,
) -> None:
    """Seconds to score masks, beside the official evaluator on the same files, as Markdown.

    Args:
        data: folder of a data set in DAVIS layout.
        masks: the masks to score, MASKS/<sequence>/<frame>.png.
        official: a checkout of https://github.com/davisvideochallenge/davis2017-evaluation.
        year: 2016, one object (any non-zero value), or 2017, several.
        split: name of the list of sequences in ImageSets.
        runs: how often each is run, in turns; the table has the medians.
    """
    at_least(1, runs=runs)
    sequences = load_split(data, year, split, need_frames=False)
    DAVISEvaluation = import_official(official)
    seconds = {"official": [], "gcvos_mini": []}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        as_2017(sequences, year, masks, copy)
        for _ in range(runs):
            began = clock()
            theirs = DAVISEvaluation(folder, "semi-supervised", "val").evaluate(copy / "masks")
            middle = clock()
            ours = score_masks(copy, 2017, "val", copy / "masks")["mean"]
            seconds["official"].append(middle - began)
            seconds["gcvos_mini"].append(clock() - middle)
    scores = {
        "official": (np.mean(theirs["J"]["M"]), np.mean(theirs["F"]["M"])),
        "gcvos_mini": (ours["J_mean"], ours["F_mean"]),
    }
    median = {name: statistics.median(times) for name, times in seconds.items()}
    rows = [
        (name, f"{median[name]:.1f}", f"{median[name] / median['gcvos_mini']:.2f}",
         *(f"{score:.6f}" for score in scores[name]))
        for name in seconds
    ]  # fmt: skip
    print(f"{sum(len(s.masks) for s in sequences)} masks of {len(sequences)} sequences\n")
    print(markdown(("evaluator", "seconds", "/ gcvos_mini", "J", "F"), rows))


def main() -> None:
    """The command line: one subcommand for each table."""
    import tyro

    commands = {
        "memory": benchmark_memory,
        "segment": benchmark_segment,
        "evaluate": benchmark_evaluate,
        "keys": benchmark_keys,
        "length": benchmark_length,
    }
    tyro.extras.subcommand_cli_from_dict(commands)


if __name__ == "__main__":
    exit_on_bad_input(main)
