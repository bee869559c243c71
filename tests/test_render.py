"""Rendering: every pixel is where and what the docstrings say, without looking at it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gcvos_mini import complexity
from gcvos_mini.equality import Setting, Swapped, equivalence
from gcvos_mini.keymaps import cell_at
from gcvos_mini.masks import PALETTE
from gcvos_mini.show import labs, page, render

COLOURS = np.array(PALETTE).reshape(256, 3)


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


@pytest.fixture
def mask():
    """Two objects that touch at column 20, one of them at the left edge of the image."""
    mask = np.zeros((24, 40), np.uint8)
    mask[6:18, 0:20], mask[6:18, 20:30] = 1, 2
    return mask


def test_overlay_tints_objects_outlines_them_and_leaves_the_background(frame, mask):
    drawn = render.overlay(frame, mask, alpha=0.25)
    assert (drawn[mask == 0] == frame[mask == 0]).all()
    for y, x, i in [(10, 5, 1), (10, 25, 2), (10, 0, 1)]:  # inside; the image's edge is no outline
        expected = 0.75 * frame[y, x] + 0.25 * COLOURS[i]
        assert np.abs(drawn[y, x] - expected).max() <= 1
    for y, x, i in [(6, 5, 1), (17, 5, 1), (10, 19, 1), (10, 20, 2), (10, 29, 2)]:
        assert (drawn[y, x] == COLOURS[i]).all()


def test_overlay_returns_a_new_image(frame, mask):
    kept = frame.copy()
    drawn = render.overlay(frame, mask)
    assert drawn.dtype == np.uint8 and drawn.shape == frame.shape
    assert (frame == kept).all() and not np.shares_memory(frame, drawn)
    assert (render.outline(frame, mask) != frame).any() and (frame == kept).all()
    assert (render.overlay(frame, 0 * mask) == frame).all()


def test_sizes_that_differ_are_refused(frame, mask):
    for wrong in (mask[1:], mask[:, 1:]):
        with pytest.raises(ValueError, match="differ in size"):
            render.overlay(frame, wrong)
        with pytest.raises(ValueError, match="differ in size"):
            render.outline(frame, wrong)
    with pytest.raises(ValueError, match="differ in size"):
        render.blend(frame, frame[1:], 0.5)


def brightness(image):
    return image.astype(float) @ [0.299, 0.587, 0.114]


def test_key_map_is_brighter_where_the_key_is_larger():
    ramp = np.linspace(-3, 5, 256, dtype=np.float32)[None]
    drawn = render.key_map(ramp, (256, 1))
    assert (np.diff(brightness(drawn[0])) >= 0).all()
    assert brightness(drawn[0, 0]) < 5 and brightness(drawn[0, -1]) > 240


def test_key_map_centred_is_white_at_zero_blue_below_and_red_above():
    signed = np.array([[-4.0, -1.0, 0.0, 1.0, 2.0]])
    negative, small, zero, _, positive = render.key_map(signed, (5, 1), centred=True)[0].astype(int)
    assert zero.min() > 240
    assert negative[2] > negative[0] and positive[0] > positive[2]
    assert brightness(negative) < brightness(small)  # one scale on both sides of zero
    assert brightness(negative) < brightness(positive)


def test_key_map_with_limits_compares_maps_and_clips():
    weak, strong = np.full((2, 2), 0.25), np.full((2, 2), 9.0)
    images = [render.key_map(x, (2, 2), limits=(0, 1)) for x in (weak, strong)]
    assert brightness(images[0]).max() < brightness(images[1]).min()
    assert (images[1] == render.key_map(np.array([[0.0, 1.0]]), (2, 1))[0, 1]).all()


def test_flat_and_unusable_key_maps():
    assert render.key_map(np.zeros((3, 3)), (9, 9)).max() <= 4  # inferno starts at 000004
    assert render.key_map(np.zeros((3, 3)), (9, 9), centred=True).min() > 240
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            render.key_map(np.array([[0, bad]]), (4, 2))


def test_key_map_cells_lie_on_their_pixels_also_when_the_frame_was_padded():
    """A 40x24 frame is padded to 48x32: 3x2 cells of 16 pixels, the last ones cut off."""
    channel = np.zeros((2, 3))
    channel[0, 1] = 1
    drawn = brightness(render.key_map(channel, (48, 32)))
    cropped = brightness(render.key_map(channel, (40, 32)))
    assert cropped.shape == (32, 40) and (cropped == drawn[:, :40]).all()
    assert set(np.argwhere(cropped == cropped.max())[:, 1]) <= set(range(22, 26))  # around 24


def test_blend_mixes_linearly(frame):
    other = np.full_like(frame, 200)
    assert (render.blend(frame, other, 0) == frame).all()
    assert (render.blend(frame, other, 1) == other).all()
    assert np.abs(render.blend(frame, other, 0.25) - (0.75 * frame + 50)).max() <= 1


def test_contact_sheet_puts_every_image_in_its_cell():
    images = [np.full((10 + i, 20, 3), 30 * i, np.uint8) for i in range(5)]
    sheet = render.contact_sheet(images, columns=2, pad=3)
    assert sheet.shape == (3 * (14 + 3) + 3, 2 * (20 + 3) + 3, 3)
    for i, image in enumerate(images):
        y, x = 3 + i // 2 * 17, 3 + i % 2 * 23
        assert (sheet[y : y + 10 + i, x : x + 20] == image).all()
    assert (sheet[:3] == 255).all() and (sheet[-10:, 30:] == 255).all()


def test_contact_sheet_writes_each_label_under_its_image():
    images = [np.zeros((10, 60, 3), np.uint8)] * 2
    plain = render.contact_sheet(images, 2, ["", ""])
    sheet = render.contact_sheet(images, 2, ["", "frame 7"])
    changed = np.argwhere((sheet != plain).any(-1))
    assert len(changed) and changed[:, 0].min() >= 4 + 10 and changed[:, 1].min() >= 4 + 60 + 4
    wide = render.contact_sheet(images, 2, ["a label much wider than its image", ""])
    assert (wide[:, 4 + 60 :] == plain[:, 4 + 60 :]).all() and (wide != plain).any()
    with pytest.raises(ValueError, match="1 labels for 2 images"):
        render.contact_sheet(images, 2, ["one"])
    with pytest.raises(ValueError, match="no images"):
        render.contact_sheet([], 2)


@given(length=st.integers(1, 200), count=st.integers(2, 12))
def test_spread_keeps_both_ends_and_is_even(length, count):
    at = render.spread(length, count)
    assert len(at) == min(length, count)
    assert at[0] == 0 and at[-1] == length - 1
    steps = np.diff(at)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_strip_shows_the_frames_it_names():
    frames = [np.full((8, 60, 3), 20 * t, np.uint8) for t in range(11)]
    masks = [np.zeros((8, 60), np.uint8)] * 11
    row = render.strip(frames, masks, count=3, pad=4)
    assert [row[8, 30 + i * 64, 0] for i in range(3)] == [0, 100, 200]


def test_render_view_shows_mask_then_channels(frame, mask):
    channel = np.zeros((12, 20))
    channel[:, 15:] = 1.0
    one = render.render_view(frame, mask, [(channel, (0, 1))], alpha=1.0)
    assert one.shape == (24 + 8, 2 * 44 + 4, 3)
    assert (one[4:28, 4:44] == render.overlay(frame, mask, 1.0)).all()
    right = one[4:28, 48:88]
    assert right[2, 38, 0] > right[2, 38, 2] and right[2, 2].min() > 240
    assert (right[10, 29] == COLOURS[2]).all()  # the object's outline
    three = render.render_view(frame, mask, [(channel, (0, 1)), (-channel, (-1, 0))] * 2, 1.0)
    assert three.shape == (2 * 28 + 4, 3 * 44 + 4, 3)
    blue = three[4:28, 92:132]
    assert blue[2, 38, 2] > blue[2, 38, 0]


def test_below_the_threshold_the_frame_shows(frame, mask):
    channel = np.tile(np.linspace(-1, 1, 20), (12, 1))
    drawn = render.render_channel(frame, channel, 0 * mask, 1.0, limits=(-1, 1), threshold=0.5)
    kept = (drawn == frame).all(axis=(0, 2))
    assert kept[11:29].all() and not kept[:9].any() and not kept[31:].any()
    # the map is over a grey frame: at half opacity a red pixel's own red does not show
    red, blank = np.zeros_like(frame), np.zeros((12, 20))
    red[..., 0] = 200
    half = render.render_channel(red, blank, 0 * mask, 0.5, limits=(-1, 1))
    assert (half.max(axis=2) - half.min(axis=2)).max() <= 1
    # the threshold is a share of the limits, not of the map's own range
    assert (render.render_channel(frame, channel, 0 * mask, 1.0, (-4, 4), 0.5) == frame).all()


@given(st.integers(1, 6), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_a_ring_marks_the_cell_that_was_clicked(rows, columns, data):
    size = 16 * columns, 16 * rows - data.draw(st.integers(0, 9))  # padded at the bottom
    x, y = (data.draw(st.integers(0, n - 1)) for n in size)
    cell = cell_at((x, y), size, (columns, rows))
    assert cell[0] * 16 <= y < cell[0] * 16 + 16 and cell[1] * 16 <= x < cell[1] * 16 + 16
    image = np.full((size[1], size[0], 3), 128, np.uint8)
    ys, xs = np.nonzero((render.mark_cell(image, cell, (columns, rows)) != image).any(axis=2))
    middle = 16 * cell[1] + 8, 16 * cell[0] + 8
    if max(xs) < size[0] - 1 and max(ys) < size[1] - 1:  # not cut off by the edge
        assert abs((min(xs) + max(xs)) / 2 - middle[0]) <= 1
        assert abs((min(ys) + max(ys)) / 2 - middle[1]) <= 1


def test_bars_go_up_and_down_from_zero():
    drawn = labs.bars([1.0, -1.0, 0.5], (38, 24))
    blue, red = ((drawn == tuple(bytes.fromhex(c))).all(axis=2) for c in ("2166ac", "b2182b"))
    assert blue[:, :14].sum(axis=0).max() == 8  # of 8 rows above zero, without the line
    assert red[:, 14:24].any() and not red[:12].any() and not blue[13:].any()
    assert 3 <= blue[:, 24:].sum(axis=0).max() <= 4
    assert (labs.bars([0.0], (38, 24)) != 255).any(axis=2).sum() == 30  # the line alone


def test_bars_say_the_highest_and_the_lowest_value_where_letters_fit():
    one, ten, only = (labs.bars(values, (200, 80)) for values in ([1, -1], [10, -1], [1, 1]))
    dark = [(image[:, :40].max(axis=2) < 80) for image in (one, ten, only)]  # ink, not a bar
    assert dark[0][:24].any() and dark[0][-24:].any()
    assert dark[1][:24].sum() > dark[0][:24].sum()  # one more digit
    assert dark[2][:24].any() and not dark[2][-24:].any()


def test_key_sheet_has_a_row_for_the_frames_and_one_per_channel(frame):
    keys = np.zeros((2, 3, 12, 20), np.float32)
    keys[1, 0], keys[0, 2], keys[1, 2] = -7.0, 0.5, 1.0
    sheet = render.key_sheet([frame, 255 - frame], keys, [0, 2], centred=False)
    tall = 24 + 4 + 20
    assert sheet.shape == (3 * tall + 4, 2 * 44 + 4, 3)
    assert (sheet[4:28, 48:88] == 255 - frame).all()
    channel_0, channel_2 = sheet[4 + tall : 28 + tall], sheet[4 + 2 * tall : 28 + 2 * tall]
    assert channel_0[5, 10].tolist() == [252, 255, 164] and channel_0[5, 60].max() <= 4
    # One scale along the row, the channel's own: its maximum is the table's last colour.
    assert channel_2[5, 60].tolist() == [252, 255, 164] and channel_2[5, 10].max() <= 4
    with pytest.raises(ValueError, match="1 frames and 2 keys"):
        render.key_sheet([frame], keys, [0])


def test_jpeg_decodes_to_the_image():
    ramp = np.tile(np.arange(0, 200, dtype=np.uint8)[None, :, None], (50, 1, 3))
    with Image.open(io.BytesIO(render.to_jpeg(ramp))) as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - ramp).max() < 8
    assert len(render.to_jpeg(ramp, quality=30)) < len(render.to_jpeg(ramp, quality=95))


BLUE, RED = (0x21, 0x66, 0xAC), (0xB2, 0x18, 0x2B)  # the first two lines of a chart


def drawn_line(image, colour):
    """Centres (x, y) of a colour's pixels inside the chart's box, column by column."""
    inside = np.abs(image.astype(int) - colour).max(-1) < 40
    inside[:41] = False  # the names above the box
    columns = np.flatnonzero(inside.any(0))
    return {int(x): np.flatnonzero(inside[:, x]).mean() for x in columns}


def test_curves_rise_from_zero_to_the_highest_value():
    """A 216x120 chart of two lines: its box has x from 8 to 208 and y from 40 (top) to 100 (0)."""
    image = labs.curves({"up": np.arange(1, 11), "flat": [5.0] * 10}, (216, 120), length=10)
    assert image.shape == (120, 216, 3) and image.dtype == np.uint8
    up, flat = drawn_line(image, BLUE), drawn_line(image, RED)
    assert all(y == pytest.approx(70, abs=1) for y in flat.values())
    for frame in (2, 7, 9):
        x = 8 + 20 * frame
        assert up[x] == pytest.approx(100 - 60 * frame / 10, abs=1.5)
    assert min(up) == pytest.approx(28, abs=2)  # frame 1
    assert max(up) == pytest.approx(208, abs=2)
    early = labs.curves({"up": np.arange(1, 6), "flat": [5.0] * 5}, (216, 120), length=10)
    assert max(drawn_line(early, RED)) == pytest.approx(108, abs=2)  # half of the video


def test_a_spike_does_not_flatten_a_chart():
    calm = [10.0] * 40
    spiky = calm[:20] + [1e6] + calm[21:]
    line = drawn_line(labs.curves({"ms": spiky}, (216, 120), 40), BLUE)  # the box: 24 to 100
    assert line[60] == pytest.approx(100 - 76 * 10 / 15, abs=1)  # the edge is at 1.5 times 10
    labs.curves({"none yet": [0, 0]}, (216, 120), 40)  # nothing to scale by


def test_differing_marks_the_pixels_where_masks_disagree(frame, mask):
    other, third = mask.copy(), mask.copy()
    other[0, 3], third[20, 39] = 1, 2
    drawn = labs.differing(frame, [mask, other, third])
    red = (drawn == (220, 0, 0)).all(-1)
    assert np.argwhere(red).tolist() == [[0, 3], [20, 39]]
    faint = drawn[~red]
    assert (faint[:, 0] == faint[:, 1]).all() and faint.min() >= 0.6 * 255 - 1


@pytest.fixture
def history(frame, mask):
    other = mask.copy()
    other[0, :5] = 1

    def swapped(index):
        costs = {"gc": 1.0, "stm": index}
        return Swapped(index, frame, {"gc": mask, "stm": other}, costs, costs, costs,
                       {"gc": 1.0, "stm": 1 - 5 / mask.size}, costs)  # fmt: skip

    return [swapped(index) for index in (1, 2, 3)]


def test_render_swap_shows_both_masks_what_differs_and_three_charts(history, frame, mask):
    image = labs.render_swap(history, length=9, panel=80)  # frames are 24x40: twice as large
    tall = 150 + 4 + 20
    assert image.shape == (3 * tall + 4, 2 * 84 + 4, 3)
    corners = [(4 + tall * row, 4 + 84 * column) for row in range(3) for column in range(2)]
    cells = [image[top : top + 48, left : left + 80] for top, left in corners[:3]]
    masks = history[-1].masks
    for cell, name in zip(cells, masks):
        assert (cell[::2, ::2] == render.overlay(frame, masks[name])).all()
    assert (cells[2][::2, ::2] == labs.differing(frame, list(masks.values()))).all()
    for (top, left), unit in zip(corners[3:], [1000, 1000, 1 / 1024]):  # ms, ms, KiB
        stm = [1, 2, 3] if unit < 1 else [1, 1.5, 2]  # times are medians of up to five
        series = {"gc": [unit] * 3, "stm": [unit * value for value in stm]}
        chart = image[top : top + 150, left : left + 80]
        assert (chart == labs.curves(series, (80, 150), 8)).all()


@pytest.mark.parametrize("dims", [(64, 256), (128, 512), (8, 8)])
def test_break_even_line_lies_where_the_colours_turn(dims, monkeypatch):
    """Blue where the context's order is cheaper: exactly the cells above or right of the line."""
    figures = []

    class Kept(labs.Figure):
        def __init__(self, **options):
            super().__init__(**options)
            figures.append(self)

    monkeypatch.setattr(labs, "Figure", Kept)
    setting = Setting(5, 3, 7, *dims, "float16")
    labs.render_equivalence(setting, equivalence(setting))
    axes = figures[0].subfigs[0].axes[0]
    mesh, contour = axes.collections[0], axes.collections[1]
    pixels, frames = np.geomspace(1, 1024, 160), np.geomspace(1, 64, 100)
    line = np.array([complexity.break_even_frames(1, n, *dims) for n in pixels])
    cheaper = frames[:, None] > line
    assert ((mesh.get_array().reshape(100, 160) > 0) == cheaper).all()
    assert 0.1 < cheaper.mean() < 1
    at_once, stream, _, dot = axes.lines
    for drawn, formula in [(at_once, complexity.break_even_frames),
                           (stream, complexity.break_even_frames_running)]:  # fmt: skip
        x, y = drawn.get_data()
        assert y[1234] == formula(1, x[1234], *dims) and x[-1] == pytest.approx(1024)
    assert np.ravel(dot.get_data()).tolist() == [21, 5]
    for x, y in contour.get_paths()[0].vertices:
        context, similarity = complexity.counted_bytes(x, 1, y, *dims, 2)
        assert similarity == pytest.approx(context, rel=0.05)


