"""Which cells show the object, and how well a key channel tells them from the rest (keymaps.py)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvos_mini import keymaps


def test_regions_by_hand():
    mask = np.zeros((64, 96), np.uint8)  # a map of 6x4 cells
    mask[16:32, 16:40] = 1  # cell (1, 1), and half of (1, 2)
    found = keymaps.regions(mask, (6, 4))
    assert np.argwhere(found["object"]).tolist() == [[1, 1]]  # half a cell is not more than half
    assert np.argwhere(found["border"]).tolist() == [[1, 2]]
    assert found["background"].sum() == 22 and not found["background"][1, 1:3].any()
    # 22 cells of background, 14 of them in the first three rows: the last third begins in row 2
    assert not found["ground"][:2].any() and found["ground"][3].all()
    empty = keymaps.regions(np.full((64, 96), 1, np.uint8), (6, 4))
    assert empty["object"].all() and not empty["ground"].any() and not empty["background"].any()


def test_mean_selectivity_asks_for_the_region_and_skips_frames_without_it():
    masks = np.zeros((3, 32, 48), np.uint8)  # maps of 3x2 cells
    masks[0, :16, :16] = masks[2, :16, 32:] = 1  # the second frame has no object
    keys = np.zeros((3, 2, 2, 3))
    keys[0, 0, 0, 0] = keys[2, 0, 0, 2] = -1  # channel 0: on the object, negative
    keys[:, 1, 1] = 1  # channel 1: the lower row
    assert keymaps.mean_selectivity(keys, masks).tolist() == [1, 0.2]
    ground = keymaps.mean_selectivity(keys, masks, "ground")
    assert ground[1] == 1 and ground[0] < 0.5
    assert keymaps.mean_selectivity(keys, 0 * masks).tolist() == [0.5, 0.5]


def test_the_middle_of_a_region():
    cells = np.zeros((7, 9), bool)
    cells[1:6, 2:7] = True
    assert keymaps.middle(cells) == (3, 4)
    cells[:, :2] = True  # the edge of the map is no inside
    assert keymaps.middle(cells)[0] == 3


def test_mask_on_map_takes_the_cells_an_object_fills():
    mask = np.zeros((24, 40), np.uint8)
    mask[0:16, 16:40] = 7
    mask[16:, 0:16] = 255  # void is no object
    assert keymaps.mask_on_map(mask, (3, 2)).tolist() == [[False, True, True], [False] * 3]
    tiny = np.zeros((24, 40), np.uint8)
    tiny[20, 4] = 1
    assert np.argwhere(keymaps.mask_on_map(tiny, (3, 2))).tolist() == [[1, 0]]
    assert not keymaps.mask_on_map(np.zeros((24, 40), np.uint8), (3, 2)).any()


def auc_by_pairs(strength, mask):
    """The definition: every object cell against every background cell, ties half."""
    objects, background = strength[mask][:, None], strength[~mask][None]
    return ((objects > background) + 0.5 * (objects == background)).mean()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([2, 4, 1000]))
def test_selectivity_is_the_share_of_pairs_won(seed, levels):
    rng = np.random.default_rng(seed)
    maps = rng.integers(-levels, levels, (3, 5, 7)) / levels  # few levels: many ties
    mask = rng.random((5, 7)) < 0.3
    mask[0, 0], mask[-1, -1] = True, False
    expected = [auc_by_pairs(np.abs(channel), mask) for channel in maps]
    assert keymaps.selectivity(maps, mask) == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_selectivity_of_known_channels():
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3, 1:3] = 2
    maps = np.stack([mask, -1.0 * mask, mask == 0, np.ones((4, 4))])
    assert keymaps.selectivity(maps, mask).tolist() == [1, 1, 0, 0.5]  # strength, not sign
    assert np.isnan(keymaps.selectivity(maps, 0 * mask)).all()
    assert np.isnan(keymaps.selectivity(maps, 0 * mask + 1)).all()
