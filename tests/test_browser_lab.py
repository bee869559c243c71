"""The widgets of explore.py in JupyterLab, moved with mouse and keyboard in a real browser."""

import numpy as np
import pytest
from browser import drag, event_to_picture, fresh_page, image_bytes, slider

pytest.importorskip("ipywidgets")
from gcvos_mini import toy
from gcvos_mini.explore import KeyMapExplorer

SETUP = """
import numpy as np
from gcvos_mini import toy
from gcvos_mini.explore import KeyMapExplorer
frames, masks = map(list, zip(*toy.clip_frames("approach", 144, frames=8)))
keys = np.random.default_rng(0).normal(size=(8, 6, 9, 16)).astype(np.float32)
explorer = KeyMapExplorer(frames, masks, keys)
"""


@pytest.fixture(scope="module")
def opened(chromium, lab):
    """A page with the explorer on show. Errors in its console fail the last test."""
    with fresh_page(chromium) as page:
        lab.run(page, [SETUP, "explorer"])
        page.locator("img.widget-image").wait_for()
        yield page


@pytest.fixture
def page(opened):
    """The same page, with the frame slider back on frame 0."""
    slider(opened, "frame").press("Home")
    opened.get_by_text("frame 0 of 7").wait_for()
    yield opened
    assert opened.errors == []


@pytest.fixture(scope="module")
def twin():
    """The same explorer in this process: what the browser has to show."""
    frames, masks = map(list, zip(*toy.clip_frames("approach", 144, frames=8)))
    keys = np.random.default_rng(0).normal(size=(8, 6, 9, 16)).astype(np.float32)
    return KeyMapExplorer(frames, masks, keys)


def shown(page, label):
    """The bytes of the picture once the label says so."""
    page.get_by_text(label).wait_for()
    page.wait_for_timeout(300)  # label and picture come as two messages
    return image_bytes(page.locator("img.widget-image"))


def test_dragging_a_slider_shows_the_picture_that_belongs_there(page, twin):
    first = shown(page, "frame 0 of 7")
    assert first == twin.image.value
    drag(page, slider(page, "frame"), 1.0)
    twin.frame.value = 7
    last = shown(page, "frame 7 of 7")
    assert last == twin.image.value != first
    slider(page, "channel").press("ArrowRight")
    twin.channel.value = 1
    assert shown(page, "channel 1,") == twin.image.value
    page.get_by_text("by selectivity").click()
    twin.by_selectivity.value = True
    assert shown(page, f"channel {twin.ranking[1]},") == twin.image.value


def test_play_runs_to_the_last_frame_and_changes_the_picture(page):
    first = shown(page, "frame 0 of 7")
    page.locator(".widget-play button").first.click()
    assert shown(page, "frame 7 of 7") != first


def test_time_from_key_press_to_new_picture(page, record_property, capsys):
    times = event_to_picture(page, slider(page, "frame"), page.locator("img.widget-image"))
    assert len(times) == 30
    record_property("median_ms", np.median(times))
    with capsys.disabled():
        print(f"\nkey press to new picture, median of 30: {np.median(times):.0f} ms")
