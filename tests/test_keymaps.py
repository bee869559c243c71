"""Which keys are judged, by which masks, and the table of single channels (keymaps.py)."""

import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gcvos_mini import benchmark
from gcvos_mini.config import SMOKE
from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput
from gcvos_mini.keymaps import extremes, key_scores, selectivity, written_keys
from gcvos_mini.network import Network
from gcvos_mini.toy import clip_frames, render_clips


class Planted(Network):
    """Keys that know the truth whatever mask they are given: channel 5 on it, 6 off it."""

    def __init__(self, truths):
        super().__init__(SMOKE)
        self.truths = iter(truths)

    def encode_memory(self, frame, mask, query=None):
        key, value = super().encode_memory(frame, mask)
        key = torch.rand(key.shape, generator=torch.Generator().manual_seed(0))
        truth = torch.from_numpy(next(self.truths)).float()[None, None]
        cover = F.interpolate(truth, key.shape[2:], mode="area")[0, 0]
        key[:, 5], key[:, 6] = -9 * cover, 1 - cover  # strength, not sign
        return key, value


class Echo(Network):
    """Keys that know the mask they are given and nothing else: channel 5 on it, 6 off it."""

    def encode_memory(self, frame, mask, query=None):
        key, value = super().encode_memory(frame, mask)
        cover = F.interpolate(mask, key.shape[2:], mode="area")[:, 0]
        key = torch.zeros_like(key)
        key[:, 5], key[:, 6] = cover, 1 - cover
        return key, value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One sequence of one object, four frames."""
    root = tmp_path_factory.mktemp("toy") / "set"
    return render_clips(root, 0, 64, ["approach"], 4, progress=False)


@pytest.fixture
def planted():
    """First the right keys, then the wrong way round; the first frame of each is the other way."""
    truths = [mask > 0 for _, mask in clip_frames("approach", 64, 4)]
    off = [~mask for mask in truths]
    return Planted([off[0], *truths[1:], truths[0], *off[1:]]).eval()


def test_written_keys_are_those_of_the_masks_that_were_found(folder, planted):
    """The first frame, which has its true mask, is left out."""
    [sequence] = load_split(folder, 2017, "val")
    found = list(written_keys(planted, sequence, 2017, frames=3))
    assert [o for o, *_ in found] == [0, 0]
    for _, key, cells in found:
        assert selectivity(key, cells)[5] > 0.97


def test_written_keys_of_true_masks(tmp_path):
    """An untrained network finds nothing, so only the keys of true masks show the objects."""
    render_clips(tmp_path, 0, 64, ["two-friends"], 4, progress=False)
    [sequence] = load_split(tmp_path, 2017, "val")
    torch.manual_seed(0)
    network = Echo(SMOKE).eval()
    found, true = (
        list(written_keys(network, sequence, 2017, true_masks=given)) for given in (False, True)
    )
    assert [o for o, *_ in found] == [o for o, *_ in true] == [0, 1] * 3
    for (_, lost, cells), (_, key, same) in zip(found, true):
        np.testing.assert_array_equal(cells, same)
        assert selectivity(key, cells)[5] > 0.99 > 0.95 > selectivity(lost, cells)[5]
    scores = key_scores(network, sequence, 2017, true_masks=True)
    each = [[selectivity(key, cells) for n, key, cells in true if n == o] for o in (0, 1)]
    np.testing.assert_allclose(scores, np.nanmean(each, axis=1))


def test_extremes_name_the_highest_and_the_lowest_channel():
    score, true = np.array([0.5, 0.9, 0.1]), np.array([0.4, 0.8, 0.2])
    assert extremes(score, true) == (1, 0.9, 0.8, 2, 0.1, 0.2)


def test_keys_are_not_judged_without_a_later_mask(folder, tmp_path, monkeypatch):
    """Said before the first sequence is looked at."""
    data = shutil.copytree(folder, tmp_path / "set")
    for mask in sorted(data.glob("Annotations/*/approach/*"))[1:]:
        mask.unlink()
    monkeypatch.setattr(benchmark, "key_scores", None)
    with pytest.raises(BadInput, match="approach: no mask after the first frame's; add one"):
        benchmark.benchmark_keys(data)


def test_benchmark_keys_prints_found_beside_true(folder, planted, monkeypatch, capsys):
    """Keys of found masks in the first column, of true ones in the second, here the wrong way."""
    monkeypatch.setattr(benchmark, "load_model", lambda *_, **__: planted)
    benchmark.benchmark_keys(folder)
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    table = {name: row for name, *row in lines}
    channel, best, best_true, low, lowest, lowest_true = table["approach"][1:]
    assert (channel, low) == ("5", "6") and float(best) > 0.97 and float(lowest) < 0.03
    assert float(best_true) < 0.03 and float(lowest_true) > 0.97
    assert table["**mean**"][2:4] == [best, best_true]
    assert table["**mean**"][5:] == [lowest, lowest_true]
    assert table["**one channel for all**"][1:] == table["approach"][1:]