def test_render_equivalence_redraws_with_the_setting_and_the_time():
    settings = Setting(), Setting(frames=9), Setting(dtype="bfloat16")
    pictures = [labs.render_equivalence(s, equivalence(s)) for s in settings]
    pictures.append(labs.render_equivalence(Setting(), equivalence(Setting()), (0.001, 0.002)))
    assert all(p.shape == (860, 720, 3) and p.dtype == np.uint8 for p in pictures)
    assert len({p.tobytes() for p in pictures}) == 4
    timed = np.argwhere((pictures[0] != pictures[3]).any(-1))
    assert timed[:, 0].min() > 750  # the last of the bars, no other


def test_a_movie_keeps_a_rare_colour_of_any_frame():
    """Blue that is only in the second of eight frames, in 1 % of it, as its legend names it."""
    rng = np.random.default_rng(0)
    grey = np.linspace(90, 240, 80 * 120).reshape(80, 120, 1) + rng.normal(0, 4, (80, 120, 1))
    frames = [np.repeat(grey, 3, axis=2).clip(0, 255).astype(np.uint8) for _ in range(8)]
    for frame in frames:
        frame[10:50, 10:50] = 60, 155, 125
    frames[1][60:70, 60:70] = 50, 110, 190
    stored = Image.open(io.BytesIO(page.movie(frames, "words", colours=32).data))
    stored.seek(1)
    blue = np.asarray(stored.convert("RGB"), int)[60:70, 60:70]
    assert np.abs(blue - (50, 110, 190)).max() < 25
