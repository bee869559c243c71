"""Image files, read whole and as a person sees them, and listed in the order of time.

Everything here that meets unusable files raises BadInput with the file and the fix in its message.
"""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gcvos_mini.commands import command
from gcvos_mini.errors import BadInput, free_name

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
ORIENTATION = 0x0112  # EXIF's tag for how a camera was held

# what Pillow's readers let through on broken files, and its refusal of huge ones
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip

# files by another name: what their first bytes say, and how to make a picture of them
FOREIGN = {
    b"ftyphei": "HEIC",
    b"ftypmif1": "HEIC",
    b"ftyphevc": "HEIC",  # a burst
    b"ftypmsf1": "HEIC",
    b"ftypavif": "AVIF",
    b"%PDF": "PDF",
}
VIDEOS = {
    b"ftyp": "MP4 or MOV",
    b"moov": "MOV",
    b"mdat": "MOV",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
    b"AVI LIST": "AVI",
    b"\0\0\1\xba": "MPEG",
    b"\0\0\1\xb3": "MPEG",
    b"FLV\1": "FLV",
    b"\x30\x26\xb2\x75": "WMV",
}


def read_image(path: Path | str) -> Image.Image:
    """Open and decode a whole file, a PIL image, upright (all eight orientations of EXIF).

    Raises BadInput, never gives half a picture.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            pictures = getattr(image, "n_frames", 1)
            image.load()
            kind = image.format
            upright = ImageOps.exif_transpose(image)
        whole = kind != "PNG" or is_whole_png(path.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; check the path") from None
    except MemoryError:
        raise BadInput(f"{path}: too large for this machine's memory; make it smaller") from None
    except Image.DecompressionBombError:
        limit = f"{2 * Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        smaller = free_name(path.with_name(f"{path.stem}-smaller{path.suffix}"))
        fix = command("magick", path, "-resize", "50%", smaller)
        raise BadInput(f"{path}: more than {limit}; make it smaller: {fix}") from None
    except DECODER_ERRORS as error:
        raise BadInput(unreadable(path, error)) from None
    if not whole:
        raise BadInput(f"{path}: cannot be read as an image (damaged PNG); copy it again")
    if pictures > 1 and kind != "MPO":  # a camera's JPEG, with a preview behind it
        raise BadInput(f"{path}: an animation of {pictures} pictures; save each as its own file")
    upright.format = kind
    return upright


def unreadable(path: Path, error: Exception) -> str:
    """One line on a file that Pillow cannot read: what it is, and how to make a picture of it."""
    kind = foreign_kind(path)
    if kind in FOREIGN.values():
        converted = free_name(path.with_name(f"{path.stem}-converted.jpg"))
        fix = command("magick", path, converted)
        return f"{path}: is {kind}, whatever its name says; convert it first: {fix}"
    if kind:
        return (
            f"{path}: is a video ({kind}), whatever its name says; put the right picture in its "
            "place, or give this file alone as the video"
        )
    reason = " ".join(str(error).split())
    return f"{path}: cannot be read as an image ({reason}); copy it again"


def foreign_kind(path: Path) -> str | None:
    """What a file's first bytes say that it is, where Pillow reads no such file."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return None
    return next((kind for mark, kind in (FOREIGN | VIDEOS).items() if mark in start), None)


def is_whole_png(content: bytes) -> bool:
    """Whether a PNG's bytes agree with their checksums and hold all rows of its picture.

    Pillow looks at neither: a changed bit can move an object unseen, missing rows become 0.
    Raises zlib.error where the compressed rows are damaged.
    """
    chunks, start = {b"IDAT": []}, 8
    while b"IEND" not in chunks:
        if len(content) < start + 12:
            return False
        length, kind = struct.unpack(">I4s", content[start : start + 8])
        end = start + 8 + length
        if zlib.crc32(content[start + 4 : end]) != int.from_bytes(content[end : end + 4]):
            return False
        chunks.setdefault(kind, []).append(content[start + 8 : end])
        start = end + 4
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"][0])
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    wanted = height * (1 + (width * depth * channels + 7) // 8)  # a row starts with its filter
    pixels = zlib.decompressobj().decompress(b"".join(chunks[b"IDAT"]), wanted)
    return bool(interlaced) or len(pixels) == wanted


def read_frame(path: Path | str) -> np.ndarray:
    """Read one frame as uint8 (H, W, 3) RGB, upright as a person sees it.

    Raises BadInput if it does not decode to its end, or has more than 8 bits per channel.
    """
    image = read_image(path)
    if image.mode.startswith(("I", "F")):  # PIL would clip 16 bits to 8 without a word
        raise BadInput(f"{path}: more than 8 bits per channel; save it as an 8-bit RGB image")
    return np.array(image.convert("RGB"))


def is_turned(path: Path | str) -> bool:
    """Whether a picture is stored lying on its side, and turned upright when it is read."""
    try:
        with Image.open(path) as image:
            return image.getexif().get(ORIENTATION, 1) > 4
    except DECODER_ERRORS:
        return False


def check_same_size(
    first: np.ndarray, first_path: Path | str, second: np.ndarray, second_path: Path | str
) -> None:
    """Raise BadInput naming both files when two images (H, W, ...) differ in height or width.

    A mask that was drawn on a frame as it is stored, not as it is seen, is told so.
    """
    one, two = first.shape[:2], second.shape[:2]
    if one == two:
        return
    sizes = [f"{width}x{height}" for height, width in (one, two)]
    advice = "both must have the same size"
    if one == two[::-1] and any(is_turned(path) for path in (first_path, second_path)):
        advice = (
            "the frame is stored on its side (EXIF orientation) and read upright, as one sees it; "
            "turn the mask too"
        )
    raise BadInput(f"{first_path} is {sizes[0]} but {second_path} is {sizes[1]}; {advice}")


def natural(path: Path) -> tuple[list, str]:
    """A key that sorts names as people count: frame2 before frame10."""
    parts = re.split(r"(\d+)", path.stem)  # text, number, text, ...
    return [int(part) if part.isdecimal() else part for part in parts], path.name


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files with these endings, in natural order; none in no folder. Hidden ones, such as macOS's
    ._00000.jpg, are left out.
    """
    if not folder.is_dir():
        return []
    files = (p for p in folder.iterdir() if p.suffix.lower() in suffixes)
    return sorted((p for p in files if not p.name.startswith(".")), key=natural)


def list_in_time_order(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files as list_files gives them, one for each moment of a video.

    Raises BadInput where two have one number: 1.jpg and 1.png, or 1.jpg and 01.jpg.
    """
    files = list_files(folder, suffixes)
    for one, other in zip(files, files[1:]):
        if natural(one)[0] == natural(other)[0]:
            raise BadInput(f"{other}: {one.name} has the same number; keep one of the two")
    return files
