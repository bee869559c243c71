"""How fast a network follows a video, part by part, and how fast the machine would let it.

`measure` runs several cases frame by frame in turns, so that each meets the machine in the same
mood, and ratios hold on a noisy one. Command line: python -m gcvos_mini.benchmark segment
"""

import csv
import itertools
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from gcvos_mini import complexity, fast
from gcvos_mini.config import CONFIGS
from gcvos_mini.equality import clock
from gcvos_mini.errors import BadInput, written_whole
from gcvos_mini.fast import Precision
from gcvos_mini.masks import write_mask
from gcvos_mini.memory import Choice, make_memory, name_of
from gcvos_mini.network import WEIGHTS, Network, load_model
from gcvos_mini.pictures import read_frame
from gcvos_mini.segment import VideoSegmenter, follow_source
from gcvos_mini.tables import markdown
from gcvos_mini.toy import clip_frames

PARTS = ("read frame", "encode query", "read", "decode", "encode memory", "write", "finish")
CLIP = "two-friends"  # the embedded clip that is followed
MATRIX = 2048  # rows and columns of the product by which the machine is judged
COPIED = 2**26  # numbers in the copy by which its memory is judged


@dataclass(frozen=True)
class Case:
    """What is run: a network with a memory in a precision, on frames of `lines` lines."""

    checkpoint: str
    lines: int
    height: int | None  # at which it works; the checkpoint's own if None
    objects: int
    memory: Choice
    precision: Precision


@dataclass
class Measured:
    """Seconds of a case, frame by frame, the first segmented one left out: it warms up."""

    case: Case
    size: tuple[int, int] = (0, 0)  # (h, w) at which it works
    steps: list[float] = field(default_factory=list)  # of the segmenter's step alone
    parts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PARTS})
    command: float = 0.0  # seconds a frame of the whole loop, read and written in threads
    nbytes: int = 0  # of the memory's state, at the end
    equal: float = 1.0  # share of mask pixels as in the first case of these frames and objects
    operations: int = 0  # multiply-accumulates of one frame's convolutions and matrix products
    moved: int = 0  # bytes of their inputs, weights and outputs, each once

    def frames_per_second(self) -> tuple[float, float, float]:
        """Of the network: median, and the tenth and ninetieth of a hundred."""
        return tuple(1 / np.quantile(self.steps, [0.5, 0.9, 0.1]))

    def milliseconds(self) -> dict[str, float]:
        """Median of each part."""
        return {name: 1e3 * statistics.median(times) for name, times in self.parts.items()}


