"""The DAVIS protocol against the official evaluator, and runs that stop, go on and are refused."""

import functools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from davis_folder import write_davis, write_masks
from PIL import Image
from scipy import stats

from gcvos_mini import evaluate, segment
from gcvos_mini.config import SMOKE
from gcvos_mini.davis import load_sequence
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.evaluate import Evaluation, score_masks
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.memory import MEMORIES, SpaceTime
from gcvos_mini.network import Network, save_model
from gcvos_mini.results import KEYS, interval

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
MULTI = GOLDEN / "davis2017_multi"
REAL = os.environ.get("GCVOS_REAL_DATA")


@pytest.fixture
def data(tmp_path):
    """Two golden sequences, a-two (20 masks) and d-void (18), and their predictions, to break."""
    for folder in ("Annotations/480p", "predictions"):
        for name in ("a-two", "d-void"):
            shutil.copytree(MULTI / folder / name, tmp_path / folder / name)
    return write_davis(tmp_path, dict.fromkeys(("a-two", "d-void"), (None, [])))


def add_frames(data, name="a-two"):
    """Grey-noise JPEG frames for a sequence that has only masks."""
    for mask in sorted((data / "Annotations/480p" / name).glob("*.png")):
        noise = np.random.default_rng(0).integers(0, 256, (*read_mask(mask).shape, 3), np.uint8)
        path = data / "JPEGImages/480p" / name / f"{mask.stem}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)


@pytest.fixture
def framed(data):
    for name in ("a-two", "d-void"):
        add_frames(data, name)
    return data


def score(data, masks="predictions", year=2017):
    return score_masks(data, year, "val", data / masks)


def run(data, checkpoint="first-mask", out="out", **options):
    return evaluate.run(Evaluation(data=data, checkpoint=checkpoint, out=data / out, **options))


@pytest.fixture
def command(capsys):
    """Runs the command in this process: (exit status, stdout, stderr)."""

    def call(*arguments):
        try:
            cli = functools.partial(tyro.cli, evaluate.evaluate, args=[*map(str, arguments)])
            exit_on_bad_input(cli)
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def redraw(path, change):
    write_mask(path, change(read_mask(path)).astype(np.uint8))


# Equal to the official evaluator


def test_golden_multi():
    """Five clips, 14 objects: one vanishes, one is never predicted, void pixels."""
    expected = json.loads((MULTI / "expected.json").read_text())
    results = score_masks(MULTI, 2017, "val", MULTI / "predictions")
    assert results["mean"] == pytest.approx({key: expected[key] for key in KEYS}, abs=1e-9)
    for measure, values in expected["per_object"].items():
        found = {
            f"{name}_{i}": scores[f"{measure}_mean"]
            for name, sequence in results["sequences"].items()
            for i, scores in sequence["objects"].items()
        }
        assert found == pytest.approx(values, abs=1e-9)


@pytest.mark.skipif(not REAL, reason="GCVOS_REAL_DATA names no folder with real DAVIS data")
def test_golden_osvos():
    """OSVOS masks on ten DAVIS 2016 sequences, scored as the official evaluator scores them."""
    expected = json.loads((GOLDEN / "osvos_on_davis2016_val10.json").read_text())
    data, masks = Path(REAL, "davis2016-val10"), Path(REAL, "osvos-predictions")
    results = score_masks(data, 2016, "val", masks)
    assert results["mean"] == pytest.approx(expected["mean"], abs=1e-6)
    assert results["sequences"].keys() == expected["sequences"].keys()
    for name, scores in expected["sequences"].items():
        found = {key: results["sequences"][name][key] for key in scores}
        assert found == pytest.approx(scores, abs=1e-6), name


# The protocol, one rule at a time


def test_truth_scores_one():
    results = score_masks(MULTI, 2017, "val", MULTI / "Annotations" / "480p")
    for scores in (results["mean"], *results["sequences"].values()):
        assert [scores[key] for key in KEYS] == [1, 1, 1, 0, 1, 1, 0]


def test_first_and_last_frame_do_not_count(data):
    before = score(data)
    (data / "predictions/a-two/00000.png").unlink()
    redraw(data / "predictions/a-two/00019.png", np.zeros_like)
    assert score(data) == before
    redraw(data / "predictions/a-two/00018.png", np.zeros_like)
    assert score(data) != before


