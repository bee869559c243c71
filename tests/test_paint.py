"""The painter without a browser: strokes go in as the mouse would send them, ids come out."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("ipycanvas")

from gcvos_mini.errors import BadInput
from gcvos_mini.masks import PALETTE, read_mask
from gcvos_mini.show import render
from gcvos_mini.show.drawing import Drawing, fill_polygon, stroke
from gcvos_mini.show.paint import ZOOMS, MaskPainter, View, canvas_size

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def frame():
    """Large and odd: its canvas is 0.5274 of its width."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (1023, 1820, 3), np.uint8)


def drawing(**chosen):
    new = Drawing(np.zeros((HEIGHT, WIDTH), np.uint8))
    for name, value in chosen.items():
        setattr(new, name, value)
    return new


def paint(new, *points):
    new.press(points[0])
    for point in points[1:-1]:
        new.drag(point)
    new.release(points[-1])


def near_by_loop(start, end, radius):
    """Bool (H, W): centres within `radius` of the line, by a thousand points along it."""
    along = np.linspace(start, end, 1001)  # (1001, 2)
    near = np.zeros((HEIGHT, WIDTH), bool)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            apart = along - (column + 0.5, row + 0.5)
            near[row, column] = np.hypot(*apart.T).min() <= radius
    return near


# ---- strokes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [(41.3, 25.9), (12.2, 30.1), (12.2, 8.7), (75.0, -9.0)])
def test_a_stroke_covers_the_pixels_near_its_line(end):
    mask = np.full((HEIGHT, WIDTH), 9, np.uint8)
    stroke(mask, (12.2, 8.7), end, 4.3, 2)
    assert np.array_equal(mask == 2, near_by_loop((12.2, 8.7), end, 4.3))
    assert set(np.unique(mask)) == {2, 9}


def test_the_thinnest_click_marks_the_pixel_it_is_in():
    for point in [(7.0, 5.0), (7.99, 5.99), (7.5, 5.5)]:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        stroke(mask, point, point, 0.1, 1)
        assert mask[5, 7] == 1


def test_a_stroke_outside_the_frame_changes_nothing():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    stroke(mask, (-50, -50), (-30, 90), 5, 1)
    assert not mask.any()


def test_a_fast_mouse_leaves_no_gaps():
    new = drawing(radius=3.0)
    paint(new, (5, 20), (30, 20), (55, 20))
    assert (new.mask[20, 5:55] == 1).all()


def test_moving_without_a_button_paints_nothing():
    new = drawing()
    new.drag((20, 20))
    new.release((25, 20))
    assert not new.mask.any()
    paint(new, (10, 10), (12, 10))
    before = new.mask.copy()
    new.drag((50, 30))
    assert np.array_equal(new.mask, before)


def test_objects_paint_over_one_another_and_the_eraser_takes_any():
    new = drawing(radius=5.0)
    paint(new, (20, 20), (20, 20))
    new.object = 7
    paint(new, (24, 20), (24, 20))
    assert new.mask[20, 24] == 7 and new.mask[20, 16] == 1
    assert set(np.unique(new.mask)) == {0, 1, 7}
    new.tool, new.radius = "eraser", 3.0
    paint(new, (17, 20), (27, 20))
    assert not new.mask[18:22, 16:28].any() and new.mask.any()


# ---- polygons -----------------------------------------------------------------------------------


def test_a_polygon_against_the_crossing_number():
    corners = [(5.3, 4.1), (50.2, 9.7), (31.6, 18.2), (44.9, 36.5), (9.8, 30.4)]  # not convex
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_polygon(mask, corners, 3)
    edge = np.zeros((HEIGHT, WIDTH), bool)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    sides = list(zip(corners, corners[1:] + corners[:1]))
    for start, end in sides:
        edge |= near_by_loop(start, end, 1.0)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            x, y = column + 0.5, row + 0.5
            crossings = [
                (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay)
                for (ax, ay), (bx, by) in sides
            ]
            inside[row, column] = sum(crossings) % 2
    assert np.array_equal((mask == 3)[~edge], inside[~edge])  # to a pixel, at the edge
    assert inside[~edge].sum() > 500


def test_a_click_on_the_first_corner_closes_a_polygon():
    new = drawing(tool="polygon", object=2)
    for corner in [(10, 10), (40, 10), (40, 30)]:
        new.press(corner, close=4)
        new.release(corner)
    assert not new.mask.any() and len(new.corners) == 3
    new.press((12, 11), close=4)
    assert new.corners == [] and new.mask[15, 35] == 2 and new.mask[28, 12] == 0


