"""Pixels for people: overlays, key maps (Fig. 6) and contact sheets.

Pure functions on NumPy arrays, no widgets. Images are uint8 RGB (H, W, 3), masks uint8 (H, W)
object ids (0 background, 255 void), sizes in Pillow's order (width, height).
"""

import io

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gcvos_mini.davis import PALETTE, VOID

_COLOURS = np.array(PALETTE, np.uint8).reshape(256, 3)
_PAPER, _INK = (255, 255, 255), (40, 40, 40)
_LABEL_HEIGHT = 20


def _table(*anchors):
    """Colour table uint8 (256, 3), linear between evenly spaced "rrggbb" anchors."""
    colours = np.array([list(bytes.fromhex(anchor)) for anchor in anchors])
    at = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), at, colours[:, c]) for c in range(3)]
    return np.stack(channels, 1).round().astype(np.uint8)


# Samples of Matplotlib's inferno (CC0) and ColorBrewer's RdBu: dark to bright, blue-white-red.
_SEQUENTIAL = _table("000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925",
                     "fb9b06", "f7d13d", "fcffa4")  # fmt: skip
_DIVERGING = _table("053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7",
                    "f4a582", "d6604d", "b2182b", "67001f")  # fmt: skip


def outline(image, mask):
    """A copy of `image` with each object's inner edge, one pixel wide, in its palette colour."""
    if image.shape != (*mask.shape, 3):
        raise ValueError(f"image {image.shape} and mask {mask.shape} differ in size")
    around = np.ones((3, 3), np.uint8)
    # A neighbour with another id is below the minimum or above the maximum of the 3x3 window.
    edge = (cv2.erode(mask, around) != mask) | (cv2.dilate(mask, around) != mask)
    edge &= mask > 0
    drawn = image.copy()
    drawn[edge] = _COLOURS[mask[edge]]
    return drawn


def overlay(frame, mask, alpha=0.5):
    """`frame` with every object tinted in its DAVIS colour and outlined; background untouched.

    alpha: opacity of the tint, 0 to 1. Raises ValueError if frame and mask differ in size.
    """
    if frame.shape != (*mask.shape, 3):
        raise ValueError(f"frame {frame.shape} and mask {mask.shape} differ in size")
    colour = cv2.merge([cv2.LUT(mask, _COLOURS[:, c]) for c in range(3)])  # faster than indexing
    tinted = cv2.addWeighted(frame, 1 - alpha, colour, alpha, 0)
    cv2.copyTo(frame, cv2.compare(mask, 0, cv2.CMP_EQ), tinted)
    return outline(tinted, mask)


def _reach(size, map_size):
    """The pixels (width, height) that a map covers, at least `size`, both sizes (width, height).

    Cells are square and the map may stick out at the bottom and right by less than a cell, since
    segment.py pads frames there. A map of another shape is stretched over the image instead.
    """
    cell = max(size[0] / map_size[0], size[1] / map_size[1])
    reach = tuple(round(cells * cell) for cells in map_size)
    fits = all(covered - pixels < cell for covered, pixels in zip(reach, size, strict=True))
    return reach if fits else tuple(size)


