"""A mask painted with the mouse in JupyterLab reaches the segmenter, and masks come back."""

import base64
import io

import numpy as np
import pytest
from browser import fresh_page
from PIL import Image

pytest.importorskip("ipycanvas")

from gcvos_mini.masks import read_mask
from gcvos_mini.segment import VideoSegmenter, follow_source
from gcvos_mini.show.paint import MaskPainter
from gcvos_mini.sources import first_frame

SETUP = """
from pathlib import Path
import ipywidgets as widgets, torch
from PIL import Image
from gcvos_mini.config import SMOKE
from gcvos_mini.network import Network
from gcvos_mini.show.own_video import VideoRunner
from gcvos_mini.show.paint import MaskPainter
from gcvos_mini.sources import first_frame
from gcvos_mini.toy import clip_frames

clip = Path({folder!r}) / "clip"
clip.mkdir(exist_ok=True)
for t, (frame, _) in enumerate(clip_frames("approach", 101, frames=4)):
    Image.fromarray(frame).save(clip / f"{{t:05d}}.png")
torch.manual_seed(0)
model = Network(SMOKE).eval()
with torch.no_grad():
    model.decoder.predict.weight *= 20  # or its masks are all background
    model.decoder.predict.bias.zero_()
"""
SHOW = """
painter = MaskPainter(first_frame(clip))
go = widgets.Button(description="segment")

def start(button):
    runner = VideoRunner(model, clip, painter.mask, clip.with_name("masks"))
    page.children = (*page.children, runner)

go.on_click(start)
page = widgets.VBox([painter, go])
page
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("video")


@pytest.fixture(scope="module")
def opened(chromium, lab, folder):
    with fresh_page(chromium, viewport={"width": 1280, "height": 1400}) as page:
        lab.run(page, [SETUP.format(folder=str(folder)), SHOW])
        page.locator("canvas").first.wait_for()
        yield page


def at(page, point):
    """Where a point of the canvas is on the page."""
    canvas = page.locator("canvas").first
    box, width = canvas.bounding_box(), canvas.evaluate("c => c.width")
    return tuple(box[side] + v * box["width"] / width for side, v in zip("xy", point))


def drag(page, *points):
    page.mouse.move(*at(page, points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(page, point), steps=5)
    page.mouse.up()


def touch(page, *points):
    """A finger goes down on the canvas, along, and up."""
    finger = page.context.new_cdp_session(page)
    for kind, point in [("touchStart", points[0]), *(("touchMove", p) for p in points[1:])]:
        spot = dict(zip("xy", at(page, point)))
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [spot]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def canvas_pixels(page):
    """What the canvas shows, uint8 (h, w, 3)."""
    encoded = page.locator("canvas").first.evaluate("c => c.toDataURL().split(',')[1]")
    return np.array(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def canvas_width(page):
    """How wide the canvas is on the page."""
    return page.locator("canvas").first.bounding_box()["width"]


def wait_for_picture(page, twin):
    """Until the canvas shows what the twin does: the last strokes may still be on their way."""
    expected = twin.picture().astype(int)
    for _ in range(100):
        shown = canvas_pixels(page)
        if shown.shape == expected.shape and np.abs(shown - expected).mean() < 6:  # JPEG
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"canvas and twin differ by {np.abs(shown - expected).mean():.1f}")


def test_the_painted_mask_reaches_the_segmenter(opened, folder):
    """The same strokes on a painter in this process, to the pixel that the mouse rounds to."""
    namespace = {}
    exec(SETUP.format(folder=str(folder)), namespace)
    clip, model = namespace["clip"], namespace["model"]
    twin = MaskPainter(first_frame(clip))
    assert twin.scale[0] == pytest.approx(3, rel=0.01)  # 180x101 on 540x303

    drag(opened, (100, 100), (250, 100), (250, 180))
    twin.press(100, 100), twin.drag(250, 100), twin.release(250, 180)
    opened.get_by_label("object").fill("2")
    opened.get_by_label("object").press("Enter")
    opened.get_by_role("button", name="polygon", exact=True).click()
    twin.object.value, twin.tool.value = 2, "polygon"
    corners = [(300, 60), (500, 60), (500, 250), (320, 200), (302, 62)]  # the last closes it
    for corner in corners:
        opened.mouse.click(*at(opened, corner))
        twin.press(*corner)
    opened.get_by_text("object 2: ").wait_for()
    opened.get_by_role("button", name="eraser").click()
    drag(opened, (10, 150), (530, 150))
    opened.get_by_role("button", name="undo").click()
    drag(opened, (400, 30), (400, 90))
    twin.tool.value = "eraser"
    twin.press(400, 30), twin.release(400, 90)
    wait_for_picture(opened, twin)

    opened.get_by_role("button", name="4x").click()
    opened.mouse.move(*at(opened, (270, 150)))
    opened.mouse.wheel(0, -96)  # the view moves up by 8 pixels of the frame
    drag(opened, (60, 40), (300, 220), (480, 60))
    twin.zoom.value, twin.tool.value = 4, "eraser"
    twin.scroll(0, -96)
    twin.press(60, 40), twin.drag(300, 220), twin.release(480, 60)
    wait_for_picture(opened, twin)
    opened.screenshot(path=folder / "zoomed.png")
    opened.get_by_role("button", name="cut", exact=True).click()
    for corner in [(100, 100), (200, 100)]:
        opened.mouse.click(*at(opened, corner))
    opened.get_by_text("cut still open (corners: 2").wait_for()
    opened.keyboard.press("Escape")
    opened.get_by_text("cut still open").wait_for(state="detached")

    page_size = opened.viewport_size
    opened.set_viewport_size({"width": 700, "height": 1400})
    opened.get_by_role("button", name="1x").click()
    opened.get_by_role("button", name="brush").click()
    assert canvas_width(opened) < 400  # all of it is seen, smaller
    touch(opened, (60, 250), (160, 250), (160, 280))
    twin.zoom.value, twin.tool.value = 1, "brush"
    twin.press(60, 250), twin.drag(160, 250), twin.release(160, 280)
    wait_for_picture(opened, twin)
    opened.screenshot(path=folder / "narrow.png")
    opened.set_viewport_size(page_size)
    opened.screenshot(path=folder / "painted.png")

    opened.get_by_role("button", name="segment").click()
    opened.get_by_text("frame 0, 1 of 4 done").wait_for()
    first = read_mask(folder / "masks" / "00000.png")
    assert set(np.unique(first)) == {0, 1, 2}
    for i in (1, 2):
        one, other = first == i, twin.mask == i
        assert (one & other).sum() / (one | other).sum() > 0.95, f"object {i}"
    opened.locator("button.widget-toggle-button", has_text="run").click()
    opened.get_by_text("frame 3, 4 of 4 done").wait_for()
    opened.screenshot(path=folder / "segmented.png")
    for name, _, mask in follow_source(VideoSegmenter(model), clip, first):
        saved = read_mask(folder / "masks" / f"{name}.png")
        assert np.array_equal(saved, mask)
    assert saved.any() and opened.errors == []

    opened.get_by_role("button", name="save GIF").click()
    opened.get_by_text("4 frames saved in").wait_for()
    with Image.open(folder / "masks-overlay.gif") as gif:
        assert gif.size == (180, 101)
