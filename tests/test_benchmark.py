"""Side by side: the numbers are those of the operations and tensors themselves, never quoted."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from davis_folder import write_davis, write_masks
from tqdm import tqdm

from gcvos_mini import benchmark, complexity, costs, official, throughput
from gcvos_mini.complexity import (
    gc_read_operations,
    gc_write_operations,
    operations_of,
    stm_read_operations,
)
from gcvos_mini.config import MINI, SMOKE
from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.evaluate import score_masks, segment_sequence
from gcvos_mini.memory import GlobalContext, make_memory
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.toy import VAL, clip_frames, render_clips


def cells(printed):
    """Rows of a Markdown table by their first cell: {name: the others}, the last of each name."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if "|" in line]
    return {name: row for name, *row in lines}


# ---- memories ----------------------------------------------------------------------------------


def test_costs_hold_exactly_the_frames_they_name():
    """Timed runs must not pile up in the memory that is timed; bytes and operations by hand."""
    dims, positions = (SMOKE.key_dim, SMOKE.value_dim), 20  # a 4 x 5 map
    found = costs.memory_costs(SMOKE, (4, 5), (4, 1, 300), runs=3)
    by = {(cost.name, cost.frames): cost for cost in found}
    assert list(by) == [(name, t) for t in (1, 4, 300) for name in costs.ALL]
    gc = gc_write_operations(4, 5, *dims) + gc_read_operations(4, 5, *dims)
    for t in (1, 4, 300):
        kept = {"stm": positions * t, "stm-linear": positions * t, "pam": positions + 2 * (t - 1)}
        for name, stored in kept.items():  # SwiftNet's: a tenth of each new frame
            assert by[name, t].nbytes == 4 * stored * sum(dims)
        assert by["gc", t].nbytes == 4 * dims[0] * dims[1]
        assert by["gc", t].operations == gc
        assert by["stm", t].operations == stm_read_operations(4, 5, t, *dims)
        assert by["stm-linear", t].operations == stm_read_operations(4, 5, t, *dims)


@pytest.mark.parametrize("name", costs.ALL)
def test_filled_at_once_is_as_large_as_written_frame_by_frame(name):
    """And its next frame costs as much; odd numbers of positions and frames."""

    def pair(*shape):
        return torch.randn(1, 8, *shape), torch.randn(1, 16, *shape)

    memory, written = costs.filled(name, SMOKE, (3, 5), pair, 7), make_memory(name, SMOKE)
    for _ in range(7):
        written.write(*pair(3, 5))
    assert (memory.nbytes, memory.frames) == (written.nbytes, written.frames)
    one_more = *pair(3, 5), torch.randn(1, 8, 3, 5)
    assert operations_of(memory, *one_more) == operations_of(written, *one_more)
    assert memory.nbytes == written.nbytes


def test_a_memory_that_does_not_fit_is_told_by_its_bytes(monkeypatch, capsys):
    """STM's at 10,000 frames of a large map; the constant one beside it is still timed."""
    monkeypatch.setattr(costs, "free_bytes", lambda device: 10**9)
    gc, stm = costs.memory_costs(SMOKE, (30, 54), (10_000,), 1, ("gc", "stm"))
    assert gc.seconds > 0 and gc.nbytes == 4 * 8 * 16
    assert (stm.seconds, stm.operations) == (None, None)
    assert stm.nbytes == 10_000 * 30 * 54 * 4 * (8 + 16)
    row = costs.cost_table([gc, stm]).splitlines()[-1]
    assert "does not fit" in row and "1483.154" in row


def test_costs_of_a_networks_own_memory_settings():
    """A share of the first frame doubles the context; a class is named as module:Class."""
    config = replace(MINI, first_share=0.7)
    own, plain = costs.memory_costs(config, (2, 2), (1,), 1, (GlobalContext, "gc"))
    assert own.name == "gcvos_mini.memory:GlobalContext"
    assert own.nbytes == plain.nbytes == 2 * 4 * config.key_dim * config.value_dim


def test_memory_prints_a_row_per_memory_and_length_at_both_sizes(capsys):
    benchmark.benchmark_memory(frames=(1, 2), runs=1)
    mini, paper, large = capsys.readouterr().out.split("paper: ")
    assert large.startswith("854x480 pixels, a 54x30 map")
    assert mini.startswith("mini: 569x320 pixels, a 36x20 map")
    assert paper.startswith("384x384 pixels, a 24x24 map")
    for table in (mini, paper):
        rows = [line.strip("| ").split(" | ") for line in table.splitlines() if "|" in line][2:]
        assert [(row[0], row[1]) for row in rows] == [(name, t) for t in "12" for name in costs.ALL]
        assert all((row[3], row[6]) == ("1.00", "1.00") for row in rows if row[0] == "gc")
    stm = [row for row in rows if row[0] == "stm"]
    assert [row[5] for row in stm] == ["1.406", "2.812"]  # 576 x 640 x 4 bytes a frame
    assert [row[6] for row in stm] == ["5.62", "11.25"]


