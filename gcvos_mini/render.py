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


def _reach(size, map_size):
    """The pixels (width, height) that a map covers, at least `size`, both sizes (width, height).

    Cells are square and the map may stick out at the bottom and right by less than a cell, since
    segment.py pads frames there. A map of another shape is stretched over the image instead.
    """
    cell = max(size[0] / map_size[0], size[1] / map_size[1])
    reach = tuple(round(cells * cell) for cells in map_size)
    fits = all(covered - pixels < cell for covered, pixels in zip(reach, size, strict=True))
    return reach if fits else tuple(size)


def _enlarge(channel, size):
    """A map float32 (h, w) over an image of `size` (width, height), bilinear."""
    reach = _reach(size, channel.shape[::-1])
    return cv2.resize(channel, reach, interpolation=cv2.INTER_LINEAR)[: size[1], : size[0]]


def cell_at(point, size, map_size):
    """The cell (y, x) of a map of `map_size` (w, h) at pixel (x, y) of an image of `size`."""
    reach = _reach(size, map_size)
    x, y = (int(np.clip(at * n / r, 0, n - 1)) for at, n, r in zip(point, map_size, reach))
    return y, x


def mark_cell(image, cell, map_size):
    """A copy of the image with a ring around the middle of cell (y, x) of a map (w, h)."""
    reach = _reach(image.shape[1::-1], map_size)
    width, height = (r / n for r, n in zip(reach, map_size))
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


def _letters(width):
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
    letters = letters or _letters(width)
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
            ImageDraw.Draw(line).text((2, 0), labels[i], fill=_INK, font=font)
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
    """The frame under a key channel (h, w), blue below zero, red above, objects outlined.

    alpha: opacity of the map, 0 to 1; limits as in `key_map`; threshold: where the map's strength
    is below this share of the largest in `limits`, 0 to 1, the frame is left as it is.
    """
    size = frame.shape[1::-1]
    channel = np.asarray(channel, np.float32)
    low, high = limits if limits is not None else (channel.min(), channel.max())
    seen = blend(frame, key_map(channel, size, True, (low, high)), alpha)
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


def bars(values, size, colour="#2166ac", negative="#b2182b"):
    """Values as bars from zero, up or down, in an image of `size` (width, height)."""
    width, height = size
    image = np.full((height, width, 3), 255, np.uint8)
    highest, lowest = max(0, np.max(values)), min(0, np.min(values))
    zero = round(4 + (height - 8) * highest / ((highest - lowest) or 1))
    edges = np.linspace(4, width - 4, len(values) + 1).round().astype(int)
    gap = 1 if width > 4 * len(values) else 0
    for value, left, right in zip(values, edges, edges[1:]):
        end = round(zero - (height - 8) * float(value) / ((highest - lowest) or 1))
        rgb = tuple(bytes.fromhex((colour if value > 0 else negative)[1:]))
        cv2.rectangle(image, (int(left), zero), (int(right) - 1 - gap, end), rgb, -1)
    return cv2.line(image, (4, zero), (width - 5, zero), _AXIS, 1)


def render_read(record, t, cell, index=0, count=4):
    """What cell (y, x) of frame t reads of the past, for object number `index`, as one image.

    record: of inside.watch. First row: the frame that asks, and what the global context's read
    amounts to on `count` past frames, red where a position's value is added, blue where subtracted,
    each times how much its frame counts.
    Second row: the cell's weights on the context vectors, and STM's softmax over the same
    positions. Below, how much of each read's weight, signs left out, falls on each past frame.
    """
    size, map_size = record.frames.shape[2:0:-1], record.queries.shape[:1:-1]  # (W, H), (w, h)
    implied = record.implied_weights(t, *cell, index)  # (t, h, w)
    softmax = record.softmax_weights(t, *cell, index)
    at = spread(t, count)
    images = [mark_cell(record.frames[t], cell, map_size)]
    labels = [f"frame {t} asks"]
    shares = record.shares(t)
    each = implied / shares[:, None, None]  # a frame that counts little would be all white
    limits, highest = (each.min(), each.max()), softmax.max()
    for i in at:
        images.append(render_channel(record.frames[i], each[i], record.masks[i], 0.65, limits))
        labels.append(f"GC, on frame {i}, times {shares[i]:.2f}")
    weights = record.queries[t][:, cell[0], cell[1]]  # (C_key,)
    images.append(bars(weights, size))
    labels.append(f"on {len(weights)} context vectors")
    for i in at:
        colours = key_map(softmax[i], size, limits=(0, highest))
        images.append(outline(blend(record.frames[i], colours, 0.65), record.masks[i]))
        labels.append(f"STM, on frame {i}")
    sheet = contact_sheet(images, 1 + len(at), labels)
    line_size = sheet.shape[1] // 2 - 8, 60
    lines = []
    for weights in (np.abs(implied), softmax):
        lines.append(bars(weights.sum(axis=(1, 2)) / weights.sum(), line_size))
    names = [f"{name}: share of frames 0 to {t - 1}" for name in ("GC", "STM")]
    below = contact_sheet(lines, 2, names, letters=_letters(size[0]))
    width = max(sheet.shape[1], below.shape[1])
    return np.vstack([
        np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255)
        for part in (sheet, below)
    ])  # fmt: skip


