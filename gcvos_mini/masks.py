"""Masks: one object id per pixel. The one place where a file becomes ids, or is refused.

A mask is uint8 (H, W): 0 background, 1 to 254 objects, 255 void in DAVIS 2017. Programs store them
in many ways, and some lose what they mean: palettes are renumbered, edges smoothed, the object is
hidden in the alpha channel. What can be read without a doubt is read, the rest raises BadInput with
the file and the repair.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gcvos_mini.commands import python, script
from gcvos_mini.errors import BadInput, written_whole
from gcvos_mini.pictures import read_image

VOID = 255  # year 2017: pixels that belong to nobody
MOST_OBJECTS = 64  # in one video; each has a memory and a decoder pass of its own
MANY_OBJECTS = 12  # from which a word is said on time and memory
FEW_LEVELS = 3  # levels found only between brighter and darker ones, from which edges are soft
FAINT = 8  # levels below it are a wide smooth edge's last traces on the background
SPECKLED = 0.5  # share of the object pixels that are mixed with other ids: dithering
RUN_FIELD = "gcvos_mini run"  # of a PNG's text: which run made it


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
ID_OF_COLOUR = {tuple(PALETTE[3 * i : 3 * i + 3]): i for i in range(256)}


def read_mask(path: Path | str) -> np.ndarray:
    """Read one mask as uint8 (H, W): object ids, 255 = void in DAVIS 2017.

    Takes palette, grey, and one-bit PNGs, and those whose mask is the alpha channel. Raises
    BadInput on colour and on other formats (JPEG blurs edges), where an id per pixel would have to
    be guessed, and on palettes that do not say which index is the background.
    """
    image = read_image(path)
    if image.format != "PNG":
        raise BadInput(f"{path}: mask is a {image.format} file, not a PNG; export it again as PNG")
    if image.mode == "P":
        return palette_ids(image, path)
    if image.mode in ("LA", "RGBA") and is_in_alpha(image):
        return np.array(image.getchannel("A"))
    if image.mode not in ("L", "1", "LA"):
        raise BadInput(
            f"{path}: mask is a {image.mode} image, not object ids; "
            "save it as an 8-bit palette or grey PNG whose pixel values are 0, 1, 2, ..."
        )
    return np.array(image.getchannel("L") if image.mode == "LA" else image).astype(np.uint8)


def is_in_alpha(image: Image.Image) -> bool:
    """Whether a picture with an alpha channel has its mask there: alpha varies, nothing else."""
    *colours, alpha = (channel.getextrema() for channel in image.split())
    return alpha[0] != alpha[1] and all(low == high for low, high in colours)


def palette_ids(image: Image.Image, path: Path | str) -> np.ndarray:
    """Ids (H, W) of a palette picture: its indices, or those of its colours where they are DAVIS's.

    An export may renumber the indices and keep the colours. Raises BadInput where index 0 is not
    black, the background, and the colours are not DAVIS's either.
    """
    indices = np.array(image)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used = [int(i) for i in np.unique(indices)]
    seen = {i: tuple(colours[i].tolist()) for i in used if i < len(colours)}
    if all(colour == (i, i, i) for i, colour in seen.items()):  # grey, stored as a palette
        return indices.astype(np.uint8)
    ids = {i: ID_OF_COLOUR.get(colour) for i, colour in seen.items()}
    if None not in ids.values() and len(ids) == len(used):
        table = np.zeros(256, np.uint8)
        table[list(ids)] = list(ids.values())
        return table[indices]
    black = [i for i, colour in seen.items() if colour == (0, 0, 0)]
    if black and black[0] != 0 or seen.get(0, (0, 0, 0)) != (0, 0, 0):
        raise BadInput(
            f"{path}: its background is not index 0 of the palette (index 0 is "
            f"{seen.get(0, 'not used')}, black is {black[0] if black else 'not used'}); save it "
            "with black as index 0 and the objects as 1, 2, 3, ..."
        )
    return indices.astype(np.uint8)


def check_ids(mask: np.ndarray, path: Path | str) -> None:
    """Raise BadInput where values of a mask (H, W) cannot be ids, or are more than MOST_OBJECTS.

    They cannot where edges are soft, or colours are mixed dot by dot.
    """
    levels = edge_levels(mask)
    if levels >= FEW_LEVELS:
        raise BadInput(
            f"{path}: soft edges; each of their {levels} levels would be an object; save it "
            f"without smoothing, as ids 0, 1, 2, ...{repair(path)}"
        )
    if is_speckled(mask):
        raise BadInput(
            f"{path}: its colours are mixed dot by dot (dithering); save it again without, as ids "
            "0, 1, 2, ..."
        )
    ids = object_ids(mask)
    if len(ids) > MOST_OBJECTS:
        raise BadInput(
            f"{path}: {len(ids)} objects, at most {MOST_OBJECTS} are followed at once; if they are "
            "not meant, save the mask as ids 0, 1, 2, ..., else split it in several masks"
        )


def repair(path: Path | str) -> str:
    """How to mend a mask that lies in a data set, as the end of a message; "" where it does not."""
    for folder in Path(path).parents:
        parts = [{"JPEGImages", "Annotations"}, {"images", "masks"}]
        if any(all((folder / name).is_dir() for name in part) for part in parts):
            fix = python(script("check_dataset.py"), folder, "--fix-masks")
            return f"; or mend the data set's masks: {fix}"
    return ""


def edge_levels(labels: np.ndarray) -> int:
    """How many values of (H, W) lie mostly between a smaller and a larger neighbour, as on edges
    that were smoothed."""
    square = np.ones((3, 3), np.uint8)
    between = (labels > cv2.erode(labels, square)) & (labels < cv2.dilate(labels, square))
    pixels = np.bincount(labels.ravel(), minlength=256)
    return int((np.bincount(labels[between], minlength=256) > pixels / 2).sum())


def areas(labels: np.ndarray, value: int) -> np.ndarray:
    """uint8 (H, W): 1 where a value fills 3x3 pixels, which values of smoothed edges do not."""
    same = (labels == value).astype(np.uint8)
    return cv2.morphologyEx(same, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))


def is_speckled(labels: np.ndarray) -> bool:
    """Whether several ids of (H, W) are mixed dot by dot: most of their pixels lie beside another
    id, and in no 3x3 pixels of one."""
    square = np.ones((3, 3), np.uint8)
    objects = np.isin(labels, object_ids(labels))
    least = cv2.erode(np.where(objects, labels, np.uint8(VOID)), square)  # id about a pixel
    most = cv2.dilate(np.where(objects, labels, np.uint8(0)), square)
    flat = cv2.erode(labels, square) == cv2.dilate(labels, square)
    whole = cv2.dilate(flat.astype(np.uint8), square) == 1
    mixed = objects & (least < most) & ~whole
    return bool(mixed.sum() > SPECKLED * objects.sum())


def one_object(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) of one object, whatever its value: uint8, 1 on it. Soft edges end half way."""
    if edge_levels(mask) >= FEW_LEVELS:
        return (mask >= mask.max() / 2).astype(np.uint8)
    return (mask > 0).astype(np.uint8)


