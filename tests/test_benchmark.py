"""Side by side: the numbers are those of the operations and tensors themselves, never quoted."""

import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from gcvos_mini import benchmark, complexity, load_model, toy
from gcvos_mini.benchmark import Setting
from gcvos_mini.config import SMOKE
from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.evaluate import score_masks, segment_split
from gcvos_mini.memory import GlobalContext, SpaceTime
from gcvos_mini.network import Network
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.toy import clip_frames

LIMITS = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}
sizes = st.builds(
    Setting,
    frames=st.integers(1, 5),
    height=st.integers(1, 5),
    width=st.integers(2, 5),
    key_dim=st.integers(4, 12),
    value_dim=st.integers(4, 12),
    dtype=st.sampled_from(list(LIMITS)),
)


# ---- two bracketings ---------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(setting=sizes, seed=st.integers(0, 100))
def test_both_bracketings_are_the_linear_read(setting, seed):
    """Against one sum over everything in NumPy's float64, and the memories of the package."""
    keys, values, query = (x.double() for x in benchmark.features(setting, seed))
    expected = np.einsum("tnc,tnv,mc->mv", keys, values, query) / setting.frames
    for bracketing in (benchmark.context_first, benchmark.similarity_first):
        np.testing.assert_allclose(bracketing(keys, values, query), expected, atol=1e-9)

    def as_map(x):  # (N, C) -> (1, C, H, W)
        return x.T.reshape(1, -1, setting.height, setting.width)

    for memory in (GlobalContext(), SpaceTime(softmax=False)):
        for key, value in zip(keys, values):
            memory.write(as_map(key), as_map(value))
        np.testing.assert_allclose(memory.read(as_map(query))[0].flatten(1).T, expected, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(setting=sizes, seed=st.integers(0, 100))
def test_errors_stay_below_their_dtypes_limit(setting, seed):
    result = benchmark.equivalence(setting, seed)
    errors = result.context_error, result.similarity_error
    assert max(errors) < LIMITS[setting.dtype]
    assert result.difference <= sum(errors) * 1.001  # the triangle's inequality


def test_errors_grow_as_the_dtype_loses_digits():
    results = [benchmark.equivalence(Setting(dtype=dtype)) for dtype in LIMITS]
    for name in ("context_error", "similarity_error", "difference"):
        errors = [getattr(result, name) for result in results]
        assert errors == sorted(errors) and errors[0] < errors[1] / 1e6


def test_a_wrong_bracketing_is_seen(monkeypatch):
    """The control: without its 1/T one side is far off, and the other is not blamed."""
    right = benchmark.similarity_first
    monkeypatch.setattr(benchmark, "similarity_first", lambda k, v, q: len(k) * right(k, v, q))
    result = benchmark.equivalence(Setting(frames=3))
    assert result.similarity_error == pytest.approx(2, rel=1e-3)
    assert result.difference == pytest.approx(2, rel=1e-3) and result.context_error < 1e-5


def test_operations_are_those_torch_counts():
    setting = Setting(frames=3, height=4, width=5, key_dim=6, value_dim=7)
    tensors, result = benchmark.features(setting), benchmark.equivalence(setting)
    for bracketing, operations in [
        (benchmark.context_first, result.context_operations),
        (benchmark.similarity_first, result.similarity_operations),
    ]:
        with FlopCounterMode(display=False) as counter:
            bracketing(*tensors)
        assert counter.get_total_flops() == 2 * operations  # two to a multiply-accumulate


def test_operations_and_bytes_at_the_papers_size():
    """Table 1 at t = 100: 21.2 G and 394 MB; the context needs the larger of write and read."""
    _, operations = benchmark.counted_operations(24, 24, 100, 128, 512)
    context, similarity = benchmark.counted_bytes(24, 24, 100, 128, 512, 4)
    assert f"{operations / 1e9:.1f}" == "21.2" and f"{similarity / complexity.MIB:.0f}" == "394"
    alive = 576 * (128 + 512) + 2 * 128 * 512  # key, value, this frame's context, running mean
    assert context == 4 * alive
    half = benchmark.equivalence(Setting(1, 24, 24, 128, 512, "bfloat16"), queries=1)
    assert half.context_bytes == 2 * alive


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"frames": 0}, {"value_dim": -1}, {"dtype": "int8"}):
        with pytest.raises(ValueError, match="at least 1, dtype one of"):
            Setting(**wrong)


