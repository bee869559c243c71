"""Evaluation: predictions that cannot be meant, folders that are the user's, splits, consoles."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tyro
from davis_folder import write_davis, write_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gcvos_mini import evaluate
from gcvos_mini.davis import load_split
from gcvos_mini.errors import UNFINISHED, BadInput, exit_on_bad_input
from gcvos_mini.evaluate import Evaluation, score_masks
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.segment import segment

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, FRAMES = 32, 44, 12


def labels(t):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4:16, 2 + t : 14 + t], mask[18:30, 28 - t : 42 - t] = 1, 2
    return mask


def clip():
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    return frames, [labels(t) for t in range(FRAMES)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two sequences of two objects, and predictions that are one frame late; not to be changed."""
    root = write_davis(tmp_path_factory.mktemp("made"), dict.fromkeys(("ball", "box"), clip()))
    for name in ("ball", "box"):
        write_masks(root / "predictions" / name, [labels(max(0, t - 1)) for t in range(FRAMES)])
    return root


@pytest.fixture
def data(made, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(made, tmp_path / "data")


@pytest.fixture
def command(capsys):
    """Runs the command in this process: (exit status, stdout, stderr)."""

    def call(*arguments):
        cli = functools.partial(tyro.cli, evaluate.evaluate, args=[*map(str, arguments)])
        try:
            exit_on_bad_input(cli)
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return call


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def save_as(change, folder):
    """Predictions of every frame, changed, as grey PNGs, or in the mode of the array."""
    for path in sorted(folder.glob("*.png")):
        Image.fromarray(change(read_mask(path))).save(path)


# ---- predictions -----------------------------------------------------------------------------


def mapped(*values):
    return lambda mask: np.array(values, np.uint8)[mask]


NO_IDS = {
    "0, 127, 254": (mapped(0, 127, 254), "[127, 254]"),
    "0, 85, 170": (mapped(0, 85, 170), "[85, 170]"),
    "0, 40, 80": (mapped(0, 40, 80), "[40, 80]"),
    "0, 128, 255": (mapped(0, 128, 255), "[128]"),
    "one too many": (mapped(0, 3, 4), "[3, 4]"),
    "probabilities": (lambda m: (250 - 20 * (np.indices(m.shape)[1] % 9)).astype(np.uint8), "[90,"),
    "no background": (mapped(10, 127, 254), "[10, 127, 254]"),
}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize("change, named", NO_IDS.values(), ids=NO_IDS)
def test_values_that_are_no_ids(data, command, change, named):
    """Refused in one line with the ids that are there and those that should be."""
    save_as(change, data / "predictions/box")
    status, out, errors = command("--data", data, "--masks", data / "predictions")
    assert (status, out) == (2, "")
    [line] = errors.splitlines()
    assert line.startswith(f"error: {data}/predictions/box: ")
    assert f"ids {named}" in line and "first mask has [1, 2]" in line


@settings(max_examples=15, deadline=None)
@given(ids=st.lists(st.integers(3, 254), min_size=2, max_size=2, unique=True))
def test_any_other_ids(made, tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("any")
    shutil.copytree(made / "predictions", folder, dirs_exist_ok=True)
    save_as(mapped(0, *ids), folder / "ball")
    with pytest.raises(BadInput, match=f"ball: its masks hold the ids .{min(ids)}, {max(ids)}"):
        score_masks(made, 2017, "val", folder)


FORMATS = {
    "16 bits": lambda m: m.astype(np.uint16) * 300,
    "colour": lambda m: np.stack([m] * 3, axis=-1),
    "half size": lambda m: m[::2, ::2],
    "turned": lambda m: m.T,
    "white": mapped(0, 255, 255),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("change", FORMATS.values(), ids=FORMATS)
def test_files_that_are_no_masks(data, command, change):
    save_as(lambda mask: np.ascontiguousarray(change(mask)), data / "predictions/box")
    status, out, errors = command("--data", data, "--masks", data / "predictions")
    assert (status, out, len(errors.splitlines())) == (2, "", 1)
    assert f"{data}/predictions/box/00001.png" in errors


def test_some_ids_that_are_unknown(data, capsys):
    """Object 2 is called 200: it scores as empty, 1 as before, and the line names 200."""
    good = score_masks(data, 2017, "val", data / "predictions")["sequences"]["box"]["objects"]
    save_as(mapped(0, 1, 200), data / "predictions/box")
    capsys.readouterr()
    found = score_masks(data, 2017, "val", data / "predictions")["sequences"]["box"]["objects"]
    assert found["1"] == good["1"] and found["2"]["J_mean"] == 0
    [line] = capsys.readouterr().err.splitlines()
    assert "predictions/box: ids [200] are not in the first mask, which has [1, 2]" in line


def three(t):
    mask = labels(t)
    mask[18:30, 2 : 2 + 12] = 3
    return mask


@pytest.mark.parametrize(
    "ids, pairs",
    [
        ((0, 2, 1, 3), ["2 lies on the truth's 1", "1 lies on the truth's 2"]),
        ((0, 3, 2, 1), ["3 lies on the truth's 1", "1 lies on the truth's 3"]),
        ((0, 2, 3, 1), ["2 lies on the truth's 1", "3 lies on the truth's 2", "1 lies on the"]),
        ((0, 1, 2, 3), []),
        ((0, 1, 1, 3), []),  # 2 is not predicted: nothing is exchanged
        ((0, 0, 0, 0), []),
    ],
)
@pytest.mark.parametrize("late", [1, 2])
def test_exchanged_ids_are_said_and_scored_as_they_are(tmp_path, capsys, ids, pairs, late):
    truth = [three(t) for t in range(FRAMES)]
    data = write_davis(tmp_path, {"box": (None, truth)})
    found = [truth[max(0, t - late)] for t in range(FRAMES)]
    write_masks(tmp_path / "right/box", found)
    write_masks(tmp_path / "masks/box", [mapped(*ids)(mask) for mask in found])
    right = score_masks(data, 2017, "val", tmp_path / "right")["sequences"]["box"]["objects"]
    assert capsys.readouterr().err == ""
    scores = score_masks(data, 2017, "val", tmp_path / "masks")["sequences"]["box"]["objects"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == bool(pairs)
    for line in lines:
        assert f"{tmp_path / 'masks/box'}: ids look exchanged" in line
        assert line.count("lies on") == len(pairs) and all(pair in line for pair in pairs)
    for i in (1, 2, 3):
        same = ids[i] == i and ids.count(i) == 1
        assert scores[str(i)] == right[str(i)] if same else scores[str(i)]["J_mean"] < 0.5


def without_first(data, state):
    """A sequence whose first mask is empty or missing, in truth and predictions; its file."""
    path = data / "Annotations/480p/box/00000.png"
    if state == "empty":
        write_mask(path, np.zeros((HEIGHT, WIDTH), np.uint8))
    else:
        path.unlink()
    return path


@pytest.mark.bad_input
@pytest.mark.parametrize("state", ["empty", "missing"])
@pytest.mark.parametrize(
    "arguments",
    [["--checkpoint", "first-mask", "--out", "out"], ["--masks", "predictions"]],
    ids=["segmented", "given"],
)
@pytest.mark.parametrize("late", [[], ["--late"]], ids=["", "late"])
def test_no_first_mask(data, command, monkeypatch, state, arguments, late):
    """One line with the file, never the scores of what comes behind it."""
    path = without_first(data, state)
    monkeypatch.chdir(data)
    status, out, errors = command("--data", data, *arguments, *late)
    assert (status, out, len(errors.splitlines())) == (2, "", 1)
    wanted = {"empty": "first mask is empty; mark", "missing": "no mask for the first frame"}
    assert errors.startswith(f"error: {path}: {wanted[state]}")
    assert not (data / "out").exists()


@pytest.mark.bad_input
@pytest.mark.parametrize("state", ["empty", "missing"])
@pytest.mark.parametrize("flag", ["mask", "masks"])
def test_no_first_mask_to_segment_from(data, state, flag):
    path = without_first(data, state)
    frames = data / "JPEGImages/480p/box"
    with pytest.raises(BadInput, match="first mask is empty; mark|no such file") as refused:
        given = {"mask": path, "masks": path.parent}[flag]
        segment(frames=frames, out=data / "out", device="cpu", **{flag: given})
    assert str(refused.value).startswith(str(path)) and not (data / "out").exists()


def test_a_missing_first_mask_cannot_show_without_frames(data, command):
    """Then the first mask that there is counts as given: scoring needs no frames."""
    without_first(data, "missing")
    shutil.rmtree(data / "JPEGImages")
    status, out, _ = command("--data", data, "--masks", data / "predictions")
    assert status == 0 and "| box | 2 | 9 |" in out


def test_empty_predictions_are_scored(data, capsys):
    save_as(np.zeros_like, data / "predictions/box")
    results = score_masks(data, 2017, "val", data / "predictions")
    assert results["sequences"]["box"]["J_mean"] == 0 and capsys.readouterr().err == ""


def test_truth_given_as_predictions(data, capsys):
    score_masks(data, 2017, "val", data / "predictions")
    assert "truth" not in capsys.readouterr().err
    results = score_masks(data, 2017, "val", data / "Annotations/480p")
    assert results["mean"]["JF_mean"] == 1
    assert capsys.readouterr().err.count("every mask equals the truth") == 2


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "values", [(0, 1, 2), (0, 127, 255), (0, 100, 200), (3, 4, 5), (8, 230, 230)], ids=str
)
def test_2016_has_two_levels(data, values):
    (data / "ImageSets/2017").rename(data / "ImageSets/2016")
    save_as(mapped(*values), data / "predictions/ball")
    with pytest.raises(BadInput, match="ball/00001.png: has . levels.*threshold"):
        score_masks(data, 2016, "val", data / "predictions")


@pytest.mark.parametrize("value", [1, 7, 128, 255])
def test_2016_takes_any_two_levels(data, value):
    (data / "ImageSets/2017").rename(data / "ImageSets/2016")
    for kind in ("Annotations/480p", "predictions"):
        for name in ("ball", "box"):
            save_as(mapped(0, 1, 1), data / kind / name)
    wanted = score_masks(data, 2016, "val", data / "predictions")
    save_as(mapped(0, value, value), data / "predictions/ball")
    assert score_masks(data, 2016, "val", data / "predictions") == wanted


@pytest.mark.parametrize("name", ["{}", "frame{}", "0-{}", "IMG_{} (1)", "{:02d}a", "a{}b{}"])
def test_names_in_natural_order(data, name):
    """The first and the last mask, which do not count, are those that a person would name."""
    wanted = score_masks(data, 2017, "val", data / "predictions")
    for folder in ("Annotations/480p", "predictions", "JPEGImages/480p"):
        for path in data.glob(f"{folder}/*/*"):
            t = int(path.stem)
            path.rename(path.with_name(name.format(t, t) + path.suffix))
    assert score_masks(data, 2017, "val", data / "predictions") == wanted
    [sequence, _] = load_split(data)
    assert [frame.stem for frame in sequence.frames] == [name.format(t, t) for t in range(FRAMES)]


# ---- folders ---------------------------------------------------------------------------------


def linked(data):
    (data.parent / "link").symlink_to(data / "Annotations")
    return data.parent / "link"


INSIDE = {
    "frames": lambda data: data / "JPEGImages",
    "masks": lambda data: data / "Annotations",
    "resolution": lambda data: data / "Annotations/480p",
    "sequence": lambda data: data / "JPEGImages/480p/ball",
    "new in it": lambda data: data / "Annotations/480p/new/er",
    "data": lambda data: data,
    "above": lambda data: data.parent,
    "dots": lambda data: data / "predictions/../Annotations",
    "link": linked,
    "in a link": lambda data: linked(data) / "480p",
}


@pytest.mark.bad_input
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
@pytest.mark.parametrize("source", ["masks", "checkpoint"])
@pytest.mark.parametrize("place", INSIDE.values(), ids=INSIDE)
def test_out_among_the_data(data, command, place, source, overwrite):
    out, before = place(data), tree(data)
    what = {"masks": data / "predictions", "checkpoint": "first-mask"}[source]
    line = "--data", data, f"--{source}", what, "--out", out, *overwrite
    status, printed, errors = command(*line)
    assert (status, printed, len(errors.splitlines())) == (2, "", 1), errors
    assert f"{out}: " in errors and "nothing was written" in errors
    assert tree(data) == before


def run(data, out, **options):
    return evaluate.run(Evaluation(data=data, checkpoint="first-mask", out=out, **options))


def test_overwrite_removes_what_the_program_wrote(data, tmp_path):
    """A shorter split in another run's folder: no old mask is left, the user's notes are."""
    out = tmp_path / "out"
    run(data, out)
    (out / "notes.txt").write_text("mine")
    (data / "ImageSets/2017/val.txt").write_text("ball\n")
    before = tree(out)
    with pytest.raises(BadInput, match="results of another run .*--overwrite"):
        run(data, out)
    assert tree(out) == before
    run(data, out, overwrite=True)
    fresh = run(data, tmp_path / "fresh")
    assert list(fresh["sequences"]) == ["ball"]
    (out / "notes.txt").unlink()
    found, wanted = (
        {p.relative_to(f): c for p, c in tree(f).items()} for f in (out, tmp_path / "fresh")
    )
    assert found == wanted


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name", ["ball/00003.png", "ball/more.png", "ball/notes.txt", "results.json"]
)
def test_overwrite_keeps_what_is_the_users(data, tmp_path, name):
    """Something else among the results: refused, and nothing is removed."""
    out = tmp_path / "out"
    run(data, out)
    if name.endswith("png"):
        write_mask(out / name, labels(0))
    else:
        (out / name).write_text("{}")
    before = tree(out)
    with pytest.raises(BadInput, match=f"{name}: "):
        run(data, out, overwrite=True, official=True)
    assert tree(out) == before


def test_overwrite_of_scores_replaces_them_alone(data, command):
    """Of a run's own masks, beside which its results lie; and no results of anything else."""
    out = data.parent / "out"
    run(data, out)
    masks = {path: content for path, content in tree(out).items() if path.suffix == ".png"}
    line = "--data", data, "--masks", out, "--out", out, "--official"
    status, _, errors = command(*line)
    assert status == 2 and "start over with --overwrite" in errors
    assert command(*line, "--overwrite")[0] == 0
    assert json.loads((out / "results.json").read_text())["run"]["official"] is True
    (out / "results.json").write_text("{}")
    status, _, errors = command(*line, "--overwrite")
    assert status == 2 and "results.json: not results of this command" in errors
    assert tree(out) == masks | {out / "results.json": b"{}"}


@pytest.mark.parametrize("at", range(25))
def test_starting_over_is_stopped_and_done_again(data, tmp_path, monkeypatch, at):
    """At each of the 25 files that go; what a kill left of a mask goes too."""
    out, unlink, gone = tmp_path / "out", Path.unlink, []
    run(data, out)
    half = out / "box" / f"{UNFINISHED}{os.getpid()}-abc/00003.png"
    half.parent.mkdir()
    half.write_bytes(b"half")
    (data / "ImageSets/2017/val.txt").write_text("ball\n")

    def stops(path, *options, **more):
        if len(gone) == at:
            raise KeyboardInterrupt
        gone.append(path)
        unlink(path, *options, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stops)
        with pytest.raises(KeyboardInterrupt):
            run(data, out, overwrite=True)
    whole = run(data, out, overwrite=True)
    assert json.loads((out / "results.json").read_text())["sequences"] == whole["sequences"]
    assert {path.name for path in out.iterdir()} == {"ball", "results.json"}


@pytest.mark.bad_input
@pytest.mark.parametrize("kept", [3, 11])
def test_fewer_frames_than_the_finished_run(data, tmp_path, kept):
    """Old masks would be mixed in: refused, and all is as it was."""
    run(data, tmp_path / "out")
    before = tree(tmp_path / "out")
    for path in [*data.glob("JPEGImages/480p/box/*"), *data.glob("Annotations/480p/box/*")]:
        if int(path.stem) >= kept:
            path.unlink()
    with pytest.raises(BadInput, match=r"another run \(frames differ\)"):
        run(data, tmp_path / "out")
    assert tree(tmp_path / "out") == before


# ---- what is printed -------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["masks", "checkpoint"])
def test_a_console_that_lacks_the_letter(data, source):
    """A sequence called \u72ac, a console of Western Europe: results.json, status 0."""
    for folder in ("Annotations/480p", "JPEGImages/480p", "predictions"):
        (data / folder / "ball").rename(data / folder / "\u72ac")
    (data / "ImageSets/2017/val.txt").write_text("\u72ac\n", encoding="utf-8")
    what = {"masks": data / "predictions", "checkpoint": "first-mask"}[source]
    done = subprocess.run(
        [sys.executable, "-m", "gcvos_mini.evaluate", "--data", data, f"--{source}", what,
         "--out", data.parent / "out"],
        cwd=ROOT, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rb"| \u72ac | 2 | 10 |" in done.stdout
    written = json.loads((data.parent / "out/results.json").read_text(encoding="utf-8"))
    assert list(written["sequences"]) == ["\u72ac"]


@pytest.mark.parametrize("source", ["masks", "checkpoint"])
def test_results_are_written_before_anything_is_printed(data, monkeypatch, source):
    """Whatever printing ends in, here a pipe that nobody reads."""

    def broken(*_):
        raise BrokenPipeError

    monkeypatch.setattr(sys.stdout, "write", broken)
    what = {"masks": data / "predictions", "checkpoint": "first-mask"}[source]
    asked = Evaluation(data=data, out=data.parent / "out", **{source: what})
    with pytest.raises(BrokenPipeError):
        evaluate.evaluate(asked)
    written = json.loads((data.parent / "out/results.json").read_text())
    assert list(written["sequences"]) == ["ball", "box"]


# ---- splits ----------------------------------------------------------------------------------

BAD_LINES = {
    "a comment": "# my split", "a comment behind": "ball # the red one", "double quotes": '"ball"',
    "quotes": "'ball'", "a comma": "ball,", "a count": "ball 5", "a tab": "ball\t5",
    "a slash": "ball/", "a dot": "./ball", "case": "Ball", "capitals": "BALL", "a typo": "bal",
    "a suffix": "ball.mp4", "blanks inside": "ba ll", "a zero-width space": "\u200bball",
    "a heading": "sequence", "csv": "name,frames", "a frame": "480p/ball/00000.jpg",
    "windows": "JPEGImages\\480p\\ball\\00000.jpg", "json": '["ball", "box"]', "yaml": "- ball",
}  # fmt: skip
MEANT = {"a comment behind", "double quotes", "quotes", "a comma", "a count", "case", "capitals",
         "a typo", "a suffix", "blanks inside", "yaml", "json"}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize("need_frames", [True, False])
@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_line_that_is_no_sequence(made, tmp_path, kind, need_frames):
    """The message names the split and the line, not a folder that should be made."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("JPEGImages", "Annotations"):
        (data / name).symlink_to(made / name)
    split = data / "ImageSets/2017/val.txt"
    split.parent.mkdir(parents=True)
    split.write_text(f"box\n\n{BAD_LINES[kind]}\nbox\n", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_split(data, need_frames=need_frames)
    message = str(caught.value)
    assert message.startswith(f"{split}, line 3: ") and message.isprintable()
    assert ("is ball meant?" in message) == (kind in MEANT)


GOOD = {
    "CRLF": b"ball\r\nbox\r\n", "BOM": b"\xef\xbb\xbfball\nbox", "CR": b"ball\rbox\r",
    "blank lines": b"\n\nball\n\n\nbox\n\n", "blanks around": b"  ball\t\n box \n",
    "no-break space": "ball\u00a0\nbox\n".encode(), "twice": b"ball\nbox\nball\n",
}  # fmt: skip


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_a_split_that_only_looks_odd(data, content):
    (data / "ImageSets/2017/val.txt").write_bytes(content)
    assert [sequence.name for sequence in load_split(data)] == ["ball", "box"]


@pytest.mark.bad_input
@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp437"])
def test_a_split_in_another_code(data, code):
    split = data / "ImageSets/2017/val.txt"
    split.write_bytes("ball\nh\u00fcndin\n".encode(code))
    with pytest.raises(BadInput, match="val.txt.*(UTF-8|no sequence name)"):
        load_split(data)


def test_splits_of_another_year_are_named(data):
    (data / "ImageSets/2017").rename(data / "ImageSets/2016")
    shutil.copy(data / "ImageSets/2016/val.txt", data / "ImageSets/2016/train.txt")
    with pytest.raises(
        BadInput, match="2017/val.txt: no such split; there is: 2016/train, 2016/val"
    ):
        load_split(data)


@pytest.mark.parametrize("names", [["ball"], ["ball", "box"]])
def test_no_resolution_folder(made, tmp_path, names):
    """Sequences in JPEGImages itself, as in YouTube-VOS: the same frames, masks and scores."""
    for kind in ("JPEGImages", "Annotations"):
        for name in names:
            shutil.copytree(made / kind / "480p" / name, tmp_path / kind / name)
    split = tmp_path / "ImageSets/2017/val.txt"
    split.parent.mkdir(parents=True)
    split.write_text("\n".join(names))
    assert [(s.name, len(s.frames), len(s.masks)) for s in load_split(tmp_path)] == [
        (name, FRAMES, FRAMES) for name in names
    ]
    found = run(tmp_path, tmp_path / "out")["sequences"]
    assert found == {name: run(made, tmp_path / "made")["sequences"][name] for name in names}
