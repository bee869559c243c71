"""The DAVIS protocol: run a network over a split, score masks against the truth.

    python -m gcvos_mini.evaluate --data DIR --year 2017 --split val --checkpoint mini --out DIR
    python -m gcvos_mini.evaluate --data DIR --year 2017 --split val --masks DIR

The objects of a sequence are the ids in its first mask. Frame 0 is given, so it is not scored;
nor is the last frame. Each object has a mean, recall and decay of J and of F over its frames, and
the overall numbers are means over all objects. This is the semi-supervised protocol of the
official DAVIS evaluator, its choices included: 255 (void) in the truth counts as background, ids
that are not in the first mask are ignored, and an object without a prediction scores as empty.

Masks lie in DIR/<sequence>/<frame>.png. Scoring reads Annotations only.
"""

import os
import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from gcvos_mini.config import STRIDE, sequences_of
from gcvos_mini.davis import Sequence, find_resolution, first_seen, load_split, read_start
from gcvos_mini.errors import BadInput, at_least, exit_on_bad_input
from gcvos_mini.fast import Precision, ahead, beside
from gcvos_mini.masks import (
    VOID,
    check_has_object,
    object_ids,
    read_sequence_mask,
    write_mask,
)
from gcvos_mini.memory import name_of
from gcvos_mini.metrics import boundary_accuracy, quarters, region_similarity, statistics
from gcvos_mini.outputs import check_apart, run_id
from gcvos_mini.pictures import check_same_size, read_frame
from gcvos_mini.predictions import (
    LOOKED_AT,
    check_predictions,
    overlaps,
    read_pair,
    say_what_is_strange,
)
from gcvos_mini.results import (
    average,
    check_same_run,
    fingerprint,
    in_words,
    markdown_table,
    read_finished,
    results_of,
    start_over,
    summary,
    write_results,
)
from gcvos_mini.segment import Segmenter, follow, load_segmenter


def score_masks(
    data: Path | str,
    year: int,
    split: str,
    masks_dir: Path | str,
    resolution: str | None = None,
    official: bool = False,
    late: bool = False,
    only: Collection[str] = (),
) -> dict:
    """Score masks_dir/<sequence>/<frame>.png against the truth of a split.

    Returns {"mean": {KEYS}, "interval": [low, high] of its JF_mean, "quarters": J&F in each quarter
    of the videos, "sequences": {name: {KEYS, "frames", "objects": {id: {KEYS, "quarters"}}}},
    "not_scored": [names]}. A sequence of fewer than three masks has none left once the first and
    the last are dropped: it is named on stderr and in "not_scored", and in no mean.
    official: with the official evaluator's faults, see metrics.statistics and score_sequence.
    late: objects that enter later count from their first mask on, as they always do where the data
    set has no resolution folder (YouTube-VOS). only: names of sequences, if not all of the split.
    Raises BadInput on unusable data, or a prediction that is missing or of another size.
    """
    resolution = find_resolution(data, resolution, need_frames=False)
    sequences = load_split(data, year, split, resolution, need_frames=False, only=only)
    late = late or resolution == "."
    scored = [s for s in sequences if len(s.masks) > 2]
    for sequence in sequences:
        if len(sequence.masks) <= 2:
            reason = f"{len(sequence.masks)} masks, of which the first and the last do not count"
            print(f"note: {sequence.name} is not scored: {reason}", file=sys.stderr)
    if not scored:
        raise BadInput(f"{data}: split {split} has no sequence of three masks; nothing to score")
    check_predictions(scored, masks_dir)

    def score(sequence):
        return score_sequence(sequence, Path(masks_dir) / sequence.name, year, official, late)

    # Threads, because decoding and dilation run outside Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(score, scored)
        found = list(tqdm(found, "scoring", len(scored), unit="sequence", disable=None))
    return summary(sequences, dict(zip([s.name for s in scored], found)))


