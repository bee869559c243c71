"""Every command line that a message prints is run as it stands, with names that need quoting."""

import ast
import html
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import tyro
from davis_folder import write_davis, write_friends
from PIL import Image

import gcvos_mini
from gcvos_mini import commands, train
from gcvos_mini.clips import find_data
from gcvos_mini.config import SMOKE
from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput
from gcvos_mini.evaluate import Evaluation
from gcvos_mini.evaluate import run as run_evaluation
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.network import Network, find_weights, load_model, save_model
from gcvos_mini.pictures import read_frame
from gcvos_mini.results import fingerprint
from gcvos_mini.show import gallery, report
from gcvos_mini.sources import video_frames
from gcvos_mini.toy import clip_frames

ROOT = Path(gcvos_mini.__file__).parents[1]
AWKWARD = "-it's a dög, $HOME & co"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory, so that the awkward name begins what is printed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def do(line, more="", status=0):
    """Run a command line as a person who copies it; its stdout."""
    done = subprocess.run(f"{line} {more}", shell=True, capture_output=True, text=True)
    assert done.returncode == status, f"{line}\n{done.stderr}"
    return done.stdout


def refusal(function, *arguments):
    with pytest.raises(BadInput) as refused:
        function(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def after(mark, text):
    """What follows a mark, to the end of its line."""
    [found] = re.findall(f"{re.escape(mark)}(.*)", text)
    return found


# ---- the one place -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [
    AWKWARD, "a b", "it's", 'say "hi"', "-i", "--out", "$(touch x)", "a;b", "naïve\u72ac.png", "*",
    "take:2.mp4", "back\\slash", "~", "#1", "!x", "`id`", "a\tb",
])  # fmt: skip
def test_a_program_gets_the_file_that_was_meant(here, name):
    Path(name).write_text("this one")
    reads = "import sys; print(open(sys.argv[1]).read(), sys.argv[2:])"
    line = commands.python("-c", reads, Path(name), "--flag")
    assert do(line) == "this one ['--flag']\n" and os.listdir() == [name]
    took = shlex.split(commands.command("ffmpeg", "-i", Path(name)))[-1]
    assert not re.match(r"-|[^/]*:", took)  # a flag, a protocol