def key_map(channel, size, centred=False, limits=None):
    """One key channel, float (h, w), as an RGB image of `size` (width, height), bilinear.

    By default brighter is larger, as in Fig. 6. Keys are signed: `centred` takes a diverging
    table with white at zero, blue below, red above. limits (low, high) fixes the scale, so that
    maps can be compared; without them it is the channel's own range. A flat map is drawn dark
    (white where `centred`). Raises ValueError if a value is not finite.
    """
    channel = np.asarray(channel, np.float32)
    if not np.isfinite(channel).all():
        raise ValueError("key map: not every value is finite")
    low, high = limits if limits is not None else (channel.min(), channel.max())
    if centred:
        high = max(abs(low), abs(high))
        low = -high
    reach = _reach(size, channel.shape[::-1])
    enlarged = cv2.resize(channel, reach, interpolation=cv2.INTER_LINEAR)[: size[1], : size[0]]
    if high > low:
        index = np.clip((enlarged - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)
    else:
        index = np.full(enlarged.shape, 128 if centred else 0, np.uint8)
    return (_DIVERGING if centred else _SEQUENTIAL)[index]


def blend(frame, map_rgb, alpha):
    """(1 - alpha) frame + alpha map_rgb, both uint8 RGB of one size."""
    if frame.shape != map_rgb.shape:
        raise ValueError(f"frame {frame.shape} and map {map_rgb.shape} differ in size")
    return cv2.addWeighted(frame, 1 - alpha, map_rgb, alpha, 0)


def contact_sheet(images, columns, labels=None, pad=4):
    """Images (of any sizes) in rows of `columns`, top left in equal cells, a label under each.

    labels: None, or one string per image. Raises ValueError if there are no images or the labels
    do not match them.
    """
    if not images or columns < 1:
        raise ValueError("contact sheet: no images, or no columns")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"contact sheet: {len(labels)} labels for {len(images)} images")
    height = max(image.shape[0] for image in images) + pad
    height += _LABEL_HEIGHT if labels is not None else 0
    width = max(image.shape[1] for image in images) + pad
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width + pad, rows * height + pad), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for i, image in enumerate(images):
        x, y = pad + i % columns * width, pad + i // columns * height
        sheet.paste(Image.fromarray(image), (x, y))
        if labels is not None:
            draw.text((x + 2, y + image.shape[0] + 2), labels[i], fill=_INK, font=font)
    return np.asarray(sheet)


def spread(length, count):
    """At most `count` indices spread evenly over range(length), first and last among them."""
    return sorted({round(i) for i in np.linspace(0, length - 1, min(count, length))})


def strip(frames, masks, count=6, alpha=0.5, pad=4):
    """A video in one row: `count` frames spread over it, overlaid, each with its frame number."""
    at = spread(len(frames), count)
    images = [overlay(frames[t], masks[t], alpha) for t in at]
    return contact_sheet(images, len(at), [f"frame {t}" for t in at], pad)


def render_view(frame, channel, mask, alpha=0.5, centred=True, limits=None):
    """Frame with its mask, and beside it the frame under a key channel (h, w), objects outlined.

    alpha: opacity of mask and map, 0 to 1. Returns uint8 (H, 2 W + 4, 3).
    """
    height, width = mask.shape
    colours = key_map(channel, (width, height), centred, limits)
    right = outline(blend(frame, colours, alpha), mask)
    gap = np.full((height, 4, 3), 255, np.uint8)
    return np.hstack([overlay(frame, mask, alpha), gap, right])


def key_sheet(frames, keys, channels, centred=True, numbers=None):
    """Fig. 6 as one image: frames in the first row, one row per key channel under it.

    frames: T images of one size; keys: float (T, C, h, w); channels: which of the C to show;
    numbers: the frames' numbers in their video, 0 to T - 1 if not given.
    Each row has one scale, so brightness can be compared along it.
    """
    if len(frames) != len(keys):
        raise ValueError(f"key sheet: {len(frames)} frames and {len(keys)} keys")
    size = frames[0].shape[1::-1]
    images, labels = list(frames), [f"frame {t}" for t in numbers or range(len(frames))]
    for c in channels:
        limits = keys[:, c].min(), keys[:, c].max()
        images += [key_map(key[c], size, centred, limits) for key in keys]
        labels += [f"channel {c}"] * len(frames)
    return contact_sheet(images, len(frames), labels)


def to_jpeg(image, quality=85):
    """The image as the bytes of a JPEG file. quality: 1 to 95."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def mask_on_map(mask, size):
    """Bool (h, w): which cells of a feature map of `size` (w, h) show an object.

    A cell counts if the objects cover more than half of it, or, where they are too small to cover
    any, more than half of what they cover of the fullest cell. No objects, no cells.
    """
    width, height = _reach(mask.shape[::-1], size)
    missing = height - mask.shape[0], width - mask.shape[1]
    objects = ((mask > 0) & (mask < VOID)).astype(np.float32)
    objects = cv2.copyMakeBorder(objects, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    covered = cv2.resize(objects, tuple(size), interpolation=cv2.INTER_AREA)
    return covered > covered.max() / 2


def selectivity(maps, mask):
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