def test_segment_runs_every_combination_in_turns(tmp_path, capsys):
    """Shares, ratios and equal pixels are to the first; what it saves is what it prints."""
    benchmark.benchmark_segment(
        lines=(48, 32), objects=(1, 2), memory=("stm-linear", "gc"), precision=("float32",),
        frames=5, json=tmp_path / "speed.json",
    )  # fmt: skip
    report = json.loads((tmp_path / "speed.json").read_text())
    cases = [(row["lines"], row["objects"], row["memory"]) for row in report["rows"]]
    both = ("stm-linear", "gc")
    assert cases == [(n, o, m) for n in (48, 32) for o in (1, 2) for m in both]
    for linear, gc in zip(report["rows"][::2], report["rows"][1::2]):
        assert linear["equal"] == 1 and gc["equal"] > 0.999  # the same operator
        h, w = complexity.map_size(*gc["works_at"])
        per_frame = gc["objects"] * h * w * (64 + 256) * 4
        assert linear["state_bytes"] == 5 * per_frame  # after frames 0 to 3, and one more counted
        assert gc["state_bytes"] == gc["objects"] * 64 * 256 * 4  # the mean, in float32
        assert gc["frames_per_second"] > 0 and gc["as_a_command"] > 0
        assert set(gc["ms"]) == set(throughput.PARTS) and min(gc["ms"].values()) > 0
    printed = capsys.readouterr().out
    assert printed.count("| mini | 48 | 48 | 2 | gc | float32 |") == 3
    first = next(line for line in printed.splitlines() if "| mini | 48" in line).split(" | ")
    assert first[8] == "1.00" and float(first[6]) == pytest.approx(
        report["rows"][0]["frames_per_second"], abs=0.01
    )


def test_parts_add_up_to_the_frame(model, monkeypatch):
    """What is not in a part is in "finish": no time is counted twice, none is lost."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(throughput, "clock", lambda *_: next(ticks))
    monkeypatch.setattr(throughput, "network_of", lambda *_: model)
    case = throughput.Case("smoke", 48, None, 1, "gc", "float32")
    (found,) = throughput.measure([case], 4, torch.device("cpu"))
    assert len(found.steps) == 2  # frame 0 is given, frame 1 warms up
    # Each of the five parts has two ticks, one second apart; reading and the ends have one each.
    assert found.milliseconds() == {n: 1000 for n in throughput.PARTS} | {"finish": 7000}


def test_operations_are_those_of_the_layers(model, monkeypatch):
    """Counted once more from what goes through each convolution, with eqs. 1 and 3 besides."""
    monkeypatch.setattr(throughput, "network_of", lambda *_: model)
    monkeypatch.setattr(throughput.fast, "prepare", lambda network, _: network)
    counts = []

    def count(layer, _, out):
        counts.append(out.numel() * layer.weight[0].numel())

    def convolutions(module):
        return [x for x in module.modules() if isinstance(x, torch.nn.Conv2d)]

    hooks = [layer.register_forward_hook(count) for layer in convolutions(model)]
    case = throughput.Case("smoke", 64, None, 2, "gc", "float32")
    found = next(throughput.measure([case], 4, torch.device("cpu")))
    for hook in hooks:
        hook.remove()
    h, w = complexity.map_size(*found.size)
    memory = 2 * (gc_write_operations(h, w, 8, 16) + gc_read_operations(h, w, 8, 16))
    first = len(convolutions(model.memory_encoder)) + 2  # what `start` runs: it writes only
    fourth = counts[first + 3 * len(hooks) :][: len(hooks)]  # three steps, then the counted one
    assert found.operations == sum(fourth) + memory


def test_cut_into_objects():
    mask = next(clip_frames("two-friends", 64, frames=1))[1]
    cut = throughput.cut_into(mask, 3)
    assert set(np.unique(cut)) == {0, 1, 2, 3} and ((cut > 0) == (mask > 0)).all()
    assert np.ptp([np.sum(cut == i) for i in (1, 2, 3)]) <= 1


def test_train_compares_precisions(tmp_path, capsys):
    clips = render_clips(tmp_path / "set", 0, 64, ["train-000", "train-001"], 4, progress=False)
    benchmark.benchmark_train(
        "smoke", "videos", (clips,), ("float32",), clips=24, json=tmp_path / "train.json"
    )
    (row,) = json.loads((tmp_path / "train.json").read_text())["rows"]
    assert row["precision"] == "float32" and row["clips_per_second"] > 0
    assert 0 <= row["waiting"] < 1 and row["first_ms"] > 0
    assert "| float32 |" in capsys.readouterr().out


def test_a_training_that_fails_says_why(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="training failed: error: .*empty"):
        benchmark.benchmark_train("smoke", "videos", (tmp_path / "empty",), ("float32",), clips=24)


# ---- the official network ------------------------------------------------------------------------

STM = """
import torch
import helpers
from torchvision import models