def test_two_corners_are_no_polygon_and_wait_for_a_third():
    new = drawing(tool="polygon")
    new.press((10, 10), close=4)
    new.press((11, 10), close=4)  # near the first: a corner, since two close nothing
    new.close_polygon()
    assert not new.mask.any() and new.corners == [(10, 10), (11, 10)]
    assert new.status().endswith("polygon for object 1 still open (corners: 2, three are needed)")


points = st.tuples(st.floats(-5, WIDTH + 5), st.floats(-5, HEIGHT + 5))


@given(st.lists(points, min_size=3, max_size=7), st.integers(0, 2**32 - 1))
def test_a_cut_takes_away_what_the_polygon_would_fill(corners, seed):
    start = np.random.default_rng(seed).integers(0, 4, (HEIGHT, WIDTH), np.uint8)
    filled = start.copy()
    fill_polygon(filled, corners, 9)
    new = Drawing(start)
    new.tool, new.object = "cut", 2
    for corner in corners:
        new.press(corner, close=-1.0)
    new.close_polygon()
    assert np.array_equal(new.mask, np.where(filled == 9, 0, start))


@pytest.mark.parametrize("begun", ["polygon", "cut"])
def test_an_open_polygon_waits_while_another_tool_is_used(begun):
    new = drawing(tool=begun, radius=2.0)
    new.mask[:] = 5
    for corner in [(10, 10), (50, 10), (50, 35)]:
        new.press(corner)
    new.tool, new.object = "eraser", 3
    paint(new, (5, 30), (8, 30))
    what = "cut" if begun == "cut" else "polygon for object 3"
    assert new.status().endswith(f"{what} still open (corners: 3)") and new.mask[30, 6] == 0
    new.close_polygon()
    assert new.mask[15, 45] == (0 if begun == "cut" else 3) and new.mask[30, 10] == 5
    assert new.corners == [] and "open" not in new.status()


# ---- undo and redo ------------------------------------------------------------------------------

STEPS = ("stroke", "erase", "corner", "close", "drop", "clear", "undo", "undo", "redo")


def take(new, step, point):
    """One step of a hand; True where it changes what is there, or could."""
    if step in ("stroke", "erase", "corner"):
        new.tool = {"stroke": "brush", "erase": "eraser", "corner": "polygon"}[step]
        paint(new, point, (point[1], point[0]))
        return True
    corners = len(new.corners)
    {"close": new.close_polygon, "drop": new.drop_polygon, "clear": new.clear}[step]()
    return {"close": corners > 2, "drop": corners > 0, "clear": True}[step]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(STEPS), points), max_size=25))
def test_undo_and_redo_against_a_list_of_all_that_was(steps):
    new = drawing(radius=4.0)
    states, at = [(new.mask.copy(), [])], 0
    for step, point in steps:
        if step == "undo":
            new.undo()
            at = max(0, at - 1)
        elif step == "redo":
            new.redo()
            at = min(at + 1, len(states) - 1)
        elif take(new, step, point):
            states[at + 1 :] = [(new.mask.copy(), list(new.corners))]
            at += 1
        assert np.array_equal(new.mask, states[at][0]) and new.corners == states[at][1]


def test_undo_goes_back_step_by_step_to_the_start():
    start = np.zeros((HEIGHT, WIDTH), np.uint8)
    start[:5, :5] = 4
    new = Drawing(start)
    masks = [new.mask.copy()]
    paint(new, (20, 20), (30, 25), (40, 20))  # one stroke of several moves is one step
    masks.append(new.mask.copy())
    new.tool = "eraser"
    paint(new, (25, 22), (30, 22))
    masks.append(new.mask.copy())
    new.clear()
    assert not new.mask.any()
    for mask in reversed(masks):
        new.undo()
        assert np.array_equal(new.mask, mask)
    new.undo()  # nothing left: stays
    assert np.array_equal(new.mask, start) and np.array_equal(start[:5, :5], np.full((5, 5), 4))


