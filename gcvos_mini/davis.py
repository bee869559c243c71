"""The DAVIS layout on disk: frames, palette masks, splits.

    root/JPEGImages/480p/<sequence>/00000.jpg      frames, RGB
    root/Annotations/480p/<sequence>/00000.png     masks, one object id per pixel
    root/ImageSets/2016/val.txt                    one sequence name per line
    root/ImageSets/480p/val.txt                    the original 2016 form, a frame and mask a line

Layout: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", 2016, and Pont-Tuset et al., "The 2017 DAVIS Challenge", 2017. Everything here that
meets unusable files raises BadInput with the file and the fix in its message.
"""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gcvos_mini.errors import BadInput
from gcvos_mini.masks import check_has_object, object_ids, read_sequence_mask
from gcvos_mini.pictures import (
    FRAME_SUFFIXES,
    check_same_size,
    list_files,
    list_in_time_order,
    read_frame,
)

LONGEST_NAME = 255  # bytes in a file's name, on all common file systems


@dataclass(frozen=True)
class Sequence:
    """One video: frame files in time order, and mask files by frame stem ("00000")."""

    name: str
    frames: tuple[Path, ...]
    masks: dict[str, Path]


def read_start(sequence: Sequence, year: int) -> tuple[np.ndarray, np.ndarray]:
    """First frame uint8 (H, W, 3) and its mask uint8 (H, W): what a segmenter starts from.

    Raises BadInput when a file cannot be read, the sizes differ or the mask has no object.
    """
    frame_path = sequence.frames[0]
    mask_path = sequence.masks[frame_path.stem]
    frame, mask = read_frame(frame_path), read_sequence_mask(mask_path, year)
    check_same_size(frame, frame_path, mask, mask_path)
    check_has_object(mask, mask_path)
    return frame, mask


def check_later_mask(sequence: Sequence, frames: int | None = None) -> None:
    """Raise BadInput where no frame after the first has a mask. frames: of only so many frames."""
    if not any(path.stem in sequence.masks for path in sequence.frames[1:frames]):
        folder = sequence.masks[sequence.frames[0].stem].parent
        among = f" among the first {frames} frames" if frames else ""
        raise BadInput(
            f"{folder}: no mask after the first frame's{among}; add one, or take another sequence"
        )


def first_seen(sequence: Sequence, year: int) -> dict[int, str]:
    """{id: name of the first frame whose mask shows it} of all objects of a sequence."""
    seen = {}
    for frame, path in sequence.masks.items():
        for i in object_ids(read_sequence_mask(path, year)):
            seen.setdefault(i, frame)
    return seen