@pytest.fixture
def ticks(monkeypatch):
    """A clock that goes on by one second each time it is asked."""
    count = itertools.count()
    monkeypatch.setattr(benchmark, "clock", lambda device="cpu": float(next(count)))


def test_bracketings_are_timed_in_turns_without_the_warm_up(monkeypatch):
    """First calls take 50 s and 60 s, all others 1 s and 3 s."""
    now, order = [0.0], []
    monkeypatch.setattr(benchmark, "clock", lambda: now[0])

    def pretend(name, first, later):
        def bracketing(*tensors):
            now[0] += later if name in order else first
            order.append(name)

        monkeypatch.setattr(benchmark, name, bracketing)

    pretend("context_first", 50, 1)
    pretend("similarity_first", 60, 3)
    assert benchmark.time_bracketings(Setting(), runs=1, limit=1e9) == (1, 3)
    assert order == ["context_first", "similarity_first"] * 2
    order.clear()
    assert benchmark.time_bracketings(Setting(), runs=5, limit=100) == (50, 60)
    assert len(order) == 2  # too slow for a second turn: the warm-up is what there is


# ---- one network, several memories -------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh():
    """A small untrained network, for what does not depend on good masks."""
    torch.manual_seed(0)
    return Network(SMOKE).eval()


@pytest.fixture(scope="module")
def clip():
    """200 frames at 64 lines, two objects: frames, true masks."""
    frames, masks = zip(*clip_frames("two-friends", 64, frames=200))
    return frames, masks


def state_bytes(objects, positions, frames, config):
    """Bytes of the float32 state of each memory after `frames` writes, from shapes alone."""
    dims = config.key_dim + config.value_dim
    matrices = 2 if config.first_share else 1  # the first frame's context may be kept apart
    kept = positions + (frames - 1) * round(0.1 * positions)  # SwiftNet's: a tenth of each new one
    return {
        "gc": 4 * objects * config.key_dim * config.value_dim * matrices,
        "stm": 4 * objects * positions * frames * dims,
        "stm-linear": 4 * objects * positions * frames * dims,
        "pam": 4 * objects * kept * dims,
    }


def test_swapping_gc_for_linear_stm_changes_no_mask_in_200_frames(clip):
    """The signature result: at least 99.99 % of the pixels, each memory living with its own masks.

    The masks must be worth the name, or empty ones would agree. Bytes are those of the shapes.
    """
    frames, truth = clip
    network = load_model("mini")
    equal, overlap, difference = [], [], 0
    for swapped in benchmark.live_swap(network, frames, truth[0], height=64):
        equal.append(swapped.equal["stm-linear"])
        difference = max(difference, swapped.difference["stm-linear"])
        true, found = truth[swapped.index] > 0, swapped.masks["gc"] > 0
        overlap.append((true & found).sum() / (true | found).sum())
        expected = state_bytes(2, 4 * 8, swapped.index + 1, network.config)
        assert swapped.nbytes == {name: expected[name] for name in ("gc", "stm-linear")}
    assert len(equal) == 199
    assert np.mean(equal) >= 0.9999 and difference < 1e-3
    assert np.mean(overlap) > 0.4


def test_swapping_gc_for_softmax_stm_is_seen(clip):
    """The control: another operator, and the masks part within 40 frames."""
    frames, truth = clip
    swap = benchmark.live_swap(load_model("mini"), frames[:40], truth[0], ("gc", "stm"), 64)
    swapped = list(swap)
    assert np.mean([s.equal["stm"] for s in swapped]) < 0.99
    assert max(s.difference["stm"] for s in swapped) > 0.1
    assert all(s.equal["gc"] == 1 and s.difference["gc"] == 0 for s in swapped)