def test_undo_goes_back_corner_by_corner_also_into_a_closed_polygon():
    new = drawing(tool="polygon")
    corners = [(5, 30), (25, 30), (15, 38)]
    for corner in corners:
        new.press(corner)
    new.close_polygon()
    new.undo()
    assert new.corners == corners and not new.mask.any()
    new.undo()
    assert new.corners == corners[:2]
    new.tool = "brush"
    paint(new, (20, 20), (30, 20))
    new.undo()  # the stroke came last
    assert new.corners == corners[:2] and not new.mask.any()


def test_a_mask_stored_by_columns_goes_back_as_it_was():
    start = np.asfortranarray(np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH), np.uint8))
    new = Drawing(start)
    new.clear()
    new.undo()
    assert np.array_equal(new.mask, start)


def test_undo_in_the_middle_of_a_stroke_ends_it():
    new = drawing()
    new.press((20, 20))
    new.undo()
    new.drag((30, 20))
    assert not new.mask.any()


# ---- the part that is seen ----------------------------------------------------------------------

sizes = st.tuples(st.integers(1, 2500), st.integers(1, 2500))
places = st.tuples(st.integers(-50, 3000), st.integers(-50, 3000))


@given(sizes, st.lists(st.tuples(st.sampled_from(ZOOMS), places), min_size=1, max_size=4),
       st.tuples(st.floats(-10, 1000), st.floats(-10, 700)))  # fmt: skip
def test_points_of_canvas_and_frame_at_any_zoom_and_place(size, moves, point):
    """From first principles: the part's edges are the canvas's edges, and all between is linear."""
    view = View(size, canvas_size(*size))
    for zoom, place in moves:
        view = view.zoomed(zoom).moved(*place)
    for axis, at in enumerate(("left", "top")):
        part = -(-size[axis] // zoom)
        first = min(max(place[axis], 0), size[axis] - part)
        assert getattr(view, at) == first and view.size[axis] == part
        edges = [0, view.canvas[axis]], [first, first + part]
        slope = part / view.canvas[axis]
        assert [view.to_frame(v, v)[axis] for v in edges[0]] == pytest.approx(edges[1])
        assert [view.to_canvas(v, v)[axis] for v in edges[1]] == pytest.approx(edges[0])
        assert view.to_frame(*point)[axis] == pytest.approx(first + slope * point[axis])
    assert view.to_canvas(*view.to_frame(*point)) == pytest.approx(point, abs=1e-6)
    assert view.to_frame(*view.to_canvas(*point)) == pytest.approx(point, abs=1e-6)


@given(sizes, places, st.sampled_from(ZOOMS), st.sampled_from(ZOOMS))
def test_zooming_keeps_the_middle_where_the_frame_lets_it(size, place, zoom, other):
    before = View(size, canvas_size(*size)).zoomed(zoom).moved(*place)
    after = before.zoomed(other)
    for axis, at in enumerate(("left", "top")):
        middle = getattr(before, at) + before.size[axis] / 2
        free = min(max(middle - after.size[axis] / 2, 0), after.limits[axis])
        assert abs(getattr(after, at) - free) < 1


@pytest.mark.parametrize("size", [(61, 37), (427, 240), (1820, 1023)])
@pytest.mark.parametrize("zoom", ZOOMS)
def test_a_canvas_pixel_shows_the_frame_pixel_it_maps_to(size, zoom):
    ids = np.random.default_rng(zoom).integers(0, 255, size[::-1], np.uint8)
    painter = MaskPainter(np.zeros((*ids.shape, 3), np.uint8), ids)
    painter.zoom.value, painter.opacity.value = zoom, 1
    painter.across.value, painter.down.value = size[0] // 3, size[1] // 5
    colours = np.array(PALETTE, np.uint8).reshape(256, 3)
    picture = painter.picture()
    height, width = picture.shape[:2]
    columns = np.array([painter.to_frame(x + 0.5, 0)[0] for x in range(width)])
    rows = np.array([painter.to_frame(0, y + 0.5)[1] for y in range(height)])
    safe_columns, safe_rows = (abs(v - v.round()) > 1e-6 for v in (columns, rows))  # no ties
    expected = colours[ids[np.ix_(rows.astype(int), columns.astype(int))]]
    wrong = (picture != expected).any(axis=2)[np.ix_(safe_rows, safe_columns)]
    assert not wrong.any() and safe_columns.mean() > 0.4 and safe_rows.mean() > 0.4


def test_opacity_and_brightness_change_the_view_only(frame):
    start = np.zeros(frame.shape[:2], np.uint8)
    start[300:700, 400:900] = 2
    painter = MaskPainter(frame, start)
    seen = cv2.resize(start, (960, 540), interpolation=cv2.INTER_NEAREST_EXACT)
    plain = painter.shown.copy()
    painter.opacity.value = 0
    assert np.array_equal(painter.picture(), render.outline(plain, seen))
    painter.opacity.value, painter.brightness.value = 0.3, 2
    levels = [round(255 * (v / 255) ** 0.5) for v in range(256)]
    brighter = np.array(levels, np.uint8)[plain]
    assert np.array_equal(painter.picture(), render.overlay(brighter, seen, 0.3))
    painter.brightness.value = 1
    assert np.array_equal(painter.shown, plain) and np.array_equal(painter.mask, start)


# ---- the widget ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame_size", "canvas"),
    [
        ((1820, 1023), (960, 540)),
        ((1080, 1920), (360, 640)),
        ((256, 144), (768, 432)),
        ((854, 480), (960, 540)),
        ((4000, 2), (960, 1)),
        ((3, 1), (9, 3)),
    ],
)
def test_canvas_fits_the_page(frame_size, canvas):
    assert canvas_size(*frame_size) == canvas


