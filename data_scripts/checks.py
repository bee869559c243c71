"""What is wrong with one sequence of a data set, or one folder of stills: its checks."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from odd_masks import look_at_mask

from gcvos_mini.errors import BadInput
from gcvos_mini.masks import VOID, check_has_object, object_ids
from gcvos_mini.pictures import FRAME_SUFFIXES, list_files, list_in_time_order, read_frame

KINDS = ("missing", "broken", "note")
FIX = "mend it with --fix-masks"


@dataclass(frozen=True)
class Finding:
    """One problem. `kind` is "missing" or "broken", which fail the check, or "note"."""

    kind: str
    text: str  # the file, what is wrong, the repair


@dataclass(frozen=True)
class Video:
    """What is to be checked together: a sequence, or a folder of stills, and where its files lie.

    `year` says how masks are read; `fixed` is the folder that mended masks go to.
    """

    name: str
    year: int
    frames_folder: Path
    masks_folder: Path
    fixed: Path
    is_video: bool = True


# Looking at one sequence


def frame_size(path):
    """(height, width) of a frame, or the BadInput that reading it raises."""
    try:
        return read_frame(path).shape[:2]
    except BadInput as error:
        return error


def check_video(video, pool, progress):
    """(table row, findings, masks) of a Video."""
    frames, masks, findings = list_video(video)
    sizes, seen = [], []
    for size in pool.map(frame_size, frames):
        sizes.append(size)
        progress.update()
    for mask in pool.map(partial(look_at_mask, year=video.year), masks):
        seen.append(mask)
        progress.update()
    findings += check_names(video, frames, masks)
    findings += check_sizes(video, dict(zip(frames, sizes)), seen)
    findings += [found for mask in seen for found in check_state(mask, video.year)]
    if video.is_video and seen:
        findings += check_ids(video, seen)
    return table_row(video, frames, sizes, seen, findings), findings, seen


def list_video(video):
    """(frames, masks, findings): the files, and what is wrong with their names."""
    files, findings = [], []
    folders = [(video.frames_folder, FRAME_SUFFIXES), (video.masks_folder, (".png",))]
    for folder, suffixes in folders:
        found = list_files(folder, suffixes)
        files.append(found)
        if not found:
            what = "masks; put at least the first frame's PNG" if files[1:] else "frames; put them"
            findings.append(Finding("missing", f"{folder}: no {what} there"))
        hidden = list(folder.glob("._*"))
        if hidden:
            text = f"{hidden[0]}: macOS's, {len(hidden)} in the folder; not read, remove them"
            findings.append(Finding("note", text))
        try:
            if video.is_video:
                list_in_time_order(folder, suffixes)
        except BadInput as error:
            findings.append(Finding("broken", str(error)))
    return *files, findings


def check_names(video, frames, masks):
    """Masks without a frame, frames without a mask, holes in the numbers."""
    findings = []
    framed, masked = {p.stem for p in frames}, {p.stem for p in masks}
    lone = [p for p in masks if p.stem not in framed] if frames else []
    kind = "missing" if video.is_video else "note"
    for path in lone:
        text = f"{path}: a mask without a frame; remove it or add the frame"
        findings.append(Finding(kind, text))
    bare = [p for p in frames if p.stem not in masked] if masks else []
    if video.is_video and frames[:1] == bare[:1] != []:
        path = video.masks_folder / f"{bare.pop(0).stem}.png"
        findings.append(Finding("missing", f"{path}: no mask for the first frame; add it"))
    if bare:
        text = f"{bare[0]}: first of {len(bare)} frames without a mask; they are not scored"
        findings.append(Finding("note", text))
    if video.is_video:
        findings += check_holes(frames)
    return findings


def check_holes(frames):
    """A note where frame numbers leave the rhythm that most of them keep."""
    if not all(p.stem.isdecimal() for p in frames) or len(frames) < 3:
        return []
    steps = np.diff([int(p.stem) for p in frames])
    holes = np.flatnonzero(steps > np.median(steps))
    if len(holes) == 0:
        return []
    before, after = frames[holes[0]], frames[holes[0] + 1]
    text = f"{after}: comes right after {before.name}, {len(holes)} such holes; copy lost frames"
    return [Finding("note", f"{text} again if there were any, they are read as neighbours")]


def check_sizes(video, sizes, masks):
    """Frames that cannot be read, frames and masks of other sizes than they must have."""
    findings = [Finding("broken", str(s)) for s in sizes.values() if isinstance(s, BadInput)]
    good = {path: size for path, size in sizes.items() if not isinstance(size, BadInput)}
    if not good:
        return findings
    first = next(iter(good))
    if video.is_video:
        for path, size in good.items():
            findings += different(path, size, first, good[first])
    frames = {path.stem: path for path in good}
    for mask in masks:
        frame = first if video.is_video else frames.get(mask.path.stem)
        if frame and not mask.error:
            findings += different(mask.path, mask.size, frame, good[frame])
    return findings


def different(path, size, other, other_size):
    """A finding where two sizes (height, width) differ."""
    if size == other_size:
        return []
    text = f"{path}: {size[1]}x{size[0]}, but {other} is {other_size[1]}x{other_size[0]}"
    return [Finding("broken", f"{text}; export it again in that size")]


def check_state(mask, year):
    """What is wrong with the pixels of one mask."""
    if mask.error:
        return [Finding("broken", mask.error)]
    findings = []
    if mask.state == "LA":
        findings.append(("note", "grey with an alpha channel, of which only one is read"))
    if mask.state == "alpha":
        findings.append(("note", "the mask is in the alpha channel, and read from there"))
    if mask.state in ("16-bit", "colour"):
        findings.append(("broken", f"a {mask.state} image, not 8-bit object ids"))
    if mask.soft and year == 2017:
        what = f"soft edges; each of their {len(mask.values)} levels is an object"
        findings.append(("broken", what))
    if mask.soft and year == 2016:
        what = "soft edges; in a 2016 set the object ends half way"
        findings.append(("note", what))
    return [Finding(kind, f"{mask.path}: {what}; {FIX}") for kind, what in findings]


def check_ids(video, masks):
    """An empty first mask; ids that leave gaps, come later or mean void."""
    first, *later = masks
    if first.error or first.soft:
        return []
    values = first.values if video.year == 2017 else tuple({min(v, 1) for v in first.values})
    try:
        check_has_object(np.array(values, np.uint8), first.path)
    except BadInput as error:
        return [Finding("broken", str(error))]
    if video.year == 2016:
        return []
    ids, findings = object_ids(np.array(values, np.uint8)), []
    if VOID in values:
        findings.append("holds 255, void: those pixels belong to nobody; fine if that is meant")
    if ids != list(range(1, len(ids) + 1)):
        findings.append(f"ids {ids} leave gaps; fine, unless an object is missing")
    known = {*ids, 0, VOID}
    for mask in later:
        new = sorted(set(mask.values) - known) if not mask.soft else []
        if new:
            findings.append(
                f"ids {new} come first in {mask.path.name}; they are not followed nor scored, "
                "mark them in the first mask if they should be"
            )
            break
    return [Finding("note", f"{first.path}: {text}") for text in findings]


def table_row(video, frames, sizes, masks, findings):
    """The cells of one sequence."""
    counts = [sum(found.kind == kind for found in findings) for kind in KINDS]
    shown = {f"{size[1]}x{size[0]}" for size in sizes if not isinstance(size, BadInput)}
    size = shown.pop() if len(shown) == 1 else f"{len(shown)} sizes" if shown else ""
    objects = ""
    if video.is_video and masks and not masks[0].error and not masks[0].soft:
        ids = object_ids(np.array(masks[0].values, np.uint8))
        objects = len(ids) if video.year == 2017 else int(any(masks[0].values))
    return [video.name, video.year, len(frames), len(masks), objects, size, *counts]