class PartTimer:
    """Adds up the seconds that named functions take on a device."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def timed(self, name: str, function: Callable) -> Callable:
        """The same function, timed as a part of this name."""

        def call(*arguments):
            began = clock(self.device)
            result = function(*arguments)
            self.seconds[name] += clock(self.device) - began
            return result

        return call


def network_of(checkpoint: str, device: torch.device) -> Network:
    """As load_model; fresh weights, which are as fast, where none ship for a size."""
    fresh = checkpoint in CONFIGS and not (WEIGHTS / f"{checkpoint}.safetensors").is_file()
    torch.manual_seed(0)
    return load_model(checkpoint, pretrained=not fresh, device=device)


def timed_segmenter(case: Case, device: torch.device) -> tuple[VideoSegmenter, PartTimer]:
    """A segmenter as the commands make it, every part of it timed."""
    network = fast.prepare(network_of(case.checkpoint, device), case.precision)
    timer = PartTimer(device)
    for name in ("encode_query", "decode", "encode_memory"):
        setattr(network, name, timer.timed(name.replace("_", " "), getattr(network, name)))

    def memory():
        made = make_memory(case.memory, network.config)
        made.write, made.read = timer.timed("write", made.write), timer.timed("read", made.read)
        return made

    return VideoSegmenter(network, memory, height=case.height), timer


def cut_into(mask: np.ndarray, objects: int) -> np.ndarray:
    """A mask (H, W) of `objects` ids, made of one with any: its pixels, cut from left to right."""
    y, x = np.nonzero(mask)
    order = np.argsort(x, kind="stable")
    ids = np.empty(len(x), np.uint8)
    ids[order] = 1 + np.arange(len(x)) * objects // len(x)
    cut = np.zeros(mask.shape, np.uint8)
    cut[y, x] = ids
    return cut


def measure(cases: Iterable[Case], frames: int, device: torch.device) -> Iterator[Measured]:
    """Run all cases frame by frame in turns, then each as a command does; yield one after another.

    frames: of the embedded clip, at least 3. Raises BadInput as load_model and VideoSegmenter do.
    """
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number, case in enumerate(cases):
            source, first_mask = frames_on_disk(Path(folder), case, frames)
            segmenter, timer = timed_segmenter(case, device)
            out = Path(folder) / str(number)
            running.append((Measured(case), segmenter, timer, source, first_mask, out))
        for t in tqdm(range(frames), "frames", unit="frame", disable=None):
            labels = {}
            for measured, segmenter, timer, source, first_mask, out in running:
                path = source / f"{t:05d}.jpg"
                found = one_frame(measured, segmenter, timer, path, first_mask, out, t)
                of = measured.case.checkpoint, measured.case.lines, measured.case.objects
                first = labels.setdefault(of, found)
                measured.equal += (float((found == first).mean()) - measured.equal) / (t + 1)
        for measured, segmenter, _, source, first_mask, out in running:
            measured.nbytes = segmenter.memory.nbytes
            measured.size = tuple(segmenter.previous.shape[1:])
            count_work(measured, segmenter, read_frame(path_of_last(source)))
            measured.command = as_a_command(segmenter, source, first_mask, out) / frames
            yield measured


def path_of_last(folder: Path) -> Path:
    """The last frame of a folder."""
    return max(folder.glob("*.jpg"))


def frames_on_disk(folder: Path, case: Case, frames: int) -> tuple[Path, np.ndarray]:
    """The folder of a case's frames as JPEGs, made where needed, and its first mask."""
    source = folder / f"{case.lines}-lines"
    source.mkdir(exist_ok=True)
    clip = clip_frames(CLIP, case.lines, frames=frames)
    for t, (frame, mask) in enumerate(clip):
        if t == 0:
            first_mask = cut_into(mask, case.objects)
        path = source / f"{t:05d}.jpg"
        if path.exists():
            break
        Image.fromarray(frame).save(path, quality=95)
    return source, first_mask


def one_frame(measured, segmenter, timer, path, first_mask, out, t) -> np.ndarray:
    """One frame of one case, read, followed and written, with nothing beside it; its mask."""
    before = dict(timer.seconds)
    start = clock(segmenter.device)
    frame = read_frame(path)
    read = clock(segmenter.device)
    if t == 0:
        segmenter.start(frame, first_mask)
        return first_mask
    labels = segmenter.step(frame)
    stepped = clock(segmenter.device)
    write_mask(out / f"{path.stem}.png", labels)
    if t > 1:
        seconds = {name: timer.seconds[name] - before[name] for name in PARTS}
        seconds["finish"] = clock(segmenter.device) - read - sum(seconds.values())
        seconds["read frame"] = read - start
        measured.steps.append(stepped - read)
        for name in PARTS:
            measured.parts[name].append(seconds[name])
    return labels


def as_a_command(segmenter, source: Path, first_mask: np.ndarray, out: Path) -> float:
    """Seconds to follow a folder of frames as `segment` does, files read and written in threads."""
    began = clock(segmenter.device)
    with fast.beside(write_mask) as write:
        for name, _, labels in follow_source(segmenter, source, first_mask):
            write(out / f"{name}.png", labels)
    return clock(segmenter.device) - began


# ---- what the machine could do at best -----------------------------------------------------------