class STM(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = models.resnet50(pretrained=True)  # without being patched: a download

    def forward(self, frame, *past):
        if len(past) == 2:  # memorize: mask, number of objects
            return torch.ones(1, 2, 3, 1, 4, 4), torch.ones(1, 2, 5, 1, 4, 4)
        helpers.read.append(past[0].shape[3])
        return torch.full((1, 2, *frame.shape[2:]), float(past[0].shape[3]))
"""


def test_the_official_network_reads_what_was_kept_and_the_last_frame(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(STM)
    (tmp_path / "helpers.py").write_text("read = []")
    monkeypatch.delitem(sys.modules, "helpers", raising=False)
    before = torchvision.models.resnet50
    step = official.stm_step(tmp_path, torch.zeros(1, 3, 32, 32), 20, "float32")
    assert torchvision.models.resnet50 is before and str(tmp_path) not in sys.path
    step(), step()
    assert sys.modules["helpers"].read == [21, 21]  # the kept ones do not grow


def test_no_checkout_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="the official network cannot be imported"):
        official.official_stm(tmp_path)


# ---- long clips --------------------------------------------------------------------------------


def test_scores_along_a_clip_are_the_protocols(tmp_path, model):
    data = render_clips(tmp_path / "set", 0, 240, ["approach"], 5, progress=False)
    segmenter = VideoSegmenter(model)
    [sequence] = load_split(data, 2017, "val")
    segment_sequence(sequence, 2017, segmenter, tmp_path / "masks/approach", tqdm(disable=True))
    wanted = score_masks(data, 2017, "val", tmp_path / "masks")["mean"]["JF_mean"]
    along = benchmark.scores_along(segmenter, "approach", 5)
    assert along.shape == (3,)
    assert along.mean() == pytest.approx(wanted, abs=0.02)  # the files hold JPEG frames


def test_length_compares_the_head_with_all(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "scores_along", lambda *_: np.arange(8) / 10)  # frames 1 to 8
    benchmark.benchmark_length(("approach", "sunset"), frames=10, head=4)
    table = cells(capsys.readouterr().out)
    assert table["sunset"][:3] == table["**mean**"][:3] == ["0.100", "0.350", "0.250"]
    assert table["clip"][3:] == ["1 to 1", "2 to 3", "4 to 4", "5 to 6", "7 to 8"]
    assert table["sunset"][3:] == ["0.000", "0.150", "0.300", "0.450", "0.650"]
    benchmark.benchmark_length((), frames=10, head=4)
    assert cells(capsys.readouterr().out).keys() >= set(VAL)


# ---- the official evaluator --------------------------------------------------------------------

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
    made = {
        folder: {name: np.uint8(255 * (rng.random((5, 24, 32)) < 0.5)) for name in ("one", "two")}
        for folder in ("data", "masks")
    }
    write_davis(tmp_path / "data", {n: (None, list(m)) for n, m in made["data"].items()}, 2016)
    for name, masks in made["masks"].items():
        write_masks(tmp_path / "masks" / name, list(masks))
    (tmp_path / "masks/two/00004.png").unlink()
    (tmp_path / "checkout/davis2017").mkdir(parents=True)
    (tmp_path / "checkout/davis2017/evaluation.py").write_text(OFFICIAL)
    monkeypatch.setattr(sys, "path", sys.path[:])
    benchmark.benchmark_evaluate(
        tmp_path / "data", tmp_path / "masks", tmp_path / "checkout", 2016, runs=2
    )
    table = cells(capsys.readouterr().out)
    assert table["evaluator"][2:] == ["J", "F"]
    assert table["official"][2] == table["gcvos_mini"][2]
    assert table["official"][3] == "0.500000" and table["gcvos_mini"][1] == "1.00"


@pytest.mark.parametrize("missing", ["masks", "masks/two", "masks/two/00002.png"])
def test_evaluate_looks_for_the_masks_first(tmp_path, missing):
    """The official evaluator would say so to nobody, and exit with status 0."""
    masks = [np.ones((24, 32), np.uint8)] * 4
    write_davis(tmp_path / "data", dict.fromkeys(("one", "two"), (None, masks)))
    for name in ("one", "two"):
        write_masks(tmp_path / "masks" / name, masks)
    (tmp_path / missing).rename(tmp_path / "gone")
    with pytest.raises(BadInput, match=f"{missing}: no "):
        benchmark.benchmark_evaluate(tmp_path / "data", tmp_path / "masks", tmp_path / "nowhere")


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
        ("memory --memory", "--memory: missing; give at least one of gc, stm"),
        ("memory --memory lstm", "memory 'lstm': no such memory"),
        ("memory --device tpu", "--device tpu: not on this machine"),
        ("segment --memory lstm", "memory 'lstm': no such memory"),
        ("segment --lines 8", "--lines 8: too small; give at least 16"),
        ("segment --objects 99", "--objects 99: too large; give at most 64"),
        ("segment --precision float16 --device cpu", "--precision float16: for GPUs"),
        ("segment --frames 3", "--frames 3: too small; give at least 4"),
        ("train --config paper --stage embedded", "--stage embedded: paper has the stages"),
        ("train --clips 16", "--clips 16: too small; give at least 32"),
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
