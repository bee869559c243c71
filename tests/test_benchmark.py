"""Side by side: the numbers are those of the operations and tensors themselves, never quoted."""

import sys

import numpy as np
import pytest
from davis_folder import write_davis, write_masks

from gcvos_mini import benchmark
from gcvos_mini.complexity import gc_read_operations, gc_write_operations, stm_read_operations
from gcvos_mini.config import SMOKE
from gcvos_mini.davis import load_split
from gcvos_mini.errors import exit_on_bad_input
from gcvos_mini.evaluate import score_masks, segment_split
from gcvos_mini.memory import GlobalContext
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.toy import render_clips


def cells(printed):
    """Rows of a Markdown table by their first cell: {name: the others}, the last of each name."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if "|" in line]
    return {name: row for name, *row in lines}


# ---- memories ----------------------------------------------------------------------------------


def test_costs_hold_exactly_the_frames_they_name():
    """Timed runs must not pile up in the memory that is timed; bytes and operations by hand."""
    dims, positions = (SMOKE.key_dim, SMOKE.value_dim), 20  # a 4 x 5 map
    found = benchmark.memory_costs(SMOKE, (4, 5), (4, 1), runs=3)
    costs = {(cost.name, cost.frames): cost for cost in found}
    assert list(costs) == [(name, t) for t in (1, 4) for name in benchmark.ALL]
    gc = gc_write_operations(4, 5, *dims) + gc_read_operations(4, 5, *dims)
    for t in (1, 4):
        kept = {"stm": positions * t, "stm-linear": positions * t, "pam": positions + 2 * (t - 1)}
        for name, stored in kept.items():  # SwiftNet's: a tenth of each new frame
            assert costs[name, t].nbytes == 4 * stored * sum(dims)
        assert costs["gc", t].nbytes == 4 * dims[0] * dims[1]
        assert costs["gc", t].operations == gc
        assert costs["stm", t].operations == stm_read_operations(4, 5, t, *dims)
        assert costs["stm-linear", t].operations == stm_read_operations(4, 5, t, *dims)


def test_costs_of_a_networks_own_memory_settings():
    """A share of the first frame doubles the context; a class is named as module:Class."""
    config = benchmark.MINI
    own, plain = benchmark.memory_costs(config, (2, 2), (1,), 1, (GlobalContext, "gc"))
    assert own.name == "gcvos_mini.memory:GlobalContext"
    assert own.nbytes == plain.nbytes == 2 * 4 * config.key_dim * config.value_dim


def test_memory_prints_a_row_per_memory_and_length_at_both_sizes(capsys):
    benchmark.benchmark_memory(frames=(1, 2), runs=1)
    mini, paper = capsys.readouterr().out.split("paper: ")
    assert mini.startswith("mini: 569x320 pixels, a 36x20 map")
    assert paper.startswith("384x384 pixels, a 24x24 map")
    for table in (mini, paper):
        rows = [line.strip("| ").split(" | ") for line in table.splitlines() if "|" in line][2:]
        assert [(row[0], row[1]) for row in rows] == [
            (name, t) for t in "12" for name in benchmark.ALL
        ]
        assert all((row[3], row[6]) == ("1.00", "1.00") for row in rows if row[0] == "gc")
    stm = [row for row in rows if row[0] == "stm"]
    assert [row[5] for row in stm] == ["1.406", "2.812"]  # 576 x 640 x 4 bytes a frame
    assert [row[6] for row in stm] == ["5.62", "11.25"]


def test_segment_prints_a_row_per_memory(capsys):
    """Ratios are to the first memory, and so are the equal pixels."""
    benchmark.benchmark_segment(frames=3, height=32, memory=("stm-linear", "gc", "stm"))
    printed = capsys.readouterr().out
    assert "two-friends: 3 frames of 57x32 pixels, mini" in printed
    table = cells(printed)
    assert list(table)[2:] == ["stm-linear", "gc", "stm"]
    assert table["memory"][1] == "/ stm-linear" and table["stm-linear"][1] == "1.000"
    assert table["gc"][4] == table["stm-linear"][4] == "100.0000%"
    assert float(table["gc"][1]) == pytest.approx(
        float(table["gc"][0]) / float(table["stm-linear"][0]), rel=0.05
    )  # both rounded


# ---- long clips --------------------------------------------------------------------------------


def test_scores_along_a_clip_are_the_protocols(tmp_path, model):
    data = render_clips(tmp_path / "set", 0, 240, ["approach"], 5, progress=False)
    segmenter = VideoSegmenter(model)
    segment_split(load_split(data, 2017, "val"), 2017, segmenter, tmp_path / "masks")
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