def test_seconds_are_of_one_read_and_one_write_and_of_the_whole_step(fresh, clip, ticks):
    frames, truth = clip
    swapped = list(benchmark.live_swap(fresh, frames[:3], truth[0], ("stm", "pam"), 32))
    assert [s.index for s in swapped] == [1, 2]
    for s in swapped:
        assert s.memory_seconds == {"stm": 2, "pam": 2}  # a tick for the read, one for the write
        assert s.step_seconds == {"stm": 5, "pam": 5}  # four calls of the clock inside


def test_frames_may_be_any_iterable_and_are_shown_as_they_came(fresh, clip):
    frames, truth = clip
    swapped = next(benchmark.live_swap(fresh, iter(frames), truth[0], ("gc",), 32))
    assert (swapped.frame == frames[1]).all() and swapped.masks["gc"].shape == truth[0].shape


def test_swap_refuses_what_the_segmenter_refuses(fresh, clip):
    frames, truth = clip
    with pytest.raises(BadInput, match="no object"):
        next(benchmark.live_swap(fresh, frames, 0 * truth[0]))
    with pytest.raises(ValueError, match="memory 'lstm'"):
        next(benchmark.live_swap(fresh, frames, truth[0], ("gc", "lstm")))


# ---- the command -------------------------------------------------------------------------------


def test_costs_hold_exactly_the_frames_they_name():
    """Timed runs must not pile up in the memory that is timed."""
    costs = benchmark.memory_costs((4, 5), 8, 16, (4, 1), runs=3)
    order = list(itertools.product((1, 4), benchmark.MEMORIES))
    assert [(cost.frames, cost.name) for cost in costs] == order
    for cost in costs:
        assert cost.nbytes == state_bytes(1, 20, cost.frames, SMOKE)[cost.name]
        assert cost.seconds > 0