def score_sequence(
    sequence: Sequence, folder: Path, year: int, official: bool = False, late: bool = False
) -> dict:
    """Scores of one sequence: {KEYS, "frames": number scored, "objects": {id: {KEYS}}}.

    Reads one frame at a time: memory does not grow with the length. official: the objects are all
    numbers up to the largest id. late: each object is scored after the first mask that shows it.
    Raises BadInput as score_masks does.
    """
    first, *middle, _last = sequence.masks  # in the order of time
    first_mask = read_sequence_mask(sequence.masks[first], year)
    check_has_object(first_mask, sequence.masks[first])
    ids = object_ids(first_mask)
    if official:
        ids = list(range(1, max(ids) + 1))
    enters = dict.fromkeys(ids, first)
    if late:
        enters = first_seen(sequence, year)
        ids = list(enters)
    strange, later, known = set(), set(), {0, VOID, *ids}
    j, f = np.empty((2, len(middle), len(ids)))  # (T, O) each
    together = np.zeros((256, 256), np.int64)
    for t, frame in enumerate(middle):
        prediction, truth = read_pair(folder / f"{frame}.png", sequence.masks[frame], year)
        if official and prediction.max() > max(ids):
            raise BadInput(
                f"{folder / frame}.png: has id {prediction.max()}, {sequence.name} ends at "
                f"{max(ids)}; the official evaluator stops here, without --official it is ignored"
            )
        strange |= set(np.unique(prediction).tolist()) - known
        later |= set(np.unique(truth).tolist()) - known
        if t < LOOKED_AT:
            together += overlaps(prediction, truth)
        prediction = np.stack([prediction == i for i in ids])  # (O, H, W)
        truth = np.stack([truth == i for i in ids])  # (O, H, W)
        j[t] = region_similarity(prediction, truth)
        f[t] = boundary_accuracy(prediction, truth)
    say_what_is_strange(folder, sorted(strange), ids, j, together)
    if later:
        note = f"note: {sequence.name}: objects {sorted(later)} enter after the first mask"
        print(f"{note}; --late follows and scores them", file=sys.stderr)
    objects = {}
    for o, i in enumerate(ids):
        given = list(sequence.masks).index(enters[i])  # middle[given] is the first after it
        if given < len(middle):
            objects[str(i)] = object_scores(j[given:, o], f[given:, o], official)
    return average(objects.values()) | {"frames": len(middle), "objects": objects}


def object_scores(j: np.ndarray, f: np.ndarray, official: bool = False) -> dict[str, float]:
    """Statistics of one object's J (T,) and F (T,): {KEYS, "quarters": J&F in each}."""
    scores = {f"J_{name}": value for name, value in statistics(j, official).items()}
    scores |= {f"F_{name}": value for name, value in statistics(f, official).items()}
    scores |= {"JF_mean": (scores["J_mean"] + scores["F_mean"]) / 2}
    return scores | {"quarters": quarters((j + f) / 2, official)}


def segment_sequence(
    sequence: Sequence,
    year: int,
    segmenter: Segmenter,
    folder: Path,
    progress: tqdm,
    run: str | None = None,
    late: bool = False,
) -> None:
    """Segment one sequence from its first mask; write folder/<frame>.png as it goes.

    run: which run the masks say they are of (outputs.py). late: objects that enter later are given
    by the first mask that shows them.
    Raises BadInput on a first mask without an object, or frames and mask of different sizes.
    """
    progress.set_description(sequence.name)
    first, first_mask = read_start(sequence, year)

    def frames():
        for path in sequence.frames:
            frame = read_frame(path)
            check_same_size(frame, path, first, sequence.frames[0])
            yield frame

    enters = first_seen(sequence, year) if late else {}

    def told():
        for path in sequence.frames:
            new = [i for i, frame in enters.items() if frame == path.stem]
            mask = read_sequence_mask(sequence.masks[path.stem], year) if new else None
            yield None if mask is None else np.where(np.isin(mask, new), mask, 0).astype(np.uint8)

    followed = follow(segmenter, ahead(frames()), first_mask, told=told())
    with beside(write_mask) as write:
        for path, (_, labels) in zip(sequence.frames, followed):
            write(folder / f"{path.stem}.png", labels, run)
            progress.update()


@dataclass(kw_only=True)
class Evaluation:
    """What to score, and with what.

    Args:
        data: folder of a data set in DAVIS layout.
        year: 2016, one object (any non-zero value), or 2017, several.
        split: name of the list of sequences in ImageSets.
        sequences: only these of the split; held-out: the eight of DAVIS's training split that no
            training run of this project sees (config.py).
        masks: score these masks, MASKS/<sequence>/<frame>.png.
        checkpoint: segment with this network: its name, or a safetensors file; "first-mask" copies
            the first mask through the video, the score to beat.
        out: folder for results.json, and for the masks a network makes.
        memory: gc, stm, stm-linear, pam, or module:Class of your own; the one that the network was
            trained with if not given.
        write_every: write each n-th frame only to the memory; the STM paper has 5.
        height: height in pixels at which the network works; the checkpoint's own if not given, or
            the frames' where that is less.
        resolution: folder name inside JPEGImages; 480p, or the only one, if not given.
        official: score as the official evaluator does where it is wrong, too.
        late: follow objects that enter later, and score them after the first mask that shows them,
            as is always done where the data set has no resolution folder (YouTube-VOS).
        device: cuda, mps or cpu; the best there is if not given.
        precision: of the convolutions: float32, bfloat16 or float16; the fastest that the device
            has if not given.
        overwrite: start over where --out holds another run; removes what this program wrote there,
            and nothing else; with --masks, no more than its results.json.
    """

    data: Path
    year: Literal[2016, 2017] = 2017
    split: str = "val"
    sequences: tuple[str, ...] = ()
    masks: Path | None = None
    checkpoint: str | None = None
    out: Path | None = None
    memory: str | None = None
    write_every: int = 1
    height: int | None = None
    resolution: str | None = None
    official: bool = False
    late: bool = False
    device: str | None = None
    precision: Precision | None = None
    overwrite: bool = False


