"""Side by side: memories, networks and evaluators, every ratio measured in one run.

python -m gcvos_mini.benchmark memory      one write and one read after 1 to 10,000 frames
python -m gcvos_mini.benchmark trigger     SwiftNet's memory: frames written against accuracy
python -m gcvos_mini.benchmark segment     frames per second of one network with each memory
python -m gcvos_mini.benchmark train       steps, hours and bytes of training on this device
python -m gcvos_mini.benchmark evaluate    scoring, beside the official evaluator
python -m gcvos_mini.benchmark keys        how well single key channels find the objects
python -m gcvos_mini.benchmark length      scores along a long embedded clip
"""

import itertools
import statistics
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from gcvos_mini import fast
from gcvos_mini.config import CONFIGS, STRIDE
from gcvos_mini.costs import benchmark_memory, benchmark_trigger, check_memories
from gcvos_mini.davis import check_later_mask, load_split
from gcvos_mini.device import pick_device
from gcvos_mini.errors import BadInput, at_least, exit_on_bad_input
from gcvos_mini.fast import Precision, pick_precision
from gcvos_mini.keymaps import extremes, key_scores
from gcvos_mini.masks import MOST_OBJECTS
from gcvos_mini.metrics import boundary_accuracy, region_similarity
from gcvos_mini.network import load_model
from gcvos_mini.official import benchmark_evaluate, stm_step
from gcvos_mini.segment import VideoSegmenter, follow, load_segmenter, to_tensor
from gcvos_mini.tables import markdown
from gcvos_mini.throughput import (
    CLIP,
    Case,
    bandwidth,
    call_seconds,
    machine,
    matrix_rate,
    measure,
    save_report,
    speed_report,
    speed_tables,
    train_speed,
    train_table,
)
from gcvos_mini.toy import TRAIN, VAL, clip_frames, render_clips
from gcvos_mini.train import find_stage


def benchmark_segment(
    checkpoint: tuple[str, ...] = ("mini",),
    lines: tuple[int, ...] = (480,),
    height: int | None = None,
    objects: tuple[int, ...] = (1,),
    memory: tuple[str, ...] = ("gc",),
    precision: tuple[Precision, ...] = (),
    frames: int = 40,
    device: str | None = None,
    official: Path | None = None,
    json: Path | None = None,
) -> None:
    """Frames per second, part by part, of networks, sizes and memories in turns, as Markdown.

    Every combination of what is given is run on the same embedded clip; ratios are to the first.

    Args:
        checkpoint: shipped networks' names, or safetensors files; fresh weights, which are as fast,
            where none ship for a name.
        lines: of the frames.
        height: height in pixels at which the networks work; the checkpoint's own if not given, or
            the frames' where that is less.
        objects: how many are followed.
        memory: which memories; gc, stm, stm-linear, pam, or module:Class of your own.
        precision: of the convolutions; float32 and the fastest that the device has if not given.
        frames: length of the clip.
        device: cuda, mps or cpu; the best there is if not given.
        official: a checkout of https://github.com/seoungwugoh/STM: its network too, at frame 100.
        json: file for all that was measured.
    """
    at_least(4, frames=frames)
    at_least(STRIDE, height=height)
    for count in lines:
        at_least(STRIDE, lines=count)
    for count in objects:
        at_least(1, MOST_OBJECTS, objects=count)
    check_memories(memory)
    if not (checkpoint and lines and objects):
        raise BadInput("--checkpoint, --lines and --objects: give at least one of each")
    on = pick_device(device)
    precisions = precisions_of(precision, on)
    fast.keep_large_buffers()
    every = itertools.product(checkpoint, lines, [height], objects, memory, precisions)
    cases = list(itertools.starmap(Case, every))
    measured = list(measure(cases, frames, on))
    floors = {dtype: (matrix_rate(dtype, on), bandwidth(on)) for dtype in precisions}
    theirs = official_rows(official, max(lines), precisions, on) if official else []
    report = speed_report(measured, floors, theirs, on)
    if json is not None:
        save_report(json, report)
    print(speed_tables(report))


def precisions_of(asked: tuple[Precision, ...], device: torch.device) -> tuple[Precision, ...]:
    """Those asked for, or float32 and the fastest. Raises BadInput as pick_precision does."""
    both = dict.fromkeys(("float32", pick_precision(None, device)))
    return tuple(pick_precision(name, device) for name in asked or both)


def benchmark_train(
    config: Literal["smoke", "mini", "paper"] = "mini",
    stage: Literal["stills", "videos", "embedded"] = "videos",
    data: tuple[Path, ...] = (),
    precision: tuple[Precision, ...] = (),
    clips: int = 160,
    device: str | None = None,
    json: Path | None = None,
) -> None:
    """Clips per second of training, and how long it waits for its clips, as Markdown.

    Runs the command `train` for a few steps in each precision, one after the other.

    Args:
        config: the network's size and the recipe.
        stage: one of its stages.
        data: folders of stills or in DAVIS layout; a few embedded clips if not given.
        precision: of the convolutions; float32 and the fastest that the device has if not given.
        clips: of each run.
        device: cuda, mps or cpu; the best there is if not given.
        json: file for all that was measured.
    """
    batch = find_stage(CONFIGS[config], stage).batch
    at_least(8 * batch, clips=clips)
    on = pick_device(device)
    precisions = precisions_of(precision, on)
    with tempfile.TemporaryDirectory() as folder:
        if not data:
            names = list(TRAIN)[:4]
            data = (render_clips(Path(folder) / "clips", 0, 240, names, progress=False),)
        rows = []
        for dtype in tqdm(precisions, "train", unit="run", disable=None):
            out = Path(folder) / dtype
            words = ["--config", config, "--stage", stage, "--data", *map(str, data), "--out", out,
                     "--clips", clips, "--precision", dtype, "--device", on.type]  # fmt: skip
            rows.append({"precision": dtype} | train_speed(words, out, batch))
    report = {"config": config, "stage": stage, "batch": batch, **machine(on), "rows": rows}
    if json is not None:
        save_report(json, report)
    print(train_table(report))


def official_rows(folder: Path, lines: int, precisions: tuple, device) -> list[dict]:
    """The official STM network at frame 100, every fifth kept: {precision, milliseconds} each."""
    frame, _ = next(clip_frames(CLIP, lines, frames=1))
    image, rows = to_tensor(frame, device), []
    for precision in precisions:
        times = call_seconds(stm_step(folder, image, 20, precision), device, 7)
        rows.append({"lines": lines, "precision": precision, "ms": 1e3 * statistics.median(times)})
    return rows


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
    for sequence in sequences:
        check_later_mask(sequence)
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
    for clip in clips or VAL:
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


def main() -> None:
    """The command line: one subcommand for each table."""
    import tyro

    commands = {
        "memory": benchmark_memory,
        "trigger": benchmark_trigger,
        "segment": benchmark_segment,
        "train": benchmark_train,
        "evaluate": benchmark_evaluate,
        "keys": benchmark_keys,
        "length": benchmark_length,
    }
    tyro.extras.subcommand_cli_from_dict(commands)


if __name__ == "__main__":
    exit_on_bad_input(main)