def test_mean_is_over_objects_not_sequences():
    results = score_masks(MULTI, 2017, "val", MULTI / "predictions")
    objects = [o["J_mean"] for s in results["sequences"].values() for o in s["objects"].values()]
    sequences = [s["J_mean"] for s in results["sequences"].values()]
    assert results["mean"]["J_mean"] == pytest.approx(np.mean(objects))
    assert results["mean"]["J_mean"] != pytest.approx(np.mean(sequences))


def test_ids_that_are_not_in_the_first_mask_are_ignored(data):
    before = score(data)
    for path in (data / "predictions/a-two").iterdir():
        redraw(path, lambda mask: np.where(mask == 0, 9, mask))
    for path in sorted((data / "Annotations/480p/a-two").iterdir())[1:]:
        redraw(path, lambda mask: np.where((mask == 0) & (np.arange(mask.shape[1]) < 9), 7, mask))
    assert score(data) == before


def test_object_that_is_not_predicted_scores_zero(data):
    before = score(data)["sequences"]["a-two"]["objects"]
    for path in (data / "predictions/a-two").iterdir():
        redraw(path, lambda mask: np.where(mask == 2, 0, mask))
    after = score(data)["sequences"]["a-two"]["objects"]
    assert (after["2"]["J_mean"], after["2"]["F_mean"]) == (0, 0)
    assert after["1"] == before["1"]


def test_exchanged_ids_lose(data):
    for path in (data / "predictions/a-two").iterdir():
        redraw(path, lambda mask: np.array([0, 2, 1], np.uint8)[mask])
    assert score(data)["sequences"]["a-two"]["J_mean"] < 0.1


@pytest.mark.parametrize("mode", ["1", "L"])
def test_2016_takes_any_non_zero_value(data, mode):
    (data / "ImageSets/2017").rename(data / "ImageSets/2016")
    for path in (data / "predictions").glob("*/*"):
        redraw(path, lambda mask: mask > 0)
    before = score(data, year=2016)
    for path in (data / "predictions/a-two").iterdir():
        Image.fromarray(read_mask(path) > 0).convert(mode).save(path)  # L: 0 and 255
    assert score(data, year=2016) == before
    assert list(before["sequences"]["a-two"]["objects"]) == ["1"]


@pytest.mark.parametrize("length", [1, 2])
def test_short_sequence_is_named_and_left_out(data, capsys, length):
    alone = score_masks(data, 2017, "val", data / "predictions")["sequences"]["d-void"]
    for path in sorted((data / "Annotations/480p/a-two").iterdir())[length:]:
        path.unlink()
    results = score(data)
    assert results["not_scored"] == ["a-two"]
    assert list(results["sequences"]) == ["d-void"]
    assert results["mean"] == {key: alone[key] for key in KEYS}
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")]
    assert len(notes) == 1 and "a-two is not scored" in notes[0]
    (data / "ImageSets/2017/val.txt").write_text("a-two\n")
    with pytest.raises(BadInput, match="nothing to score"):
        score(data)


def test_table_has_every_sequence_and_the_mean():
    results = score_masks(MULTI, 2017, "val", MULTI / "predictions")
    rows = evaluate.markdown_table(results).splitlines()
    assert len(rows) == 2 + 5 + 1
    assert {row.count("|") for row in rows} == {11}
    assert rows[-1].startswith("| **mean** | 14 | 82 | 0.522 | 0.588 | 0.677 |")


def test_interval_is_a_bootstrap_over_sequences():
    """Against SciPy's, where each sequence has one object; several of one count together."""
    rng = np.random.default_rng(1)
    values = rng.uniform(0.2, 0.9, 12)
    alone = {f"s{i}": {"objects": {"1": {"JF_mean": v}}} for i, v in enumerate(values)}
    reference = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=2
    ).confidence_interval  # fmt: skip
    np.testing.assert_allclose(interval(alone), reference, atol=0.005)
    # two objects of equal scores in every sequence say no more than one
    twice = {
        n: {"objects": {"1": s["objects"]["1"], "2": s["objects"]["1"]}} for n, s in alone.items()
    }
    assert interval(twice) == pytest.approx(interval(alone))
    few, many = [interval(dict(list(alone.items())[:n])) for n in (4, 12)]
    assert np.ptp(many) < np.ptp(few)


