"""What was written and asked: reads rebuilt by loops, and pasts that were never there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import written

from gcvos_mini.config import SMOKE
from gcvos_mini.memory import SpaceTime, make_memory
from gcvos_mini.network import Network
from gcvos_mini.record import Ghost, watch
from gcvos_mini.segment import VideoSegmenter, pad_to_stride, to_tensor
from gcvos_mini.toy import clip_frames

CONFIGS = {
    "mean": SMOKE,  # eq. 2, each context divided by its positions
    "first-share": replace(SMOKE, first_share=0.7),
    "none": replace(SMOKE, normalization="none"),
    "previous mask": replace(SMOKE, previous_mask=True),
}


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS)
def watched(request):
    """A fresh network and what it wrote and asked; two objects, five frames."""
    torch.manual_seed(1)
    network = Network(request.param).eval()
    frames, masks = map(np.stack, zip(*clip_frames("two-friends", 48, frames=5)))
    return network, watch(network, frames, masks[0])


def test_a_record_under_stms_memory_has_its_masks_and_its_read():
    """Softmax weights times the values written are what the memory reads, object by object."""
    torch.manual_seed(1)
    network = Network(SMOKE).eval()
    frames, masks = map(np.stack, zip(*clip_frames("two-friends", 48, frames=5)))
    record = watch(network, frames, masks[0], memory="stm")
    segmenter = VideoSegmenter(network, "stm")
    segmenter.start(frames[0], masks[0])
    for frame, mask in zip(frames[1:-1], record.masks[1:]):
        assert (segmenter.step(frame) == mask).all()
    read = segmenter.memory.read(torch.from_numpy(record.queries[4])[None])  # (O, C_value, h, w)
    for o in (0, 1):
        weights = record.softmax_weights(4, 1, 2, index=o)
        by_hand = np.einsum("thw,tchw->c", weights, record.values[:4, o])
        np.testing.assert_allclose(by_hand, read[o, :, 1, 2], rtol=1e-4, atol=1e-6)


def test_the_record_is_what_the_segmenter_did(watched):
    network, record = watched
    segmenter = VideoSegmenter(network)
    segmenter.start(record.frames[0], record.masks[0])
    for t in range(1, 5):
        assert (segmenter.find(record.frames[t]) == record.masks[t]).all()  # leaves no trace
        assert segmenter.frames == segmenter.memory.frames == t
        assert (segmenter.step(record.frames[t]) == record.masks[t]).all()
        np.testing.assert_array_equal(segmenter.key, record.keys[t])
        np.testing.assert_array_equal(segmenter.value, record.values[t])
        with torch.inference_mode():
            query = network.encode_query(pad_to_stride(to_tensor(record.frames[t]))).key[0]
        np.testing.assert_array_equal(query, record.queries[t])
    assert record.ids == segmenter.ids and not record.queries[0].any()


def remembered(memory, record, frames):
    """The memory, with these frames of a record written to it."""
    return written(
        memory, *(torch.from_numpy(x[list(frames)]) for x in (record.keys, record.values))
    )


@pytest.mark.parametrize("t", [1, 4])
def test_values_under_the_implied_weights_are_the_read(watched, t):
    network, record = watched
    memory = remembered(make_memory("gc", network.config), record, range(t))
    query = torch.from_numpy(record.queries[t]).expand(2, -1, -1, -1)
    read = memory.read(query).numpy()  # (O, C_value, h, w)
    for index, y, x in [(0, 0, 0), (1, 2, 4)]:
        weights = record.implied_weights(t, y, x, index)
        summed = np.zeros(read.shape[1])
        for i, row, column in np.ndindex(weights.shape):
            summed += weights[i, row, column] * record.values[i, index, :, row, column]
        scale = np.abs(read[index, :, y, x]).max()
        np.testing.assert_allclose(summed, read[index, :, y, x], rtol=0, atol=1e-5 * scale)


def test_softmax_weights_are_those_of_space_time(watched):
    record = watched[1]
    memory = remembered(SpaceTime(softmax=True), record, range(3))
    query = torch.from_numpy(record.queries[3]).expand(2, -1, -1, -1)
    weights = memory.weights(query)[1].unflatten(0, (3, *record.keys.shape[-2:]))  # (t, h, w, hw)
    at = 1 * record.keys.shape[-1] + 2
    np.testing.assert_allclose(record.softmax_weights(3, 1, 2, 1), weights[..., at], atol=1e-6)


def test_shares_of_the_past(watched):
    network, record = watched
    shares = record.shares(4)
    assert shares.sum() == pytest.approx(1) and len(set(shares[1:].round(12))) == 1
    assert shares[0] - shares[1] == pytest.approx(network.config.first_share)


def test_a_frame_without_a_past_is_refused(watched):
    for t in (0, 5):
        with pytest.raises(ValueError, match="frame 0 asks nothing"):
            watched[1].implied_weights(t, 0, 0)


def test_softmax_contexts_are_refused():
    config = replace(SMOKE, normalization="softmax")
    with pytest.raises(ValueError, match="weights are q . k without it"):
        watch(Network(config).eval(), [], None)


def test_a_past_as_it_was_gives_the_same_mask(watched):
    ghost = Ghost(*watched)
    assert (ghost.look(4) == watched[1].masks[4]).all()
    for edit in ("as it was", "written twice, taken out once"):
        past = ghost.memory(4, {2: edit})  # of one frame: twice each would be the same mean
        assert past.frames == 4
        for kind in ("context", "first"):
            was, now = (getattr(memory, kind) for memory in (ghost.memory(4, {}), past))
            if was is not None:
                torch.testing.assert_close(now, was, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("edit, times", [("taken out", 0), ("written twice", 2)])
def test_counts_of_a_frame(watched, edit, times):
    network, record = watched
    ghost = Ghost(network, record)
    found = ghost.memory(4, {0: edit, 2: edit})
    frames = [0] * times + [1] + [2] * times + [3]
    expected = remembered(make_memory("gc", network.config), record, frames)
    assert found.frames == expected.frames
    query = torch.from_numpy(record.queries[4]).expand(2, -1, -1, -1)
    torch.testing.assert_close(found.read(query), expected.read(query))


def test_masks_replaced(watched):
    network, record = watched
    ghost = Ghost(network, record)
    frame, mask = record.frames[2], record.masks[2]
    empty = ghost.written(2, "no object in its mask")
    torch.testing.assert_close(empty, ghost.segmenter.encode(frame, np.zeros_like(mask)))
    key, value = ghost.written(2, "inside out")
    for o, n in enumerate(record.ids):  # each object's own mask is turned
        alone = ghost.segmenter.encode(frame, np.where(mask == n, 0, n).astype(np.uint8))
        torch.testing.assert_close(key[o], alone[0][o])
        torch.testing.assert_close(value[o], alone[1][o])
    assert not torch.equal(value[0], empty[1][0])


def test_shuffled_values_are_the_same_values_elsewhere(watched):
    key, value = Ghost(*watched).written(2, "values shuffled")
    was = watched[1]
    np.testing.assert_array_equal(key, was.keys[2])
    before, after = was.values[2].reshape(2, -1, key[0, 0].numel()), value.flatten(2).numpy()
    assert not (before == after).all()
    order = [np.abs(before[0] - column[:, None]).sum(axis=0).argmin() for column in after[0].T]
    assert sorted(order) == list(range(len(order)))
    np.testing.assert_array_equal(before[:, :, order], after)  # whole vectors, all objects alike


def test_impossible_pasts_are_refused(watched):
    ghost = Ghost(*watched)
    with pytest.raises(ValueError, match="nothing is left to read"):
        ghost.memory(2, {0: "taken out", 1: "taken out"})
    for edits in ({2: "taken out"}, {-1: "taken out"}, {0: "gone"}):
        with pytest.raises(ValueError, match="want a frame before 2"):
            ghost.memory(2, edits)


def test_looking_leaves_no_trace(watched):
    ghost = Ghost(*watched)
    before = ghost.look(4)
    ghost.look(4, {0: "inside out"})
    assert (ghost.look(4) == before).all()


def test_at_another_working_height(watched):
    network, record = watched
    lower = watch(network, record.frames, record.masks[0], height=32)
    assert lower.keys.shape[-2:] == (2, 4)  # 32 lines of 57 pixels, padded to 64
    ghost = Ghost(network, lower, height=32)
    assert (ghost.look(4) == lower.masks[4]).all()
    key, value = ghost.segmenter.encode(lower.frames[0], lower.masks[0])
    torch.testing.assert_close(key, torch.from_numpy(lower.keys[0]))
    torch.testing.assert_close(value, torch.from_numpy(lower.values[0]))
