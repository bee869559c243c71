"""The explorer without a browser: move a slider, look at the bytes and the label."""

import asyncio
import io

import numpy as np
import pytest

pytest.importorskip("ipywidgets")
import torch
from PIL import Image

from gcvos_mini import equality
from gcvos_mini.config import SMOKE
from gcvos_mini.equality import Setting
from gcvos_mini.errors import BadInput
from gcvos_mini.network import Network
from gcvos_mini.record import watch
from gcvos_mini.show import labs, render
from gcvos_mini.show.explore import EquivalenceLab, GhostLab, KeyMapExplorer, LiveSwap, ReadExplorer
from gcvos_mini.toy import clip_frames


@pytest.fixture
def clip():
    """Three frames, one object that moves; channel 2 lights up on it, channel 1 around it."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(3)]
    masks = [np.zeros((32, 48), np.uint8) for _ in range(3)]
    keys = rng.normal(0, 0.01, (3, 3, 2, 3)).astype(np.float32)
    for t, mask in enumerate(masks):
        mask[:16, 16 * t : 16 * t + 16] = 1
        keys[t, 2, 0, t] = -5.0 * (t + 1)
        keys[t, 1] = -30.0
        keys[t, 1, 0, t] = 0.0
    return frames, masks, keys


def test_each_control_redraws_the_image(clip):
    explorer = KeyMapExplorer({"a": clip, "b": [part[::-1] for part in clip]})
    seen = {explorer.image.value}
    for control, value in [("frame", 2), ("channel", 1), ("alpha", 0.2), ("order", "object"),
                           ("threshold", 0.9), ("clip", "b")]:  # fmt: skip
        getattr(explorer, control).value = value
        assert explorer.image.value not in seen, control
        seen.add(explorer.image.value)


def test_image_and_label_show_the_frame_and_channel_chosen(clip):
    frames, masks, keys = clip
    explorer = KeyMapExplorer({"a": clip})
    explorer.frame.value, explorer.channel.value, explorer.alpha.value = 1, 2, 0.5
    limits = keys[:, 2].min(), keys[:, 2].max()
    expected = render.render_view(frames[1], masks[1], [(keys[1, 2], limits)], 0.5,
                                  labels=["frame 1", "channel 2, object 1.00"])  # fmt: skip
    assert explorer.image.value == render.to_jpeg(expected)
    assert explorer.label.value.startswith("frame 1 of 2, channel 2, selectivity 1.00")


def test_play_and_slider_move_together(clip):
    explorer = KeyMapExplorer({"a": clip})
    assert explorer.play.max == explorer.frame.max == 2
    assert explorer.play.interval <= 50  # 20 frames a second
    explorer.play.value = 2
    assert explorer.frame.value == 2 and explorer.label.value.startswith("frame 2 of 2")
    explorer.frame.value = 1
    assert explorer.play.value == 1


def test_sorting_puts_the_best_channel_for_the_region_first(clip):
    explorer = KeyMapExplorer({"a": clip})
    for region, first, last in [("object", 2, 1), ("background", 1, 2)]:
        explorer.order.value = region
        explorer.channel.value = 0
        assert explorer.shown_channel == first and f"channel {first}," in explorer.label.value
        explorer.channel.value = 2
        assert explorer.shown_channel == last, region
    assert explorer.selectivity("object")[[2, 1]].tolist() == [1, 0]


def test_each_clip_has_scores_of_its_own(clip):
    frames, masks, keys = clip
    explorer = KeyMapExplorer({"a": clip, "b": (frames, masks, keys[:, ::-1])})
    explorer.order.value = "object"
    assert explorer.shown_channel == 2
    explorer.clip.value = "b"
    assert explorer.shown_channel == 0
    explorer.clip.value = "a"
    assert explorer.shown_channel == 2


def test_pinned_channels_stay_beside_the_one_on_show(clip):
    explorer = KeyMapExplorer({"a": clip})
    width = Image.open(io.BytesIO(explorer.image.value)).width
    explorer.channel.value = 2
    explorer.pin.click()
    assert explorer.pinned == [2] and explorer.pin.description == "unpin"
    explorer.channel.value = 0
    assert Image.open(io.BytesIO(explorer.image.value)).width > width
    explorer.channel.value = 2
    explorer.pin.click()
    assert explorer.pinned == [] and explorer.pin.description == "pin"


def test_a_shorter_clip_takes_the_sliders_along(clip):
    short = [part[:1] for part in clip[:2]] + [clip[2][:1, :2]]
    explorer = KeyMapExplorer({"long": clip, "short": short})
    explorer.frame.value = explorer.channel.value = 2
    explorer.pin.click()
    explorer.clip.value = "short"
    assert explorer.frame.value == explorer.frame.max == explorer.play.max == 0
    assert explorer.channel.max == 1 and explorer.pinned == []
    explorer.clip.value = "long"
    assert explorer.frame.max == explorer.play.max == 2 and explorer.channel.max == 2


def test_a_fault_while_drawing_reaches_the_caller(clip):
    explorer = KeyMapExplorer({"a": clip})
    clip[0][1] = np.zeros((8, 8, 3), np.uint8)  # another size than its mask
    with pytest.raises(ValueError, match="differ in size"):
        explorer.frame.value = 1


def test_clips_that_cannot_be_shown_are_refused(clip):
    frames, masks, keys = clip
    with pytest.raises(ValueError, match="a: 3 frames, 2 masks and 3 keys"):
        KeyMapExplorer({"a": (frames, masks[:2], keys)})
    with pytest.raises(ValueError, match="no clips"):
        KeyMapExplorer({})


@pytest.fixture(scope="module")
def watched():
    """A fresh network, a record of two objects in four frames, and their true masks."""
    torch.manual_seed(0)
    network = Network(SMOKE).eval()
    frames, masks = map(np.stack, zip(*clip_frames("two-friends", 48, frames=4)))
    return network, watch(network, frames, masks[0]), masks


def test_a_click_asks_for_the_cell_under_it(watched):
    explorer = ReadExplorer(watched[1])
    zoom, seen = explorer.zoom, explorer.image.value
    assert explorer.canvas.width == zoom * watched[1].frames.shape[2]
    explorer.click(zoom * 33.0, zoom * 17.0)  # cells have 16 pixels
    assert explorer.cell == (1, 2) and "row 1, column 2" in explorer.label.value
    expected = labs.render_read(watched[1], 3, (1, 2), 0)
    assert explorer.image.value == render.to_jpeg(expected) != seen
    explorer.object.value = 1
    assert explorer.image.value == render.to_jpeg(labs.render_read(watched[1], 3, (1, 2), 1))
    explorer.frame.value = 1
    assert explorer.image.value == render.to_jpeg(labs.render_read(watched[1], 1, (1, 2), 1))


def test_the_canvas_hands_its_clicks_on(watched):
    explorer = ReadExplorer(watched[1])
    event = {"event": "mouse_down", "x": explorer.zoom * 40.0, "y": explorer.zoom * 20.0}
    explorer.canvas._handle_frontend_event(explorer.canvas, event, [])
    assert explorer.cell == (1, 2)


def test_ghost_lab_looks_again(watched):
    network, record, truth = watched
    lab = GhostLab(network, record, truth)
    assert lab.label.value.startswith("0.00%") and lab.edits == {0: "as it was"}
    lab.past.value, lab.edit.value = (0, 2), "inside out"
    assert lab.edits == dict.fromkeys(range(3), "inside out")
    found = lab.ghost.look(3, lab.edits)
    J = [lab.mean_J(mask, truth[3]) for mask in (record.masks[3], found)]
    assert f"J {J[0]:.3f} as it was, {J[1]:.3f} now" in lab.label.value
    picture = labs.render_ghost(record, 3, found, lab.edits, J)
    assert lab.image.value == render.to_jpeg(picture)
    lab.edit.value = "taken out"
    assert "nothing is left to read" in lab.label.value
    lab.frame.value = 1  # then only frame 0 is past
    assert lab.edits == {0: "taken out"}
    lab.past.value, lab.frame.value = (1, 1), 3
    assert "pixels differ" in lab.label.value


def test_controls_that_run_the_network_wait_until_they_are_let_go(watched):
    lab = GhostLab(watched[0], watched[1])
    assert not lab.frame.continuous_update and not lab.past.continuous_update


def test_lab_redraws_for_each_control_at_its_setting():
    lab = EquivalenceLab()
    assert lab.setting == Setting()
    changes = {"frames": 2, "height": 3, "width": 5, "key_dim": 16, "value_dim": 32,
               "dtype": "bfloat16"}  # fmt: skip
    seen = {lab.image.value}
    for name, value in changes.items():
        lab.controls[name].value = value
        assert lab.image.value not in seen, name
        seen.add(lab.image.value)
    assert lab.setting == Setting(**changes)
    expected = equality.equivalence(Setting(**changes))
    assert lab.result == expected
    picture = labs.render_equivalence(Setting(**changes), expected)
    assert lab.image.value == render.to_jpeg(picture)


def test_lab_measures_time_only_on_its_button_and_drops_it_with_the_setting(monkeypatch):
    asked = []
    monkeypatch.setattr(
        equality, "time_bracketings", lambda setting: asked.append(setting) or (0.001, 0.004)
    )
    lab = EquivalenceLab()
    lab.controls["frames"].value = 3
    assert not asked and lab.label.value == ""
    untimed = lab.image.value
    lab.measure.click()
    assert asked == [Setting(frames=3)] and "4.00 times as long" in lab.label.value
    assert lab.image.value != untimed
    lab.controls["frames"].value = 2
    lab.controls["frames"].value = 3
    assert lab.image.value == untimed and lab.label.value == ""


def test_slow_sliders_wait_until_they_are_let_go():
    lab = EquivalenceLab()
    sliders = [control for name, control in lab.controls.items() if name != "dtype"]
    assert len(sliders) == 5 and not any(slider.continuous_update for slider in sliders)


@pytest.fixture
def live(clip):
    frames, masks, _ = clip
    torch.manual_seed(0)
    return LiveSwap(Network(SMOKE).eval(), frames * 2, masks[0], height=32)  # six frames


def test_live_swap_shows_each_frame_and_stops_at_the_end(live):
    seen = [live.image.value]
    while live.advance():
        seen.append(live.image.value)
        last = labs.render_swap(live.history, 6)
        assert live.image.value == render.to_jpeg(last)
        assert live.progress.value == live.history[-1].index
    assert len(set(seen)) == 5 and live.progress.value == live.progress.max == 5
    assert live.history[-1].nbytes["stm-linear"] == 6 * live.history[0].nbytes["stm-linear"] // 2
    assert live.label.value.startswith("100.0000%")
    live.again.click()
    assert [swapped.index for swapped in live.history] == [1] and live.progress.value == 1


def test_live_swap_runs_from_its_button_to_the_end(live):
    async def press():
        live.run.value = True
        assert live.run.description == "stop"
        await live.task

    asyncio.run(press())
    assert len(live.history) == 5 and not live.run.value and live.run.description == "run"


def test_live_swap_stops_when_the_button_is_released_and_goes_on_when_pressed(live):
    async def press_and_release():
        live.run.value = True
        first = live.task
        await asyncio.sleep(0)  # the task has advanced once, and waits
        live.run.value = False
        live.run.value = True  # at once again: no second task beside the first
        assert live.task is first
        live.run.value = False
        await live.task

    asyncio.run(press_and_release())
    assert len(live.history) == 2
    test_live_swap_runs_from_its_button_to_the_end(live)


def test_live_swap_says_what_stopped_it(live):
    live.frames[3] = live.frames[3][:-1]

    async def press():
        live.run.value = True
        await live.task

    with pytest.raises(BadInput):
        asyncio.run(press())
    assert live.label.value.startswith("stopped: frame 3 is 48x31") and not live.run.value