@pytest.mark.parametrize("at", [(0, 0), (1819, 1022), (1234, 567), (17, 1000), (910, 3)])
def test_a_click_marks_the_frame_pixel_under_the_mouse(frame, at):
    """By the whole frame: the canvas pixel that shows (column, row) is asked, not to_canvas."""
    painter = MaskPainter(frame)
    painter.radius.value = 1
    column, row = at
    x, y = (column + 0.5) * 960 / 1820, (row + 0.5) * 540 / 1023
    painter.press(x, y)
    painter.release(x, y)
    rows, columns = np.nonzero(painter.mask)
    assert painter.mask.shape == (1023, 1820) and painter.mask[row, column] == 1
    assert abs(rows - row).max() <= 1 and abs(columns - column).max() <= 1


def test_canvas_and_frame_points_are_each_others_inverse(frame):
    painter = MaskPainter(frame)
    for point in [(0, 0), (3.7, 900.2), (1820, 1023)]:
        assert painter.to_frame(*painter.to_canvas(*point)) == pytest.approx(point)
    assert painter.to_canvas(1820, 1023) == pytest.approx((960, 540))


def test_the_canvas_shows_the_mask_where_it_was_painted(frame):
    painter = MaskPainter(frame)
    painter.object.value = 2
    before = painter.picture()
    painter.press(300.0, 200.0)
    painter.drag(400.0, 200.0)
    changed = (painter.picture() != before).any(axis=2)
    rows, columns = np.nonzero(changed)
    reach = painter.radius.value * 960 / 1820  # the brush's radius on the canvas
    assert rows.min() == pytest.approx(200 - reach, abs=2)
    assert rows.max() == pytest.approx(200 + reach, abs=2)
    assert columns.min() == pytest.approx(300 - reach, abs=2)
    assert columns.max() == pytest.approx(400 + reach, abs=2)
    expected = render.overlay(painter.shown, np.uint8(2 * changed))
    inner = slice(195, 205), slice(310, 390)
    assert np.array_equal(painter.picture()[inner], expected[inner])


class Sent:
    """Puts what is sent to the canvas together, as the browser does."""

    def __init__(self, painter, monkeypatch):
        self.picture = painter.picture()
        monkeypatch.setattr(painter.canvas, "put_image_data", self.put)

    def put(self, image, x=0, y=0):
        self.picture[y : y + image.shape[0], x : x + image.shape[1]] = image


def test_what_is_sent_while_the_mouse_moves_adds_up_to_the_picture(frame, monkeypatch):
    painter = MaskPainter(frame)
    sent = Sent(painter, monkeypatch)
    painter.press(100, 100)
    for x, y in [(180, 130), (170, 300), (955, 535), (960, 540), (20, 2)]:
        painter.drag(x, y)
        assert np.array_equal(sent.picture, painter.picture()), (x, y)
    painter.tool.value = "eraser"
    painter.release(10, 10)
    painter.press(150, 120)
    painter.drag(175, 200)
    assert np.array_equal(sent.picture, painter.picture())