def test_windows_has_other_quotes(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    line = commands.command("magick", "a b's.jpg", Path("-x.jpg"))
    assert line == 'magick "a b\'s.jpg" .\\-x.jpg'
    assert commands.move(Path("a b"), Path("c")) == 'move "a b" c'


def test_python_is_the_one_that_runs_now(here, monkeypatch):
    monkeypatch.setenv("PATH", "")
    line = commands.python("-c", "import gcvos_mini, sys; print(sys.executable)")
    assert do(line).strip() == sys.executable
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert commands.python("-V") == "python -V"


MODULES = [*ROOT.glob("gcvos_mini/**/*.py"), *ROOT.glob("data_scripts/*.py")]
PROGRAM = re.compile(
    r"(?:^|[\s'\"`(])(?:python3? (?:-|\S+\.py)|(?:mv|cp|ffmpeg|magick) |make (?:paper|run|test) )"
)


def strings(tree):
    """Every string of a module but its docstrings, f-strings with {} for what is put in."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts_of = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            yield "".join(parts_of)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in parts | docstrings:
                yield node.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_place_writes_a_command_line(path):
    tree = ast.parse(path.read_text())
    found = [text for text in strings(tree) if PROGRAM.search(text)]
    assert [text for text in found if "make paper does" not in text] == []
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    imported = {alias.name for node in nodes for alias in node.names}
    assert path.name == "commands.py" or not imported & {"shlex", "quote", "list2cmdline"}


# ---- programs of others --------------------------------------------------------------------------


def others(line, program, *files):
    """A command of a program that may not be installed: its words; run where it is."""
    words = shlex.split(line)
    assert words[0] == program and [word for word in files if word not in words] == []
    assert not Path(words[-1]).exists(), "it would replace a file"
    if shutil.which(program):
        do(line)
        assert Path(words[-1]).exists()


def test_a_picture_that_is_to_be_converted(here):
    path = Path(f"{AWKWARD}.jpg")
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(300))
    taken = Path(f"{AWKWARD}-converted.jpg")
    taken.write_bytes(b"the user's")
    words = shlex.split(after("convert it first: ", refusal(read_frame, path)))
    assert words == ["magick", f"./{path}", f"./{AWKWARD}-converted-2.jpg"]


def test_a_picture_that_is_to_be_made_smaller(here, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    path = Path(f"{AWKWARD}.png")
    Image.new("L", (60, 40)).save(path)
    line = after("make it smaller: ", refusal(read_frame, path))
    others(line, "magick", f"./{path}", "-resize", "50%")


def test_a_video_that_is_to_be_converted(here):
    path = Path(f"{AWKWARD}: 2.avi")
    with av.open(here / path, "w") as file:  # a head, and no frame
        file.add_stream("mpeg4", rate=10, width=64, height=48, pix_fmt="yuv420p")
        file.start_encoding()
    text = refusal(lambda: list(video_frames(path)))
    words = shlex.split(after("convert it first: ", text))
    assert words[:3] == ["ffmpeg", "-i", f"./{path}"] and words[3:5] == ["-c:v", "libx264"]
    assert words[5] == f"./{AWKWARD}: 2-h264.mp4"


# ---- our own -------------------------------------------------------------------------------------


def test_how_to_train(finished):
    texts = [refusal(load, f"{AWKWARD}.safetensors") for load in (load_model, fingerprint)]
    lines = {after("train one: ", text) for text in texts}
    missing = after("or train: ", refusal(find_weights, "paper"))  # which does not ship
    shutil.copytree(finished / AWKWARD, AWKWARD)
    Path(AWKWARD, "run/log.csv").unlink()
    text = refusal(report.build, Path(AWKWARD, "run"), Path(AWKWARD, "data"))
    [line] = lines | {after("how to train a run that has one: ", text)}
    for printed in (line, missing):
        assert "write weights, log and resumable state to --out" in " ".join(do(printed).split())
    assert "--config paper" in missing


@pytest.mark.parametrize("taken", [False, True])
def test_the_embedded_clips_are_made_where_data_are_missing(here, taken):
    folder = Path(AWKWARD)
    if taken:
        folder.mkdir()
        (folder / "mine.txt").write_text("the user's")
    line = after("make the embedded clips: ", refusal(find_data, [folder]))
    made = Path(f"{AWKWARD}-2") if taken else folder
    assert shlex.split(line)[-1] == f"./{made}"
    do(line, "--clips train-000 --frames 2 --height 240")  # all 168 take minutes
    assert len(find_data([made])[1]) == 1


def soft_data(root):
    """A data set of one sequence, one mask of which has soft edges: its path."""
    hard, soft = (np.zeros((60, 80), np.uint8) for _ in range(2))
    cv2.circle(hard, (40, 30), 15, 1, -1)
    cv2.circle(soft, (40, 30), 15, 255, -1, cv2.LINE_AA)
    write_davis(root, {AWKWARD: (np.zeros((3, 60, 80, 3), np.uint8), [hard] * 3)})
    path = root / "Annotations/480p" / AWKWARD / "00001.png"
    Image.fromarray(soft).save(path)
    return path


def test_soft_masks_are_mended_and_used(here):
    """Two commands in a row; a second mending does not mix with what the first one put aside."""
    for original in ("bear.original", "bear-2.original"):
        path = soft_data(Path(AWKWARD, "data"))
        before = read_mask(path)
        mend = after("or mend the data set's masks: ", refusal(load_and_read, path))
        done = subprocess.run(mend, shell=True, capture_output=True, text=True)
        assert done.returncode == 2  # until the mended ones are in use
        use = after("to use it: ", done.stdout)
        do(use)
        load_and_read(path)
        [kept] = [p for p in Path(AWKWARD, "data/Annotations_fixed/480p").iterdir()
                  if p.name == original.replace("bear", AWKWARD)]  # fmt: skip
        np.testing.assert_array_equal(read_mask(kept / "00001.png"), before)
        do(mend.removesuffix(" --fix-masks"))
        shutil.rmtree(path.parent)
        shutil.rmtree(Path(AWKWARD, "data/ImageSets"))


def load_and_read(path):
    from gcvos_mini.masks import read_sequence_mask

    return read_sequence_mask(path, 2017)


def test_a_mask_that_lies_in_no_data_set_has_no_such_command(here):
    path = soft_data(Path("data")).rename("mask.png")
    assert "check_dataset" not in refusal(load_and_read, path)


# ---- downloads -----------------------------------------------------------------------------------


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, Path("DAVIS", file.relative_to(folder)))
    return path


def scripts(folder, archive):
    """A copy of data_scripts whose list knows one archive, which is to be fetched by hand."""
    shutil.copytree(ROOT / "data_scripts", folder)
    entry = 'urls = []\nterms = "none"\nhome = "http://home"\nby_hand = "ask for it"\n'
    (folder / "archives.toml").write_text(f'["{archive}"]\n{entry}')
    return folder


@pytest.mark.parametrize("chosen", ["2016", "2017-trainval", "2017-test-dev"])
def test_davis_fetched_by_hand_then_what_comes_next(here, chosen):
    year, split = chosen[:4], "test-dev" if chosen.endswith("dev") else "val"
    frames, masks = zip(*clip_frames("crossing", 32, frames=3))
    ones = [np.uint8(mask == 1) for mask in masks]
    first_only = {0: ones[0]} if split == "test-dev" else ones
    made = write_davis(here / "made", {"bear": (frames, first_only)}, int(year), split)
    archive = {"2016": "DAVIS-data.zip"}.get(chosen, f"DAVIS-{chosen}-480p.zip")
    folder = scripts(here / "the scripts", archive)
    words = ["download_davis.py", "--set", chosen, "--out", f"./{AWKWARD}"]
    first = subprocess.run(
        [sys.executable, folder / words[0], *words[1:]], capture_output=True, text=True
    )
    assert first.returncode == 2
    path, again = re.search(r"; save it as (.*) and run again: (.*)", first.stderr).groups()
    zipped(made, path)
    said = do(again)
    target = Path(AWKWARD, f"DAVIS-{chosen}-480p")
    assert len(load_split(target, int(year), split)) == 1
    check, use = re.search(r"^next: (.*)\n      (.*)$", said, re.MULTILINE).groups()
    assert "| bear |" in do(check)
    said = do(use, "--height 16")
    if split == "val":
        assert "| bear |" in said and Path("runs", target.name, "results.json").exists()
    else:
        assert len(list(Path("runs", target.name, "bear").iterdir())) == 3


def test_stills_fetched_by_hand_then_trained_on(here, monkeypatch):
    frame, mask = next(iter(clip_frames("crossing", 32, frames=1)))
    Path("made").mkdir()
    Image.fromarray(frame).save("made/1.jpg")
    write_mask("made/1.png", np.uint8(mask == 1))
    folder = scripts(here / "the scripts", "MSRA10K_Imgs_GT.zip")
    words = ["MSRA10K", "--out", f"./{AWKWARD}"]
    first = subprocess.run(
        [sys.executable, folder / "download_stills.py", *words], capture_output=True, text=True
    )
    path, again = re.search(r"; save it as (.*) and run again: (.*)", first.stderr).groups()
    zipped(Path("made"), path)
    words = shlex.split(after("next: ", do(again)))
    asked = []
    monkeypatch.setattr(train, "fit", lambda *arguments: asked.append(arguments))  # takes a day
    assert words[1:3] == ["-m", "gcvos_mini.train"]
    tyro.cli(train.train, args=words[3:])
    [(config, _, run)] = asked
    assert config.name == "paper" and len(find_data(run.data)[0]) == 1


# ---- pages ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(root) with a data set and a run of it, as `make run` leaves one."""
    root = tmp_path_factory.mktemp("report")
    write_friends(root / AWKWARD / "data", 48)
    write_masks_of_all(root / AWKWARD / "data")
    run = root / AWKWARD / "run"
    save_model(Network(SMOKE), run / "last.safetensors")
    (run / "log.csv").write_text("step,loss,J,seconds\n1,1,1,1\n2,1,1,2\n")
    run_evaluation(
        Evaluation(
            data=root / AWKWARD / "data", checkpoint=str(run / "last.safetensors"),
            out=run / "eval", device="cpu",
        )
    )  # fmt: skip
    return root


def write_masks_of_all(data):
    for t, (_, mask) in enumerate(clip_frames("two-friends", 48, frames=6)):
        write_mask(data / f"Annotations/480p/clip/{t:05d}.png", mask)


HARM = {
    "results damaged": lambda run: (run / "eval/results.json").write_text("{"),
    "a mask gone": lambda run: (run / "eval/clip/00005.png").unlink(),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_run_is_evaluated_again_for_its_report(here, finished, harm):
    shutil.copytree(finished / AWKWARD, AWKWARD)
    run, data = Path(AWKWARD, "run"), Path(AWKWARD, "data")
    HARM[harm](run)
    text = refusal(report.build, run, data)
    if "remove it, then" in text:
        (run / "eval/results.json").unlink()
    do(after("run: ", text))
    assert report.build(run, data).startswith("<!doctype html>")


def test_the_gallery_says_how_it_was_made(here, monkeypatch):
    checkpoint = f"{AWKWARD}.safetensors"
    save_model(Network(SMOKE), checkpoint)
    page = gallery.build(["approach"], 20, 32, checkpoint, "cpu")
    line = html.unescape(re.search(r"Made by <code>(.*?)</code>", page)[1])
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    do(line, "--device cpu")
    assert Path("gallery.html").read_text() == page
