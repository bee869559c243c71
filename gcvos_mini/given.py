"""Masks that are given for a video, by the names of their frames; none is left aside unsaid."""

import sys
from collections.abc import Iterable
from pathlib import Path

from gcvos_mini.errors import BadInput
from gcvos_mini.pictures import FRAME_SUFFIXES, list_files, list_in_time_order
from gcvos_mini.sources import video_frames

NAMED = 3  # of the files that are not used, so many are named


def find_first_mask(frames: Path, mask: Path | None, masks: Path | None) -> Path:
    """The first frame's mask file: `mask`, or the one of its name in the folder `masks`.

    Raises BadInput where there is none.
    """
    if mask is not None:
        return mask
    if masks is None:
        raise BadInput("--mask: missing; give the PNG of the first frame's objects")
    name = next(video_frames(frames))[0]
    path = Path(masks) / f"{name}.png"
    if not path.is_file():
        raise BadInput(f"{path}: no such file; the first frame needs a mask, or give --mask")
    return path


def find_masks(source: Path | str, masks: Path, first: Path) -> dict[str, Path]:
    """{frame name: mask file} of the PNGs in the folder `masks` that a frame may be named as.

    first: the mask file that the first frame starts from. Says on stderr what else lies in the
    folder. Raises BadInput where it is no folder, holds no such PNG, or two of one number.
    """
    masks, source = Path(masks), Path(source)
    if not masks.is_dir():
        raise BadInput(f"{masks}: no such folder; give the folder of the masks to --masks")
    found = {path.stem: path for path in list_in_time_order(masks, (".png",))}
    if source.is_dir():
        frames = [path.stem for path in list_files(source, FRAME_SUFFIXES)]
        named = f"the frames are named {frames[0]} to {frames[-1]}"
        found = {name: path for name, path in found.items() if name in set(frames)}
    else:  # how many frames a video has shows at its end: see check_used
        found = {name: path for name, path in found.items() if is_number(name)}
        named = "a video's frames are named 00000, 00001, ..."
    given = found.get(next(video_frames(source))[0])
    if given is not None and given.resolve() != first.resolve():
        print(f"note: {given}: not used, the first frame has {first}", file=sys.stderr)
    others = [p for p in masks.iterdir() if not p.name.startswith(".") and p.is_file()]
    unused = sorted(path.name for path in others if found.get(path.stem) != path)
    if not found:
        raise BadInput(f"{masks}: holds no PNG named as a frame ({listed(unused)}); {named}")
    say_unused(masks, unused, named)
    return found


def is_number(name: str) -> bool:
    """Whether a name is one that a frame of a video gets: 00025, not 25."""
    return name.isascii() and name.isdecimal() and name == f"{int(name):05d}"


def listed(names: list[str]) -> str:
    """The first of some names, and how many there are."""
    more = ", ..." if len(names) > NAMED else ""
    count = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{count}: {', '.join(names[:NAMED])}{more}" if names else "it is empty"


def say_unused(masks: Path, names: list[str], why: str) -> None:
    """A line on stderr where files of the folder of masks are not used."""
    if names:
        print(f"note: {masks}: not used, {listed(names)}; {why}", file=sys.stderr)


def check_used(masks: Path, found: dict[str, Path], frames: Iterable[str]) -> None:
    """Say on stderr which masks no frame came for. Raises BadInput where that is all of them.

    found: of `find_masks`; frames: the names of all frames.
    """
    frames = list(frames)
    unused = [path.name for name, path in found.items() if name not in set(frames)]
    why = f"the video's frames are 00000 to {frames[-1]}"
    if found and len(unused) == len(found):
        raise BadInput(
            f"{masks}: no frame for any of its masks ({listed(unused)}); {why}, and were found "
            "from the first mask alone"
        )
    say_unused(masks, unused, why)
