"""The explorer without a browser: move a slider, look at the bytes and the label."""

import numpy as np
import pytest

pytest.importorskip("ipywidgets")
from gcvos_mini import render
from gcvos_mini.explore import KeyMapExplorer


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
    explorer = KeyMapExplorer(*clip)
    seen = {explorer.image.value}
    for control, value in [("frame", 2), ("channel", 1), ("alpha", 0.2), ("by_selectivity", True)]:
        getattr(explorer, control).value = value
        assert explorer.image.value not in seen, control
        seen.add(explorer.image.value)


def test_image_and_label_show_the_frame_and_channel_chosen(clip):
    frames, masks, keys = clip
    explorer = KeyMapExplorer(*clip)
    explorer.frame.value, explorer.channel.value, explorer.alpha.value = 1, 2, 0.5
    limits = keys[:, 2].min(), keys[:, 2].max()
    expected = render.render_view(frames[1], keys[1, 2], masks[1], 0.5, limits=limits)
    assert explorer.image.value == render.to_jpeg(expected)
    assert explorer.label.value.startswith("frame 1 of 2, channel 2, selectivity 1.00")


def test_play_and_slider_move_together(clip):
    explorer = KeyMapExplorer(*clip)
    assert explorer.play.max == explorer.frame.max == 2
    explorer.play.value = 2
    assert explorer.frame.value == 2 and explorer.label.value.startswith("frame 2 of 2")
    explorer.frame.value = 1
    assert explorer.play.value == 1


def test_sorting_puts_the_channel_on_the_object_first_and_the_one_off_it_last(clip):
    explorer = KeyMapExplorer(*clip)
    assert explorer.ranking.tolist() == [2, 0, 1]
    assert explorer.selectivity[[2, 1]].tolist() == [1, 0]
    explorer.by_selectivity.value = True
    assert explorer.shown_channel == 2 and "channel 2," in explorer.label.value
    explorer.channel.value = 2
    assert explorer.shown_channel == 1 and "channel 1," in explorer.label.value


def test_frames_without_an_object_do_not_spoil_the_ranking(clip):
    frames, masks, keys = clip
    masks[1][:] = 0
    assert KeyMapExplorer(frames, masks, keys).ranking[0] == 2
    for mask in masks:
        mask[:] = 0
    assert KeyMapExplorer(frames, masks, keys).ranking.tolist() == [0, 1, 2]


def test_a_fault_while_drawing_reaches_the_caller(clip):
    explorer = KeyMapExplorer(*clip)
    explorer.masks[1] = explorer.masks[1][:-1]
    with pytest.raises(ValueError, match="differ in size"):
        explorer.frame.value = 1


def test_lengths_that_differ_are_refused(clip):
    frames, masks, keys = clip
    with pytest.raises(ValueError, match="3 frames, 2 masks and 3 keys"):
        KeyMapExplorer(frames, masks[:2], keys)