def make_folder(path: Path | str) -> None:
    """Make a folder and those above it. Raises BadInput where a file is in the way, for example."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise BadInput(f"{path}: cannot be made a folder ({reason}); choose another") from error


def load_split(
    root: Path | str,
    year: int = 2017,
    split: str = "val",
    resolution: str | None = None,
    need_frames: bool = True,
    only: Collection[str] = (),
) -> list[Sequence]:
    """List the sequences of a split, in the order of the split file.

    year, split: which list, ImageSets/<year>/<split>.txt.
    resolution: a folder name such as "480p"; None takes 480p if present, else the only one, or none
    where the sequences lie in JPEGImages itself, as in YouTube-VOS.
    need_frames: False reads Annotations alone (scoring needs no pictures); frames are then empty.
    only: names to which the list is cut down, where given.
    Raises BadInput on a missing folder, an unknown split, a name in `only` that is not in it, a
    sequence without frames, or one without a mask for its first frame.
    """
    resolution = find_resolution(root, resolution, need_frames)
    file = find_split(root, year, split, resolution)
    names = read_split(file)
    unknown = [name for name in only if name not in names]
    if unknown:
        raise BadInput(f"{file}: has no sequence {', '.join(unknown)}; it has {', '.join(names)}")
    names = [name for name in names if name in only or not only]
    check_names(names, file, Path(root) / "Annotations" / resolution)
    return [load_sequence(root, name, resolution, need_frames) for name in names]


def find_resolution(
    root: Path | str, resolution: str | None = None, need_frames: bool = True
) -> str:
    """The resolution's folder name: the one asked for, else 480p, else the only one there is.

    "." where there is none and the sequences lie in the folder itself, as in YouTube-VOS.
    Raises BadInput where it is not there, or there are several without 480p to choose from.
    """
    if not Path(root).is_dir():
        raise BadInput(f"{root}: no such folder; give the folder that holds Annotations")
    folder = Path(root) / ("JPEGImages" if need_frames else "Annotations")
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; a data set has JPEGImages and Annotations")
    found = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if resolution is None and "480p" in found:
        return "480p"
    if resolution is None and found and list_files(folder / found[0], FRAME_SUFFIXES):
        return "."
    if resolution is None and len(found) == 1:
        return found[0]
    if resolution in (*found, "."):
        return resolution
    problem = "choose a resolution" if resolution is None else f"no resolution {resolution}"
    raise BadInput(f"{folder}: {problem}; it has: {', '.join(found) or 'nothing'}")


def find_split(root: Path | str, year: int, split: str, resolution: str) -> Path:
    """The split's file: in ImageSets/<year>, or in ImageSets/<resolution>, 2016's original form.

    Raises BadInput, naming the splits that are there, where it is in neither.
    """
    folders = [Path(root) / "ImageSets" / str(year)]
    if int(year) == 2016:
        folders.append(Path(root) / "ImageSets" / resolution)
    files = [folder / f"{split}.txt" for folder in folders]
    for file in files:
        if file.is_file():
            return file
    lists = Path(root) / "ImageSets"
    there = sorted(p.relative_to(lists).with_suffix("").as_posix() for p in lists.glob("*/*.txt"))
    raise BadInput(f"{files[0]}: no such split; there is: {', '.join(there) or 'none'}")


def read_split(file: Path) -> list[str]:
    """Sequence names in a split file, each once, in its order.

    Raises BadInput on a file without names, that is not text, or names anything but a folder.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"{file}: not UTF-8 text; save it so, with one name per line") from None
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror}); check it") from None
    names = [
        sequence_name(line.strip(), f"{file}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not names:
        raise BadInput(f"{file}: names no sequence; write one sequence name per line")
    return list(dict.fromkeys(names))


def check_names(names: list[str], file: Path, folder: Path) -> None:
    """Raise BadInput, with the split file and its line, on a name that is no folder of masks."""
    there = {p.name for p in folder.iterdir() if p.is_dir()} if folder.is_dir() else set()
    for name in names:
        if name in there:
            continue
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        number = next(
            n
            for n, line in enumerate(lines, 1)
            if line.strip() and sequence_name(line.strip(), str(file)) == name
        )
        known = {name.lower(): name for name in there}
        bare = [part.strip("\"'- ").lower() for part in (name, *re.split("[#,]", name))]
        meant = [m for part in bare for m in difflib.get_close_matches(part, known, 1)]
        advice = "write one sequence name per line, only that"
        if meant:
            advice = f"is {known[meant[0]]} meant?"
        raise BadInput(f"{file}, line {number}: no sequence {ascii(name)} in {folder}; {advice}")


def sequence_name(line: str, place: str) -> str:
    """The sequence that a line names. Raises BadInput on what could lead out of the data set.

    place: which line it is, for the message.
    """
    # "/JPEGImages/480p/bear/00000.jpg /Annotations/..." names one frame: its folder is the sequence
    original = re.match(r"/?JPEGImages/[^/]+/([^/]+)/", line)
    name = original[1] if original else line
    is_path = "/" in name or "\\" in name or name in (".", "..")
    if is_path or not name.isprintable() or len(name.encode()) > LONGEST_NAME:
        shown = ascii(name[:40])
        raise BadInput(f"{place}: {shown} is no sequence name; write one sequence name per line")
    return name


def load_sequence(
    root: Path | str, name: str, resolution: str, need_frames: bool = True
) -> Sequence:
    """List the files of one sequence. Raises BadInput as load_split does."""
    masks_folder = Path(root) / "Annotations" / resolution / name
    masks = {p.stem: p for p in list_in_time_order(masks_folder, (".png",))}
    if not masks:
        raise BadInput(f"{masks_folder}: no masks; put at least the first frame's PNG there")
    frames_folder = Path(root) / "JPEGImages" / resolution / name
    frames = list_files(frames_folder, FRAME_SUFFIXES)  # looked at where they lie, needed or not
    if need_frames:
        frames = list_in_time_order(frames_folder, FRAME_SUFFIXES)
        if not frames:
            suffixes = ", ".join(FRAME_SUFFIXES)
            raise BadInput(f"{frames_folder}: no frames; put {suffixes} files there")
    if frames and frames[0].stem not in masks:
        raise BadInput(
            f"{masks_folder / frames[0].stem}.png: no mask for the first frame {frames[0]}; add it"
        )
    return Sequence(name, tuple(frames) if need_frames else (), masks)
