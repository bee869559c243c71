"""Pixels for people: overlays, key maps (Fig. 6) and contact sheets.

Pure functions, arrays in, pixels out; labs.py puts them together to the pictures under the widgets.
Images are uint8 RGB (H, W, 3), masks uint8 (H, W) object ids (0 background, 255 void), sizes in
Pillow's order (width, height).
"""

import io

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gcvos_mini.keymaps import covered_size
from gcvos_mini.masks import PALETTE

_COLOURS = np.array(PALETTE, np.uint8).reshape(256, 3)
_PAPER, INK = (255, 255, 255), (40, 40, 40)


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


def _look_up(index, table):
    """uint8 (H, W) through a colour table (256, 3); indexing does the same, more slowly."""
    return cv2.merge([cv2.LUT(index, table[:, c]) for c in range(3)])


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
    colour = _look_up(mask, _COLOURS)
    tinted = cv2.addWeighted(frame, 1 - alpha, colour, alpha, 0)
    cv2.copyTo(frame, cv2.compare(mask, 0, cv2.CMP_EQ), tinted)
    return outline(tinted, mask)


def grey(image):
    """The image without its colours, so that those of a map over it are the map's alone."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _enlarge(channel, size):
    """A map float32 (h, w) over an image of `size` (width, height), bilinear."""
    covered = covered_size(size, channel.shape[::-1])
    return cv2.resize(channel, covered, interpolation=cv2.INTER_LINEAR)[: size[1], : size[0]]


def mark_cell(image, cell, map_size):
    """A copy of the image with a ring around the middle of cell (y, x) of a map (w, h)."""
    covered = covered_size(image.shape[1::-1], map_size)
    width, height = (pixels / cells for pixels, cells in zip(covered, map_size))
    at = round((cell[1] + 0.5) * width), round((cell[0] + 0.5) * height)
    marked, radius = image.copy(), max(4, round(width / 3))
    cv2.circle(marked, at, radius, (0, 0, 0), 4, cv2.LINE_AA)
    return cv2.circle(marked, at, radius, (255, 255, 255), 2, cv2.LINE_AA)


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
    enlarged = _enlarge(channel, size)
    if high > low:
        index = np.clip((enlarged - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)
    else:
        index = np.full(enlarged.shape, 128 if centred else 0, np.uint8)
    return _look_up(index, _DIVERGING if centred else _SEQUENTIAL)


def blend(frame, map_rgb, alpha):
    """(1 - alpha) frame + alpha map_rgb, both uint8 RGB of one size."""
    if frame.shape != map_rgb.shape:
        raise ValueError(f"frame {frame.shape} and map {map_rgb.shape} differ in size")
    return cv2.addWeighted(frame, 1 - alpha, map_rgb, alpha, 0)


def letters_for(width):
    """Size of the letters under an image so wide, in pixels: large ones are shown made small."""
    return min(max(13, width // 28), 30)


def contact_sheet(images, columns, labels=None, pad=4, letters=None):
    """Images (of any sizes) in rows of `columns`, top left in equal cells, a label under each.

    labels: None, or one string per image; letters: their size in pixels. Raises ValueError if there
    are no images or the labels do not match them.
    """
    if not images or columns < 1:
        raise ValueError("contact sheet: no images, or no columns")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"contact sheet: {len(labels)} labels for {len(images)} images")
    width = max(image.shape[1] for image in images) + pad
    letters = letters or letters_for(width)
    height = max(image.shape[0] for image in images) + pad
    height += letters + 7 if labels is not None else 0
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width + pad, rows * height + pad), _PAPER)
    font = ImageFont.load_default(size=letters)
    for i, image in enumerate(images):
        x, y = pad + i % columns * width, pad + i // columns * height
        sheet.paste(Image.fromarray(image), (x, y))
        if labels is not None:
            line = Image.new("RGB", (width - pad, letters + 5), _PAPER)  # cut where it ends
            ImageDraw.Draw(line).text((2, 0), labels[i], fill=INK, font=font)
            sheet.paste(line, (x, y + image.shape[0] + 2))
    return np.asarray(sheet)


def spread(length, count):
    """At most `count` indices spread evenly over range(length), first and last among them."""
    return sorted({round(i) for i in np.linspace(0, length - 1, min(count, length))})


def strip(frames, masks, count=6, alpha=0.5, pad=4):
    """A video in one row: `count` frames spread over it, overlaid, each with its frame number."""
    at = spread(len(frames), count)
    images = [overlay(frames[t], masks[t], alpha) for t in at]
    return contact_sheet(images, len(at), [f"frame {t}" for t in at], pad)


def render_channel(frame, channel, mask, alpha=0.5, limits=None, threshold=0.0):
    """The frame in grey under a key channel (h, w), blue below zero, red above, objects outlined.

    alpha: opacity of the map, 0 to 1; limits as in `key_map`; threshold: where the map's strength
    is below this share of the largest in `limits`, 0 to 1, the frame is left as it is.
    """
    size = frame.shape[1::-1]
    channel = np.asarray(channel, np.float32)
    low, high = limits if limits is not None else (channel.min(), channel.max())
    seen = blend(grey(frame), key_map(channel, size, True, (low, high)), alpha)
    weak = np.abs(_enlarge(channel, size)) < threshold * max(abs(low), abs(high))
    cv2.copyTo(frame, weak.astype(np.uint8), seen)
    return outline(seen, mask)


def render_view(frame, mask, channels, alpha=0.5, threshold=0.0, labels=None):
    """The frame with its mask, then under one or more key channels, three in a row.

    channels: a list of ((h, w) map, limits); alpha, threshold: as in `render_channel`; labels: one
    for the frame and for each channel.
    """
    views = [overlay(frame, mask, alpha)]
    for channel, limits in channels:
        views.append(render_channel(frame, channel, mask, alpha, limits, threshold))
    return contact_sheet(views, 2 if len(views) == 2 else 3, labels)


def key_sheet(frames, keys, channels, centred=True, numbers=None, names=None):
    """Fig. 6 as one image: frames in the first row, one row per key channel under it.

    frames: T images of one size; keys: float (T, C, h, w); channels: which of the C to show;
    numbers: the frames' numbers in their video, 0 to T - 1 if not given; names: of the channels.
    Each row has one scale, so brightness can be compared along it.
    """
    if len(frames) != len(keys):
        raise ValueError(f"key sheet: {len(frames)} frames and {len(keys)} keys")
    size = frames[0].shape[1::-1]
    images, labels = list(frames), [f"frame {t}" for t in numbers or range(len(frames))]
    for c, name in zip(channels, names or [f"channel {c}" for c in channels]):
        limits = keys[:, c].min(), keys[:, c].max()
        images += [key_map(key[c], size, centred, limits) for key in keys]
        labels += [name] * len(frames)
    return contact_sheet(images, len(frames), labels)


def to_jpeg(image, quality=85):
    """The image as the bytes of a JPEG file. quality: 1 to 95."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