def run(asked: Evaluation) -> dict:
    """Segment a split with a network and score the masks; results as score_masks gives them.

    Masks and results.json are written as each sequence ends, and sequences that an earlier run of
    the same weights and settings finished in `out` are not done again. Its "mean" is None when the
    data have first masks only (a challenge's test split). Raises BadInput on unusable data, and
    where `out` holds another run's results.
    """
    check_apart(asked.out, [asked.data / "JPEGImages", asked.data / "Annotations"])
    resolution = find_resolution(asked.data, asked.resolution)
    sequences = load_split(
        asked.data, asked.year, asked.split, resolution, only=sequences_of(asked.sequences)
    )
    for sequence in sequences:  # a bad start is found now, not hours into the run
        read_start(sequence, asked.year)
    segmenter = make_segmenter(asked)
    late = asked.late or resolution == "."
    settings = settings_of(asked) | {
        "resolution": resolution,
        **kind_of(segmenter),
        "weights": fingerprint(asked.checkpoint),
        "frames": {s.name: len(s.frames) for s in sequences},
        "late": late,
    }
    out = asked.out
    if asked.overwrite:
        start_over(out, sequences)
    done = read_finished(out, settings, sequences)
    if done:
        print(f"going on: {len(done)} of {len(sequences)} sequences are finished", file=sys.stderr)
    total = sum(len(s.frames) for s in sequences if s.name not in done)
    with tqdm(total=total, unit="frame", disable=None) as progress:
        for sequence in sequences:
            write_results(out, settings, results_of(sequences, done))
            if sequence.name in done:
                continue
            folder = out / sequence.name
            run = run_id(**settings)
            segment_sequence(sequence, asked.year, segmenter, folder, progress, run, late)
            done[sequence.name] = None
            if len(sequence.masks) > 2:  # else the first and the last are all there are
                scores = score_sequence(sequence, folder, asked.year, asked.official, late)
                done[sequence.name] = scores
    results = results_of(sequences, done)
    write_results(out, settings, results)
    return results


def settings_of(asked: Evaluation) -> dict:
    """What two runs must have in common for their results to be of one kind."""
    settings = asdict(asked) | {
        "data": str(asked.data.resolve()),
        "sequences": list(sequences_of(asked.sequences)),
    }
    if asked.masks is not None:
        settings["masks"] = str(asked.masks.resolve())
    for name in ("out", "device", "overwrite"):  # no matter for the masks
        del settings[name]
    return settings


class FirstMask:
    """The baseline without a network: every mask is the first one."""

    def start(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Take the mask, uint8 (H, W); the frame is not looked at."""
        self.mask = mask

    def step(self, frame: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """The first mask again, uint8 (H, W), with the objects that a later one gives."""
        if mask is not None:
            self.mask = np.where(mask > 0, mask, self.mask)
        return self.mask


def make_segmenter(asked: Evaluation) -> Segmenter:
    """The segmenter of a run. Raises BadInput as load_segmenter does."""
    if asked.checkpoint == "first-mask":
        return FirstMask()
    segmenter = load_segmenter(
        asked.checkpoint, asked.memory, asked.height, asked.device, asked.precision
    )
    segmenter.write_every = asked.write_every
    return segmenter


def kind_of(segmenter: Segmenter) -> dict[str, str | None]:
    """A segmenter's memory and precision by name, None of one without a network."""
    choice, model = (getattr(segmenter, name, None) for name in ("memory_choice", "model"))
    return {
        "memory": None if choice is None else name_of(choice),
        "precision": None if model is None else str(model.dtype).removeprefix("torch."),
    }


def evaluate(asked: Annotated[Evaluation, tyro.conf.OmitArgPrefixes]) -> None:
    """Score masks with the DAVIS protocol, or segment a split with a network and score that.

    Prints a Markdown table, and how sure its mean is.

    Args:
        asked: what to score, and with what.
    """
    if (asked.masks is None) == (asked.checkpoint is None):
        raise BadInput(
            "give --masks DIR to score masks, or --checkpoint NAME --out DIR to make them"
        )
    at_least(STRIDE, height=asked.height)
    at_least(1, write_every=asked.write_every)
    if asked.checkpoint is not None and asked.out is None:
        raise BadInput("--out: missing; --checkpoint needs a folder to write the masks to")
    if asked.masks is not None:
        settings = settings_of(asked)
        if asked.out is not None:
            check_apart(asked.out, [asked.data / "JPEGImages", asked.data / "Annotations"])
            check_same_run(asked.out / "results.json", settings, asked.overwrite)
        results = score_masks(
            asked.data, asked.year, asked.split, asked.masks, asked.resolution, asked.official,
            asked.late, sequences_of(asked.sequences),
        )  # fmt: skip
    else:
        results = run(asked)
    try:
        if asked.masks is not None and asked.out is not None:
            write_results(asked.out, settings, results)
    finally:  # on a full disk the scores are at least seen
        if results["mean"] is None:
            print(f"note: {asked.data} has no masks to score against; the masks are in {asked.out}")
        else:
            print(markdown_table(results), in_words(results), sep="\n\n")


if __name__ == "__main__":
    exit_on_bad_input(lambda: tyro.cli(evaluate))
