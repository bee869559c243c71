import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvos_mini import evaluate
from gcvos_mini.davis import read_mask, write_mask
from gcvos_mini.errors import BadInput
from gcvos_mini.evaluate import KEYS, score_masks

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
    split = tmp_path / "ImageSets" / "2017" / "val.txt"
    split.parent.mkdir(parents=True)
    split.write_text("a-two\nd-void\n")
    return tmp_path


def add_frames(data, name="a-two"):
    """Grey-noise JPEG frames for a sequence that has only masks."""
    for mask in sorted((data / "Annotations/480p" / name).glob("*.png")):
        noise = np.random.default_rng(0).integers(0, 256, (*read_mask(mask).shape, 3), np.uint8)
        path = data / "JPEGImages/480p" / name / f"{mask.stem}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)


def score(data, masks="predictions", year=2017):
    return score_masks(data, year, "val", data / masks)


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


# Running a network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from gcvos_mini.config import SMOKE
    from gcvos_mini.network import Network, save_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "smoke.safetensors"
    save_model(Network(SMOKE), path)
    return str(path)


def test_run_segments_and_scores(data, checkpoint):
    """Odd sizes (213x120 and 240x135), full-size masks, the same numbers when scored again."""
    for name in ("a-two", "d-void"):
        add_frames(data, name)
        shutil.rmtree(data / "predictions" / name)
    out = data / "out"
    results = evaluate.run(data, 2017, "val", checkpoint, out, memory="stm-linear", height=32)
    assert results == score(data, "out")
    for truth in (data / "Annotations/480p").rglob("*.png"):
        mask = read_mask(out / truth.parent.name / truth.name)
        assert mask.shape == read_mask(truth).shape
        assert set(np.unique(mask)) <= {0, 1, 2, 255}
    first = "a-two/00000.png"
    np.testing.assert_array_equal(
        read_mask(out / first), read_mask(data / "Annotations/480p" / first)
    )


def test_options_reach_the_segmenter(data, monkeypatch):
    """The segmenter has the memory and height asked for, and starts anew on each sequence."""
    from gcvos_mini import network, segment

    made, started = [], []

    class Copies(segment.FirstMask):
        def __init__(self, model, memory, height):
            made.append((model, memory, height))

        def start(self, frame, mask):
            started.append(frame.shape)
            super().start(frame, mask)

    monkeypatch.setattr(segment, "VideoSegmenter", Copies)
    monkeypatch.setattr(network, "load_model", lambda name, device: name)
    monkeypatch.setattr(evaluate, "fingerprint", lambda name: "")
    for name in ("a-two", "d-void"):
        add_frames(data, name)
    evaluate.run(data, 2017, "val", "a model", data / "out", "stm", 32)
    assert made == [("a model", "stm", 32)]
    assert len(started) == 2


def test_first_mask_baseline(data):
    """Every mask is the first one; its score is that of the copies, written and scored by hand."""
    add_frames(data, "a-two")
    (data / "ImageSets/2017/val.txt").write_text("a-two\n")
    results = evaluate.run(data, 2017, "val", "first-mask", data / "out")
    first = data / "Annotations/480p/a-two/00000.png"
    for frame in (data / "JPEGImages/480p/a-two").iterdir():
        path = data / f"copies/a-two/{frame.stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first, path)
        np.testing.assert_array_equal(
            read_mask(data / f"out/a-two/{frame.stem}.png"), read_mask(first)
        )
    assert results == score(data, "copies")


def test_run_with_first_masks_only(data, checkpoint, capsys):
    """A challenge's test split, or DAVIS frames with one mask: masks come out, no scores."""
    (data / "ImageSets/2017/val.txt").write_text("a-two\n")
    add_frames(data)
    for path in sorted((data / "Annotations/480p/a-two").iterdir())[1:]:
        path.unlink()
    evaluate.evaluate(data, 2017, "val", checkpoint=checkpoint, out=data / "out", height=32)
    assert len(list((data / "out/a-two").iterdir())) == 20
    assert "no masks to score against" in capsys.readouterr().out
    written = json.loads((data / "out/results.json").read_text())
    assert (written["mean"], written["not_scored"]) == (None, ["a-two"])


def test_frame_of_another_size_is_named(data, checkpoint):
    (data / "ImageSets/2017/val.txt").write_text("a-two\n")
    add_frames(data)
    Image.new("RGB", (64, 48)).save(data / "JPEGImages/480p/a-two/00003.jpg")
    with pytest.raises(BadInput, match="00003.jpg is 64x48 but .*00000.jpg is 213x120"):
        evaluate.run(data, 2017, "val", checkpoint, data / "out", height=32)


# Nothing computed is lost


class Killed(Exception):
    pass


