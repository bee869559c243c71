"""The DAVIS layout on disk: frames, palette masks, splits.

    root/JPEGImages/480p/<sequence>/00000.jpg      frames, RGB
    root/Annotations/480p/<sequence>/00000.png     masks, one object id per pixel
    root/ImageSets/2016/val.txt                    one sequence name per line
    root/ImageSets/480p/val.txt                    the original 2016 form, a frame and mask a line

Layout: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", 2016, and Pont-Tuset et al., "The 2017 DAVIS Challenge", 2017. Everything here that
meets unusable files raises BadInput with the file and the fix in its message.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gcvos_mini.errors import BadInput, written_whole

VOID = 255  # year 2017: pixels that belong to nobody
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
LONGEST_NAME = 255  # bytes in a file's name, on all common file systems


def _palette():
    """The VOC colour map: bit triples of the id, spread over the high bits of R, G and B."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> channel & 1) << (7 - place)).astype(np.uint8)
        ids = ids >> 3
    return colours.flatten().tolist()


PALETTE = _palette()  # 768 ints: R, G, B of id 0, of id 1, ...


@dataclass(frozen=True)
class Sequence:
    """One video: frame files in time order, and mask files by frame stem ("00000")."""

    name: str
    frames: tuple[Path, ...]
    masks: dict[str, Path]


# what Pillow's readers let through on broken files
DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, TypeError, struct.error, zlib.error)


def read_image(path: Path | str) -> Image.Image:
    """Open and decode a whole file, a PIL image. Raises BadInput, never gives half a picture."""
    path = Path(path)
    try:
        with Image.open(path) as image:
            pictures = getattr(image, "n_frames", 1)
            image.load()
        whole = image.format != "PNG" or is_whole_png(path.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; check the path") from None
    except MemoryError:
        raise BadInput(f"{path}: too large for this machine's memory; make it smaller") from None
    except (*DECODER_ERRORS, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path}: cannot be read as an image ({reason}); copy it again") from None
    if not whole:
        raise BadInput(f"{path}: cannot be read as an image (damaged PNG); copy it again")
    if pictures > 1 and image.format != "MPO":  # a camera's JPEG, with a preview behind it
        raise BadInput(f"{path}: an animation of {pictures} pictures; save each as its own file")
    return image


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
    """Read one frame as uint8 (H, W, 3) RGB.

    Raises BadInput if it does not decode to its end, or has more than 8 bits per channel.
    """
    image = read_image(path)
    if image.mode.startswith(("I", "F")):  # PIL would clip 16 bits to 8 without a word
        raise BadInput(f"{path}: more than 8 bits per channel; save it as an 8-bit RGB image")
    return np.array(image.convert("RGB"))


def read_mask(path: Path | str) -> np.ndarray:
    """Read one mask as uint8 (H, W): object ids as stored, 255 = void in DAVIS 2017.

    Takes palette, grey, grey with alpha (ignored) and one-bit PNGs; raises BadInput on colour and
    on other formats (JPEG blurs edges), where an id per pixel would have to be guessed.
    """
    image = read_image(path)
    if image.format != "PNG":
        raise BadInput(f"{path}: mask is a {image.format} file, not a PNG; export it again as PNG")
    if image.mode not in ("P", "L", "1", "LA"):
        raise BadInput(
            f"{path}: mask is a {image.mode} image, not object ids; "
            "save it as an 8-bit palette or grey PNG whose pixel values are 0, 1, 2, ..."
        )
    if image.mode == "LA":
        image = image.getchannel("L")
    return np.array(image).astype(np.uint8)


def read_sequence_mask(path: Path | str, year: int) -> np.ndarray:
    """Read one mask as uint8 (H, W) by the rules of its year.

    2016 has one object, stored as any non-zero value (the original files use 255): it becomes 1.
    2017 keeps the ids and 255 = void. Raises BadInput as read_mask does.
    """
    mask = read_mask(path)
    return (mask > 0).astype(np.uint8) if int(year) == 2016 else mask


def read_first_mask(path: Path | str) -> np.ndarray:
    """Read the mask that a video starts from, uint8 (H, W) of object ids; white alone is object 1.

    A drawing program's black and white mask holds 255 where the object is, which is void only
    beside other ids. Raises BadInput on a mask without an object, and as read_mask does.
    """
    mask = read_mask(path)
    if not object_ids(mask):
        mask = (mask == VOID).astype(np.uint8)
    check_has_object(mask, path)
    return mask


def check_same_size(
    first: np.ndarray, first_path: Path | str, second: np.ndarray, second_path: Path | str
) -> None:
    """Raise BadInput naming both files when two images (H, W, ...) differ in height or width."""
    if first.shape[:2] != second.shape[:2]:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (first, second)]
        raise BadInput(
            f"{first_path} is {sizes[0]} but {second_path} is {sizes[1]}; "
            "both must have the same size"
        )