def render_ghost(record, t, found, edits, J=None, count=3):
    """A frame looked at again, uint8 (H, W) `found`, as if its past had been another.

    record: of inside.watch; edits: {past frame: edit}; J: (as it was, now), where truth is known.
    """
    frame, before = record.frames[t], record.masks[t]
    both = [""] * 2 if J is None else [f", J {value:.3f}" for value in J]
    images = [overlay(frame, before), overlay(frame, found), differing(frame, [before, found])]
    labels = [f"frame {t} as it was{both[0]}", f"now{both[1]}",
              f"{np.mean(before != found):.2%} of the pixels differ"]  # fmt: skip
    for i in spread(t, count):
        images.append(overlay(record.frames[i], record.masks[i]))
        labels.append(f"frame {i}: {edits.get(i, 'as it was')}")
    return contact_sheet(images, 3, labels)


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


def _coverage(mask, size):
    """Which share of each cell of a feature map of `size` (w, h) the objects cover, (h, w)."""
    width, height = _reach(mask.shape[::-1], size)
    missing = height - mask.shape[0], width - mask.shape[1]
    objects = ((mask > 0) & (mask < VOID)).astype(np.float32)
    objects = cv2.copyMakeBorder(objects, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    return cv2.resize(objects, tuple(size), interpolation=cv2.INTER_AREA)


def mask_on_map(mask, size):
    """Bool (h, w): which cells of a feature map of `size` (w, h) show an object.

    A cell counts if the objects cover more than half of it, or, where they are too small to cover
    any, more than half of what they cover of the fullest cell. No objects, no cells.
    """
    covered = _coverage(mask, size)
    return covered > covered.max() / 2


def middle(cells):
    """The cell (y, x) deepest inside a region, bool (h, w)."""
    depth = cv2.distanceTransform(np.pad(cells, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return tuple(int(at) for at in np.unravel_index(depth.argmax(), depth.shape))


REGIONS = ("object", "border", "ground", "background")


def regions(mask, size):
    """The four kinds of cells that Fig. 6 is about: name -> bool (h, w), for `size` (w, h).

    "object" as in `mask_on_map`; "border", the cells that an outline runs through; "background",
    all that no object touches; "ground", the lowest third of the background's cells by their row,
    which stands in for a truth that no data set here has.
    """
    covered = _coverage(mask, size)
    background = covered == 0
    rows = np.nonzero(background)[0]
    lowest = np.arange(size[1])[:, None] >= (np.quantile(rows, 2 / 3) if len(rows) else np.inf)
    inside = covered > covered.max() / 2
    return {
        "object": inside,
        "border": (covered > 0) & (covered < 1),
        "ground": background & lowest,
        "background": background,
    }


def mean_selectivity(keys, masks, region="object"):
    """Selectivity (C,) of each channel for a region, averaged over the frames that have it.

    keys: T maps (C, h, w); masks: T uint8 (H, W); region: one of REGIONS. 0.5, "tells nothing",
    where no frame has it.
    """
    size = keys[0].shape[:0:-1]  # (w, h)
    scores = [selectivity(key, regions(mask, size)[region]) for key, mask in zip(keys, masks)]
    seen = [score for score in scores if not np.isnan(score).any()]
    return np.mean(seen, axis=0) if seen else np.full(len(keys[0]), 0.5)


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


_SERIES = ("#2166ac", "#b2182b", "#e08214", "#1b7837")  # blue, red, orange, green
_AXIS = (150, 150, 150)


def _number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def curves(series, size, length):
    """Lines over frame numbers, from zero up, as an image of `size` (width, height).

    series: name -> values at frames 1, 2, ...; length: the frame at the right edge. Each name
    stands in its line's colour with its last value. A rare spike is cut off at the upper edge, so
    that it does not flatten the rest. Drawn by hand, since a Matplotlib figure takes longer than
    the network takes for the frame it shows.
    """
    width, height = size
    left, right, top, bottom = 8, width - 8, 8 + 16 * len(series), height - 20
    pooled = np.concatenate([np.asarray(values, float) for values in series.values()])
    highest = min(pooled.max(), 1.5 * np.quantile(pooled, 0.9)) or 1
    image = np.full((height, width, 3), 255, np.uint8)
    cv2.rectangle(image, (left, top), (right, bottom), _AXIS, 1)
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in _SERIES]
    for values, colour in zip(series.values(), colours, strict=False):
        x = left + np.arange(1, len(values) + 1) * ((right - left) / length)
        y = bottom - np.minimum(values, highest) * ((bottom - top) / highest)
        points = np.stack([x, y], 1) * 16  # sixteenths of a pixel
        cv2.polylines(image, [points.round().astype(np.int32)], False, colour, 2, cv2.LINE_AA, 4)
    drawing, font = Image.fromarray(image), ImageFont.load_default(size=13)
    draw = ImageDraw.Draw(drawing)
    for row, ((name, values), colour) in enumerate(zip(series.items(), colours, strict=False)):
        draw.text((left, 2 + 16 * row), f"{name}: {_number(values[-1])}", fill=colour, font=font)
    draw.text((left, bottom + 2), "0", fill=_INK, font=font)
    draw.text((right, top - 1), _number(highest), fill=_INK, font=font, anchor="rd")
    draw.text((right, bottom + 2), f"frame {length}", fill=_INK, font=font, anchor="ra")
    return np.asarray(drawing)


def differing(frame, masks):
    """The frame, grey and faint, with a red pixel wherever the masks do not all agree."""
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    drawn = cv2.addWeighted(grey, 0.4, np.full_like(grey, 255), 0.6, 0)
    drawn[np.any([mask != masks[0] for mask in masks[1:]], axis=0)] = (220, 0, 0)
    return drawn


def render_swap(history, length, panel=256):
    """The live swap: masks under each memory, where they differ, seconds and bytes so far.

    history: what benchmark.live_swap has yielded, at least one; length: frames in the video;
    panel: width in pixels that a frame is enlarged to, by a whole factor. A time is drawn as the
    median of the last five frames: other work on the machine is no news about a memory.
    """
    now = history[-1]
    images = [overlay(now.frame, mask) for mask in now.masks.values()]
    images.append(differing(now.frame, list(now.masks.values())))
    zoom = max(1, -(-panel // now.frame.shape[1]))
    images = [image.repeat(zoom, axis=0).repeat(zoom, axis=1) for image in images]
    apart = sum(mask.size * (1 - now.equal[name]) for name, mask in now.masks.items())
    labels = [f"{name}, frame {now.index}" for name in now.masks]
    labels.append(f"pixels that differ: {apart:.0f} of {now.frame[..., 0].size:,}")
    size = images[0].shape[1], max(images[0].shape[0], 150)
    for label, field, unit, width in [
        ("whole step, ms", "step_seconds", 1e-3, 5),
        ("write and read, ms", "memory_seconds", 1e-3, 5),
        ("state, KiB", "nbytes", 1024, 1),
    ]:
        series = {}
        for name in now.masks:
            values = np.array([getattr(swapped, field)[name] for swapped in history]) / unit
            ends = range(1, len(values) + 1)
            series[name] = [np.median(values[max(0, end - width) : end]) for end in ends]
        images.append(curves(series, size, length - 1))
        labels.append(label)
    return contact_sheet(images, 3, labels)


def render_equivalence(setting, result, seconds=None):
    """The equivalence lab as one picture, uint8 (340, 960, 3).

    setting, result: of benchmark.equivalence; seconds: of benchmark.time_bracketings, if measured.
    Left, where each bracketing takes fewer operations, with the break-even lines and a dot at the
    setting. Right, errors, operations, bytes and seconds of both.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    plane, bars = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    _draw_break_even(plane, setting)
    both = [
        (f"relative error in {setting.dtype}; of one against the other {result.difference:.0e}",
         (result.context_error, result.similarity_error), "{:.1e}".format),
        ("multiply-accumulates, millions",
         (result.context_operations / 1e6, result.similarity_operations / 1e6), "{:,.2f}".format),
        ("most bytes alive, KiB",
         (result.context_bytes / 1024, result.similarity_bytes / 1024), "{:,.0f}".format),
    ]  # fmt: skip
    if seconds is None:
        both.append(("milliseconds: not measured", (0, 0), lambda value: ""))
    else:
        both.append(("milliseconds, median", [1e3 * s for s in seconds], _number))
    for axes, (title, values, written) in zip(bars.subplots(4, 1), both, strict=True):
        axes.barh([1, 0], values, color=["#92c5de", "#f4a582"])
        for y, name, value in zip((1, 0), ("q (k\u1d40v)", "(q k\u1d40) v"), values, strict=True):
            axes.text(0, y, f" {name}  " + written(value), va="center", fontsize=9)
        axes.set(xlim=(0, max(values) * 1.02 or 1), xticks=[], yticks=[])
        axes.set_title(title, fontsize=9, loc="left")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_break_even(figure, setting):
    """Operations (q k^T) v / q (k^T v) over (HW, T), and the lines where the two cost the same."""
    from matplotlib import colormaps

    from gcvos_mini import complexity
    from gcvos_mini.benchmark import counted_bytes, counted_operations

    dims = setting.key_dim, setting.value_dim
    pixels, frames = np.geomspace(1, 1024, 160), np.geomspace(1, 64, 100)
    context, similarity = counted_operations(pixels, 1, frames[:, None], *dims)
    axes = figure.subplots()
    bands = colormaps["RdBu"].resampled(16)  # steps of a quarter of a decade
    shades = axes.pcolormesh(pixels, frames, np.log10(similarity / context), cmap=bands,
                             vmin=-2, vmax=2, shading="nearest")  # fmt: skip
    fine = np.geomspace(1, 1024, 4000)  # the line at once goes up almost vertically
    at_once = [complexity.break_even_frames(1, n, *dims) for n in fine]
    stream = [complexity.break_even_frames_running(1, n, *dims) for n in fine]
    context, similarity = counted_bytes(pixels, 1, frames[:, None], *dims, 1)  # any dtype: a ratio
    axes.contour(pixels, frames, np.log(similarity / context), [0], colors="#1b7837",
                 linestyles="--")  # fmt: skip
    axes.plot(fine, at_once, color="black", lw=2, label="operations equal, all T at once")
    axes.plot(fine, stream, color="black", ls=":", label="operations equal, in a stream")
    axes.plot([], [], color="#1b7837", ls="--", label="bytes equal")
    axes.plot(setting.height * setting.width, setting.frames, "o", ms=10, mfc="#ffd92f", mec="k")
    axes.set(xscale="log", yscale="log", xlim=(1, 1024), ylim=(1, 64), xlabel="positions HW",
             ylabel="frames T")  # fmt: skip
    axes.set_xticks([1, 10, 100, 1000], [1, 10, 100, 1000])
    axes.set_yticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
    axes.minorticks_off()
    axes.set_title(f"$C_{{key}}$ {dims[0]}, $C_{{value}}$ {dims[1]}", fontsize=10)
    axes.legend(fontsize=7.5, loc="lower left", framealpha=0.9)
    bar = figure.colorbar(shades, ax=axes, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["1/100", "1/10", "equal", "10", "100"], fontsize=8)
    bar.set_label("operations, (q k\u1d40) v / q (k\u1d40v)", fontsize=8)
