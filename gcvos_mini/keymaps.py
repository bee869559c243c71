"""What a key channel selects, in numbers (Fig. 6): which cells show the object, and how well the
strength of one channel tells them from the rest.

    scores = selectivity(key, mask_on_map(mask, (w, h)))      (C_key,), 1 on the object only

Masks are uint8 (H, W) object ids (0 background, 255 void), a feature map has (h, w) cells, sizes
are in Pillow's order (width, height). Notebook 08.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from gcvos_mini.davis import Sequence, read_start
from gcvos_mini.masks import VOID, read_sequence_mask
from gcvos_mini.network import Network
from gcvos_mini.pictures import read_frame
from gcvos_mini.segment import VideoSegmenter, follow


def covered_size(size: tuple[int, int], map_size: tuple[int, int]) -> tuple[int, int]:
    """The pixels (width, height) that a map covers, at least `size`, both sizes (width, height).

    Cells are square and the map may stick out at the bottom and right by less than a cell, since
    segment.py pads frames there. A map of another shape is stretched over the image instead.
    """
    cell = max(size[0] / map_size[0], size[1] / map_size[1])
    covered = tuple(round(cells * cell) for cells in map_size)
    fits = all(reach - pixels < cell for reach, pixels in zip(covered, size, strict=True))
    return covered if fits else tuple(size)


def cell_at(
    point: tuple[float, float], size: tuple[int, int], map_size: tuple[int, int]
) -> tuple[int, int]:
    """The cell (y, x) of a map of `map_size` (w, h) at pixel (x, y) of an image of `size` (W, H).

    A pixel outside the image gives the nearest cell.
    """
    covered = covered_size(size, map_size)
    x, y = (int(np.clip(at * n / c, 0, n - 1)) for at, n, c in zip(point, map_size, covered))
    return y, x


def _coverage(mask, size):
    """Which share of each cell of a feature map of `size` (w, h) the objects cover, (h, w)."""
    width, height = covered_size(mask.shape[::-1], size)
    missing = height - mask.shape[0], width - mask.shape[1]
    objects = ((mask > 0) & (mask < VOID)).astype(np.float32)
    objects = cv2.copyMakeBorder(objects, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    return cv2.resize(objects, tuple(size), interpolation=cv2.INTER_AREA)


def mask_on_map(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bool (h, w): which cells of a feature map of `size` (w, h) show an object.

    A cell counts if the objects cover more than half of it, or, where they are too small to cover
    any, more than half of what they cover of the fullest cell. No objects, no cells.
    """
    covered = _coverage(mask, size)
    return covered > covered.max() / 2