@pytest.mark.parametrize("zoom", ZOOMS[1:])
def test_what_is_sent_of_a_zoomed_view_adds_up_too_and_is_little(monkeypatch, zoom):
    painter = MaskPainter(np.zeros((101, 181, 3), np.uint8))
    painter.zoom.value, painter.radius.value = zoom, 1  # a frame pixel is up to 25 canvas pixels
    painter.across.value, painter.down.value = 50, 30
    sent = Sent(painter, monkeypatch)
    painter.press(100, 100)
    assert np.array_equal(sent.picture, painter.picture())
    for x, y in [(137, 100.5), (140, 140), (139, 151), (541, 301), (3, 2)]:
        painter.drag(x, y)
        assert np.array_equal(sent.picture, painter.picture()), (x, y)
    sizes = []
    monkeypatch.setattr(painter.canvas, "put_image_data", lambda part, *at: sizes.append(part.size))
    painter.drag(8, 5)
    assert 0 < sum(sizes) < painter.picture().size / 8


def test_the_browsers_events_reach_the_mask(frame):
    """As ipycanvas hands them on: down, move, up, out, and fingers."""
    painter = MaskPainter(frame)

    def event(name, *points):
        content = {"event": name, "touches": [dict(zip("xy", p)) for p in points]}
        content |= dict(zip("xy", points[0])) if points else {}
        painter.canvas._handle_frontend_event(None, content, [])

    event("mouse_move", (50, 50))
    assert not painter.mask.any()
    event("mouse_down", (100, 100)), event("mouse_move", (200, 100)), event("mouse_up", (300, 100))
    event("mouse_move", (300, 400))
    middle = painter.mask[round(100 * 1023 / 540)]
    assert middle[round(250 * 1820 / 960)] == 1 and not painter.mask[700:].any()
    event("mouse_down", (100, 500)), event("mouse_out", (110, 500)), event("mouse_move", (400, 500))
    assert painter.mask[947, 200] == 1 and not painter.mask[947, 400:].any()
    painter.object.value = 2
    event("touch_start", (500, 300)), event("touch_move", (600, 300)), event("touch_end")
    event("touch_move", (700, 300))
    assert painter.mask[568, 1040] == 2 and not painter.mask[568, 1250:].any()
    event("touch_start", (500, 20)), event("touch_cancel"), event("touch_move", (700, 20))
    assert painter.mask[38, 948] == 2 and not painter.mask[38, 1100:].any()

    def key(name):
        content = {"event": "key_down", "key": name}
        content |= dict.fromkeys(("shift_key", "ctrl_key", "meta_key"), False)
        painter.canvas._handle_frontend_event(None, content, [])

    painter.tool.value = "cut"
    event("mouse_down", (100, 100)), event("mouse_down", (200, 100))
    key("a")
    assert len(painter.drawing.corners) == 2
    key("Escape")
    assert painter.drawing.corners == [] and "open" not in painter.label.value
    painter.undo.click()
    assert len(painter.drawing.corners) == 2 and "cut still open" in painter.label.value


def test_the_wheel_moves_a_zoomed_view_and_no_other(frame):
    painter = MaskPainter(frame)
    painter.scroll(30, 100)
    assert painter.view == View((1820, 1023), (960, 540))
    painter.zoom.value = 4  # 455x256, around the middle: 682, 383
    painter.scroll(0, -96)  # at 2.11 canvas pixels a pixel
    painter.scroll(1, 0)  # a little is at least a pixel
    assert (painter.view.left, painter.view.top) == (683, 337)
    assert (painter.across.value, painter.down.value) == (683, 337)
    painter.scroll(1e5, 1e5)
    assert (painter.view.left, painter.view.top) == (1820 - 455, 1023 - 256)


def test_the_zoom_has_a_place_and_limits(frame):
    painter = MaskPainter(frame)
    assert painter.across.disabled and painter.down.disabled
    whole = painter.picture()
    for zoom, limits in [(2, (910, 511)), (8, (1592, 895))]:
        painter.zoom.value = zoom
        assert (painter.across.max, painter.down.max) == limits and not painter.down.disabled
        assert painter.view.zoom == zoom and painter.picture().shape == whole.shape
    painter.across.value, painter.down.value = 1592, 0
    x, y = painter.to_canvas(1592 + 30.5, 40.5)
    assert (x, y) == pytest.approx((30.5 * 960 / 228, 40.5 * 540 / 128))
    painter.radius.value = 1
    painter.press(x, y), painter.release(x, y)
    assert painter.mask[40, 1622] == 1 and (painter.mask > 0).sum() <= 5
    painter.zoom.value = 1
    assert painter.across.disabled and painter.view.left == painter.view.top == 0
    painter.undo.click()
    assert np.array_equal(painter.picture(), whole)


