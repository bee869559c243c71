"""Paint a mask in JupyterLab: brush, eraser, polygons that fill or cut, undo, zoom (notebook 10).

    painter = MaskPainter(frame)          # uint8 (H, W, 3); show it as a cell's last line
    painter.mask                          # uint8 (H, W) of object ids, at the frame's own size
    painter.save("00000.png")             # never replaces a file

The mask and what a stroke does to it are in drawing.py; here is what is seen of it.
"""

import math
import os
from dataclasses import dataclass, replace

import cv2
import ipywidgets as widgets
import numpy as np
from ipycanvas import Canvas

from gcvos_mini.errors import BadInput
from gcvos_mini.masks import PALETTE, VOID, write_mask
from gcvos_mini.show import render
from gcvos_mini.show.drawing import TOOLS, Drawing, stroke

__all__ = ["MaskPainter", "canvas_picture", "fitted", "stroke"]  # what others use

LARGEST, ENLARGED = (960, 640), 3  # a canvas is at most so large, and a frame so much enlarged
CLOSE = 8  # canvas pixels: a click so near to its first corner closes a polygon
ZOOMS = (1, 2, 4, 8)


def canvas_size(width, height):
    """The size (width, height) in which a frame is shown: fitted into LARGEST."""
    scale = min(LARGEST[0] / width, LARGEST[1] / height, ENLARGED)
    return max(1, round(width * scale)), max(1, round(height * scale))


def fitted(frame, size=None):
    """The frame (H, W, 3) at `size` (w, h), or the size in which it is shown: (h, w, 3)."""
    size = size or canvas_size(*frame.shape[1::-1])
    shrinks = size[0] < frame.shape[1]
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def brightened(image, brightness):
    """uint8 to uint8 by the power 1 / brightness: above 1 dark parts become brighter (gamma)."""
    levels = 255 * np.linspace(0, 1, 256) ** (1 / brightness)
    return cv2.LUT(image, levels.round().astype(np.uint8))


