"""The widgets of explore.py in JupyterLab and Notebook 7, moved by a mouse in a real browser.

Each picture is compared, byte for byte, with that of a twin in this process: the same code moved
by hand to where the browser's reader went.
"""

from statistics import median
from types import SimpleNamespace

import pytest
from browser import drag, event_to_picture, fresh_page, image_bytes, slider

pytest.importorskip("ipywidgets")

SETUP = """
import numpy as np, torch
from gcvos_mini.config import SMOKE
from gcvos_mini.network import Network
from gcvos_mini.record import Record, watch
from gcvos_mini.show.explore import GhostLab, KeyMapExplorer, ReadExplorer
from gcvos_mini.toy import clip_frames

rng = np.random.default_rng(0)
frames, masks = map(np.stack, zip(*clip_frames("approach", 144, frames=8)))
keys, values, queries = (rng.normal(size=shape).astype(np.float32)
                         for shape in [(8, 1, 6, 9, 16), (8, 1, 2, 9, 16), (8, 6, 9, 16)])
record = Record(frames, masks, [1], keys, values, queries, "mean", 0.5)
maps = KeyMapExplorer({"approach": (frames, masks, keys[:, 0]),
                       "first half": (frames[:4], masks[:4], keys[:4, 0])})
read = ReadExplorer(record)
torch.manual_seed(0)
model = Network(SMOKE).eval()
ghost = GhostLab(model, watch(model, frames[:4, :64, :64], masks[0, 40:104, 80:144]))
"""


@pytest.fixture(scope="module")
def twin(opened):
    """The widgets again, in this process, one set for each page: .maps, .read and .ghost."""
    names = {}
    exec(SETUP, names)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module", params=["lab/tree", "notebooks"], ids=["lab", "notebook7"])
def opened(chromium, lab, request):
    if request.param == "notebooks":
        pytest.importorskip("notebook")
    with fresh_page(chromium, viewport={"width": 1280, "height": 1000}) as page:
        lab.run(page, [SETUP, "maps", "read", "ghost"], at=request.param)
        if request.param == "notebooks":
            page.errors.clear()  # Notebook 7.6 has some of its own as it loads; later ones count
        yield page


@pytest.fixture
def cell(opened):
    """Where a widget is on the page, which several tests share: cell("maps")."""

    def find(name):
        number = ["maps", "read", "ghost"].index(name) + 1
        found = opened.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea")
        found.locator("img.widget-image").wait_for()
        found.scroll_into_view_if_needed()
        return found

    yield find
    assert opened.errors == []


def shown(cell, widget):
    """Wait for the twin's label, then for its picture; fails with the bytes if another stays."""
    cell.get_by_text(widget.label.value, exact=True).wait_for()
    image = cell.locator("img.widget-image")
    for _ in range(100):  # label and picture come as two messages
        if image_bytes(image) == widget.image.value:
            return True
        cell.page.wait_for_timeout(100)
    return False


def test_moving_a_control_shows_the_picture_that_belongs_there(opened, cell, twin):
    maps, here = twin.maps, cell("maps")
    assert shown(here, maps)
    drag(opened, slider(here, "frame"), 1.0)
    maps.frame.value = 7
    assert shown(here, maps)
    drag(opened, slider(here, "channel"), 1 / 5)
    maps.channel.value = 1
    assert shown(here, maps)
    here.get_by_label("sorted by").select_option("object")
    maps.order.value = "object"
    assert shown(here, maps)
    here.get_by_role("button", name="pin").click()
    maps.pin.click()
    assert shown(here, maps)
    here.get_by_label("clip").select_option("first half")
    maps.clip.value = "first half"
    assert shown(here, maps)
    here.get_by_label("clip").select_option("approach")
    maps.clip.value = "approach"
    assert shown(here, maps)


def test_play_runs_to_the_last_frame(opened, cell, twin):
    here = cell("maps")
    drag(opened, slider(here, "frame"), 0.0)
    twin.maps.frame.value = 0
    assert shown(here, twin.maps)
    here.locator(".widget-play button").first.click()
    twin.maps.frame.value = 7
    assert shown(here, twin.maps)


def test_time_from_key_press_to_new_picture(opened, cell, record_property, capsys):
    here = cell("maps")
    drag(opened, slider(here, "frame"), 0.0)
    here.get_by_text("frame 0 of 7").wait_for()
    times = event_to_picture(slider(here, "frame"), here.locator("img.widget-image"))
    assert len(times) == 30
    record_property("median_ms", median(times))
    with capsys.disabled():
        print(f"\nkey press to new picture, median of 30: {median(times):.0f} ms")


def test_a_click_on_the_frame_changes_the_heat_maps_and_the_ring(opened, cell, twin):
    here, read = cell("read"), twin.read
    assert shown(here, read)
    canvas = here.locator("canvas").first
    before, heat_maps = canvas.evaluate("c => c.toDataURL()"), read.image.value
    scale = canvas.bounding_box()["width"] / canvas.evaluate("c => c.width")  # as laid out
    canvas.click(position={"x": 60 * scale, "y": 200 * scale})
    read.click(60, 200)
    assert read.image.value != heat_maps and shown(here, read)
    assert canvas.evaluate("c => c.toDataURL()") != before
    drag(opened, slider(here, "frame"), 5 / 6)
    read.frame.value = 6
    assert shown(here, read)


def test_a_past_frame_with_its_mask_inside_out_changes_the_mask_and_a_control_does_not(cell, twin):
    here = cell("ghost")
    for edit in ("written twice, taken out once", "inside out"):
        here.get_by_label("are").select_option(edit)
        twin.ghost.edit.value = edit
        assert shown(here, twin.ghost)
