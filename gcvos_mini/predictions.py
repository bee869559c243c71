"""Masks that are to be scored: read beside the truth, and what cannot have been meant is said."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gcvos_mini.davis import Sequence
from gcvos_mini.errors import BadInput
from gcvos_mini.masks import object_ids, one_object, read_mask, read_sequence_mask
from gcvos_mini.pictures import check_same_size

LOOKED_AT = 5  # first scored frames, in which ids are still where they were given
ALIKE = 0.5  # J from which a predicted mask is of that object; no two can have more with one


def check_predictions(sequences: Iterable[Sequence], masks_dir: Path | str) -> None:
    """Raise BadInput naming the first prediction of a scored frame that is not there."""
    if not Path(masks_dir).is_dir():
        raise BadInput(f"{masks_dir}: no such folder; give the folder that holds the predictions")
    for sequence in sequences:
        folder = Path(masks_dir) / sequence.name
        if not folder.is_dir():
            raise BadInput(f"{folder}: no such folder; it should hold the masks of {sequence.name}")
        for frame in list(sequence.masks)[1:-1]:
            if not (folder / f"{frame}.png").is_file():
                truth = sequence.masks[frame]
                raise BadInput(
                    f"{folder / frame}.png: no prediction for {truth}; add it, empty if need be"
                )


def read_pair(prediction_path: Path, truth_path: Path, year: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of one frame, uint8 (H, W) each.

    Raises BadInput where their sizes differ, or the prediction holds no id but 255, or in 2016 more
    than two levels, or two without the background's 0.
    """
    prediction = read_mask(prediction_path)
    if int(year) == 2016:
        levels = np.unique(prediction)
        if len(levels) > 2 or len(levels) == 2 and levels[0] > 0:
            no = ", none of them 0" if levels[0] else ""
            raise BadInput(
                f"{prediction_path}: has {len(levels)} levels{no}, year 2016 has one object: "
                "threshold it first, or give --year 2017 where they are ids"
            )
        prediction = one_object(prediction)
    truth = read_sequence_mask(truth_path, year)
    check_same_size(prediction, prediction_path, truth, truth_path)
    if prediction.any() and not object_ids(prediction):
        raise BadInput(f"{prediction_path}: holds no id but 255; write the ids 1, 2, 3, ...")
    return prediction, truth


def overlaps(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(256, 256): how many pixels have id p in a prediction and id t in the truth, (H, W) each."""
    both = prediction.ravel().astype(np.int64) * 256 + truth.ravel()
    return np.bincount(both, minlength=256 * 256).reshape(256, 256)


def exchanged(together: np.ndarray, ids: list[int]) -> list[tuple[int, int]]:
    """[(id in the truth, id that lies there in the predictions)] of objects with another's id.

    together: sum of `overlaps`. An id lies there where its J with the object is at least ALIKE and
    more than twice that of the object's own.
    """
    inside = together[np.ix_(ids, ids)]
    union = together[ids].sum(axis=1)[:, None] + together[:, ids].sum(axis=0) - inside
    j = inside / np.maximum(union, 1)  # (O, O), of predicted and true ids
    best = j.argmax(axis=0)
    return [
        (ids[t], ids[p]) for t, p in enumerate(best) if j[p, t] >= ALIKE and j[t, t] < j[p, t] / 2
    ]


def say_what_is_strange(
    folder: Path, strange: list[int], ids: list[int], j: np.ndarray, together: np.ndarray
) -> None:
    """A line on stderr where predictions cannot be what was meant to be scored.

    strange: ids that the first mask does not have; j: (T, O), J of the objects; together: sum of
    the `overlaps` of the first frames. Raises BadInput where no id of the first mask is ever hit,
    but others are there: grey levels, say.
    """
    if strange and not j.any():
        raise BadInput(
            f"{folder}: its masks hold the ids {strange[:8]}, the first mask has {ids}, and no "
            "object is ever hit; write the ids of the first mask"
        )
    if strange:
        print(
            f"note: {folder}: ids {strange[:8]} are not in the first mask, which has {ids}; they "
            "are not scored",
            file=sys.stderr,
        )
    if pairs := exchanged(together, ids):
        said = ", ".join(f"{p} lies on the truth's {t}" for t, p in pairs[:8])
        print(
            f"note: {folder}: ids look exchanged: {said}; they are scored as they are",
            file=sys.stderr,
        )
    if (j == 1).all():
        print(f"note: {folder}: every mask equals the truth; is it the truth?", file=sys.stderr)
