"""A mask that grows by strokes and polygons, and goes back and forth step by step; no widgets.

A point (x, y) has its origin in the upper left corner of the mask; pixel (row, column) has its
centre at (column + 0.5, row + 0.5). paint.py puts a canvas and buttons over this.
"""

import zlib

import cv2
import numpy as np

from gcvos_mini.masks import VOID

TOOLS = {
    "brush": "paint the object",
    "eraser": "erase any object",
    "polygon": "click corners: what is inside becomes the object",
    "cut": "click corners: what is inside is erased",
}
POLYGONS = ("polygon", "cut")


def stroke(mask, start, end, radius, label):
    """Give `label` to the pixels whose centre is within `radius` of the line from start to end.

    mask: uint8 (H, W), changed in place; start, end: points (x, y); radius in pixels. A line
    shorter than a pixel still marks the pixel it is in.
    """
    (x0, y0), (x1, y1) = start, end
    radius = max(radius, 0.5**0.5)  # half a pixel's diagonal: no point is farther from a centre
    height, width = mask.shape
    left, right = _pixels(x0, x1, radius, width)
    top, bottom = _pixels(y0, y1, radius, height)
    y, x = np.mgrid[top:bottom, left:right] + 0.5  # centres, (h, w) each
    dx, dy = x1 - x0, y1 - y0
    along = ((x - x0) * dx + (y - y0) * dy) / ((dx * dx + dy * dy) or 1)
    along = along.clip(0, 1)  # the nearest point of the line, as a share of its length
    near = (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2 <= radius**2
    mask[top:bottom, left:right][near] = label


def _pixels(start, end, radius, limit):
    """The range of pixels, inside 0..limit, that lies within `radius` of start..end."""
    low, high = min(start, end) - radius, max(start, end) + radius + 1
    return int(np.clip(low, 0, limit)), int(np.clip(high, 0, limit))


def fill_polygon(mask, corners, label):
    """Give `label` to the pixels inside a polygon of points (x, y) and on its edge, in place."""
    sixteenths = np.round((np.asarray(corners, float) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [sixteenths], label, shift=4)


class Drawing:
    """A mask under a brush, and what undo and redo need.

    mask: uint8 (H, W) of object ids to start from, copied. `tool` is one of TOOLS, `object` the id
    that brush and polygon paint (1..254), `radius` the brush's and the eraser's, in pixels. A
    polygon begun stays, whatever tool or object comes next, until it is closed or dropped.
    """

    def __init__(self, mask):
        self.mask = np.array(mask, np.uint8, order="C")
        self.corners = []  # of a polygon that is not closed yet
        self.cuts = False  # whether closing that polygon erases
        self.tool, self.object, self.radius = "brush", 1, 6.0
        self.last = None  # where the stroke has come to; None while no button is down
        self.before, self.after = [], []  # the states that undo and redo go to

    @property
    def tool(self):
        """One of TOOLS. Of `polygon` and `cut`, the one chosen last says what closing does."""
        return self._tool

    @tool.setter
    def tool(self, tool):
        self._tool = tool
        if tool in POLYGONS:
            self.cuts = tool == "cut"

    @property
    def label(self):
        """The id that the polygon gives to its pixels: 0 where it cuts."""
        return 0 if self.cuts else self.object

    def press(self, point, close=0.0):
        """Begin a stroke, or add a corner. A corner within `close` of the first closes instead."""
        if self.tool in POLYGONS:
            near = self.corners and np.hypot(*np.subtract(point, self.corners[0])) <= close
            if near and len(self.corners) > 2:
                self.close_polygon()
            else:
                self._remember()
                self.corners.append(point)
            return
        self._remember()
        self.last = point
        self.drag(point)

    def drag(self, point):
        """Go on with the stroke; nothing where none has begun."""
        if self.last is not None:
            label = 0 if self.tool == "eraser" else self.object
            stroke(self.mask, self.last, point, self.radius, label)
            self.last = point

    def release(self, point):
        """End the stroke here."""
        self.drag(point)
        self.last = None

    def close_polygon(self):
        """Fill the polygon begun, or cut it out. Fewer than three corners stay as they are."""
        if len(self.corners) > 2:
            self._remember()
            fill_polygon(self.mask, self.corners, self.label)
            self.corners = []

    def drop_polygon(self):
        """Forget the polygon begun; undo brings it back."""
        if self.corners:
            self._remember()
            self.corners = []

    def clear(self):
        """An empty mask and no polygon; undo brings the old ones back."""
        self._remember()
        self.mask[:] = 0
        self.corners = []

    def undo(self):
        """Take back the last stroke, corner, polygon, dropping or clearing, if any."""
        self._go(self.before, self.after)

    def redo(self):
        """Do again what undo took back last. A new stroke or corner leaves nothing to redo."""
        self._go(self.after, self.before)

    def status(self):
        """In words: how much is painted, and whether a polygon is open."""
        counts = np.bincount(self.mask.ravel(), minlength=256)
        ids = [i for i in range(1, VOID) if counts[i]]
        painted = ", ".join(f"object {i}: {counts[i]:,} pixels" for i in ids)
        said = painted or "nothing painted yet"
        if self.corners:
            what = "cut" if self.cuts else f"polygon for object {self.object}"
            few = ", three are needed" if len(self.corners) < 3 else ""
            said += f"; {what} still open (corners: {len(self.corners)}{few})"
        return said

    def _state(self):
        return zlib.compress(self.mask, 1), list(self.corners)  # some kilobytes, at any size

    def _remember(self):
        self.before.append(self._state())
        self.after.clear()

    def _go(self, here, there):
        self.last = None  # a stroke that is under way ends
        if here:
            there.append(self._state())
            packed, self.corners = here.pop()
            mask = np.frombuffer(zlib.decompress(packed), np.uint8)
            self.mask[:] = mask.reshape(self.mask.shape)
