"""The DAVIS protocol: run a network over a split, score masks against the truth.

    python -m gcvos_mini.evaluate --data DIR --year 2017 --split val --checkpoint mini --out DIR
    python -m gcvos_mini.evaluate --data DIR --year 2017 --split val --masks DIR

The objects of a sequence are the ids in its first mask. Frame 0 is given, so it is not scored;
nor is the last frame. Each object has a mean, recall and decay of J and of F over its frames, and
the overall numbers are means over all objects. This is the semi-supervised protocol of the
official DAVIS evaluator, its choices included: 255 (void) in the truth counts as background, ids
that are not in the first mask are ignored, and an object without a prediction scores as empty.

Masks lie in DIR/<sequence>/<frame>.png. Scoring reads Annotations only and needs no torch.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from gcvos_mini.davis import (
    check_has_object,
    check_same_size,
    load_split,
    object_ids,
    read_frame,
    read_sequence_mask,
    read_start,
    write_mask,
)
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.metrics import boundary_accuracy, region_similarity, statistics

KEYS = ("JF_mean", "J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")


def score_masks(data, year, split, masks_dir, resolution=None):
    """Score masks_dir/<sequence>/<frame>.png against the truth of a split.

    Returns {"mean": {KEYS}, "sequences": {name: {KEYS, "frames", "objects": {id: {KEYS}}}},
    "not_scored": [names]}. A sequence of fewer than three masks has none left once the first and
    the last are dropped: it is named on stderr and in "not_scored", and in no mean.
    Raises BadInput on unusable data, or a prediction that is missing or of another size.
    """
    sequences = load_split(data, year, split, resolution, need_frames=False)
    scored = [s for s in sequences if len(s.masks) > 2]
    skipped = [s for s in sequences if len(s.masks) <= 2]
    for sequence in skipped:
        reason = f"{len(sequence.masks)} masks, of which the first and the last do not count"
        print(f"note: {sequence.name} is not scored: {reason}", file=sys.stderr)
    if not scored:
        raise BadInput(f"{data}: split {split} has no sequence of three masks; nothing to score")
    if not Path(masks_dir).is_dir():
        raise BadInput(f"{masks_dir}: no such folder; give the folder that holds the predictions")
    for sequence in scored:
        check_predictions(sequence, masks_dir)

    # Threads, because decoding and dilation run outside Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda s: score_sequence(s, Path(masks_dir) / s.name, year), scored)
        results = list(tqdm(results, "scoring", len(scored), unit="sequence", disable=None))
    objects = [o for result in results for o in result["objects"].values()]
    return {
        "mean": average(objects),
        "sequences": {s.name: result for s, result in zip(scored, results)},
        "not_scored": [s.name for s in skipped],
    }


def check_predictions(sequence, masks_dir):
    """Raise BadInput naming the first prediction that is not there."""
    folder = Path(masks_dir) / sequence.name
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; it should hold the masks of {sequence.name}")
    for frame in sorted(sequence.masks)[1:-1]:
        if not (folder / f"{frame}.png").is_file():
            truth = sequence.masks[frame]
            raise BadInput(
                f"{folder / frame}.png: no prediction for {truth}; add it, empty if need be"
            )


def score_sequence(sequence, folder, year):
    """Scores of one sequence: {KEYS, "frames": number scored, "objects": {id: {KEYS}}}.

    Reads one frame at a time: memory does not grow with the length.
    """
    first, *middle, _last = sorted(sequence.masks)
    first_mask = read_sequence_mask(sequence.masks[first], year)
    check_has_object(first_mask, sequence.masks[first])
    ids = object_ids(first_mask)
    j, f = np.empty((2, len(middle), len(ids)))  # (T, O) each
    for t, frame in enumerate(middle):
        prediction, truth = read_pair(folder / f"{frame}.png", sequence.masks[frame], year)
        prediction = np.stack([prediction == i for i in ids])  # (O, H, W)
        truth = np.stack([truth == i for i in ids])  # (O, H, W)
        j[t] = region_similarity(prediction, truth)
        f[t] = boundary_accuracy(prediction, truth)
    objects = {str(i): object_scores(j[:, o], f[:, o]) for o, i in enumerate(ids)}
    return average(objects.values()) | {"frames": len(middle), "objects": objects}


def read_pair(prediction_path, truth_path, year):
    """Prediction and truth of one frame, uint8 (H, W) each, of the same size or BadInput."""
    prediction = read_sequence_mask(prediction_path, year)
    truth = read_sequence_mask(truth_path, year)
    check_same_size(prediction, prediction_path, truth, truth_path)
    if prediction.any() and not object_ids(prediction):
        raise BadInput(f"{prediction_path}: holds no id but 255; write the ids 1, 2, 3, ...")
    return prediction, truth


def object_scores(j, f):
    """Statistics of one object's J (T,) and F (T,): {KEYS}."""
    scores = {f"J_{name}": value for name, value in statistics(j).items()}
    scores |= {f"F_{name}": value for name, value in statistics(f).items()}
    return {"JF_mean": (scores["J_mean"] + scores["F_mean"]) / 2} | scores


