"""place.py: the mask of a frame, as the frame before might have been given; near and not right."""

import pytest
import torch

from gcvos_mini.place import as_before, moved

COUNT, SIDE = 2000, 64


@pytest.fixture
def masks():
    """Two thousand squares of 16 pixels in the middle of a frame of 64."""
    torch.manual_seed(0)
    masks = torch.zeros(COUNT, 1, SIDE, SIDE)
    masks[:, :, 24:40, 24:40] = 1
    return masks


def centres(masks):
    """Centre of each mask, (N, 2), in pixels from the middle of the frame."""
    at = torch.arange(SIDE) - (SIDE - 1) / 2
    total = masks.sum(dim=(1, 2, 3))
    return torch.stack([(masks.sum(dim=(1, i)) * at).sum(dim=1) / total for i in (3, 2)], dim=1)


def test_nothing_asked_for_is_nothing_changed(masks):
    torch.testing.assert_close(as_before(masks, shake=0.0), masks)


def test_moves_are_short_more_often_and_never_far(masks):
    """Up to 0.3 of the frame, half of them under a quarter of that, in all directions."""
    far = centres(moved(masks, 0.3)).norm(dim=1) / SIDE
    assert 0.27 < far.max() < 0.36  # a mask that also grows or shrinks moves a little more
    assert 0.06 < far.median() < 0.09
    directions = centres(moved(masks, 0.3))
    assert ((directions > 0).float().mean(dim=0) - 0.5).abs().max() < 0.05


def test_sizes_change_by_half_of_the_shake(masks):
    side = moved(masks, 0.3).sum(dim=(1, 2, 3)).sqrt() / 16
    assert 0.85 < side.min() < 0.9 and 1.12 < side.max() < 1.2


def test_blank_is_a_share_of_the_masks(masks):
    empty = ~as_before(masks, shake=0.1, blank=0.2).flatten(1).any(dim=1)
    assert 0.17 < empty.float().mean() < 0.23


def test_ghosts_add_and_take_away(masks):
    """Of those that are not blots: a third has something outside, a third lacks something inside.

    Pieces of another object's shape, thrown by up to half the frame: some of them miss.
    """
    seen = as_before(masks, shake=0.0, ghosts=0.3)
    sharp = seen[((seen < 0.01) | (seen > 0.99)).flatten(1).float().mean(dim=1) > 0.8]
    assert 0.4 < len(sharp) / COUNT < 0.75
    inside = masks[0, 0].bool()
    more = (sharp[:, 0, ~inside] > 0.5).sum(dim=1) > 8
    less = (sharp[:, 0, inside] < 0.5).sum(dim=1) > 8
    assert 0.15 < more.float().mean() < 0.35 and 0.1 < less.float().mean() < 0.35
    assert 0 <= seen.min() and seen.max() <= 1 + 1e-6


def test_half_of_the_spoiled_masks_tell_no_shape(masks):
    """A square set between the blocks becomes a blot: nothing in it is sure."""
    seen = as_before(masks, shake=0.0, ghosts=1e-9)
    sharp = (seen[:, 0, 24:40, 24:40] > 0.99).all(dim=(1, 2)).float().mean()
    assert 0.45 < sharp < 0.55
    assert (seen.sum(dim=(1, 2, 3)) - 256).abs().max() < 3  # as large as before