def rows(printed):
    """The cells of every Markdown row whose first cell is a memory."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if "|" in line]
    return [cells for cells in lines if cells[0] in benchmark.MEMORIES]


def test_memory_prints_a_row_per_memory_and_length_at_both_sizes(capsys):
    benchmark.memory(frames=(1, 2), runs=1)
    printed = capsys.readouterr().out
    assert "mini: 569x320 pixels, a 36x20 map" in printed
    assert "paper: 384x384 pixels, a 24x24 map" in printed
    table = rows(printed)
    assert len(table) == 2 * 2 * 4
    for name, _, _, seconds_ratio, _, bytes_ratio in table:
        if name == "gc":
            assert (seconds_ratio, bytes_ratio) == ("1.00", "1.00")
    paper_stm = [cells for cells in table[8:] if cells[0] == "stm"]
    assert [cells[4] for cells in paper_stm] == ["1.406", "2.812"]  # 576 x 640 x 4 bytes per frame
    assert [cells[5] for cells in paper_stm] == ["5.62", "11.25"]


def test_segment_prints_a_row_per_memory(capsys):
    benchmark.segment(frames=3, height=32)
    printed = capsys.readouterr().out
    assert "two-friends: 3 frames of 57x32 pixels, mini" in printed
    table = {cells[0]: cells for cells in rows(printed)}
    assert set(table) == set(benchmark.MEMORIES)
    assert table["gc"][2] == "1.000"
    assert table["gc"][5] == table["stm-linear"][5] == "100.0000%"


# ---- key channels and long clips ---------------------------------------------------------------


def cells(printed):
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if "|" in line]
    return {row[0]: row[1:] for row in lines}


class Planted(Network):
    """Keys that know the truth: channel 5 on the object, 6 off it, the others noise."""

    def __init__(self, truths):
        super().__init__(SMOKE)
        self.truths = iter(truths)

    def memorize(self, frame, mask):
        key, value = super().memorize(frame, mask)
        generator = torch.Generator().manual_seed(0)
        key = torch.rand(key.shape, generator=generator)
        truth = torch.from_numpy(next(self.truths)).float()[None, None]
        cover = torch.nn.functional.interpolate(truth, key.shape[2:], mode="area")
        for o in range(len(key)):
            key[o, 5], key[o, 6] = -9 * cover[0, 0], 1 - cover[0, 0]  # strength, not sign
        return key, value


class Echo(Network):
    """Keys that know the mask they are given and nothing else: channel 5 on it, 6 off it."""

    def memorize(self, frame, mask):
        key, value = super().memorize(frame, mask)
        cover = torch.nn.functional.interpolate(mask, key.shape[2:], mode="area")[:, 0]
        key = torch.zeros_like(key)
        key[:, 5], key[:, 6] = cover, 1 - cover
        return key, value


def test_keys_finds_planted_channels(tmp_path, monkeypatch, capsys):
    """First the keys of found masks, then those of true ones, here the wrong way round.

    The first frame does not count: there, too, the channels are the wrong way round.
    """
    toy.render(tmp_path / "set", 0, 64, ["approach"], 4, progress=False)
    truths = [mask > 0 for _, mask in toy.clip_frames("approach", 64, 4)]
    off = [~mask for mask in truths]
    planted = Planted([off[0], *truths[1:], truths[0], *off[1:]]).eval()
    monkeypatch.setattr(benchmark, "load_model", lambda *_, **__: planted)
    benchmark.keys(tmp_path / "set")
    table = cells(capsys.readouterr().out)
    channel, best, best_true, low, lowest, lowest_true = table["approach"][1:]
    assert (channel, low) == ("5", "6") and float(best) > 0.97 and float(lowest) < 0.03
    assert float(best_true) < 0.03 and float(lowest_true) > 0.97
    assert table["**mean**"][2:4] == [best, best_true]
    assert table["**mean**"][5:] == [lowest, lowest_true]
    assert table["**one channel for all**"][1:] == table["approach"][1:]


def test_keys_of_true_masks_stand_beside_those_of_found_ones(tmp_path, monkeypatch, capsys):
    """An untrained network finds masks that are mostly wrong, so its own keys tell less."""
    toy.render(tmp_path / "set", 0, 64, ["approach"], 4, progress=False)
    torch.manual_seed(0)
    monkeypatch.setattr(benchmark, "load_model", lambda *_, **__: Echo(SMOKE).eval())
    benchmark.keys(tmp_path / "set")
    table = cells(capsys.readouterr().out)
    channel, best, best_true, low, lowest, lowest_true = table["approach"][1:]
    assert (channel, low) == ("5", "6")
    assert float(best) < 0.95 and float(lowest) > 0.05
    assert float(best_true) > 0.99 and float(lowest_true) < 0.01


def test_scores_along_a_clip_are_the_protocols(tmp_path, fresh):
    toy.render(tmp_path / "set", 0, 240, ["approach"], 5, progress=False)
    sequences = load_split(tmp_path / "set", 2017, "val")
    segment_split(sequences, 2017, VideoSegmenter(fresh), tmp_path / "masks")
    wanted = score_masks(tmp_path / "set", 2017, "val", tmp_path / "masks")["mean"]["JF_mean"]
    along = benchmark.scores_along(fresh, "approach", 5)
    assert along.shape == (3,)
    assert along.mean() == pytest.approx(wanted, abs=0.02)  # the files hold JPEG frames


def test_length_compares_the_head_with_all(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "scores_along", lambda *_: np.arange(8) / 10)  # frames 1 to 8
    benchmark.length(("approach", "sunset"), frames=10, head=4)
    table = cells(capsys.readouterr().out)
    assert table["sunset"][:3] == table["**mean**"][:3] == ["0.100", "0.350", "0.250"]
    assert table["clip"][3:] == ["1 to 1", "2 to 3", "4 to 4", "5 to 6", "7 to 8"]
    assert table["sunset"][3:] == ["0.000", "0.150", "0.300", "0.450", "0.650"]


OFFICIAL = """
from pathlib import Path
import numpy as np
from PIL import Image