def stopping(monkeypatch, after):
    """The first-mask segmenter, but dying at its step number `after`; returns its steps so far."""
    from gcvos_mini.segment import FirstMask

    steps = []

    class Stops(FirstMask):
        def step(self, frame):
            steps.append(frame)
            if len(steps) == after:
                raise Killed
            return super().step(frame)

    monkeypatch.setattr(evaluate, "make_segmenter", lambda *settings: Stops())
    return steps


def read_all(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def framed(data):
    for name in ("a-two", "d-void"):
        add_frames(data, name)
    return data


@pytest.mark.parametrize("after", [1, 19, 20, 36])  # 19 steps in one sequence, 17 in the other
def test_a_stopped_run_goes_on_after_the_last_finished_sequence(
    framed, monkeypatch, capsys, after
):
    stopping(monkeypatch, after=0)
    whole = evaluate.run(framed, 2017, "val", "first-mask", framed / "out")
    wanted = read_all(framed / "out")
    shutil.rmtree(framed / "out")

    stopping(monkeypatch, after)
    with pytest.raises(Killed):
        evaluate.run(framed, 2017, "val", "first-mask", framed / "out")
    written = json.loads((framed / "out/results.json").read_text())
    finished = ["a-two"] if after > 19 else []
    assert list(written["sequences"]) == finished
    assert written["unfinished"] == ["a-two", "d-void"][len(finished) :]
    assert capsys.readouterr().err.count("going on") == 0

    steps = stopping(monkeypatch, after=0)
    assert evaluate.run(framed, 2017, "val", "first-mask", framed / "out") == whole
    assert len(steps) == (17 if finished else 36)
    assert read_all(framed / "out") == wanted
    assert ("1 of 2 sequences are finished" in capsys.readouterr().err) == bool(finished)


def test_killed_in_the_middle(framed):
    """kill -9 as soon as eight masks are there: what is there is whole, and the rest follows."""
    line = [sys.executable, "-m", "gcvos_mini.evaluate", "--data", framed, "--split", "val",
            "--checkpoint", "first-mask", "--out"]  # fmt: skip
    where = dict(cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = subprocess.Popen([*line, framed / "out"], **where)
    while len(list(framed.glob("out/a-two/*.png"))) < 8:
        assert run.poll() is None
    run.kill()
    run.wait()
    for path in framed.glob("out/*/0*.png"):
        read_mask(path)
    for out in ("out", "uninterrupted"):
        subprocess.run([*line, framed / out], check=True, **where)
    found, wanted = read_all(framed / "out"), read_all(framed / "uninterrupted")
    assert {p: b for p, b in found.items() if not p.name.startswith(".")} == wanted


def test_sequence_that_lost_a_mask_is_done_again(framed, monkeypatch):
    steps = stopping(monkeypatch, after=0)
    whole = evaluate.run(framed, 2017, "val", "first-mask", framed / "out")
    (framed / "out/d-void/00003.png").unlink()
    assert evaluate.run(framed, 2017, "val", "first-mask", framed / "out") == whole
    assert len(steps) == 36 + 17


@pytest.mark.parametrize(
    "other, named",
    [({"memory": "stm"}, "memory"), ({"height": 48}, "height"), ({"official": True}, "official")],
)
def test_results_of_other_settings_are_not_reused(framed, monkeypatch, other, named):
    stopping(monkeypatch, after=0)
    evaluate.run(framed, 2017, "val", "first-mask", framed / "out")
    before = read_all(framed / "out")
    with pytest.raises(BadInput, match=rf"results of another run \({named} differ\)"):
        evaluate.run(framed, 2017, "val", "first-mask", framed / "out", **other)
    with pytest.raises(BadInput, match="results of another run"):
        evaluate.evaluate(framed, masks=framed / "predictions", out=framed / "out")
    assert read_all(framed / "out") == before


def test_results_of_other_weights_are_not_reused(framed, monkeypatch, tmp_path):
    stopping(monkeypatch, after=0)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"these")
    evaluate.run(framed, 2017, "val", str(weights), framed / "out")
    weights.write_bytes(b"those")
    with pytest.raises(BadInput, match=r"another run \(weights differ\)"):
        evaluate.run(framed, 2017, "val", str(weights), framed / "out")


def test_masks_of_something_else_are_kept(framed, monkeypatch):
    stopping(monkeypatch, after=0)
    with pytest.raises(BadInput, match="predictions/a-two: made by something else"):
        evaluate.run(framed, 2017, "val", "first-mask", framed / "predictions")
    (framed / "predictions/results.json").write_text("{}")
    with pytest.raises(BadInput, match="results.json: not results of this command"):
        evaluate.run(framed, 2017, "val", "first-mask", framed / "predictions")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_sequences_are_segmented(framed, monkeypatch, length):
    """All frames get a mask; only a third one leaves any to score."""
    stopping(monkeypatch, after=0)
    for path in [*framed.glob("JPEGImages/480p/a-two/*"), *framed.glob("Annotations/480p/a-two/*")]:
        if int(path.stem) >= length:
            path.unlink()
    results = evaluate.run(framed, 2017, "val", "first-mask", framed / "out")
    assert len(list((framed / "out/a-two").iterdir())) == length
    assert ("a-two" in results["sequences"]) == (length == 3)
    assert ("a-two" in results["not_scored"]) == (length < 3)
    assert evaluate.run(framed, 2017, "val", "first-mask", framed / "out") == results


def full_disk():
    """Runs in a new process: no file may grow beyond a few bytes, as on a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def test_full_disk(framed):
    line = [sys.executable, "-m", "gcvos_mini.evaluate", "--data", framed, "--split", "val",
            "--masks", framed / "predictions", "--out", framed / "out"]  # fmt: skip
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, preexec_fn=full_disk)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "out/results.json: cannot be written (File too large)" in result.stderr
    assert "| **mean** | 4 | 34 |" in result.stdout  # the scores are not lost
    assert list((framed / "out").iterdir()) == []


PEAK = """
import sys, tracemalloc
from pathlib import Path
from gcvos_mini import evaluate
from gcvos_mini.davis import load_sequence

sequence = load_sequence(sys.argv[1], sys.argv[2], "480p", need_frames=False)
tracemalloc.start()
evaluate.score_sequence(sequence, Path(sys.argv[1], "predictions", sys.argv[2]), 2017)
print(tracemalloc.get_traced_memory()[1])
"""


def test_memory_does_not_grow_with_the_length(data):
    """Peak of Python's and NumPy's memory while scoring 18 and 998 frames, in a new process."""
    for folder in ("Annotations/480p", "predictions"):
        (data / folder / "long").mkdir()
        for index, path in enumerate(sorted((data / folder / "a-two").iterdir()) * 50):
            (data / folder / "long" / f"{index:05d}.png").hardlink_to(path)
    short, long = (
        int(subprocess.check_output([sys.executable, "-c", PEAK, data, name], cwd=ROOT))
        for name in ("a-two", "long")
    )
    assert (long - short) / 980 < 5000  # bytes, of names and scores; a mask has 25,560


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
    for t in range(300):
        for folder, side in (("Annotations/480p", 16), ("masks", 16 - t // 20)):
            mask = np.zeros((16, 16), np.uint8)
            mask[:side, :side] = 1
            write_mask(tmp_path / folder / "long" / f"{t:05d}.png", mask)
    (tmp_path / "ImageSets/2017").mkdir(parents=True)
    (tmp_path / "ImageSets/2017/val.txt").write_text("long\n")
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


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Runs the command where importing torch fails: scoring and bad input must not need it."""
    folder = tmp_path_factory.mktemp("no_torch")
    (folder / "torch.py").write_text("raise ImportError('torch was imported')\n")

    def run(*arguments):
        line = [sys.executable, "-m", "gcvos_mini.evaluate", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
        return subprocess.run(
            line, check=False, capture_output=True, text=True, cwd=folder, env=environment
        )

    return run


def test_command_scores_without_torch(data, command):
    result = command("--data", data, "--year", 2017, "--split", "val",
                     "--masks", data / "predictions", "--out", data / "scores")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("| **mean** | 4 | 34 |")
    written = json.loads((data / "scores/results.json").read_text())
    run = written.pop("run")
    assert written == score(data)
    assert run["masks"] == str(data / "predictions")


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
    for name in ("a-two", "d-void"):
        add_frames(data, name)
    path = data / "JPEGImages/480p/d-void/00000.jpg"
    path.write_bytes(path.read_bytes()[:-100])


MASKS = ("--masks", "predictions")
RUN = ("--checkpoint", "mini", "--out", "out")


@pytest.mark.parametrize(
    "change, arguments, message",
    [
        (keep, ("--data", "absent", *MASKS), "absent: no such folder"),
        (keep, ("--masks", "absent"), "absent: no such folder; give"),
        (
            keep,
            ("--split", "test", *MASKS),
            "ImageSets/2017/test.txt: no such split; there is: val",
        ),
        (keep, ("--checkpoint", "mini"), "--out: missing"),
        (no_masks, MASKS, "Annotations/480p/d-void: no masks"),
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
    result = command("--year", 2017, *arguments)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert result.stdout == ""


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
        evaluate.evaluate(data, **arguments)


def test_prediction_of_void_alone(data):
    path = data / "predictions/a-two/00005.png"
    redraw(path, lambda mask: np.where(mask > 0, 255, 0))
    with pytest.raises(BadInput, match="00005.png: holds no id but 255"):
        score(data)


def test_out_that_is_a_file(data):
    with pytest.raises(BadInput, match="val.txt/results.json: cannot be written"):
        evaluate.evaluate(data, masks=data / "predictions", out=data / "ImageSets/2017/val.txt")
