"""Masks that are not plain object ids: what a file holds, and mended copies of it.

What can be mended:

    colours of the DAVIS palette   the id of each colour
    colours that are all grey      as grey
    soft edges, one object         id 1 from half of its level on
    soft edges, several objects    the nearest of the levels that fill areas close by; 255, which
                                   would be void, becomes a free id
    16 bits, values up to 255      8 bits
    grey with alpha                palette; the alpha channel where only that varies
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gcvos_mini.commands import move
from gcvos_mini.errors import BadInput, free_name, written_whole
from gcvos_mini.masks import (
    FEW_LEVELS,
    PALETTE,
    VOID,
    areas,
    edge_levels,
    is_in_alpha,
    read_mask,
    write_mask,
)
from gcvos_mini.pictures import read_image

CLOSE = 8  # levels of two objects with soft edges are at least this far apart
UNCLEAR = 0.001  # share of pixels in areas without a level, from which a mask is not mended
COLOURS = np.array(PALETTE, np.uint8).reshape(256, 3)


@dataclass(frozen=True)
class Mask:
    """What one mask file holds, without its pixels: a whole sequence of these is kept.

    state: "ids" (good), "LA", "alpha", "16-bit" or "colour" (mendable); `error` where it is none of
    these.
    """

    path: Path
    state: str = ""
    error: str = ""
    size: tuple[int, int] = (0, 0)  # height, width
    values: tuple[int, ...] = ()  # pixel values in use
    solid: tuple[int, ...] = ()  # those that stand for objects or background
    soft: bool = False  # whether its edges are, which can be mended too


# What a file holds


def look_at_mask(path, year):
    """The Mask of a file that is read by the rules of a year."""
    try:
        state, labels = mask_labels(path)
    except BadInput as error:
        return Mask(path, error=str(error))
    solid = values = np.unique(labels)
    soft = edge_levels(labels) >= FEW_LEVELS
    if soft:
        solid = solid_levels(labels)
        if is_unclear(labels, solid, year):
            return Mask(
                path,
                error=f"{path}: soft edges or noise, no clear levels to tell objects apart; "
                "export it again as object ids 0, 1, 2, ...",
            )
    return Mask(path, state, "", labels.shape, tuple(values.tolist()), tuple(solid.tolist()), soft)


def mask_labels(path):
    """(state, uint8 (H, W)) of a mask as stored. Raises BadInput on one that cannot be mended."""
    image = read_image(path)
    if image.format == "PNG" and image.mode == "RGBA" and is_in_alpha(image):
        return "alpha", read_mask(path)
    if image.format == "PNG" and image.mode in ("RGB", "RGBA"):
        return "colour", ids_of_colours(np.array(image.convert("RGB")), path)
    if image.format == "PNG" and image.mode.startswith("I"):
        deep = np.array(image)
        if deep.max() > 255:
            raise BadInput(
                f"{path}: 16-bit mask with ids up to {deep.max()}; renumber the objects as "
                "1, 2, 3, ... and save it as an 8-bit PNG"
            )
        return "16-bit", deep.astype(np.uint8)
    return ("LA" if image.mode == "LA" else "ids"), read_mask(path)


def ids_of_colours(picture, path):
    """Ids (H, W) of a picture (H, W, 3) in palette colours, or its level where all is grey."""
    codes = picture.astype(np.int64) @ [65536, 256, 1]
    known = COLOURS.astype(np.int64) @ [65536, 256, 1]
    order = np.argsort(known)
    place = np.searchsorted(known[order], codes).clip(max=255)
    ids = order[place].astype(np.uint8)
    if (known[ids] == codes).all():
        return ids
    if (picture == picture[..., :1]).all():
        return picture[..., 0].copy()
    raise BadInput(
        f"{path}: mask in colours that are not the DAVIS palette's; "
        "export it again as object ids 0, 1, 2, ..."
    )


def solid_levels(labels):
    """The values that fill areas, without noise about the background's 0."""
    levels = [v for v in np.unique(labels) if areas(labels, v).any()]
    return np.array([level for level in levels if level == 0 or level >= CLOSE])


def is_unclear(labels, levels, year):
    """Whether areas have no level of their own, or levels are alike that would be two objects."""
    known = [cv2.dilate(areas(labels, level), np.ones((5, 5), np.uint8)) for level in levels]
    unknown = 1 - np.max([*known, np.zeros_like(labels)], axis=0)
    return unknown.mean() > UNCLEAR or (year == 2017 and (np.diff(levels) < CLOSE).any())


# Mended copies


def mend(video, masks):
    """Write the whole folder of a Video's masks, the mended among them; lines on what was done."""
    if not any(can_mend(mask) for mask in masks):
        return []
    table = level_table(masks, video.year) if any(mask.soft for mask in masks) else None
    lines = []
    for mask in masks:
        target, written = video.fixed / mask.path.name, True
        if mask.state == "ids" and table is None:
            written = copy_once(mask.path, target)
        elif not mask.error:
            labels = mask_labels(mask.path)[1]
            written = write_once(target, labels if table is None else harden(labels, table))
        if not written:
            lines.append(f"kept, not as mended now: {target}; to have it mended anew, remove it")
    old, new = video.masks_folder, video.fixed
    kept = free_name(new.with_name(f"{new.name}.original"))
    use = f"{move(old, kept)} && {move(new, old)}"
    lines += [f"not mended, put a good one into {new}: {mask.path}" for mask in masks if mask.error]
    return [*lines, f"mended: {new}; to use it: {use}"]


def can_mend(mask):
    """Whether mending would change a mask."""
    return mask.state in ("LA", "alpha", "16-bit", "colour") or mask.soft


def level_table(masks, year):
    """{solid level: id} of a sequence with soft edges, the same for all its masks.

    One object is id 1, and in 2016 all are. Of several each keeps its value, but 255, which would
    be void, becomes a free id.
    """
    levels = sorted({level for mask in masks for level in mask.solid} - {0})
    if year == 2016 or len(levels) < 2:
        return {0: 0} | {level: 1 for level in levels or [VOID]}
    table = {0: 0} | {level: level for level in levels}
    if VOID in table:
        table[VOID] = min(set(range(1, VOID)) - set(levels))
    return table


def harden(labels, table):
    """Labels (H, W) with each pixel at the id of the nearest solid level, half-way at the brighter.

    Of several objects only those within two pixels count: an edge's grey lies between its own
    object's level and the background's, and may equal a third one's.
    """
    levels = np.array(sorted(table, reverse=True))
    cost = np.abs(labels[None].astype(int) - levels[:, None, None])  # (L, H, W)
    if len(levels) > 2 and edge_levels(labels) >= FEW_LEVELS:
        for level, own in zip(levels, cost):
            own += np.where(cv2.dilate(areas(labels, level), np.ones((5, 5), np.uint8)), 0, 256)
    ids = np.array([table[level] for level in levels.tolist()], np.uint8)
    return ids[cost.argmin(axis=0)]


def write_once(path, labels):
    """Write a mask where there is none; False where there is another one, corrected by hand say."""
    if not path.exists():
        write_mask(path, labels)
        return True
    try:
        return np.array_equal(read_mask(path), labels)
    except BadInput:
        return False


def copy_once(source, path):
    """Copy a file where there is none; False where there is another one, as of write_once."""
    if path.exists():
        return path.read_bytes() == source.read_bytes()
    with written_whole(path) as unfinished:
        shutil.copyfile(source, unfinished)
    return True