def test_corners_are_shown_where_they_were_clicked_in_a_zoomed_view(frame):
    painter = MaskPainter(np.zeros_like(frame))
    painter.zoom.value, painter.tool.value = 4, "cut"
    painter.press(400, 300), painter.press(600, 300)
    rows, columns = np.nonzero(painter.picture().any(axis=2))
    assert abs(rows - 300).max() <= 6
    assert (columns.min(), columns.max()) == pytest.approx((395, 605), abs=2)


def test_the_smallest_frame_can_be_zoomed():
    painter = MaskPainter(np.zeros((1, 1, 3), np.uint8))
    for zoom in ZOOMS:
        painter.zoom.value = zoom
        assert painter.picture().shape == (3, 3, 3) and painter.across.disabled


def test_controls_reach_the_drawing(frame):
    painter = MaskPainter(frame)
    red, green = ("rgb({}, {}, {})".format(*PALETTE[3 * i :][:3]) for i in (1, 2))
    assert red in painter.colour.value and painter.label.value == "nothing painted yet"
    painter.object.value, painter.radius.value = 2, 20
    assert green in painter.colour.value
    painter.press(480, 270), painter.release(480, 270)
    count = (painter.mask == 2).sum()
    assert count == pytest.approx(np.pi * 20**2, rel=0.02)
    assert painter.label.value == f"object 2: {count:,} pixels"
    painter.clear.click()
    assert not painter.mask.any()
    painter.undo.click()
    assert (painter.mask == 2).sum() == count
    painter.tool.value = "polygon"
    for corner in [(10, 10), (110, 10), (110, 110)]:
        painter.press(*corner), painter.release(*corner)
    assert len(painter.drawing.corners) == 3
    painter.finish.click()
    assert (painter.mask == 2).sum() == pytest.approx(count + 100 * 100 / 2 * 1.894**2, rel=0.03)
    painter.press(10, 500)
    painter.tool.value, painter.object.value = "brush", 4
    assert len(painter.drawing.corners) == 1
    assert "; polygon for object 4 still open (corners: 1, three are" in painter.label.value
    painter.drop.click()
    assert painter.drawing.corners == [] and "open" not in painter.label.value
    painter.clear.click(), painter.undo.click(), painter.redo.click()
    assert not painter.mask.any()
    assert (painter.object.min, painter.object.max) == (1, 254)


def test_a_mask_to_start_from_is_copied(frame):
    start = np.zeros(frame.shape[:2], np.uint8)
    start[100:200, 100:200] = 3
    painter = MaskPainter(frame, start)
    painter.press(5, 5), painter.release(5, 5)
    assert (start > 0).sum() == 10_000 and (painter.mask == 3).sum() == 10_000
    painter.mask[:] = 9
    assert 9 not in painter.mask
    with pytest.raises(BadInput, match="mask is 1820x1022, frame is 1820x1023"):
        MaskPainter(frame, start[:-1])


def test_save_writes_a_davis_mask_and_replaces_nothing(tmp_path):
    start = np.zeros((41, 63), np.uint8)
    start[5:20, 5:30], start[10:30, 30:50] = 1, 7
    painter = MaskPainter(np.zeros((41, 63, 3), np.uint8), start)
    path = tmp_path / "masks" / "00000.png"
    painter.save(path)
    assert np.array_equal(read_mask(path), start)
    with Image.open(path) as image:
        assert image.mode == "P" and image.getpalette()[: 3 * 8] == PALETTE[: 3 * 8]
    painter.clear.click()
    written = path.read_bytes()
    with pytest.raises(BadInput, match="00000.png: there is such a file already; choose") as said:
        painter.save(str(path))
    assert path.read_bytes() == written and "\n" not in str(said.value)
    with pytest.raises(BadInput, match="already"):
        painter.save(tmp_path)
    painter.tool.value = "polygon"
    painter.press(3, 3)
    with pytest.raises(BadInput, match="a polygon is still open; close it or drop it"):
        painter.save(tmp_path / "b.png")
    painter.drop.click()
    painter.save(tmp_path / "b.png")
    assert not read_mask(tmp_path / "b.png").any()
