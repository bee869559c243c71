"""Check a data set before training or evaluating on it, and mend its masks.

    python data_scripts/check_dataset.py DIR
    python data_scripts/check_dataset.py DIR --fix-masks

DIR is in DAVIS layout, or holds stills (images/ and masks/). Decodes every frame and mask, prints
one table row per sequence and below it every problem as a line of its own: the file, what is wrong,
the repair. Exit status 2 when something is missing or broken, 0 when there are notes only.

--fix-masks writes mended masks beside the originals (Annotations_fixed/, masks_fixed/), whole
sequences at a time. What it can mend:

    colours of the DAVIS palette   the id of each colour
    colours that are all grey      as grey
    soft edges, one object         id 1 from half of its level on
    soft edges, several objects    the nearest of the levels that fill areas close by; 255, which
                                   would be void, becomes a free id
    16 bits, values up to 255      8 bits
    grey with alpha                palette
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

import cv2
import numpy as np
import tyro
from tqdm import tqdm

from gcvos_mini import davis
from gcvos_mini.errors import BadInput, exit_on_bad_input

FIX = "mend it with --fix-masks"
FEW_LEVELS = 3  # levels found only between brighter and darker ones, from which edges are soft
CLOSE = 8  # levels of two objects with soft edges are at least this far apart
UNCLEAR = 0.001  # share of pixels in areas without a level, from which a mask is not mended
COLOURS = np.array(davis.PALETTE, np.uint8).reshape(256, 3)


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


@dataclass(frozen=True)
class Mask:
    """What one mask file holds, without its pixels: a whole sequence of these is kept.

    state: "ids" (good), "LA", "16-bit" or "colour" (mendable); `error` where it is none of these.
    """

    path: Path
    state: str = ""
    error: str = ""
    size: tuple[int, int] = (0, 0)  # height, width
    values: tuple[int, ...] = ()  # pixel values in use
    solid: tuple[int, ...] = ()  # those that stand for objects or background
    soft: bool = False  # whether its edges are, which can be mended too


# Looking at one file


def frame_size(path):
    """(height, width) of a frame, or the BadInput that reading it raises."""
    try:
        return davis.read_frame(path).shape[:2]
    except BadInput as error:
        return error


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
    image = davis.read_image(path)
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
    return ("LA" if image.mode == "LA" else "ids"), davis.read_mask(path)


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


def edge_levels(labels):
    """How many values lie mostly between a smaller and a larger neighbour, as on blurred edges."""
    square = np.ones((3, 3), np.uint8)
    between = (labels > cv2.erode(labels, square)) & (labels < cv2.dilate(labels, square))
    pixels = np.bincount(labels.ravel(), minlength=256)
    return int((np.bincount(labels[between], minlength=256) > pixels / 2).sum())


def solid_levels(labels):
    """The values that fill areas, without noise about the background's 0."""
    levels = [v for v in np.unique(labels) if areas(labels, v).any()]
    return np.array([level for level in levels if level == 0 or level >= CLOSE])


def is_unclear(labels, levels, year):
    """Whether areas have no level of their own, or levels are alike that would be two objects."""
    known = [cv2.dilate(areas(labels, level), np.ones((5, 5), np.uint8)) for level in levels]
    unknown = 1 - np.max([*known, np.zeros_like(labels)], axis=0)
    return unknown.mean() > UNCLEAR or (year == 2017 and (np.diff(levels) < CLOSE).any())


def areas(labels, value):
    """uint8 (H, W): 1 where a value fills 3x3 pixels, which values of blurred edges do not."""
    same = (labels == value).astype(np.uint8)
    return cv2.morphologyEx(same, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))


# Looking at one sequence


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
    folders = [(video.frames_folder, davis.FRAME_SUFFIXES), (video.masks_folder, (".png",))]
    for folder, suffixes in folders:
        found = davis.list_files(folder, suffixes)
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
                davis.list_in_time_order(folder, suffixes)
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
        findings.append(("note", "grey with an alpha channel, which is ignored"))
    if mask.state in ("16-bit", "colour"):
        findings.append(("broken", f"a {mask.state} image, not 8-bit object ids"))
    if mask.soft and year == 2017:
        what = f"soft edges; each of their {len(mask.values)} levels is an object"
        findings.append(("broken", what))
    if mask.soft and year == 2016:
        what = "soft edges; in a 2016 set they count as object, which grows by them"
        findings.append(("note", what))
    return [Finding(kind, f"{mask.path}: {what}; {FIX}") for kind, what in findings]


