"""Memories side by side: errors, bytes and seconds, every ratio measured in one run.

    python -m gcvos_mini.benchmark memory      one write and one read after 1, 10 and 100 frames
    python -m gcvos_mini.benchmark segment     frames per second of one network with each memory
    python -m gcvos_mini.benchmark evaluate    scoring, beside the official evaluator
    python -m gcvos_mini.benchmark keys        how well single key channels find the objects
    python -m gcvos_mini.benchmark length      scores along a long embedded clip
    python -m gcvos_mini.benchmark explore     how long the pictures of notebook 08 take

Notebook 04 draws two of the functions here: `equivalence` is its lab, `live_swap` its live swap.
"""

import copy
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from gcvos_mini import complexity
from gcvos_mini.basis import written_keys
from gcvos_mini.config import MINI, PAPER
from gcvos_mini.davis import (
    load_split,
    read_sequence_mask,
    write_mask,
)
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.evaluate import score_masks
from gcvos_mini.memory import make_memory
from gcvos_mini.metrics import boundary_accuracy, region_similarity
from gcvos_mini.network import load_model
from gcvos_mini.render import selectivity
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.toy import clip_frames, width_of
from gcvos_mini.toy_scenes import VAL

MEMORIES = ("gc", "stm", "stm-linear", "pam")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
          "float64": torch.float64}  # fmt: skip


def clock(device="cpu"):
    """Seconds now, after all work handed to the device is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
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


def context_first(keys, values, query):
    """q (k^T v): keys (T, N, C_key), values (T, N, C_value), query (M, C_key) -> (M, C_value)."""
    k, v = keys.flatten(0, 1), values.flatten(0, 1)  # (TN, C)
    return query @ ((k.T @ v) / len(keys))  # eqs. 1 and 2 for all frames at once, then eq. 3


def similarity_first(keys, values, query):
    """(q k^T) v, STM's order without its softmax; shapes as in context_first."""
    k, v = keys.flatten(0, 1), values.flatten(0, 1)  # (TN, C)
    return ((query @ k.T) / len(keys)) @ v


def features(setting, seed=0):
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
    """Relative errors (norms), multiply-accumulates and bytes of both bracketings."""

    context_error: float  # of q (k^T v) against float64
    similarity_error: float  # of (q k^T) v against float64
    difference: float  # of one against the other
    context_operations: int
    similarity_operations: int
    context_bytes: int
    similarity_bytes: int