def average(objects):
    """Mean of each statistic over objects: {KEYS}."""
    objects = list(objects)
    return {key: float(np.mean([scores[key] for scores in objects])) for key in KEYS}


def markdown_table(results):
    """Results as a Markdown table: one row per sequence, then the mean over all objects."""
    header = ["sequence", "objects", "frames", *KEYS]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    rows = [(name, len(s["objects"]), s["frames"], s) for name, s in results["sequences"].items()]
    totals = sum(row[1] for row in rows), sum(row[2] for row in rows)
    for name, objects, frames, scores in [*rows, ("**mean**", *totals, results["mean"])]:
        numbers = [f"{scores[key]:.3f}" for key in KEYS]
        lines.append("| " + " | ".join([name, str(objects), str(frames), *numbers]) + " |")
    return "\n".join(lines)


def segment_split(sequences, year, segmenter, out):
    """Segment every sequence from its first mask; write out/<sequence>/<frame>.png as it goes.

    segmenter: anything with start(frame, mask) and step(frame) -> mask, as in segment.py.
    Raises BadInput on a first mask without an object, or frames and mask of different sizes.
    """
    total = sum(len(sequence.frames) for sequence in sequences)
    with tqdm(total=total, unit="frame", disable=None) as progress:
        for sequence in sequences:
            progress.set_description(sequence.name)
            start, labels = read_start(sequence, year)
            segmenter.start(start, labels)
            for index, path in enumerate(sequence.frames):
                if index > 0:
                    frame = read_frame(path)
                    check_same_size(frame, path, start, sequence.frames[0])
                    labels = segmenter.step(frame)
                write_mask(Path(out) / sequence.name / f"{path.stem}.png", labels)
                progress.update()


def run(data, year, split, checkpoint, out, memory="gc", height=None, resolution=None):
    """Segment a split with a network, then score the masks; results as score_masks gives them.

    Returns None when the data have first masks only (a challenge's test split).
    """
    sequences = load_split(data, year, split, resolution)
    for sequence in sequences:  # a bad start is found now, not hours into the run
        read_start(sequence, year)
    import torch

    from gcvos_mini.network import load_model
    from gcvos_mini.segment import FirstMask, VideoSegmenter

    if checkpoint == "first-mask":
        segmenter = FirstMask()
    else:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = load_model(checkpoint, device=device)
        segmenter = VideoSegmenter(model, memory, height=height)
    segment_split(sequences, year, segmenter, out)
    if all(len(sequence.masks) <= 2 for sequence in sequences):
        print(f"note: {data} has no masks to score against; the masks are in {out}")
        return None
    return score_masks(data, year, split, out, resolution)


def evaluate(
    data: Path,
    year: Literal[2016, 2017] = 2017,
    split: str = "val",
    masks: Path | None = None,
    checkpoint: str | None = None,
    out: Path | None = None,
    memory: Literal["gc", "stm", "stm-linear", "pam"] = "gc",
    height: int | None = None,
    resolution: str | None = None,
):
    """Score masks with the DAVIS protocol, or segment a split with a network and score that.

    Args:
        data: folder of a data set in DAVIS layout.
        year: 2016, one object (any non-zero value), or 2017, several.
        split: name of the list of sequences in ImageSets.
        masks: score these masks, MASKS/<sequence>/<frame>.png.
        checkpoint: segment with this network: its name, or a safetensors file; "first-mask" copies
            the first mask through the video, the score to beat.
        out: folder for results.json, and for the masks a network makes.
        memory: which memory the network uses.
        height: height in pixels at which the network works; Config.height if not given.
        resolution: folder name inside JPEGImages; 480p, or the only one, if not given.
    """
    if (masks is None) == (checkpoint is None):
        raise BadInput(
            "give --masks DIR to score masks, or --checkpoint NAME --out DIR to make them"
        )
    if checkpoint is not None and out is None:
        raise BadInput("--out: missing; --checkpoint needs a folder to write the masks to")
    if height is not None and height < 16:
        raise BadInput(f"--height {height}: too small; the network needs at least 16 pixels")
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"{out}: cannot be made a folder ({error.strerror}); choose another"
            ) from error
    if masks is not None:
        results = score_masks(data, year, split, masks, resolution)
    else:
        results = run(data, year, split, checkpoint, out, memory, height, resolution)
    if results is None:
        return
    print(markdown_table(results))
    if out is not None:
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(evaluate))
