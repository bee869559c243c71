"""The one real clip in the box: what a person who shows it, or scores on it, relies on."""

import numpy as np
import pytest

from gcvos_mini import bunny
from gcvos_mini.davis import load_split
from gcvos_mini.evaluate import Evaluation, evaluate
from gcvos_mini.masks import object_ids, read_mask


@pytest.fixture(scope="module")
def clip():
    return bunny.load_bunny()


def test_frames_and_checked_masks_of_one_size(clip):
    frames, masks = clip
    assert frames.dtype == np.uint8 and frames.ndim == 4
    assert len(masks) >= 9 and min(masks) == 0 and max(masks) < len(frames)
    for t, mask in masks.items():
        assert mask.shape == frames.shape[1:3] == (240, 427), t
        assert set(np.unique(mask)) <= {0, 1}, t
    assert object_ids(masks[0]) == [1]


def test_fewer_frames_keep_their_masks(clip):
    frames, masks = bunny.load_bunny(every=2)
    np.testing.assert_array_equal(frames, clip[0][::2])
    assert masks.keys() == {t // 2 for t in clip[1] if t % 2 == 0} and len(masks) > 1
    assert all((mask == clip[1][2 * t]).all() for t, mask in masks.items())


def test_small_and_credited():
    files = [p for p in bunny.FOLDER.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(path.stat().st_size for path in files) <= 1_500_000
    for word in ("Big Buck Bunny", "(c) 2008 Blender Foundation", "www.bigbuckbunny.org",
                 "CC BY 3.0"):  # fmt: skip
        assert word in bunny.CREDIT and word in (bunny.FOLDER / "CREDITS.md").read_text()


def test_a_data_set_that_evaluate_takes(clip, tmp_path, capsys):
    """Copies of the first mask are written for every frame, and lose against the checked ones."""
    [sequence] = load_split(bunny.FOLDER, 2017, "val")
    assert sequence.name == "bunny" and len(sequence.frames) == len(clip[0])
    evaluate(Evaluation(data=bunny.FOLDER, checkpoint="first-mask", out=tmp_path))
    assert len(list((tmp_path / "bunny").glob("*.png"))) == len(clip[0])
    np.testing.assert_array_equal(read_mask(tmp_path / "bunny/00000.png"), clip[1][0])
    row = next(line for line in capsys.readouterr().out.splitlines() if "| bunny |" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert int(cells[2]) == len(clip[1]) - 2 and 0 < float(cells[3]) < 0.9