def check_ids(video, masks):
    """An empty first mask; ids that leave gaps, come later or mean void."""
    first, *later = masks
    if first.error or first.soft:
        return []
    values = first.values if video.year == 2017 else tuple({min(v, 1) for v in first.values})
    try:
        davis.check_has_object(np.array(values, np.uint8), first.path)
    except BadInput as error:
        return [Finding("broken", str(error))]
    if video.year == 2016:
        return []
    ids, findings = davis.object_ids(np.array(values, np.uint8)), []
    if davis.VOID in values:
        findings.append("holds 255, void: those pixels belong to nobody; fine if that is meant")
    if ids != list(range(1, len(ids) + 1)):
        findings.append(f"ids {ids} leave gaps; fine, unless an object is missing")
    known = {*ids, 0, davis.VOID}
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
        ids = davis.object_ids(np.array(masks[0].values, np.uint8))
        objects = len(ids) if video.year == 2017 else int(any(masks[0].values))
    return [video.name, video.year, len(frames), len(masks), objects, size, *counts]


KINDS = ("missing", "broken", "note")
HEAD = ("sequence", "year", "frames", "masks", "objects", "size", "missing", "broken", "notes")


# Looking at a data set


def find_videos(root):
    """(videos, findings) of a folder in DAVIS layout or of stills."""
    if (root / "images").is_dir() and (root / "masks").is_dir():
        still = Video(root.name, 2016, root / "images", root / "masks", root / "masks_fixed", False)
        return [still], []
    davis_folders = [root / "JPEGImages", root / "Annotations"]
    for folder in [root, *davis_folders]:
        if not folder.is_dir():
            raise BadInput(
                f"{folder}: no such folder; give stills (images/ and masks/) or a data set in "
                "DAVIS layout (JPEGImages/, Annotations/ and ImageSets/)"
            )
    images, masks = (subfolders(folder) for folder in davis_folders)
    common = [name for name in images if name in masks]
    kind = "note" if common else "missing"
    findings = [
        Finding(kind, f"{root}: resolution {name} is not in both JPEGImages and Annotations, so "
                "not checked; rename or add the folder")
        for name in sorted(set(images) ^ set(masks))
    ]  # fmt: skip
    if len(common) > 1:
        read = "480p" if "480p" in common else "none"
        text = f"{root}: several resolutions ({', '.join(common)}); read is {read}"
        findings.append(Finding("note", f"{text} unless another is given with --resolution"))
    videos = []
    for resolution in common:
        years, found = split_years(root, resolution)
        findings += [one for one in found if one not in findings]
        label = f"{resolution}/" if len(common) > 1 else ""
        videos += videos_of(root, resolution, years, label)
        findings += unlisted(root, resolution, years)
    return videos, findings