def test_quarters_are_those_of_the_decay():
    results = score_masks(MULTI, 2017, "val", MULTI / "predictions")
    for sequence in results["sequences"].values():
        for scores in sequence["objects"].values():
            decay = (scores["J_decay"] + scores["F_decay"]) / 2
            assert scores["quarters"][0] - scores["quarters"][3] == pytest.approx(decay)
    first, *_, last = results["quarters"]
    mean = results["mean"]
    assert first - last == pytest.approx((mean["J_decay"] + mean["F_decay"]) / 2)


def test_only_some_sequences():
    everything = score_masks(MULTI, 2017, "val", MULTI / "predictions")
    names = list(everything["sequences"])[1:3]
    some = score_masks(MULTI, 2017, "val", MULTI / "predictions", only=names)
    assert some["sequences"] == {name: everything["sequences"][name] for name in names}
    with pytest.raises(BadInput, match="has no sequence bear; it has"):
        score_masks(MULTI, 2017, "val", MULTI / "predictions", only=[names[0], "bear"])


# Running a network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "smoke.safetensors"
    save_model(Network(SMOKE), path)
    return str(path)


def test_run_segments_and_scores(framed, checkpoint):
    """Odd sizes (213x120 and 240x135), full-size masks, the same numbers when scored again."""
    data, out = framed, framed / "out"
    results = run(data, checkpoint, memory="stm-linear", height=32)
    assert results == score(data, "out")
    for truth in (data / "Annotations/480p").rglob("*.png"):
        mask = read_mask(out / truth.parent.name / truth.name)
        assert mask.shape == read_mask(truth).shape
        assert set(np.unique(mask)) <= {0, 1, 2, 255}
    first = "a-two/00000.png"
    np.testing.assert_array_equal(
        read_mask(out / first), read_mask(data / "Annotations/480p" / first)
    )


def test_options_reach_the_segmenter(framed, checkpoint, monkeypatch):
    """The segmenter has the memory and height asked for, and starts anew on each sequence."""
    made, started = [], []

    class Copies(evaluate.FirstMask):
        memory_choice = "stm"

        def __init__(self, model, memory, height):
            made.append((model.config.name, memory, height))

        def start(self, frame, mask):
            started.append(frame.shape)
            super().start(frame, mask)

    monkeypatch.setattr(segment, "VideoSegmenter", Copies)
    run(framed, checkpoint, memory="stm", height=32)
    assert made == [("smoke", "stm", 32)]
    assert started == [(120, 213, 3), (135, 240, 3)]


