"""A mask painted with the mouse in JupyterLab reaches the segmenter, and masks come back."""

import base64
import io

import numpy as np
import pytest
from browser import fresh_page
from PIL import Image

pytest.importorskip("ipycanvas")

from gcvos_mini.davis import read_mask
from gcvos_mini.own_video import first_frame
from gcvos_mini.paint import MaskPainter
from gcvos_mini.segment import VideoSegmenter, video_frames

SETUP = """
from pathlib import Path
import ipywidgets as widgets, torch
from PIL import Image
from gcvos_mini import own_video, toy
from gcvos_mini.config import SMOKE
from gcvos_mini.network import Network
from gcvos_mini.paint import MaskPainter

clip = Path({folder!r}) / "clip"
clip.mkdir(exist_ok=True)
for t, (frame, _) in enumerate(toy.clip_frames("approach", 101, frames=4)):
    Image.fromarray(frame).save(clip / f"{{t:05d}}.png")
torch.manual_seed(0)
model = Network(SMOKE).eval()
with torch.no_grad():
    model.decoder.predict.weight *= 20  # or its masks are all background
    model.decoder.predict.bias.zero_()
"""
SHOW = """
painter = MaskPainter(own_video.first_frame(clip))
go = widgets.Button(description="segment")

def start(button):
    runner = own_video.VideoRunner(model, clip, painter.mask, clip.with_name("masks"))
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


def canvas_pixels(page):
    """What the canvas shows, uint8 (h, w, 3)."""
    encoded = page.locator("canvas").first.evaluate("c => c.toDataURL().split(',')[1]")
    return np.array(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


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
    expected = twin.picture().astype(int)
    for _ in range(100):  # the last strokes may still be on their way
        shown = canvas_pixels(opened)
        if np.abs(shown - expected).mean() < 6:  # JPEG
            break
        opened.wait_for_timeout(100)
    opened.screenshot(path=folder / "painted.png")
    assert shown.shape == expected.shape and np.abs(shown - expected).mean() < 6

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
    segmenter = VideoSegmenter(model)
    for t, (name, frame) in enumerate(video_frames(clip)):
        mask = segmenter.step(frame) if t else segmenter.start(frame, first)
        saved = read_mask(folder / "masks" / f"{name}.png")
        assert np.array_equal(saved, mask if t else first)
    assert saved.any() and opened.errors == []

    opened.get_by_role("button", name="save GIF").click()
    opened.get_by_text("4 frames saved in").wait_for()
    with Image.open(folder / "masks-overlay.gif") as gif:
        assert gif.size == (180, 101)