def read_sequence_mask(path: Path | str, year: int) -> np.ndarray:
    """Read one mask as uint8 (H, W) by the rules of its year.

    2016 has one object, stored as any non-zero value (the original files use 255): it becomes 1.
    2017 keeps the ids and 255 = void. Raises BadInput as read_mask does, and in 2017 on values that
    cannot be ids.
    """
    mask = read_mask(path)
    if int(year) == 2016:
        return one_object(mask)
    check_ids(mask, path)
    return mask


def read_still_mask(path: Path | str) -> np.ndarray:
    """Read the mask of a single picture, uint8 (H, W) of object ids; white alone is object 1.

    A black and white mask holds 255 where the object is, which is void only beside other ids.
    Raises BadInput as read_mask does, and on values that cannot be ids.
    """
    mask = read_mask(path)
    if not object_ids(mask) or is_one_soft_object(mask):
        mask = one_object(mask)
    check_ids(mask, path)
    return mask


def read_first_mask(path: Path | str) -> np.ndarray:
    """Read the mask that a video starts from, as read_still_mask does.

    Says on stderr what of it is not followed, or will take long. Raises BadInput on a mask without
    an object too.
    """
    mask = read_still_mask(path)
    check_has_object(mask, path)
    say_what_to_expect(mask, path)
    return mask


def read_later_mask(path: Path | str) -> np.ndarray:
    """Read a mask of a frame after the first, uint8 (H, W) of ids; it may be empty.

    Raises BadInput as read_mask does, and on values that cannot be ids.
    """
    mask = read_mask(path)
    check_ids(mask, path)
    if mask.any() and not object_ids(mask):
        raise BadInput(f"{path}: holds no id but 255, void; write the objects as ids 1, 2, 3, ...")
    say_what_to_expect(mask, path)
    return mask


def is_one_soft_object(mask: np.ndarray) -> bool:
    """Whether a mask (H, W) shows one object on 0, with soft edges between the two."""
    if edge_levels(mask) < FEW_LEVELS:
        return False
    solid = [int(v) for v in np.unique(mask) if areas(mask, v).any()]
    return solid[:1] == [0] and [v for v in solid if v >= FAINT] == [mask.max()]


def say_what_to_expect(mask: np.ndarray, path: Path | str) -> None:
    """A line on stderr where pixels of a first mask (H, W) are left out, or objects are many."""
    ids, void = object_ids(mask), int((mask == VOID).sum())
    if void and ids:
        print(
            f"note: {path}: {void:,} pixels are 255 (void) beside ids {ids}: they belong to "
            "nobody; if they are an object, give it an id from 1 to 254",
            file=sys.stderr,
        )
    if len(ids) > MANY_OBJECTS:
        print(
            f"note: {path}: {len(ids)} objects; time and memory grow with each of them",
            file=sys.stderr,
        )


def object_ids(mask: np.ndarray) -> list[int]:
    """The object ids in a mask (H, W), in order: without background (0) and void (255)."""
    return [int(i) for i in np.flatnonzero(np.bincount(mask.ravel())) if i not in (0, VOID)]


def check_has_object(mask: np.ndarray, path: Path | str) -> None:
    """Raise BadInput when a first mask (H, W) holds no object: it is empty, or all void."""
    if not object_ids(mask):
        if mask.any():
            raise BadInput(f"{path}: first mask holds only 255, void in year 2017; use year 2016")
        raise BadInput(
            f"{path}: first mask is empty; mark at least one object in it, or begin the video "
            "where there is one"
        )


def write_mask(path: Path | str, labels: np.ndarray, run: str | None = None) -> None:
    """Write labels uint8 (H, W) as a palette PNG in DAVIS colours, whole or not at all.

    run: which run made it, as outputs.run_id says; it stands in the PNG's text.
    Raises BadInput where it cannot be written, ValueError on another shape or dtype.
    """
    labels = np.asarray(labels)
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise ValueError(f"labels must be uint8 (H, W), not {labels.dtype} {labels.shape}")
    image = Image.fromarray(labels)
    image.putpalette(PALETTE)  # turns grey into palette mode, pixel values unchanged
    text = PngInfo()
    if run is not None:
        text.add_text(RUN_FIELD, run)
    with written_whole(path) as unfinished:
        image.save(unfinished, format="PNG", pnginfo=text)
