"""SwiftNet's trigger: against plain loops, and what it does to the memory of a video."""

import numpy as np
import pytest
import torch

from gcvos_mini.memory import PixelAdaptive, make_memory
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.toy import clip_frames
from gcvos_mini.trigger import VariationTrigger

H, W = 6, 8


def loops(frames, masks, frame_change, mask_change, enough):
    """[write it?] of frames [(3, H, W)] and masks [(O, H, W)], pixel by pixel."""
    answers, P = [True], 0.0
    for t in range(1, len(frames)):
        varying = 0
        for y in range(H):
            for x in range(W):
                colour = [abs(float(frames[t][c, y, x] - frames[t - 1][c, y, x])) for c in range(3)]
                mask = [abs(float(a[y, x] - b[y, x])) for a, b in zip(masks[t], masks[t - 1])]
                varying += sum(colour) / 3 > frame_change or max(mask) > mask_change
        P += varying / (H * W)
        answers.append(P > enough)
        P = 0.0 if P > enough else P
    return answers


@pytest.mark.parametrize("objects", [1, 3])
@pytest.mark.parametrize("limits", [(0.3, 0.9, 1.5), (0.4, 0.8, 1.2), (1.0, 0.6, 1.3)])
def test_asks_for_the_frames_that_loops_ask_for(objects, limits):
    draw = torch.Generator().manual_seed(objects)
    frames = [torch.rand(3, H, W, generator=draw) for _ in range(12)]
    masks = [torch.rand(objects, H, W, generator=draw) for _ in range(12)]
    trigger = VariationTrigger(*limits)
    answers = [trigger(f[None], m) for f, m in zip(frames, masks, strict=True)]
    assert answers == loops(frames, masks, *limits)
    assert 1 < sum(answers) < 12  # or nothing is decided here


def test_small_changes_add_up_and_start_again():
    """An eighth of the pixels at each frame: past 0.3 at the third, then again three later."""
    trigger, asked = VariationTrigger(0.1, 0.3, enough=0.3), []
    for t in range(8):
        frame = torch.zeros(1, 3, H, W)
        frame[..., t % W] = 0.5  # a bright column: two of eight columns change, a quarter
        asked.append(trigger(frame, torch.zeros(1, H, W)))
    assert asked == [True, False, True, False, True, False, True, False]


def test_an_object_that_enters_varies_wherever_it_is():
    frame, one = torch.zeros(1, 3, H, W), torch.zeros(1, H, W)
    two = torch.cat([one, torch.ones(1, H, W)])
    trigger = VariationTrigger(enough=0.5)
    assert trigger(frame, one) and trigger(frame, two) and not trigger(frame, two)


# ---- in a video --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes():
    """A frame of one scene and of another with their masks, ids 1 and 2 in both."""
    return next(clip_frames("two-friends", 64, frames=1)), next(
        clip_frames("crossing", 64, frames=1)
    )


def after(model, frames, mask, memory="pam"):
    segmenter = VideoSegmenter(model, memory)
    segmenter.start(frames[0], mask)
    sizes = [segmenter.memory.nbytes]
    for frame in frames[1:]:
        segmenter.step(frame)
        sizes.append(segmenter.memory.nbytes)
    return segmenter, sizes


def test_a_hundred_equal_frames_leave_the_memory_as_it_was(model, scenes):
    (frame, mask), _ = scenes
    still = VariationTrigger(mask_change=1.0)  # an untrained network's masks wander
    segmenter, sizes = after(model, [frame] * 101, mask, PixelAdaptive(wants=still))
    assert len(set(sizes)) == 1 and segmenter.memory.frames == 1 and segmenter.frames == 101
    every, grown = after(model, [frame] * 5, mask, PixelAdaptive())
    assert every.memory.frames == 5 and grown[-1] > grown[0]


def test_a_cut_is_written(model, scenes):
    (one, mask), (other, _) = scenes
    frames = [one] * 4 + [np.ascontiguousarray(other)] * 4
    trigger = VariationTrigger(mask_change=1.0)
    segmenter, sizes = after(model, frames, mask, PixelAdaptive(wants=trigger))
    assert np.flatnonzero(np.diff(sizes)).tolist() == [3]  # at the first frame of the other scene
    assert segmenter.memory.frames == 2


def test_a_cut_between_two_frames_whose_turn_it_is_is_not_lost(model, scenes):
    """Every fifth frame may be written: the trigger compares those, not what lies between."""
    (one, mask), (other, _) = scenes
    trigger = VariationTrigger(mask_change=1.0)
    segmenter = VideoSegmenter(model, PixelAdaptive(wants=trigger), write_every=5)
    segmenter.start(one, mask)
    for frame in [one] * 2 + [np.ascontiguousarray(other)] * 3:
        segmenter.step(frame)
    assert segmenter.memory.frames == 2  # the first, and frame 5 for the cut at frame 3


def test_a_mask_that_is_given_is_written_in_any_case(model, scenes):
    (frame, mask), _ = scenes
    segmenter, _ = after(model, [frame] * 3, mask, PixelAdaptive(wants=VariationTrigger(1, 1, 9)))
    segmenter.step(frame, mask)
    assert segmenter.memory.frames == 2


def test_objects_that_enter_later_have_a_trigger_of_their_own(model, scenes):
    (frame, mask), _ = scenes
    segmenter = VideoSegmenter(model, PixelAdaptive(wants=VariationTrigger(1, 1, 9)))
    segmenter.start(frame, np.uint8(mask == 1))
    segmenter.step(frame)
    segmenter.step(frame, np.where(mask == 2, 2, 0).astype(np.uint8))
    assert segmenter.memory.frames == 2  # the mask that is given
    segmenter.step(frame)
    (old, _), (new, _) = segmenter.memory.lots
    assert (old.frames, new.frames) == (2, 1) and old.wants is not new.wants
    segmenter.memory.lots[1][0].wants = VariationTrigger(-1, 1, 0)  # asks for every frame
    segmenter.step(frame)
    segmenter.step(frame)
    assert (old.frames, new.frames) == (4, 3)  # what one lot wants, all are written


def test_the_table_has_swiftnets_with_its_trigger():
    assert isinstance(make_memory("pam").wants, VariationTrigger)
    assert make_memory("pam").wants is not make_memory("pam").wants  # each video has its own