def test_every_second_frame_is_written(framed, checkpoint, monkeypatch):
    """To the memory, the first and each second one after it, and results.json says so."""
    kept = []

    class Counting(SpaceTime):
        def write(self, key, value):
            super().write(key, value)
            kept.append(self.frames)

    monkeypatch.setitem(MEMORIES, "stm", lambda config: Counting())
    run(framed, checkpoint, memory="stm", height=32, write_every=2)
    lengths = [len(list((framed / "JPEGImages/480p" / n).glob("*"))) for n in ("a-two", "d-void")]
    assert kept == [t for length in lengths for t in range(1, (length + 1) // 2 + 1)]
    assert json.loads((framed / "out/results.json").read_text())["run"]["write_every"] == 2


def test_the_memory_is_the_checkpoints_own_unless_another_is_named(framed, checkpoint, capsys):
    """Another one is said on stderr, and both stand in results.json."""
    for out, asked, used in [("own", None, "gc"), ("other", "stm", "stm")]:
        run(framed, checkpoint, out, memory=asked, height=16)
        saved = json.loads((framed / out / "results.json").read_text())["run"]
        assert saved["memory"] == used
        note = "was trained with the memory gc, this is stm"
        assert (note in capsys.readouterr().err) == (used == "stm")


def test_first_mask_baseline(framed):
    """Every mask is the first one; its score is that of the copies, written and scored by hand."""
    results = run(framed)
    for name, length in (("a-two", 20), ("d-void", 18)):
        first = read_mask(framed / f"Annotations/480p/{name}/00000.png")
        write_masks(framed / "copies" / name, [first] * length)
        written = [read_mask(path) for path in sorted((framed / "out" / name).iterdir())]
        np.testing.assert_array_equal(written, [first] * length)
    assert results == score(framed, "copies")


def test_run_with_first_masks_only(data, checkpoint, capsys):
    """A challenge's test split, or DAVIS frames with one mask: masks come out, no scores."""
    (data / "ImageSets/2017/val.txt").write_text("a-two\n")
    add_frames(data)
    for path in sorted((data / "Annotations/480p/a-two").iterdir())[1:]:
        path.unlink()
    evaluate.evaluate(Evaluation(data=data, checkpoint=checkpoint, out=data / "out", height=32))
    assert len(list((data / "out/a-two").iterdir())) == 20
    assert "no masks to score against" in capsys.readouterr().out
    written = json.loads((data / "out/results.json").read_text())
    assert (written["mean"], written["not_scored"]) == (None, ["a-two"])


def test_frame_of_another_size_is_named(data, checkpoint):
    (data / "ImageSets/2017/val.txt").write_text("a-two\n")
    add_frames(data)
    Image.new("RGB", (64, 48)).save(data / "JPEGImages/480p/a-two/00003.jpg")
    with pytest.raises(BadInput, match="00003.jpg is 64x48 but .*00000.jpg is 213x120"):
        run(data, checkpoint, height=32)


# Nothing computed is lost


class Killed(Exception):
    pass


def stopping(monkeypatch, after):
    """The first-mask segmenter, but dying at its step number `after`; returns its steps so far."""
    from gcvos_mini.evaluate import FirstMask

    steps = []

    class Stops(FirstMask):
        def step(self, frame):
            steps.append(frame)
            if len(steps) == after:
                raise Killed
            return super().step(frame)

    def make_segmenter(asked):
        segmenter = Stops()
        segmenter.memory_choice = asked.memory
        return segmenter

    monkeypatch.setattr(evaluate, "make_segmenter", make_segmenter)
    return steps


def read_all(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("after", [1, 19, 20, 36])  # 19 steps in one sequence, 17 in the other
def test_a_stopped_run_goes_on_after_the_last_finished_sequence(framed, monkeypatch, capsys, after):
    stopping(monkeypatch, after=0)
    whole = run(framed)
    wanted = read_all(framed / "out")
    shutil.rmtree(framed / "out")

    stopping(monkeypatch, after)
    with pytest.raises(Killed):
        run(framed)
    written = json.loads((framed / "out/results.json").read_text())
    finished = ["a-two"] if after > 19 else []
    assert list(written["sequences"]) == finished
    assert written["unfinished"] == ["a-two", "d-void"][len(finished) :]
    assert capsys.readouterr().err.count("going on") == 0

    steps = stopping(monkeypatch, after=0)
    assert run(framed) == whole
    assert len(steps) == (17 if finished else 36)
    assert read_all(framed / "out") == wanted
    assert ("1 of 2 sequences are finished" in capsys.readouterr().err) == bool(finished)


def test_killed_in_the_middle(framed):
    """kill -9 as soon as eight masks are there: what is there is whole, and the rest follows."""
    line = [sys.executable, "-m", "gcvos_mini.evaluate", "--data", framed, "--split", "val",
            "--checkpoint", "first-mask", "--out", framed / "out"]  # fmt: skip
    started = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(framed.glob("out/a-two/*.png"))) < 8:
        assert started.poll() is None
    started.kill()
    started.wait()
    for path in framed.glob("out/*/0*.png"):
        read_mask(path)
    assert run(framed) == run(framed, out="uninterrupted")
    found, wanted = read_all(framed / "out"), read_all(framed / "uninterrupted")
    assert {p: b for p, b in found.items() if not p.name.startswith(".")} == wanted


def test_sequence_that_lost_a_mask_is_done_again(framed, monkeypatch):
    steps = stopping(monkeypatch, after=0)
    whole = run(framed)
    (framed / "out/d-void/00003.png").unlink()
    assert run(framed) == whole
    assert len(steps) == 36 + 17


def test_results_of_another_precision_are_not_reused(framed, model):
    """Nor where it was not asked for by name: what the machine picks counts."""
    save_model(model, framed / "net.safetensors")
    network = str(framed / "net.safetensors")
    run(framed, network, precision="float32")
    with pytest.raises(BadInput, match=r"results of another run \(precision differ\)"):
        run(framed, network, precision="bfloat16")


@pytest.mark.parametrize(
    "other, named",
    [({"memory": "stm"}, "memory"), ({"height": 48}, "height"), ({"official": True}, "official")],
)
def test_results_of_other_settings_are_not_reused(framed, monkeypatch, other, named):
    stopping(monkeypatch, after=0)
    run(framed)
    before = read_all(framed / "out")
    with pytest.raises(BadInput, match=rf"results of another run \({named} differ\)"):
        run(framed, **other)
    with pytest.raises(BadInput, match="results of another run"):
        evaluate.evaluate(Evaluation(data=framed, masks=framed / "predictions", out=framed / "out"))
    assert read_all(framed / "out") == before


def test_results_of_other_weights_are_not_reused(framed, monkeypatch, tmp_path):
    stopping(monkeypatch, after=0)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"these")
    run(framed, str(weights))
    weights.write_bytes(b"those")
    with pytest.raises(BadInput, match=r"another run \(weights differ\)"):
        run(framed, str(weights))


def test_masks_of_something_else_are_kept(framed, monkeypatch):
    stopping(monkeypatch, after=0)
    with pytest.raises(BadInput, match="predictions/a-two: made by something else"):
        run(framed, out="predictions")
    (framed / "predictions/results.json").write_text("{}")
    with pytest.raises(BadInput, match="results.json: not results of this command"):
        run(framed, out="predictions")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_sequences_are_segmented(framed, monkeypatch, length):
    """All frames get a mask; only a third one leaves any to score."""
    stopping(monkeypatch, after=0)
    for path in [*framed.glob("JPEGImages/480p/a-two/*"), *framed.glob("Annotations/480p/a-two/*")]:
        if int(path.stem) >= length:
            path.unlink()
    results = run(framed)
    assert len(list((framed / "out/a-two").iterdir())) == length
    assert ("a-two" in results["sequences"]) == (length == 3)
    assert ("a-two" in results["not_scored"]) == (length < 3)
    assert run(framed) == results


def test_full_disk(data, command):
    """No file may grow beyond a few bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        status, out, errors = command("--data", data, "--masks", data / "predictions",
                                      "--out", data / "out")  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2 and "out/results.json: cannot be written (File too large)" in errors
    assert "| **mean** | 4 | 34 |" in out  # the scores are not lost
    assert list((data / "out").iterdir()) == []


def test_memory_does_not_grow_with_the_length(data):
    """Peak of Python's and NumPy's memory while scoring 18 and 398 frames."""
    for folder in ("Annotations/480p", "predictions"):
        (data / folder / "long").mkdir()
        for index, path in enumerate(sorted((data / folder / "a-two").iterdir()) * 20):
            (data / folder / "long" / f"{index:05d}.png").hardlink_to(path)
    peaks = []
    for name in ("a-two", "a-two", "long"):  # twice: what is made once is made in the first
        sequence = load_sequence(data, name, "480p", need_frames=False)
        tracemalloc.start()
        evaluate.score_sequence(sequence, data / "predictions" / name, 2017)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / 380 < 5000  # bytes, of names and scores; a mask has 25,560


# As the official evaluator does it, where it is wrong


def rename_id(data, old, new):
    for folder in ("Annotations/480p", "predictions"):
        for path in (data / folder / "a-two").iterdir():
            redraw(path, lambda mask: np.where(mask == old, new, mask))


def test_official_counts_objects_up_to_the_highest_id(data):
    """Ids 1 and 4: objects 2 and 3, which are nowhere, score 1 and lift the mean."""
    ours = score(data)["sequences"]["a-two"]
    rename_id(data, 2, 4)
    assert list(score(data)["sequences"]["a-two"]["objects"]) == ["1", "4"]
    theirs = score_masks(data, 2017, "val", data / "predictions", official=True)
    theirs = theirs["sequences"]["a-two"]
    assert [theirs["objects"][i]["J_mean"] for i in "23"] == [1, 1]
    assert theirs["J_mean"] == pytest.approx((ours["J_mean"] + 1) / 2)


def test_official_decay_is_wrong_above_256_frames(tmp_path):
    """300 masks that fade away: the official last quarter comes out empty."""
    side = np.arange(16)
    shrinking = [np.uint8(np.maximum.outer(side, side) < 16 - t // 20) for t in range(300)]
    write_davis(tmp_path, {"long": (None, shrinking[:1] * 300)})
    write_masks(tmp_path / "masks/long", shrinking)
    ours, theirs = (
        score_masks(tmp_path, 2017, "val", tmp_path / "masks", official=official)["mean"]
        for official in (False, True)
    )
    assert ours["J_decay"] > 0.5
    assert np.isnan(theirs["J_decay"]) and theirs["J_mean"] == ours["J_mean"]


def test_official_stops_at_ids_above_the_objects(data):
    redraw(data / "predictions/a-two/00005.png", lambda mask: np.where(mask == 0, 3, mask))
    score(data)
    with pytest.raises(BadInput, match="00005.png: has id 3, a-two ends at 2"):
        score_masks(data, 2017, "val", data / "predictions", official=True)


def test_official_and_ours_agree_on_the_golden_clips():
    ours = score_masks(MULTI, 2017, "val", MULTI / "predictions")
    assert score_masks(MULTI, 2017, "val", MULTI / "predictions", official=True) == ours


# The command line


def test_command_scores(data, command):
    where = "--masks", data / "predictions", "--out", data / "scores"
    status, out, errors = command("--data", data, "--year", 2017, "--split", "val", *where)
    assert status == 0, errors
    assert out.splitlines()[-3].startswith("| **mean** | 4 | 34 |")
    assert re.match(
        r"J&F 0\.\d{3}, 95 % interval 0\.\d{3} to 0\.\d{3} \(2 seq", out.splitlines()[-1]
    )
    written = json.loads((data / "scores/results.json").read_text())
    saved = written.pop("run")
    assert written == score(data)
    assert saved["masks"] == str(data / "predictions")


def keep(data):
    pass


def rgb_prediction(data):
    path = data / "predictions/a-two/00005.png"
    Image.open(path).convert("RGB").save(path)


def small_prediction(data):
    redraw(data / "predictions/a-two/00005.png", lambda mask: mask[::2, ::2])


def missing_prediction(data):
    (data / "predictions/d-void/00009.png").unlink()


def empty_first_mask(data):
    redraw(data / "Annotations/480p/a-two/00000.png", np.zeros_like)


def no_masks(data):
    shutil.rmtree(data / "Annotations/480p/d-void")


def truncated_jpeg(data):
    add_frames(data, "a-two")
    add_frames(data, "d-void")
    path = data / "JPEGImages/480p/d-void/00000.jpg"
    path.write_bytes(path.read_bytes()[:-100])


MASKS = ("--masks", "predictions")
RUN = ("--checkpoint", "mini", "--out", "out")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "change, arguments, message",
    [
        (keep, ("--data", "absent", *MASKS), "absent: no such folder"),
        (keep, ("--masks", "absent"), "absent: no such folder; give"),
        (
            keep,
            ("--split", "test", *MASKS),
            "ImageSets/2017/test.txt: no such split; there is: 2017/val",
        ),
        (keep, ("--checkpoint", "mini"), "--out: missing"),
        (no_masks, MASKS, "val.txt, line 2: no sequence 'd-void' in"),
        (rgb_prediction, MASKS, "predictions/a-two/00005.png: mask is a RGB image"),
        (small_prediction, MASKS, "predictions/a-two/00005.png is 107x60 but"),
        (missing_prediction, MASKS, "predictions/d-void/00009.png: no prediction for"),
        (empty_first_mask, MASKS, "a-two/00000.png: first mask is empty"),
        (truncated_jpeg, RUN, "JPEGImages/480p/d-void/00000.jpg: cannot be read"),
    ],
)
def test_bad_input_is_one_line(data, command, change, arguments, message):
    change(data)
    arguments = [data / a if a in ("absent", "predictions", "out") else a for a in arguments]
    if "--data" not in arguments:
        arguments = ["--data", data, *arguments]
    status, out, errors = command("--year", 2017, *arguments)
    assert (status, out) == (2, "")
    assert len(errors.splitlines()) == 1 and message in errors


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "give --masks DIR"),
        ({"masks": Path("x"), "checkpoint": "mini"}, "give --masks DIR"),
        ({"checkpoint": "mini", "out": Path("x"), "height": 3}, "--height 3: too small"),
    ],
)
def test_arguments_that_do_not_go_together(data, arguments, message):
    with pytest.raises(BadInput, match=message):
        evaluate.evaluate(Evaluation(data=data, **arguments))


def test_prediction_of_void_alone(data):
    path = data / "predictions/a-two/00005.png"
    redraw(path, lambda mask: np.where(mask > 0, 255, 0))
    with pytest.raises(BadInput, match="00005.png: holds no id but 255"):
        score(data)


def test_out_that_is_a_file(data):
    out = data / "ImageSets/2017/val.txt"
    with pytest.raises(BadInput, match="val.txt/results.json: cannot be written"):
        evaluate.evaluate(Evaluation(data=data, masks=data / "predictions", out=out))