def subfolders(folder):
    """Names of the folders in a folder, without hidden ones."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def split_years(root, resolution):
    """({sequence: year whose rules its masks follow}, findings) of all splits."""
    years, findings = {}, []
    for year, folder in [(2017, "2017"), (2016, "2016"), (2016, resolution)]:
        for file in davis.list_files(root / "ImageSets" / folder, (".txt",)):
            try:
                for name in davis.read_split(file):
                    years.setdefault(name, year)
            except BadInput as error:
                findings.append(Finding("broken", str(error)))
    if not years and not findings:
        text = f"{root / 'ImageSets'}: no split; put names in 2016/val.txt or 2017/val.txt"
        findings.append(Finding("missing", text))
    return years, findings


def unlisted(root, resolution, years):
    """Notes on sequences that no split names."""
    there = {
        n for kind in ("JPEGImages", "Annotations") for n in subfolders(root / kind / resolution)
    }
    return [
        Finding("note", f"{root / 'JPEGImages' / resolution / name}: in no split, so never read; "
                "name it in one, ImageSets/<year>/<split>.txt")
        for name in sorted(there - years.keys())
    ]  # fmt: skip


def videos_of(root, resolution, years, label):
    """The Videos of a resolution: those that splits name, then the others."""
    default = 2017 if (root / "ImageSets" / "2017").is_dir() else 2016
    folders = [root / "JPEGImages" / resolution, root / "Annotations" / resolution]
    names = [*years, *sorted({n for f in folders for n in subfolders(f)} - years.keys())]
    fixed = root / "Annotations_fixed" / resolution
    return [
        Video(label + name, years.get(name, default), *(f / name for f in folders), fixed / name)
        for name in names
    ]


# Mending masks


def mend(video, masks):
    """Write the whole folder of a Video's masks, the mended among them; lines on what was done."""
    if not any(can_mend(mask) for mask in masks):
        return []
    table = level_table(masks, video.year) if any(mask.soft for mask in masks) else None
    for mask in masks:
        target = video.fixed / mask.path.name
        if mask.state == "ids" and table is None:
            copy_once(mask.path, target)
        elif not mask.error:
            labels = mask_labels(mask.path)[1]
            write_once(target, labels if table is None else harden(labels, table))
    old, new = video.masks_folder, video.fixed
    kept = new.with_name(f"{new.name}.original")
    use = f"mv {quote(str(old))} {quote(str(kept))} && mv {quote(str(new))} {quote(str(old))}"
    lost = [f"not mended, put a good one into {new}: {mask.path}" for mask in masks if mask.error]
    return [*lost, f"mended: {new}; to use it: {use}"]


def can_mend(mask):
    """Whether mending would change a mask."""
    return mask.state in ("LA", "16-bit", "colour") or mask.soft


def level_table(masks, year):
    """{solid level: id} of a sequence with soft edges, the same for all its masks.

    One object is id 1, and in 2016 all are. Of several each keeps its value, but 255, which would
    be void, becomes a free id.
    """
    levels = sorted({level for mask in masks for level in mask.solid} - {0})
    if year == 2016 or len(levels) < 2:
        return {0: 0} | {level: 1 for level in levels or [davis.VOID]}
    table = {0: 0} | {level: level for level in levels}
    if davis.VOID in table:
        table[davis.VOID] = min(set(range(1, davis.VOID)) - set(levels))
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
    """Write a mask unless it is there already."""
    if not (path.is_file() and np.array_equal(davis.read_mask(path), labels)):
        davis.write_mask(path, labels)


def copy_once(source, path):
    """Copy a file unless it is there already."""
    if not (path.is_file() and path.read_bytes() == source.read_bytes()):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)


# The command


def check(root: tyro.conf.Positional[Path], fix_masks: bool = False):
    """Check every sequence of a data set in DAVIS layout, or every image of a folder of stills.

    Args:
        root: folder that holds JPEGImages, Annotations and ImageSets, or images and masks.
        fix_masks: write mended masks beside the originals, into Annotations_fixed or masks_fixed.
    """
    videos, findings = find_videos(root)
    rows, mended = [], []
    folders = [folder for v in videos for folder in (v.frames_folder, v.masks_folder)]
    total = sum(len(davis.list_files(folder, davis.FRAME_SUFFIXES)) for folder in folders)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=total, unit="file", disable=None) as progress,
    ):
        for video in videos:
            progress.set_description(video.name)
            row, found, masks = check_video(video, pool, progress)
            rows.append(row)
            findings += found
            mended += mend(video, masks) if fix_masks else []
    print_table(rows)
    for kind in KINDS:
        for finding in findings:
            if finding.kind == kind:
                print(f"{kind}: {finding.text}")
    for line in mended:
        print(line)
    bad = sum(finding.kind != "note" for finding in findings)
    if bad:
        raise BadInput(f"{root}: {bad} problems, each on a line of its own above; repair them")


def print_table(rows):
    """The rows as a Markdown table."""
    print("| " + " | ".join(HEAD) + " |")
    print("|---|" + "---:|" * 4 + "---|" + "---:|" * 3)
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


if __name__ == "__main__":
    exit_on_bad_input(lambda: tyro.cli(check))
