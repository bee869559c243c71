"""The painter without a browser: strokes go in as the mouse would send them, ids come out."""

import numpy as np
import pytest

pytest.importorskip("ipycanvas")

from gcvos_mini import render
from gcvos_mini.davis import PALETTE
from gcvos_mini.errors import BadInput
from gcvos_mini.paint import Drawing, MaskPainter, canvas_size, fill_polygon, stroke

HEIGHT, WIDTH = 40, 60


def drawing(**settings):
    new = Drawing(np.zeros((HEIGHT, WIDTH), np.uint8))
    for name, value in settings.items():
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


def test_two_corners_are_no_polygon():
    new = drawing(tool="polygon")
    new.press((10, 10), close=4)
    new.press((11, 10), close=4)  # near the first: a corner, since two close nothing
    assert len(new.corners) == 2
    new.close_polygon()
    assert not new.mask.any() and new.corners == [] and new.before == []


# ---- undo ---------------------------------------------------------------------------------------


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
    new.tool = "polygon"
    for corner in [(5, 30), (25, 30), (15, 38)]:
        new.press(corner)
    new.close_polygon()
    masks.append(new.mask.copy())
    new.clear()
    assert not new.mask.any()
    for mask in reversed(masks):
        new.undo()
        assert np.array_equal(new.mask, mask)
    new.undo()  # nothing left: stays
    assert np.array_equal(new.mask, start) and np.array_equal(start[:5, :5], np.full((5, 5), 4))


def test_undo_takes_a_corner_before_it_takes_a_stroke():
    new = drawing()
    paint(new, (20, 20), (30, 20))
    painted = new.mask.copy()
    new.tool = "polygon"
    new.press((5, 5))
    new.press((9, 5))
    new.undo()
    assert new.corners == [(5, 5)] and np.array_equal(new.mask, painted)


def test_undo_in_the_middle_of_a_stroke_ends_it():
    new = drawing()
    new.press((20, 20))
    new.undo()
    new.drag((30, 20))
    assert not new.mask.any()


# ---- the widget ---------------------------------------------------------------------------------


@pytest.fixture
def frame():
    """Large and odd: its canvas is 0.5274 of its width."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (1023, 1820, 3), np.uint8)


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
    painter.tool.value = "brush"
    assert painter.drawing.corners == []
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