class DAVISEvaluation:
    def __init__(self, root, task, subset):
        assert (task, subset) == ("semi-supervised", "val")
        self.root = Path(root)

    def evaluate(self, masks):
        overlaps = []
        for name in (self.root / "ImageSets/2017/val.txt").read_text().split():
            frames = sorted((self.root / "JPEGImages/480p" / name).glob("*.jpg"))[1:-1]
            j = []
            for frame in frames:
                truth, found = (
                    np.array(Image.open(folder / name / f"{frame.stem}.png"))
                    for folder in (self.root / "Annotations/480p", masks)
                )
                assert set(np.unique(truth)) <= {0, 1}
                j.append(((truth == 1) & (found == 1)).sum() / ((truth == 1) | (found == 1)).sum())
            overlaps.append(np.mean(j))
        return {"J": {"M": overlaps}, "F": {"M": [0.25, 0.75]}}
"""


def test_evaluate_gives_both_the_same_masks(tmp_path, monkeypatch, capsys):
    """A stand-in for the official evaluator finds 2016's 255 as 1, and the J that ours finds."""
    rng = np.random.default_rng(0)
    for folder in ("data/Annotations/480p", "masks"):
        for name in ("one", "two"):
            (tmp_path / folder / name).mkdir(parents=True)
            for t in range(5):
                mask = np.uint8(255 * (rng.random((24, 32)) < 0.5))
                Image.fromarray(mask).save(tmp_path / folder / name / f"{t:05d}.png")
    (tmp_path / "masks/two/00004.png").unlink()
    (tmp_path / "data/ImageSets/2016").mkdir(parents=True)
    (tmp_path / "data/ImageSets/2016/val.txt").write_text("one\ntwo\n")
    (tmp_path / "checkout/davis2017").mkdir(parents=True)
    (tmp_path / "checkout/davis2017/evaluation.py").write_text(OFFICIAL)
    monkeypatch.setattr(sys, "path", sys.path[:])
    benchmark.evaluation(
        tmp_path / "data", tmp_path / "masks", tmp_path / "checkout", 2016, runs=2
    )
    table = cells(capsys.readouterr().out)
    assert table["official"][2] == table["gcvos_mini"][2]  # J
    assert table["official"][3] == "0.500000" and table["gcvos_mini"][1] == "1.00"


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments,complaint",
    [
        ("evaluate --data nowhere --masks x --official y", "nowhere: no such folder"),
        ("keys --data nowhere", "nowhere: no such folder"),
        ("length --clips nobody", "nobody: no such clip"),
        ("length --frames 5", "--frames 5: too small; give at least 7"),
        ("length --head 1", "--head 1: too small"),
        ("memory --frames 0 3", "--frames 0: too small"),
        ("memory --frames", "--frames: missing"),
        ("memory --runs 0", "--runs 0: too small"),
        ("segment --clip nobody", "nobody: no such clip"),
        ("segment --frames 1", "--frames 1: too small; give at least 2"),
        ("segment --height 0", "--height 0: too small"),
        ("segment --checkpoint none.safetensors", "none.safetensors: no such file"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, complaint, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments.split()])
    with pytest.raises(SystemExit) as exit:
        exit_on_bad_input(benchmark.main)
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {complaint}") and error.count("\n") == 1


def test_explore_times_every_picture(capsys):
    benchmark.explore(frames=3, turns=1)
    table = capsys.readouterr().out
    assert "427x240 pixels, 3 frames" in table
    rows = [line.split("|") for line in table.splitlines() if "|" in line][2:]
    assert len(rows) == 5 and all(0 < float(row[2]) <= float(row[3]) for row in rows)


def test_explore_refuses_a_single_frame():
    with pytest.raises(BadInput, match="frames"):
        benchmark.explore(frames=1)