def canvas_picture(shown, mask, corners=(), label=1, opacity=0.5):
    """What the canvas shows, uint8 (h, w, 3): the frame `shown` at this size under its mask.

    mask: uint8 (H, W) at the frame's own size; corners: of a polygon not closed yet, (x, y) there;
    label: what it will give, 0 is drawn white; opacity of the mask, 0 (outline only) to 1.
    """
    size = shown.shape[1::-1]
    enlarged = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
    picture = render.overlay(shown, enlarged, opacity)
    if corners:
        colour = PALETTE[3 * label : 3 * label + 3] if label else (255, 255, 255)
        points = (np.asarray(corners) * size / mask.shape[::-1]).round().astype(np.int32)
        cv2.polylines(picture, [points], False, colour, 2, cv2.LINE_AA)
        for x, y in points.tolist():
            cv2.circle(picture, (x, y), 4, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(picture, (x, y), 4, colour if label else (0, 0, 0), 1, cv2.LINE_AA)
    return picture


@dataclass(frozen=True)
class View:
    """The part of a frame that a canvas shows.

    frame, canvas: their sizes (width, height) in pixels. At zoom n the part is an n-th of the
    frame's width and of its height, rounded up to whole pixels; left, top: its first column, row.
    """

    frame: tuple[int, int]
    canvas: tuple[int, int]
    zoom: int = 1
    left: int = 0
    top: int = 0

    @property
    def size(self):
        """(width, height) of the part, in pixels of the frame."""
        return tuple(-(-n // self.zoom) for n in self.frame)

    @property
    def limits(self):
        """The largest left and top."""
        return tuple(whole - part for whole, part in zip(self.frame, self.size))

    @property
    def scale(self):
        """Canvas pixels per frame pixel, across and down."""
        return tuple(shown / part for shown, part in zip(self.canvas, self.size))

    def cut(self, image):
        """The part of an image (H, W, ...) of the frame's size."""
        width, height = self.size
        return image[self.top : self.top + height, self.left : self.left + width]

    def moved(self, left, top):
        """The same zoom elsewhere, no farther than the frame reaches."""
        left, top = (min(max(0, n), most) for n, most in zip((left, top), self.limits))
        return replace(self, left=left, top=top)

    def zoomed(self, zoom):
        """Another zoom around the middle of this part."""
        other = replace(self, zoom=zoom)
        more = [(a - b) // 2 for a, b in zip(self.size, other.size)]
        return other.moved(self.left + more[0], self.top + more[1])

    def to_frame(self, x, y):
        """A point of the canvas as a point of the frame."""
        return x / self.scale[0] + self.left, y / self.scale[1] + self.top

    def to_canvas(self, x, y):
        """A point of the frame as a point of the canvas; outside it if it is not in the part."""
        return (x - self.left) * self.scale[0], (y - self.top) * self.scale[1]


class MaskPainter(widgets.VBox):
    """Paint the objects of one frame with the mouse, or a finger.

    frame: uint8 (H, W, 3); mask: uint8 (H, W) of object ids to start from, empty if not given.
    `mask` is at the frame's own size, whatever size the canvas has and whatever part it shows.
    `press`, `drag` and `release` take points of the canvas; the mouse calls them, and so may a
    program (`to_canvas` maps a point of the frame). Zoom, opacity and brightness change the view
    only; the mouse wheel moves a zoomed view, Escape drops a polygon begun. Raises BadInput if
    frame and mask differ in size.
    """

    def __init__(self, frame, mask=None):
        height, width = frame.shape[:2]
        mask = np.zeros((height, width), np.uint8) if mask is None else mask
        if mask.shape != (height, width):
            raise BadInput(
                f"mask is {mask.shape[1]}x{mask.shape[0]}, frame is {width}x{height}: "
                "they must be the same size"
            )
        self.frame, self.drawing = frame, Drawing(mask)
        self.view = View((width, height), canvas_size(width, height))
        self.canvas = Canvas(
            width=self.view.canvas[0],
            height=self.view.canvas[1],
            layout={"max_width": "100%", "height": "auto"},  # a narrow page shows it smaller
        )
        self.label = widgets.HTML()
        self._make_tools(height)
        self._make_lens()
        self._listen()
        self.look()
        self.update()
        super().__init__(
            [
                _row(self.tool, self.object, self.colour, self.radius),
                _row(self.finish, self.drop, self.undo, self.redo, self.clear),
                _row(self.zoom, self.across, self.down),
                self.canvas,
                _row(self.opacity, self.brightness),
                self.label,
            ],
            layout={"align_items": "flex-start"},  # the canvas at its own size, not stretched
        )

    def _make_tools(self, height):
        self.tool = widgets.ToggleButtons(
            options=list(TOOLS), tooltips=list(TOOLS.values()), style={"button_width": "72px"}
        )
        self.object = widgets.BoundedIntText(
            value=1, min=1, max=VOID - 1, description="object", layout={"width": "150px"}
        )
        self.colour = widgets.HTML()
        self.radius = _slider("radius", max(2, height // 24), 1, max(4, height // 8))
        self.finish = _button("close polygon", "check")
        self.drop = _button("drop polygon", "times")
        self.undo = _button("undo", "undo")
        self.redo = _button("redo", "repeat")
        self.clear = _button("clear", "trash")

    def _make_lens(self):
        self.zoom = widgets.ToggleButtons(
            options=[(f"{n}x", n) for n in ZOOMS], style={"button_width": "48px"}
        )
        self.across = _slider("across", 0, 0, 1)
        self.down = _slider("down", 0, 0, 1)
        self.opacity = _slider("opacity", 0.5, 0, 1, 0.05)
        self.brightness = _slider("brightness", 1, 0.5, 4, 0.1)

    def _listen(self):
        canvas, drawing = self.canvas, self.drawing
        canvas.on_client_ready(self.draw)  # a page that is loaded again has an empty canvas
        canvas.on_mouse_down(self.press)
        canvas.on_mouse_move(self.drag)
        canvas.on_mouse_up(self.release)
        canvas.on_mouse_out(self.release)
        canvas.on_mouse_wheel(self.scroll)
        canvas.on_touch_start(lambda touches: self.press(*touches[0]))
        canvas.on_touch_move(lambda touches: self.drag(*touches[0]))
        canvas.on_touch_end(lambda touches: self._lift())
        canvas.on_touch_cancel(lambda touches: self._lift())
        canvas.on_key_down(lambda key, *held: self.drop.click() if key == "Escape" else None)
        for button, action in [
            (self.finish, drawing.close_polygon),
            (self.drop, drawing.drop_polygon),
            (self.undo, drawing.undo),
            (self.redo, drawing.redo),
            (self.clear, drawing.clear),
        ]:
            button.on_click(lambda button, action=action: (action(), self.draw()))
        for control in (self.tool, self.object, self.radius):
            control.observe(self.update, "value")
        for control in (self.zoom, self.across, self.down, self.brightness):
            control.observe(self.look, "value")
        self.opacity.observe(lambda change: self.draw(), "value")

    @property
    def mask(self):
        """What is painted, uint8 (H, W) of object ids: a copy, without a polygon still open."""
        return self.drawing.mask.copy()

    def save(self, path):
        """Write `mask` as a PNG of object ids in DAVIS colours.

        Raises BadInput where there is a file already (none is replaced), while a polygon is open,
        or where it cannot be written.
        """
        if self.drawing.corners:
            raise BadInput(f"{path}: not saved, a polygon is still open; close it or drop it")
        if os.path.lexists(path):
            raise BadInput(f"{path}: there is such a file already; choose another name")
        write_mask(path, self.drawing.mask)

    @property
    def scale(self):
        """Canvas pixels per frame pixel, across and down."""
        return self.view.scale

    def to_frame(self, x, y):
        """A point of the canvas as a point of the frame."""
        return self.view.to_frame(x, y)

    def to_canvas(self, x, y):
        """A point of the frame as a point of the canvas; outside it if a zoom does not show it."""
        return self.view.to_canvas(x, y)

    def press(self, x, y):
        """The button goes down at (x, y) of the canvas."""
        self.drawing.press(self.to_frame(x, y), CLOSE / self.scale[0])
        if self.drawing.last is None:  # a corner, or a polygon closed
            self.draw()
        else:
            self.draw_around((x, y), (x, y))

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

    def scroll(self, x, y):
        """The wheel has turned by (x, y) canvas pixels: a zoomed view moves."""
        for slider, moved, scale in zip((self.across, self.down), (x, y), self.scale):
            slider.value += int(math.copysign(math.ceil(abs(moved) / scale), moved))

    def update(self, change=None):
        """Take tool, object and radius from the controls. Called on every change."""
        drawing = self.drawing
        drawing.tool, drawing.object = self.tool.value, self.object.value
        drawing.radius = float(self.radius.value)
        colour = "rgb({}, {}, {})".format(*PALETTE[3 * drawing.object :][:3])
        self.colour.value = f'<div style="width:28px;height:28px;background:{colour}"></div>'
        self.draw()

    def look(self, change=None):
        """Take zoom, place and brightness from the controls. Called on every change."""
        if self.zoom.value == self.view.zoom:
            self.view = self.view.moved(self.across.value, self.down.value)
        else:
            self.view = self.view.zoomed(self.zoom.value)
        places = zip((self.across, self.down), self.view.limits, (self.view.left, self.view.top))
        for slider, limit, place in places:
            slider.unobserve(self.look, "value")
            slider.max, slider.value, slider.disabled = max(1, limit), place, limit == 0
            slider.observe(self.look, "value")
        part = fitted(self.view.cut(self.frame), self.view.canvas)
        self.shown = brightened(part, self.brightness.value)  # (h, w, 3)
        self.draw()

    def picture(self):
        """What the canvas shows now, uint8 (h, w, 3): the painter on paper."""
        drawing, view = self.drawing, self.view
        corners = [(x - view.left, y - view.top) for x, y in drawing.corners]
        mask = view.cut(drawing.mask)
        return canvas_picture(self.shown, mask, corners, drawing.label, self.opacity.value)

    def draw(self):
        """Show everything, and say how much is painted."""
        self.canvas.put_image_data(self.picture())
        self.label.value = self.drawing.status()

    def draw_around(self, start, end):
        """Show the part of the canvas that a stroke from start to end has changed."""
        # a pixel reaches farther than its centre, and the outline a little farther than that
        margin = (self.drawing.radius + 1) * max(self.scale) + 3
        limits = self.canvas.width, self.canvas.height
        low = [max(0, int(min(a, b) - margin)) for a, b in zip(start, end)]
        high = [min(n, int(max(a, b) + margin)) for a, b, n in zip(start, end, limits)]
        if low[0] < high[0] and low[1] < high[1]:
            part = self.picture()[low[1] : high[1], low[0] : high[0]]
            self.canvas.put_image_data(np.ascontiguousarray(part), *low)


def _button(name, icon):
    return widgets.Button(description=name, icon=icon, layout={"width": "auto"})


def _slider(name, value, low, high, step=1):
    kind = widgets.IntSlider if step == 1 else widgets.FloatSlider
    return kind(
        value=value, min=low, max=high, step=step, description=name,
        style={"description_width": "auto"}, layout={"width": "254px", "margin": "2px 8px"},
    )  # fmt: skip


def _row(*controls):
    """Controls side by side; on a narrow page some go to a line below."""
    return widgets.Box(controls, layout={"flex_flow": "row wrap", "align_items": "center"})
