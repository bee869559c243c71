"""The pictures under the widgets: a read, a changed past, the live swap, the equivalence lab.

Pure functions as in render.py, on a Record (record.py) or on what equality.py measured. Each is
also the widget's twin on paper.
"""

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from gcvos_mini import complexity
from gcvos_mini.show.render import (
    INK,
    contact_sheet,
    grey,
    letters_for,
    mark_cell,
    overlay,
    render_channel,
    spread,
)

_SERIES = ("#2166ac", "#b2182b", "#e08214", "#1b7837")  # blue, red, orange, green
_AXIS = (150, 150, 150)


def bars(values, size, colour="#2166ac", negative="#b2182b"):
    """Values as bars from zero, up or down, in an image of `size` (width, height).

    Where there is room for letters, the numbers at its left edge are the highest and the lowest
    value; the line is at zero.
    """
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
    cv2.line(image, (4, zero), (width - 5, zero), _AXIS, 1)
    if height < 48:
        return image
    drawing, font = Image.fromarray(image), ImageFont.load_default(size=letters_for(2 * width))
    draw, around = ImageDraw.Draw(drawing), {"stroke_width": 3, "stroke_fill": "white"}
    draw.text((6, 3), _number(highest), fill=INK, font=font, anchor="la", **around)
    if lowest < 0:
        draw.text((6, height - 3), _number(lowest), fill=INK, font=font, anchor="ld", **around)
    return np.asarray(drawing)


def _number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def curves(series, size, length, letters=13):
    """Lines over frame numbers, from zero up, as an image of `size` (width, height).

    series: name -> values at frames 1, 2, ...; length: the frame at the right edge; letters: their
    size in pixels. Each name stands in its line's colour with its last value. A rare spike is cut
    off at the upper edge, so that it does not flatten the rest. Drawn by hand, since a Matplotlib
    figure takes longer than the network takes for the frame it shows.
    """
    width, height = size
    row = letters + 3
    left, right, top, bottom = 8, width - 8, 8 + row * len(series), height - letters - 7
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
    drawing, font = Image.fromarray(image), ImageFont.load_default(size=letters)
    draw = ImageDraw.Draw(drawing)
    for i, ((name, values), colour) in enumerate(zip(series.items(), colours, strict=False)):
        draw.text((left, 2 + row * i), f"{name}: {_number(values[-1])}", fill=colour, font=font)
    draw.text((left, bottom + 2), "0", fill=INK, font=font)
    draw.text((right, top - 1), _number(highest), fill=INK, font=font, anchor="rd")
    draw.text((right, bottom + 2), f"frame {length}", fill=INK, font=font, anchor="ra")
    return np.asarray(drawing)


def differing(frame, masks):
    """The frame, grey and faint, with a red pixel wherever the masks do not all agree."""
    drawn = cv2.addWeighted(grey(frame), 0.4, np.full_like(frame, 255), 0.6, 0)
    drawn[np.any([mask != masks[0] for mask in masks[1:]], axis=0)] = (220, 0, 0)
    return drawn


def render_read(record, t, cell, index=0, count=4):
    """What cell (y, x) of frame t reads of the past, for object number `index`, as one image.

    record: of record.watch. First row: the frame that asks, and what the global context's read
    amounts to on `count` past frames, red where a position's value is added, blue where subtracted,
    each times how much its frame counts.
    Second row: the cell's weights on the context vectors, and STM's softmax over the same
    positions, which only adds. Below, how much of each read's weight, signs left out, falls on
    each past frame.
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
        asked = record.frames[i], softmax[i], record.masks[i]
        images.append(render_channel(*asked, 0.65, (0, highest)))
        labels.append(f"STM, on frame {i}")
    letters = max(13, size[0] // 16)  # the picture is often shown made small
    sheet = contact_sheet(images, 1 + len(at), labels, letters=letters)
    line_size = sheet.shape[1] // 2 - 8, 60
    lines = []
    for weights in (np.abs(implied), softmax):
        lines.append(bars(weights.sum(axis=(1, 2)) / weights.sum(), line_size))
    names = [f"{name}: share of frames 0 to {t - 1}" for name in ("GC", "STM")]
    below = contact_sheet(lines, 2, names, letters=letters)
    width = max(sheet.shape[1], below.shape[1])
    return np.vstack([
        np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255)
        for part in (sheet, below)
    ])  # fmt: skip


def render_ghost(record, t, found, edits, J=None, count=3):
    """A frame looked at again, uint8 (H, W) `found`, as if its past had been another.

    record: of record.watch; edits: {past frame: edit}; J: (as it was, now), where truth is known.
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


def render_swap(history, length, panel=400):
    """The live swap: masks under each memory, where they differ, seconds and bytes so far.

    history: what equality.live_swap has yielded, at least one; length: frames in the video;
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
    labels.append(f"differ: {apart:.0f} of {now.frame[..., 0].size:,} pixels")
    size = images[0].shape[1], max(images[0].shape[0], 150)
    letters = max(13, size[0] // 18)  # the picture is often shown made small
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
        images.append(curves(series, size, length - 1, letters))
        labels.append(label)
    return contact_sheet(images, 2, labels, letters=letters)


def render_equivalence(setting, result, seconds=None):
    """The equivalence lab as one picture, uint8 (860, 720, 3).

    setting, result: of equality.equivalence; seconds: of equality.time_bracketings, if measured.
    Above, where each bracketing takes fewer operations, with the break-even lines and a dot at the
    setting. Below, errors, operations, bytes and seconds of both.
    """
    figure = Figure(figsize=(7.2, 8.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    plane, bars = figure.subfigures(2, 1, height_ratios=[1.2, 1])
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
            axes.text(0, y, f" {name}  " + written(value), va="center", fontsize=13)
        axes.set(xlim=(0, max(values) * 1.02 or 1), xticks=[], yticks=[])
        axes.set_title(title, fontsize=13, loc="left")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_break_even(figure, setting):
    """Operations (q k^T) v / q (k^T v) over (HW, T), and the lines where the two cost the same."""
    dims = setting.key_dim, setting.value_dim
    pixels, frames = np.geomspace(1, 1024, 160), np.geomspace(1, 64, 100)
    context, similarity = complexity.counted_operations(pixels, 1, frames[:, None], *dims)
    axes = figure.subplots()
    bands = colormaps["RdBu"].resampled(16)  # steps of a quarter of a decade
    shades = axes.pcolormesh(pixels, frames, np.log10(similarity / context), cmap=bands,
                             vmin=-2, vmax=2, shading="nearest")  # fmt: skip
    fine = np.geomspace(1, 1024, 4000)  # the line at once goes up almost vertically
    at_once = [complexity.break_even_frames(1, n, *dims) for n in fine]
    stream = [complexity.break_even_frames_running(1, n, *dims) for n in fine]
    one = 1  # byte a number: what is drawn is a ratio
    context, similarity = complexity.counted_bytes(pixels, 1, frames[:, None], *dims, one)
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
    axes.xaxis.label.set_size(13), axes.yaxis.label.set_size(13), axes.tick_params(labelsize=13)
    axes.set_title(f"$C_{{key}}$ {dims[0]}, $C_{{value}}$ {dims[1]}", fontsize=14)
    axes.legend(fontsize=12, loc="lower left", framealpha=0.9)
    bar = figure.colorbar(shades, ax=axes, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["1/100", "1/10", "equal", "10", "100"], fontsize=13)
    bar.set_label("operations, (q k\u1d40) v / q (k\u1d40v)", fontsize=13)
