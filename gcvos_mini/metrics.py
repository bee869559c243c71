"""J and F, the two DAVIS measures, and their statistics over a sequence.

Defined in Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016, section 4. The paper leaves some choices open (width of a boundary,
empty masks, bin edges); where it does, the official DAVIS evaluator is followed and said so.
"""

import math

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008  # of the image diagonal


def region_similarity(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray | float:
    """J: intersection over union of two masks.

    prediction, truth: bool (..., H, W). Returns float64 (...), a float for one pair, in [0, 1].
    Two empty masks agree: J = 1. Raises TypeError where a mask is not bool, ValueError where the
    shapes differ.
    """
    prediction, truth = _pair(prediction, truth)
    intersection = np.count_nonzero(prediction & truth, axis=(-2, -1))  # (...)
    union = np.count_nonzero(prediction | truth, axis=(-2, -1))  # (...)
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)[()]


def boundary_accuracy(
    prediction: np.ndarray, truth: np.ndarray, tolerance: float = BOUNDARY_TOLERANCE
) -> np.ndarray | float:
    """F: how well two outlines agree, the harmonic mean of boundary precision and recall.

    A boundary pixel counts as matched when the other outline passes within
    ceil(tolerance * image diagonal) pixels of it.

    prediction, truth: bool (..., H, W). Returns float64 (...), a float for one pair, in [0, 1].
    No outline in either gives 1, no outline in one of them gives 0. A mask that covers the whole
    image has no outline. Raises as region_similarity does.
    """
    prediction, truth = _pair(prediction, truth)
    height, width = truth.shape[-2:]
    radius = math.ceil(tolerance * math.hypot(height, width))
    pairs = zip(prediction.reshape(-1, height, width), truth.reshape(-1, height, width))
    scores = [_boundary_f(p, t, radius) for p, t in pairs]
    return np.array(scores, dtype=float).reshape(truth.shape[:-2])[()]


def _boundary_f(prediction, truth, radius):
    """F of one pair, bool (H, W) each."""
    predicted, true = boundary(prediction), boundary(truth)  # (H, W) outlines
    if not predicted.any() or not true.any():
        return float(predicted.any() == true.any())
    predicted, true = _crop(predicted, true)
    precision = predicted[_dilate(true, radius)].sum() / predicted.sum()
    recall = true[_dilate(predicted, radius)].sum() / true.sum()
    if precision == 0:  # then recall is 0 too: being near is mutual
        return 0.0
    return 2 * precision * recall / (precision + recall)


def boundary(mask: np.ndarray) -> np.ndarray:
    """One-pixel outline of a bool mask (H, W): bool (H, W).

    A pixel is on it when its right, lower or lower-right neighbour differs. Beyond the last row
    and column the image repeats itself, so the image border is no outline.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")  # (H + 1, W + 1)
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask != right) | (mask != below) | (mask != diagonal)


def _dilate(outline, radius):
    """Bool (H, W) of the pixels at most `radius` away from an outline: dilation by a disk."""
    offset = np.arange(-radius, radius + 1)
    disk = (offset[:, None] ** 2 + offset**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(outline.view(np.uint8), disk).view(bool)


def _crop(*outlines):
    """Cut all outlines to the box that holds every one: nothing is matched outside it."""
    union = np.logical_or.reduce(outlines)
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return [np.ascontiguousarray(outline[box]) for outline in outlines]


def statistics(values: np.ndarray, official: bool = False) -> dict[str, float]:
    """{"mean", "recall", "decay"} of scores (T,), each in [0, 1], one for every frame.

    recall: share of frames that score above 0.5. decay: mean of the first quarter of the frames
    minus mean of the last. official: as in `quarters`.
    """
    values = np.asarray(values, dtype=float)
    first, *_, last = quarters(values, official)
    return {
        "mean": float(values.mean()),
        "recall": float((values > 0.5).mean()),
        "decay": first - last,
    }


def quarters(values: np.ndarray, official: bool = False) -> list[float]:
    """Mean score in each quarter of a video, of the scores (T,) of its frames.

    As in the official evaluator, a quarter includes the frame at which the next one starts.
    official: that evaluator keeps the edges of the quarters in eight bits, so that they wrap above
    256 frames; True reproduces its decay (under NumPy 1, for which it was written), NaN where a
    quarter comes out empty.
    """
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1  # 0 ... T - 1
    if official:
        edges %= 256
    parts = [values[start : end + 1] for start, end in zip(edges, edges[1:])]
    return [float(part.mean()) if len(part) else math.nan for part in parts]


def _pair(prediction, truth):
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.dtype != bool or truth.dtype != bool:
        raise TypeError(f"masks must be bool, not {prediction.dtype} and {truth.dtype}")
    if prediction.shape != truth.shape or truth.ndim < 2:
        raise ValueError(f"masks must both be (..., H, W): {prediction.shape}, {truth.shape}")
    return prediction, truth
