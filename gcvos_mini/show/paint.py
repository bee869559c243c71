"""Paint a first mask in JupyterLab: brush, eraser, polygon, several objects, undo (notebook 10).

    painter = MaskPainter(frame)          # uint8 (H, W, 3); show it as a cell's last line
    painter.mask                          # uint8 (H, W) of object ids, at the frame's own size

`Drawing` is the mask under the painter: strokes in, ids out, no widgets. A point (x, y) has its
origin in the upper left corner of a frame; pixel (row, column) has its centre at
(column + 0.5, row + 0.5).
"""

import zlib

import cv2
import ipywidgets as widgets
import numpy as np
from ipycanvas import Canvas

from gcvos_mini.davis import PALETTE, VOID, object_ids
from gcvos_mini.errors import BadInput
from gcvos_mini.show import render

TOOLS = ("brush", "eraser", "polygon")
LARGEST, ENLARGED = (960, 640), 3  # a canvas is at most so large, and a frame so much enlarged
CLOSE = 8  # canvas pixels: a click so near to its first corner closes a polygon


# ---- the mask --------------------------------------------------------------------------------


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
    """A mask that grows by strokes, and can go back stroke by stroke.

    mask: uint8 (H, W) of object ids to start from, copied. `tool` is one of TOOLS, `object` the id
    that brush and polygon paint (1..254), `radius` the brush's and the eraser's, in pixels.
    """

    def __init__(self, mask):
        self.mask = np.array(mask, np.uint8)
        self.tool, self.object, self.radius = "brush", 1, 6.0
        self.last = None  # where the stroke has come to; None while no button is down
        self.corners = []  # of a polygon that is not closed yet
        self.before = []  # the masks to go back to, packed

    def press(self, point, close=0.0):
        """Begin a stroke, or add a corner. A corner within `close` of the first closes instead."""
        if self.tool == "polygon":
            near = self.corners and np.hypot(*np.subtract(point, self.corners[0])) <= close
            if near and len(self.corners) > 2:
                self.close_polygon()
            else:
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
        """Fill the polygon begun. Fewer than three corners have no inside: they are dropped."""
        if len(self.corners) > 2:
            self._remember()
            fill_polygon(self.mask, self.corners, self.object)
        self.corners = []

    def clear(self):
        """An empty mask; undo brings the old one back."""
        self._remember()
        self.mask[:] = 0
        self.corners = []

    def undo(self):
        """Take back the last corner, else the last stroke, polygon or clearing, if any."""
        self.last = None
        if self.corners:
            self.corners.pop()
        elif self.before:
            packed = np.frombuffer(zlib.decompress(self.before.pop()), np.uint8)
            self.mask[:] = packed.reshape(self.mask.shape)

    def _remember(self):
        self.before.append(zlib.compress(self.mask, 1))  # some kilobytes, at any size of frame


# ---- what is seen ----------------------------------------------------------------------------


def canvas_size(width, height):
    """The size (width, height) in which a frame is shown: fitted into LARGEST."""
    scale = min(LARGEST[0] / width, LARGEST[1] / height, ENLARGED)
    return max(1, round(width * scale)), max(1, round(height * scale))