def equivalence(setting, seed=0, queries=64):
    """Both bracketings of the linear read on random features: an Equivalence.

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


def counted_operations(height, width, frames, key_dim, value_dim):
    """Multiply-accumulates of (q (k^T v), (q k^T) v), all T frames at once: T writes, one read."""
    write = complexity.gc_write_operations(height, width, key_dim, value_dim)
    read = complexity.gc_read_operations(height, width, key_dim, value_dim)
    similarity = complexity.stm_read_operations(height, width, frames, key_dim, value_dim)
    return frames * write + read, similarity


def counted_bytes(height, width, frames, key_dim, value_dim, dtype_bytes):
    """Most bytes alive, (write or read of the context; STM's read), as in complexity.py."""
    dims = key_dim, value_dim, dtype_bytes
    write = complexity.gc_write_bytes(height, width, *dims)
    read = complexity.gc_read_bytes(height, width, *dims)
    return np.maximum(write, read), complexity.stm_read_bytes(height, width, frames, *dims)


def time_bracketings(setting, seed=0, runs=5, limit=2.0):
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

    def __init__(self, memory):
        self.memory = memory
        self.seconds = 0.0

    @property
    def nbytes(self):
        return self.memory.nbytes

    def write(self, key, value):
        start = clock(key.device)
        self.memory.write(key, value)
        self.seconds += clock(key.device) - start

    def read(self, query):
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


def live_swap(network, frames, first_mask, memories=("gc", "stm-linear"), height=None):
    """Run one network with several memories side by side; yield a Swapped per frame.

    network: from load_model; frames: uint8 (H, W, 3) each, any iterable; first_mask: uint8 (H, W)
    of object ids; memories: names, as make_memory takes them; height: at which the network works.
    Each memory has a segmenter of its own, which feeds its own masks back. Raises BadInput as
    VideoSegmenter does, ValueError on an unknown memory.
    """
    timed = {name: Timed(make_memory(name, network.config)) for name in memories}
    runs = {name: VideoSegmenter(network, memory, height=height) for name, memory in timed.items()}
    for index, frame in enumerate(frames):
        masks, memory_seconds, step_seconds = {}, {}, {}
        for name, segmenter in runs.items():
            if index == 0:
                segmenter.start(frame, first_mask)
                continue
            start, before = clock(segmenter.device), timed[name].seconds
            masks[name] = segmenter.step(frame)
            step_seconds[name] = clock(segmenter.device) - start
            memory_seconds[name] = timed[name].seconds - before
        if index == 0:
            continue
        first = memories[0]
        soft = {name: segmenter.probabilities for name, segmenter in runs.items()}
        yield Swapped(
            index,
            frame,
            masks,
            memory_seconds,
            step_seconds,
            {name: memory.nbytes for name, memory in timed.items()},
            {name: float((mask == masks[first]).mean()) for name, mask in masks.items()},
            {name: float((p - soft[first]).abs().max()) for name, p in soft.items()},
        )


# ---- the command -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What one more frame costs a memory that then holds `frames` of them."""

    name: str
    frames: int
    seconds: float  # median of write and read
    nbytes: int  # of the state after the write


def memory_costs(size, key_dim, value_dim, frames, runs=5, memories=MEMORIES, device="cpu"):
    """Costs of write and read of the T-th frame, for each T in `frames` and each memory: [Cost].

    size: (height, width) of the feature map. The memories take turns in every run, so each finds
    the caches as another left them. Features are random normal, the same for every memory.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(channels):
        return torch.randn((1, channels, *size), generator=generator).to(device)

    held = {name: make_memory(name) for name in memories}
    costs, written = [], 0
    for stop in sorted(frames):
        for _ in range(written, stop - 1):
            key, value = draw(key_dim), draw(value_dim)
            for memory in held.values():
                memory.write(key, value)
        key, value, query = draw(key_dim), draw(value_dim), draw(key_dim)
        written, seconds, after = stop - 1, {name: [] for name in memories}, {}
        for _ in range(runs):
            for name, memory in held.items():
                memory = copy.deepcopy(memory)
                start = clock(device)
                memory.write(key, value)
                memory.read(query)
                seconds[name].append(clock(device) - start)
                after[name] = memory.nbytes
        costs += [Cost(n, stop, statistics.median(seconds[n]), after[n]) for n in memories]
    return costs


def at_least(minimum, **flags):
    """Raise BadInput, naming the flag, where a number is below the minimum."""
    for flag, value in flags.items():
        if value < minimum:
            raise BadInput(f"--{flag} {value}: too small; give at least {minimum}")


def best_device():
    return "cuda" if torch.cuda.is_available() else "cpu"


def memory(frames: tuple[int, ...] = (1, 10, 100), runs: int = 5) -> None:
    """Time and bytes of one write and one read, at MINI's and the paper's sizes, as Markdown.

    Args:
        frames: how many frames a memory holds after the write.
        runs: timed runs; the table has their median.
    """
    if not frames:
        raise BadInput("--frames: missing; give at least one number of frames")
    for count in frames:
        at_least(1, frames=count)
    at_least(1, runs=runs)
    device = best_device()
    sizes = [(MINI, MINI.height, width_of(MINI.height)), (PAPER, 384, 384)]
    tables = []
    for config, height, width in tqdm(sizes, "memory", unit="size", disable=None):
        size = complexity.map_size(height, width)
        dims = config.key_dim, config.value_dim
        costs = memory_costs(size, *dims, frames, runs, device=device)
        base = {cost.frames: cost for cost in costs if cost.name == "gc"}
        tables.append(f"{config.name}: {width}x{height} pixels, a {size[1]}x{size[0]} map, "
                      f"key {dims[0]}, value {dims[1]}, on {device}\n")  # fmt: skip
        header = "memory", "frames", "write + read, ms", "/ gc", "state, MiB", "/ gc"
        rows = []
        for cost in costs:
            gc = base[cost.frames]
            ratios = f"{cost.seconds / gc.seconds:.2f}", f"{cost.nbytes / gc.nbytes:.2f}"
            measured = f"{1e3 * cost.seconds:.2f}", f"{cost.nbytes / complexity.MIB:.3f}"
            rows.append((cost.name, cost.frames, measured[0], ratios[0], measured[1], ratios[1]))
        tables.append(complexity.markdown(header, rows) + "\n")
    print("\n".join(tables))


def segment(
    clip: str = "two-friends",
    frames: int = 40,
    height: int | None = None,
    checkpoint: str = "mini",
) -> None:
    """Frames per second of one network with each of the four memories, as Markdown.

    Args:
        clip: an embedded clip.
        frames: its length.
        height: lines of the clip, at which the network works; Config.height if not given.
        checkpoint: a shipped network's name, or a safetensors file.
    """
    at_least(2, frames=frames)
    if height is not None:
        at_least(16, height=height)
    device = best_device()
    network = load_model(checkpoint, device=device)
    height = height or network.config.height or 240
    images, masks = zip(*clip_frames(clip, height, frames=frames))
    swap = live_swap(network, images, masks[0], MEMORIES, height=height)
    swapped = list(tqdm(swap, "segment", frames - 1, unit="frame", disable=None))
    total = {n: sum(s.step_seconds[n] for s in swapped) for n in MEMORIES}
    inside = {n: sum(s.memory_seconds[n] for s in swapped) for n in MEMORIES}
    header = ("memory", "frames/s", "/ gc", "write + read, ms", "state, MiB", "pixels as gc")
    rows = [
        (n, f"{len(swapped) / total[n]:.2f}", f"{total['gc'] / total[n]:.3f}",
         f"{1e3 * inside[n] / len(swapped):.2f}", f"{swapped[-1].nbytes[n] / complexity.MIB:.3f}",
         f"{sum(s.equal[n] for s in swapped) / len(swapped):.4%}")
        for n in MEMORIES
    ]  # fmt: skip
    print(f"{clip}: {frames} frames of {images[0].shape[1]}x{height} pixels, "
          f"{checkpoint}, on {device}\n")  # fmt: skip
    print(complexity.markdown(header, rows))


def key_scores(network, sequence, year, height=None, true_masks=False):
    """Selectivity of every key channel for each object: (O, C_key), a mean over frames.

    The keys are those of the masks that the network itself found, the truth only judges them; or
    those of the true masks. The first frame does not count, nor do frames that do not show an
    object.
    """
    scores = {}  # object number -> [(C_key,) of each frame]
    written = written_keys(network, sequence, year, height=height, true_masks=true_masks)
    for o, key, cells in written:
        scores.setdefault(o, []).append(selectivity(key, cells))
    return np.stack([np.nanmean(score, axis=0) for score in scores.values()])


def keys(
    data: Path,
    year: Literal[2016, 2017] = 2017,
    split: str = "val",
    checkpoint: str = "mini",
    height: int | None = None,
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
        height: height in pixels at which the network works; Config.height if not given, or the
            frames' own where that is less.
    """
    network = load_model(checkpoint, device=best_device())
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
    print(complexity.markdown(header, rows))


def extremes(score, true):
    """Number, score and `true` score of the highest channel of (C_key,), then of the lowest."""
    high, low = score.argmax(), score.argmin()
    return high, score[high], true[high], low, score[low], true[low]


def length(
    clips: tuple[str, ...] = tuple(VAL),
    frames: int = 1000,
    head: int = 100,
    memory: Literal["gc", "stm", "stm-linear", "pam"] = "gc",
    checkpoint: str = "mini",
) -> None:
    """J&F along long embedded clips, in the first frames and in all, as Markdown.

    The first and the last frame do not count, as in DAVIS.

    Args:
        clips: names of embedded clips; all eight of the validation split if none.
        frames: their length.
        head: the first frames with which the whole is compared.
        memory: which memory the network uses.
        checkpoint: a shipped network's name, or a safetensors file.
    """
    at_least(7, frames=frames)
    at_least(2, head=head)
    network = load_model(checkpoint, device=best_device())
    parts = np.linspace(1, frames - 1, 6).astype(int)  # five parts of equal length
    rows = []
    for clip in clips:
        JF = scores_along(network, clip, frames, memory)
        means = [JF[: head - 1].mean(), JF.mean(), JF.mean() - JF[: head - 1].mean()]
        means += [JF[a - 1 : b - 1].mean() for a, b in zip(parts[:-1], parts[1:])]
        rows.append((clip, *means))
    rows.append(("**mean**", *np.mean([row[1:] for row in rows], axis=0)))
    rows = [(row[0], *(f"{value:.3f}" for value in row[1:])) for row in rows]
    fifths = [f"{a} to {b - 1}" for a, b in zip(parts[:-1], parts[1:])]
    print(complexity.markdown(("clip", f"first {head}", "all", "difference", *fifths), rows))


def scores_along(network, clip, frames, memory="gc"):
    """J&F (T - 2,) of every frame of an embedded clip but the first and the last, over objects."""
    segmenter = VideoSegmenter(network, memory)
    scores = []
    for t, (frame, truth) in enumerate(tqdm(
        clip_frames(clip, frames=frames), clip, frames, unit="frame", disable=None
    )):  # fmt: skip
        if t == 0:
            segmenter.start(frame, truth)
        elif t < frames - 1:
            mask = segmenter.step(frame)
            both = [np.stack([labels == i for i in segmenter.ids]) for labels in (mask, truth)]
            scores.append((region_similarity(*both) + boundary_accuracy(*both)).mean() / 2)
    return np.array(scores)


def as_2017(sequences, year, masks, folder):
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


def import_official(folder):
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


def evaluation(
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
    print(complexity.markdown(("evaluator", "seconds", "/ gcvos_mini", "J", "F"), rows))


def explore(clip: str = "approach", frames: int = 20, turns: int = 5) -> None:
    """Milliseconds to draw one overlay, and of the explorers from an event to the new picture.

    At 427x240 pixels, on keys of random numbers of the shipped network's size, for no network runs.
    Times are of the kernel, up to the bytes that the browser gets.

    Args:
        clip: name of an embedded clip.
        frames: its length.
        turns: how often it is played.
    """
    from gcvos_mini.explore import KeyMapExplorer, ReadExplorer
    from gcvos_mini.inside import Record
    from gcvos_mini.render import overlay, to_jpeg

    at_least(2, frames=frames)
    at_least(1, turns=turns)
    images, masks = map(np.stack, zip(*clip_frames(clip, 240, frames=frames)))
    h, w = (-(-n // 16) for n in masks.shape[1:])
    rng = np.random.default_rng(0)
    shape = (frames, 1, MINI.key_dim, h, w)
    keys, queries = rng.normal(size=shape), rng.normal(size=(frames, *shape[2:]))
    values = np.zeros((frames, 1, 1, h, w))  # none of the pictures shows values
    record = Record(images, masks, [1], keys, values, queries, "mean", MINI.first_share)
    leaf = KeyMapExplorer({clip: (images, masks, keys[:, 0])})
    pinned = KeyMapExplorer({clip: (images, masks, keys[:, 0])})
    for channel in (1, 2, 3):
        pinned.channel.value = channel
        pinned.toggle_pin()
    read = ReadExplorer(record)

    def move(explorer):
        return lambda t: setattr(explorer.frame, "value", (explorer.frame.value + 1) % frames)

    tasks = {
        "one overlay": lambda t: overlay(images[t], masks[t]),
        "one overlay, as JPEG": lambda t: to_jpeg(overlay(images[t], masks[t])),
        "KeyMapExplorer, the frame slider moved": move(leaf),
        "the same, three channels pinned": move(pinned),
        "ReadExplorer, a click": lambda t: read.click(20.0 * t, 10.0 * t),
    }
    rows = []
    for name, task in tasks.items():
        taken = []
        for t in [*range(frames)] * turns:
            began = clock()
            task(t)
            taken.append(1e3 * (clock() - began))
        rows.append((name, *(f"{np.quantile(taken, q):.1f}" for q in (0.5, 0.9))))
    print(f"{images[0].shape[1]}x240 pixels, {frames} frames, {turns} turns\n")
    print(complexity.markdown(("what", "median, ms", "slowest tenth, ms"), rows))


def main():
    import tyro

    commands = {
        "memory": memory, "segment": segment, "evaluate": evaluation, "keys": keys,
        "length": length, "explore": explore,
    }  # fmt: skip
    tyro.extras.subcommand_cli_from_dict(commands)


if __name__ == "__main__":
    exit_on_bad_input(main)