def count_work(measured: Measured, segmenter: VideoSegmenter, frame: np.ndarray) -> None:
    """Fill in the operations and bytes of one more frame."""
    moved = []

    def convolved(module, inputs, output):
        tensors = *inputs, output, *module.parameters()
        moved.append(sum(x.numel() * x.element_size() for x in tensors))

    hooks = [module.register_forward_hook(convolved)
             for module in segmenter.model.modules() if isinstance(module, nn.Conv2d)]  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        segmenter.step(frame)
    for hook in hooks:
        hook.remove()
    measured.operations = counter.get_total_flops() // 2  # a multiply-accumulate is two
    measured.moved = sum(moved)


def matrix_rate(precision: Precision, device: torch.device, runs: int = 9) -> float:
    """Multiply-accumulates a second of one large matrix product: the best of several."""
    a, b = torch.ones(2, MATRIX, MATRIX, dtype=getattr(torch, precision), device=device)
    return MATRIX**3 / min(call_seconds(lambda: a @ b, device, runs))


def bandwidth(device: torch.device, runs: int = 9) -> float:
    """Bytes a second of a large copy, read and written: the best of several."""
    source = torch.ones(COPIED, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(call_seconds(lambda: target.copy_(source), device, runs))


def call_seconds(function: Callable, device: torch.device, runs: int) -> list[float]:
    """Seconds of each of several calls, after one that warms up."""
    function()
    marks = []
    for _ in range(runs):
        marks.append(clock(device))
        function()
    marks.append(clock(device))
    return [after - before for before, after in itertools.pairwise(marks)]


# ---- training ----------------------------------------------------------------------------------


def train_speed(arguments: list, out: Path, batch: int) -> dict[str, float]:
    """Run the command `train` in a process of its own and read its log: see `train_table`.

    arguments: of the command; out: its --out. Raises BadInput with its words where it fails.
    """
    words = [sys.executable, "-m", "gcvos_mini.train", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"training failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    with (out / "log.csv").open() as file:
        log = list(csv.DictReader(file))
    ends = np.array([float(row["seconds"]) for row in log])
    inside = batch / np.array([float(row["clips_per_second"]) for row in log])
    begun = len(log) // 8  # the first steps warm up
    turn = np.diff(ends[begun:])  # of a step and the wait before it
    first, last = (inside[part].tolist() for part in (slice(begun, len(log) // 2), slice(-6, None)))
    return {
        "clips_per_second": batch / turn.mean(),
        "first_ms": 1e3 * statistics.median(first),
        "last_ms": 1e3 * statistics.median(last),
        "waiting": max(0.0, 1 - inside[begun + 1 :].sum() / turn.sum()),
    }


def train_table(report: dict) -> str:
    """A report of `benchmark train` as Markdown."""
    base = report["rows"][0]
    rows = [
        (
            row["precision"],
            f"{row['clips_per_second']:.2f}",
            f"{row['clips_per_second'] / base['clips_per_second']:.2f}",
            f"{row['first_ms']:.0f}",
            f"{row['last_ms']:.0f}",
            f"{row['waiting']:.1%}",
        )
        for row in report["rows"]
    ]
    title = f"{report['config']}, stage {report['stage']}, batch {report['batch']}"
    header = ("precision", "clips/s", f"/ {base['precision']}", "step in the first half, ms",
              "last steps, ms", "waiting for clips")  # fmt: skip
    return f"{title}, on {report['device']}\n\n{markdown(header, rows)}"


# ---- reports -----------------------------------------------------------------------------------


def machine(device: torch.device) -> dict:
    """What the figures of a report were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": f"{device.type} ({name})", "threads": torch.get_num_threads(),
            "torch": torch.__version__}  # fmt: skip


def speed_report(
    measured: list[Measured], floors: dict[str, tuple[float, float]], official: list[dict], device
) -> dict:
    """All that `benchmark segment` found, as plain values.

    floors: by precision, multiply-accumulates and bytes a second of the machine.
    """
    rows = []
    for m in measured:
        rate, moving = floors[m.case.precision]
        median, slow, quick = m.frames_per_second()
        rows.append(asdict(m.case) | {
            "memory": name_of(m.case.memory), "works_at": m.size, "frames_per_second": median,
            "slowest_tenth": slow, "fastest_tenth": quick, "as_a_command": 1 / m.command,
            "ms": m.milliseconds(), "state_bytes": m.nbytes, "equal": m.equal,
            "operations": m.operations, "bytes": m.moved,
            "floor_ms": 1e3 * max(m.operations / rate, m.moved / moving),
        })  # fmt: skip
    rates = {name: {"multiply_accumulates_per_second": rate, "bytes_per_second": moving}
             for name, (rate, moving) in floors.items()}  # fmt: skip
    return machine(device) | {"rates": rates, "rows": rows, "official_stm": official}


def speed_tables(report: dict) -> str:
    """A report of `benchmark segment` as Markdown: frames a second, parts, floor, official STM."""
    rows, base = report["rows"], report["rows"][0]
    fps = "frames_per_second"
    names = [(r["checkpoint"], r["lines"], r["works_at"][0], r["objects"], r["memory"],
              r["precision"]) for r in rows]  # fmt: skip
    case = ("network", "lines", "works at", "objects", "memory", "precision")
    speeds = [
        (*name, f"{r[fps]:.2f}", f"{r['slowest_tenth']:.2f} to {r['fastest_tenth']:.2f}",
         f"{r[fps] / base[fps]:.2f}", f"{r['as_a_command']:.2f}",
         f"{r['state_bytes'] / complexity.MIB:.3f}", f"{r['equal']:.3%}")
        for name, r in zip(names, rows)
    ]  # fmt: skip
    header = (*case, "frames/s", "tenth to ninetieth of 100", "/ first", "as a command, frames/s",
              "state, MiB", "pixels as the first")  # fmt: skip
    parts = []
    for name, r in zip(names, rows):
        total = sum(r["ms"].values())
        parts.append((*name, *(f"{r['ms'][p]:.1f} ({r['ms'][p] / total:.0%})" for p in PARTS)))
    floors = []
    for name, r in zip(names, rows):
        rate = report["rates"][r["precision"]]
        floors.append((
            *name, f"{r['operations'] / 1e9:.2f}",
            f"{1e3 * r['operations'] / rate['multiply_accumulates_per_second']:.1f}",
            f"{r['bytes'] / complexity.MIB:.0f}",
            f"{1e3 * r['bytes'] / rate['bytes_per_second']:.1f}", f"{1e3 / r[fps]:.1f}",
        ))  # fmt: skip
    floor = ("multiply-accumulates, G", "at the machine's rate, ms", "moved by convolutions, MiB",
             "at its bandwidth, ms", "measured, ms")  # fmt: skip
    tables = [
        f"On {report['device']}, {report['threads']} threads\n", markdown(header, speeds),
        "\nMilliseconds of each part, and its share\n", markdown((*case, *PARTS), parts),
        "\nWhat the machine would allow\n", markdown((*case, *floor), floors),
    ]  # fmt: skip
    if report["official_stm"]:
        theirs = [(r["lines"], r["precision"], f"{1e3 / r['ms']:.2f}", f"{r['ms']:.0f}")
                  for r in report["official_stm"]]  # fmt: skip
        header = ("lines", "precision", "frames/s", "ms")
        tables += ["\nThe official STM network, frame 100, every fifth kept\n",
                   markdown(header, theirs)]  # fmt: skip
    return "\n".join(tables)


def save_report(path: Path, report: dict) -> None:
    """Write a report as JSON, whole or not at all. Raises BadInput where it cannot be written."""
    with written_whole(path) as unfinished:
        Path(unfinished).write_text(json.dumps(report, indent=1) + "\n")