def fitted(frame):
    """The frame (H, W, 3) at the size in which it is shown, (h, w, 3)."""
    size = canvas_size(*frame.shape[1::-1])
    shrinks = size[0] < frame.shape[1]
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def canvas_picture(shown, mask, corners=(), label=1):
    """What the canvas shows, uint8 (h, w, 3): the frame `shown` at this size under its mask.

    mask: uint8 (H, W) at the frame's own size; corners: of a polygon not closed yet, (x, y) there.
    """
    size = shown.shape[1::-1]
    picture = render.overlay(shown, cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT))
    if corners:
        colour = PALETTE[3 * label : 3 * label + 3]
        points = (np.asarray(corners) * size / mask.shape[::-1]).round().astype(np.int32)
        cv2.polylines(picture, [points], False, colour, 2, cv2.LINE_AA)
        for x, y in points.tolist():
            cv2.circle(picture, (x, y), 4, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(picture, (x, y), 4, colour, 1, cv2.LINE_AA)
    return picture


class MaskPainter(widgets.VBox):
    """Paint the objects of one frame with the mouse, or a finger.

    frame: uint8 (H, W, 3); mask: uint8 (H, W) of object ids to start from, empty if not given.
    `mask` is at the frame's own size, whatever size the canvas has. `press`, `drag` and `release`
    take points of the canvas; the mouse calls them, and so may a program (`to_canvas` maps a point
    of the frame). Raises BadInput if frame and mask differ in size.
    """

    def __init__(self, frame, mask=None):
        height, width = frame.shape[:2]
        mask = np.zeros((height, width), np.uint8) if mask is None else mask
        if mask.shape != (height, width):
            raise BadInput(
                f"mask is {mask.shape[1]}x{mask.shape[0]}, frame is {width}x{height}: "
                "they must be the same size"
            )
        self.drawing = Drawing(mask)
        self.shown = fitted(frame)  # (h, w, 3)
        size = self.shown.shape[1::-1]
        self.scale = size[0] / width, size[1] / height  # canvas pixels per frame pixel
        self.tool = widgets.ToggleButtons(options=TOOLS, style={"button_width": "80px"})
        self.object = widgets.BoundedIntText(value=1, min=1, max=VOID - 1, description="object")
        self.colour = widgets.HTML()
        self.radius = widgets.IntSlider(
            value=max(2, height // 24), min=1, max=max(4, height // 8), description="radius"
        )
        self.finish = widgets.Button(description="close polygon")
        self.undo = widgets.Button(description="undo", icon="undo")
        self.clear = widgets.Button(description="clear", icon="trash")
        self.canvas = Canvas(width=size[0], height=size[1])
        self.label = widgets.Label()
        self._listen()
        self.update()
        super().__init__(
            [
                widgets.HBox([self.tool, self.object, self.colour]),
                widgets.HBox([self.radius, self.finish, self.undo, self.clear]),
                self.canvas,
                self.label,
            ],
            layout={"align_items": "flex-start"},  # the canvas at its own size, not stretched
        )

    def _listen(self):
        canvas, drawing = self.canvas, self.drawing
        canvas.on_client_ready(self.draw)  # a page that is loaded again has an empty canvas
        canvas.on_mouse_down(self.press)
        canvas.on_mouse_move(self.drag)
        canvas.on_mouse_up(self.release)
        canvas.on_mouse_out(self.release)
        canvas.on_touch_start(lambda touches: self.press(*touches[0]))
        canvas.on_touch_move(lambda touches: self.drag(*touches[0]))
        canvas.on_touch_end(lambda touches: self._lift())
        for button, action in [
            (self.finish, drawing.close_polygon),
            (self.undo, drawing.undo),
            (self.clear, drawing.clear),
        ]:
            button.on_click(lambda button, action=action: (action(), self.draw()))
        for control in (self.tool, self.object, self.radius):
            control.observe(self.update, "value")

    @property
    def mask(self):
        """What is painted, uint8 (H, W) of object ids: a copy."""
        return self.drawing.mask.copy()

    def to_frame(self, x, y):
        """A point of the canvas as a point of the frame."""
        return x / self.scale[0], y / self.scale[1]

    def to_canvas(self, x, y):
        """A point of the frame as a point of the canvas."""
        return x * self.scale[0], y * self.scale[1]

    def press(self, x, y):
        """The button goes down at (x, y) of the canvas."""
        self.drawing.press(self.to_frame(x, y), CLOSE / self.scale[0])
        self.draw()

    def drag(self, x, y):
        """The mouse has moved to (x, y) of the canvas."""
        begun = self.drawing.last
        if begun is not None:
            self.drawing.drag(self.to_frame(x, y))
            self.draw_around(self.to_canvas(*begun), (x, y))

    def release(self, x, y):
        """The button goes up at (x, y) of the canvas, or the mouse leaves it."""
        if self.drawing.last is not None:
            self.drawing.release(self.to_frame(x, y))
            self.draw()

    def _lift(self):
        """The finger has left: the browser does not say from where."""
        if self.drawing.last is not None:
            self.release(*self.to_canvas(*self.drawing.last))

    def update(self, change=None):
        """Take tool, object and radius from the controls. Called on every change."""
        drawing = self.drawing
        if self.tool.value != drawing.tool:
            drawing.corners = []  # a polygon that was not closed
        drawing.tool, drawing.object = self.tool.value, self.object.value
        drawing.radius = float(self.radius.value)
        colour = "rgb({}, {}, {})".format(*PALETTE[3 * drawing.object :][:3])
        self.colour.value = f'<div style="width:28px;height:28px;background:{colour}"></div>'
        self.draw()

    def picture(self):
        """What the canvas shows now, uint8 (h, w, 3): the painter on paper."""
        drawing = self.drawing
        return canvas_picture(self.shown, drawing.mask, drawing.corners, drawing.object)

    def draw(self):
        """Show everything, and say how much is painted."""
        self.canvas.put_image_data(self.picture())
        mask = self.drawing.mask
        painted = [f"object {i}: {(mask == i).sum():,} pixels" for i in object_ids(mask)]
        self.label.value = ", ".join(painted) or "nothing painted yet"

    def draw_around(self, start, end):
        """Show the part of the canvas that a stroke from start to end has changed."""
        margin = self.drawing.radius * max(self.scale) + 3  # the outline reaches a little farther
        limits = self.canvas.width, self.canvas.height
        low = [max(0, int(min(a, b) - margin)) for a, b in zip(start, end)]
        high = [min(n, int(max(a, b) + margin)) for a, b, n in zip(start, end, limits)]
        if low[0] < high[0] and low[1] < high[1]:
            part = self.picture()[low[1] : high[1], low[0] : high[0]]
            self.canvas.put_image_data(np.ascontiguousarray(part), *low)
