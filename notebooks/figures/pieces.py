"""The pieces that draw.py draws with: text, boxes, arrows, thumbnails and matrices, as SVG.

Letters in a drawing: *x* is in italics, x_{t} lowered, x^{T} raised.
"""

import base64
import io
import re
from html import escape

from PIL import Image

from gcvos_mini.bunny import CREDIT, load_bunny
from gcvos_mini.show.render import overlay

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#b34d00", "#00755a", "#555555"  # told apart by anyone
LIGHT = {BLUE: "#d9ecf8", ORANGE: "#fde8d3", GREEN: "#d6efe6", GREY: "#ececec"}
INK, PALE, PALE_INK = "#1a1a1a", "#c4c4c4", "#5f5f5f"
CROP = slice(0, 225), slice(0, 300)  # rows and columns in which the rabbit is
FRAMES, MASKS = load_bunny()


def spans(words):
    """The mark-up of a line as tspans: *italic*, _{lowered}, ^{raised}."""
    out = escape(words)
    out = re.sub(r"\*(.+?)\*", r'<tspan font-style="italic">\1</tspan>', out)
    for mark, up in ((r"_\{(.+?)\}", 0.28), (r"\^\{(.+?)\}", -0.4)):
        back = f'<tspan dy="{-up * 0.75:.3g}em">&#8203;</tspan>'  # to the line again
        out = re.sub(mark, rf'<tspan dy="{up}em" font-size="75%">\1</tspan>{back}', out)
    return out


def text(x, y, lines, size=20, colour=INK, anchor="middle", bold=False):
    """Lines of text around the point (x, y), which is the middle of the block's height."""
    lines = [lines] if isinstance(lines, str) else lines
    step, weight = size * 1.2, ' font-weight="bold"' if bold else ""
    top = y - step * (len(lines) - 1) / 2 + size * 0.35
    return "".join(
        f'<text x="{x:g}" y="{top + i * step:g}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}"{weight}>{spans(line)}</text>\n'
        for i, line in enumerate(lines)
    )


def box(x, y, w, h, lines="", colour=GREY, size=20, on=True, corner=10):
    """A box with words in its middle; pale where it is not `on`."""
    fill, stroke = (LIGHT[colour], colour) if on else ("#f6f6f6", PALE)
    rect = f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{corner}" '
    rect += f'fill="{fill}" stroke="{stroke}" stroke-width="{3 if on else 1.5}"/>\n'
    ink = INK if on else PALE_INK
    return rect + text(x + w / 2, y + h / 2, lines, size, ink, bold=on and size > 22)


def rule(x1, y1, x2, y2, colour, width=1):
    """A straight line."""
    ends = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>\n'


def panel(x, y, w, h, colour):
    """An empty frame around a part of a figure."""
    place = f'x="{x}" y="{y}" width="{w}" height="{h}"'
    return f'<rect {place} rx="12" fill="none" stroke="{colour}" stroke-width="2"/>\n'


def arrow(*points, colour=INK, dashes=False, width=2.5, head=9):
    """A line through the points with a head at the last of them."""
    (x0, y0), (x1, y1) = points[-2:]
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    u, v = head * (x1 - x0) / length, head * (y1 - y0) / length
    x, y = neck = x1 - u, y1 - v
    path = " ".join(f"{x:g},{y:g}" for x, y in [*points[:-1], neck])
    tip = f"{x1:g},{y1:g} {x - 0.6 * v:g},{y + 0.6 * u:g} {x + 0.6 * v:g},{y - 0.6 * u:g}"
    dash = ' stroke-dasharray="7 5"' if dashes else ""
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'
    return f'{line}<polygon points="{tip}" fill="{colour}"/>\n'


def thumb(x, y, w, t, kind, on=True, pixels=200):
    """The bunny's frame t, w wide, 4 to 3: kind "frame", "both" (with its mask) or "mask"."""
    views = {"frame": lambda: FRAMES[t], "both": lambda: overlay(FRAMES[t], MASKS[t], 0.6)}
    pixel = views[kind]() if kind in views else (MASKS[t] > 0) * 255
    image = Image.fromarray(pixel.astype("uint8")[CROP]).resize((pixels, pixels * 3 // 4))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=72)
    data = base64.b64encode(file.getvalue()).decode()
    h, stroke = w * 3 / 4, INK if on else PALE
    return (
        f'<image x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" opacity="{1 if on else 0.3}" '
        f'href="data:image/jpeg;base64,{data}"/>\n'
        f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="none" '
        f'stroke="{stroke}" stroke-width="{2.5 if on else 1}"/>\n'
    )


def matrix(x, y, w, h, name, size, colour, slices="", count=3):
    """A matrix: name inside, rows x columns below; `slices`, "|" or "-", cut it into frames."""
    parts = [box(x, y, w, h, "", colour, corner=3)]
    for part in [i / count for i in range(1, count)] if slices else []:
        standing = x + part * w, y, x + part * w, y + h
        lying = x, y + part * h, x + w, y + part * h
        parts.append(rule(*(standing if slices == "|" else lying), colour))
    return (
        "".join(parts)
        + text(x + w / 2, y + h / 2, name, 22)
        + text(x + w / 2, y + h + 14, size, 17)
    )


def page(width, height, title, description, *parts):
    """The whole drawing on white, with words for those who hear it and the credit."""
    credit = ""
    if any("<image" in part for part in parts):
        description += f" Pictures: {CREDIT}."
        credit = text(width - 12, height - 11, CREDIT, 12, PALE_INK, "end")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-labelledby="title desc" '
        f'font-family="Liberation Sans, Arial, Helvetica, sans-serif">\n'
        f'<title id="title">{escape(title)}</title>\n<desc id="desc">{escape(description)}</desc>\n'
        f'<rect width="{width}" height="{height}" rx="14" fill="#ffffff"/>\n'
        + "".join(parts)
        + credit
        + "</svg>\n"
    )