def middle(cells: np.ndarray) -> tuple[int, int]:
    """The cell (y, x) deepest inside a region, bool (h, w)."""
    depth = cv2.distanceTransform(np.pad(cells, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return tuple(int(at) for at in np.unravel_index(depth.argmax(), depth.shape))


REGIONS = ("object", "border", "ground", "background")


def regions(mask: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The four kinds of cells that Fig. 6 is about: name -> bool (h, w), for `size` (w, h).

    "object" as in `mask_on_map`; "border", the cells that an outline runs through; "background",
    all that no object touches; "ground", the lowest third of the background's cells by their row,
    which stands in for a truth that no data set here has.
    """
    covered = _coverage(mask, size)
    background = covered == 0
    rows = np.nonzero(background)[0]
    lowest = np.arange(size[1])[:, None] >= (np.quantile(rows, 2 / 3) if len(rows) else np.inf)
    inside = covered > covered.max() / 2
    return {
        "object": inside,
        "border": (covered > 0) & (covered < 1),
        "ground": background & lowest,
        "background": background,
    }


def mean_selectivity(
    keys: list[np.ndarray] | np.ndarray,
    masks: list[np.ndarray] | np.ndarray,
    region: str = "object",
) -> np.ndarray:
    """Selectivity (C,) of each channel for a region, averaged over the frames that have it.

    keys: T maps (C, h, w); masks: T uint8 (H, W); region: one of REGIONS. 0.5, "tells nothing",
    where no frame has it.
    """
    size = keys[0].shape[:0:-1]  # (w, h)
    scores = [selectivity(key, regions(mask, size)[region]) for key, mask in zip(keys, masks)]
    seen = [score for score in scores if not np.isnan(score).any()]
    return np.mean(seen, axis=0) if seen else np.full(len(keys[0]), 0.5)


def selectivity(maps: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How well each key channel tells object from background by its strength alone.

    maps: float (C, h, w) key channels; mask: (h, w), non-zero on the object. Returns float (C,),
    the area under the ROC curve of |key|: the chance that a random object cell is stronger than a
    random background cell, ties half (Mann and Whitney's U). 1 is on the object only, 0 on the
    background only, 0.5 neither; NaN for all if the mask is all object or all background.
    """
    strength = np.abs(np.asarray(maps)).reshape(len(maps), -1)  # (C, h w)
    inside = np.asarray(mask).reshape(-1) > 0
    objects, background = inside.sum(), (~inside).sum()
    scores = np.full(len(strength), np.nan)
    if objects and background:
        for c, values in enumerate(strength):
            _, tie, size = np.unique(values, return_inverse=True, return_counts=True)
            ranks = (np.cumsum(size) - (size - 1) / 2)[tie]  # from 1, mean rank within a tie
            wins = ranks[inside].sum() - objects * (objects + 1) / 2
            scores[c] = wins / (objects * background)
    return scores


def written_keys(
    network: Network,
    sequence: Sequence,
    year: int,
    height: int | None = None,
    frames: int | None = None,
    true_masks: bool = False,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (object number, key (C_key, h, w), true cells bool (h, w)) on each annotated frame.

    Objects are numbered from 0, in the order of their ids. The keys are those of the masks that the
    network itself finds; with true_masks, those that it would write for the true masks. The first
    frame, which always has its true mask, is left out. frames: only so many of the first. Raises
    BadInput as read_start does.
    """
    segmenter = VideoSegmenter(network, height=height)
    first, mask = read_start(sequence, year)
    paths = sequence.frames[:frames]
    images = (read_frame(path) for path in paths)
    if true_masks:
        segmenter.start(first, mask)
        seen = ((frame, None) for frame in images)
    else:
        seen = follow(segmenter, images, mask)
    for path, (frame, _) in zip(paths, seen):
        if path.stem not in sequence.masks or path == paths[0]:
            continue
        truth = read_sequence_mask(sequence.masks[path.stem], year)
        keys = segmenter.encode(frame, truth)[0] if true_masks else segmenter.key
        size = keys.shape[:1:-1]  # (w, h)
        for o, (i, key) in enumerate(zip(segmenter.ids, keys)):
            yield o, key.float().cpu().numpy(), mask_on_map(truth == i, size)


def key_scores(
    network: Network,
    sequence: Sequence,
    year: int,
    height: int | None = None,
    true_masks: bool = False,
) -> np.ndarray:
    """Selectivity of every key channel for each object: (O, C_key), a mean over frames, 0 to 1.

    The keys are those of the masks that the network itself found, the truth only judges them; or
    those of the true masks. The first frame does not count, nor do frames that do not show an
    object.
    """
    scores = {}  # object number -> [(C_key,) of each frame]
    written = written_keys(network, sequence, year, height=height, true_masks=true_masks)
    for o, key, cells in written:
        scores.setdefault(o, []).append(selectivity(key, cells))
    return np.stack([np.nanmean(score, axis=0) for score in scores.values()])


def extremes(score: np.ndarray, true: np.ndarray) -> tuple:
    """Number, score and `true` score of the channel with the highest score, then of the lowest.

    score, true: (C_key,) each, of the masks found and of the true ones.
    """
    high, low = score.argmax(), score.argmin()
    return high, score[high], true[high], low, score[low], true[low]