def object_ids(mask: np.ndarray) -> list[int]:
    """The object ids in a mask (H, W), in order: without background (0) and void (255)."""
    return [int(i) for i in np.unique(mask) if i not in (0, VOID)]


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


def check_has_object(mask: np.ndarray, path: Path | str) -> None:
    """Raise BadInput when a first mask (H, W) holds no object: it is empty, or all void."""
    if not object_ids(mask):
        if mask.any():
            raise BadInput(f"{path}: first mask holds only 255, void in year 2017; use year 2016")
        raise BadInput(f"{path}: first mask is empty; mark at least one object in it")


def write_mask(path: Path | str, labels: np.ndarray) -> None:
    """Write labels uint8 (H, W) as a palette PNG in DAVIS colours, whole or not at all.

    Raises BadInput where it cannot be written, ValueError on another shape or dtype.
    """
    labels = np.asarray(labels)
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise ValueError(f"labels must be uint8 (H, W), not {labels.dtype} {labels.shape}")
    image = Image.fromarray(labels)
    image.putpalette(PALETTE)  # turns grey into palette mode, pixel values unchanged
    with written_whole(path) as unfinished:
        image.save(unfinished, format="PNG")


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
) -> list[Sequence]:
    """List the sequences of a split, in the order of the split file.

    year, split: which list, ImageSets/<year>/<split>.txt.
    resolution: a folder name such as "480p"; None takes 480p if present, else the only one.
    need_frames: False reads Annotations alone (scoring needs no pictures); frames are then empty.
    Raises BadInput on a missing folder, an unknown split, a sequence without frames, or one
    without a mask for its first frame.
    """
    resolution = find_resolution(root, resolution, need_frames)
    names = read_split(find_split(root, year, split, resolution))
    return [load_sequence(root, name, resolution, need_frames) for name in names]


def find_resolution(
    root: Path | str, resolution: str | None = None, need_frames: bool = True
) -> str:
    """The resolution's folder name: the one asked for, else 480p, else the only one there is.

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
    if resolution is None and len(found) == 1:
        return found[0]
    if resolution in found:
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
    splits = sorted({p.stem for folder in folders for p in folder.glob("*.txt")})
    raise BadInput(f"{files[0]}: no such split; there is: {', '.join(splits) or 'none'}")


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
    names = [sequence_name(line.strip(), file) for line in lines if line.strip()]
    if not names:
        raise BadInput(f"{file}: names no sequence; write one sequence name per line")
    return list(dict.fromkeys(names))


def sequence_name(line: str, file: Path) -> str:
    """The sequence that a line names. Raises BadInput on what could lead out of the data set."""
    # "/JPEGImages/480p/bear/00000.jpg /Annotations/..." names one frame: its folder is the sequence
    original = re.match(r"/?JPEGImages/[^/]+/([^/]+)/", line)
    name = original[1] if original else line
    is_path = "/" in name or "\\" in name or name in (".", "..")
    if is_path or not name.isprintable() or len(name.encode()) > LONGEST_NAME:
        shown = ascii(name[:40])
        raise BadInput(f"{file}: {shown} is no sequence name; write one sequence name per line")
    return name


def load_sequence(
    root: Path | str, name: str, resolution: str, need_frames: bool = True
) -> Sequence:
    """List the files of one sequence. Raises BadInput as load_split does."""
    masks_folder = Path(root) / "Annotations" / resolution / name
    masks = {p.stem: p for p in list_in_time_order(masks_folder, (".png",))}
    if not masks:
        raise BadInput(f"{masks_folder}: no masks; put at least the first frame's PNG there")
    if not need_frames:
        return Sequence(name, (), masks)
    frames_folder = Path(root) / "JPEGImages" / resolution / name
    frames = list_in_time_order(frames_folder, FRAME_SUFFIXES)
    if not frames:
        raise BadInput(f"{frames_folder}: no frames; put {', '.join(FRAME_SUFFIXES)} files there")
    if frames[0].stem not in masks:
        raise BadInput(
            f"{masks_folder / frames[0].stem}.png: no mask for the first frame {frames[0]}; add it"
        )
    return Sequence(name, tuple(frames), masks)


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files with these endings, by name; none in no folder. macOS's ._00000.jpg are left out."""
    if not folder.is_dir():
        return []
    files = (p for p in folder.iterdir() if p.suffix.lower() in suffixes)
    return sorted(p for p in files if not p.name.startswith("."))


def list_in_time_order(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files as list_files gives them, one for each moment of a video.

    Raises BadInput where two have one stem, or 10.jpg comes before 2.jpg.
    """
    files = list_files(folder, suffixes)
    for one, other in zip(files, files[1:]):
        if one.stem == other.stem:
            raise BadInput(f"{other}: {one.name} has the same number; keep one of the two")
        numbers = [p.stem for p in (one, other) if p.stem.isdecimal()]
        if len(numbers) == 2 and int(numbers[0]) > int(numbers[1]):
            raise BadInput(f"{other}: sorted after {one.name}; rename all with leading zeros")
    return files
