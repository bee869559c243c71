"""Killed at any moment: what was finished is whole, and the same command ends as if undisturbed.

    python -m pytest tests/test_kill.py --kills 30

Each trial kills a run, and then the run that goes on from it: one of them by the clock, and one by
its calls, often soon after a file was touched: a clock passes by the small ones.
"""

import csv
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import victim
from davis_folder import write_davis
from safetensors import safe_open

from gcvos_mini.errors import UNFINISHED, BadInput, written_whole
from gcvos_mini.network import save_model

SIGNALS = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM]
ENDS = {0, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGXFSZ}  # 0: it was too late
GROWING = {f"out/{name}" for name in ("results.json", "log.csv", "state.safetensors",
                                      "last.safetensors", "best.safetensors")}  # fmt: skip
LOGGED = ("step", "loss", "J", "validation_J", "learning_rate")  # the other columns are clocks

forks = multiprocessing.get_context("forkserver")  # all runs are forks of one that has all imports
forks.set_forkserver_preload(
    [f"gcvos_mini.{name}" for name in ("segment", "evaluate", "train", "show.own_video")]
)


# ---- the commands ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(model, toy_data, tmp_path_factory):
    """What the commands read: three sequences of five small frames, training clips, weights."""
    root = tmp_path_factory.mktemp("inputs")
    mask = np.zeros((32, 48), np.uint8)
    mask[4:18, 5:30], mask[20:30, 25:45] = 1, 2
    masks = [np.roll(mask, t, axis=1) for t in range(5)]
    noise = np.random.default_rng(0).integers(0, 256, (3, 5, 32, 48, 3), np.uint8)
    sequences = {name: (frames, masks) for name, frames in zip("abc", noise)}
    write_davis(root, sequences, split="more", suffix=".png")
    (root / "ImageSets/2017/val.txt").write_text("a\nb\n")
    save_model(model, root / "net.safetensors")
    shutil.copytree(toy_data, root / "toy")
    return root


def segment(inputs, out, *more):
    mask = inputs / "Annotations/480p/a/00000.png"
    given = "--frames", inputs / "JPEGImages/480p/a", "--mask", mask, "--out", out
    return victim.command, ("segment", *given, "--checkpoint", inputs / "net.safetensors", *more)


def evaluate(inputs, out, *more):
    given = "--data", inputs, "--checkpoint", inputs / "net.safetensors", "--out", out
    return victim.command, ("evaluate", *given, *more)


def train(inputs, out, *more):
    given = "--config", "smoke", "--stage", "embedded", "--data", inputs / "toy", "--out", out
    length = "--clips", "6", "--workers", "0", "--validate", "train-001"
    resume = (out / "state.safetensors").exists() and more != ("anew",)
    return victim.train, (*given, *length, *(["--resume"] if resume else []))


def own_video(inputs, out, *more):
    mask = inputs / "Annotations/480p/a/00000.png"
    frames = inputs / "JPEGImages/480p/a"
    return victim.own_video, (inputs / "net.safetensors", frames, mask, out, bool(more))


# the command, what makes it start over, and the run before that it then starts over from
COMMANDS = {
    "segment": (segment, ["--overwrite"], (segment, ["--memory", "stm"])),
    "evaluate": (evaluate, ["--overwrite"], (evaluate, ["--split", "more"])),
    "train": (train, ["anew"], (train, [])),  # without --resume
    "own_video": (own_video, ["--overwrite"], (segment, ["--memory", "stm"])),
}


# ---- running and killing them ------------------------------------------------------------------


def start(room, call, **options):
    """A command in a process of its own; `room` is the folder that holds all it writes."""
    process = forks.Process(target=victim.run, args=(*call, room), kwargs=options)
    process.start()
    return process


def finish(room, call, **options):
    """Run a command undisturbed; how many seconds it took."""
    began, said = time.monotonic(), room.with_name("said.txt")
    process = start(room, call, said=said, **options)
    process.join()
    assert process.exitcode == 0, said.read_text()
    return time.monotonic() - began


def kill_by_clock(rng, room, call, whole):
    """From outside, at any moment from the process's start on: (what was done, exit status)."""
    moment, how = rng.uniform(0, whole.seconds), rng.choice(SIGNALS)
    process = start(room, call)
    process.join(moment)
    if process.exitcode is None:
        os.kill(process.pid, how)
    process.join()
    return f"{how.name} after {moment:.3f} s", process.exitcode


def kill_at_call(rng, room, call, whole):
    """At any call, or soon after one that touched a file; or in what is written after that call."""
    soon, some = rng.choice(whole.touches) + rng.randint(1, 60), rng.randint(1, whole.touches[-1])
    number, how = rng.choice([soon, some]), rng.choice([*SIGNALS, "cut"])
    process = start(room, call, number=number, how=how)
    process.join()
    return f"{getattr(how, 'name', how)} at call {number}", process.exitcode


# ---- what is there -----------------------------------------------------------------------------


def tree(room):
    """{path below room: what must be equal in two runs} of all files but TensorBoard's."""
    return {
        path.relative_to(room).as_posix(): content(path)
        for path in sorted(room.rglob("*"))
        if path.is_file() and path.parent.name != "tensorboard"
    }


def content(path):
    """A file's hash; a log's and a state's content without what clocks say."""
    if UNFINISHED in str(path):
        return "not finished"
    if path.name == "log.csv":
        with path.open() as file:
            return [[row[name] for name in LOGGED] for row in csv.DictReader(file)]
    if path.suffix == ".safetensors":
        return weights(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(path):
    """{name: hash} of the tensors in a file, and a state's step; an error where it is not whole."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}
        position = json.loads(file.metadata().get("position", "{}"))
    hashes = {name: hashlib.sha256(tensor).hexdigest() for name, tensor in tensors.items()}
    return hashes | {name: position[name] for name in ("step", "best") if name in position}


def first_export(name):
    """An export never takes the place of another: clip-2.gif is what clip.gif was."""
    return re.sub(r"-\d+\.(gif|mp4)$", r".\1", name)


def check_what_is_there(room, whole, earlier, mine):
    """After a kill: every file is whole, and of this run, of the one before it or the user's."""
    found = tree(room)
    assert {name: found.get(name) for name in mine} == mine
    for name in found.keys() - mine.keys():
        if name not in GROWING and UNFINISHED not in name:
            assert found[name] in (whole.wanted.get(first_export(name)), earlier.get(name)), name
    if found.get("out/results.json") not in (None, earlier.get("out/results.json")):
        check_results(room, found, whole)
    if "out/state.safetensors" in found:
        check_training(room, found, whole)


def check_results(room, found, whole):
    """results.json is of this run, and tells only of sequences whose masks are all there."""
    told, wanted = (json.loads((r / "out/results.json").read_text()) for r in (room, whole.room))
    assert (told["run"], told["not_scored"]) == (wanted["run"], wanted["not_scored"])
    for name, scores in told["sequences"].items():
        assert scores == wanted["sequences"][name]
        masks = [mask for mask in whole.wanted if mask.startswith(f"out/{name}/")]
        assert masks and masks == [mask for mask in masks if found.get(mask) == whole.wanted[mask]]


def check_training(room, found, whole):
    """A state has weights that are at least as new, and the log of all its steps."""
    files = ("out/state.safetensors", "out/last.safetensors")
    saved, last = ((room / name).stat().st_mtime_ns for name in files)
    state, network = (found[name] for name in files)
    if saved > last:
        assert {name: state[f"model.{name}"] for name in network} == network
    assert found["out/log.csv"][: state["step"]] == whole.wanted["out/log.csv"][: state["step"]]


# ---- the trials --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(request, inputs, tmp_path_factory):
    """A command undisturbed: what it makes, how long it takes, its calls; and a run before it."""
    command, anew, (before, options) = COMMANDS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    room, again, earlier = (root / name / "room" for name in ("once", "again", "earlier"))
    for folder in (room, again, earlier):
        folder.mkdir(parents=True)
    finish(earlier, before(inputs, earlier / "out", *options))
    finish(again, command(inputs, again / "out"), touches=root / "touches.json")
    seconds = finish(room, command(inputs, room / "out"))
    assert tree(room) == tree(again)  # or what follows is no news
    touches = json.loads((root / "touches.json").read_text())
    return SimpleNamespace(
        name=request.param, command=command, anew=anew, earlier=earlier, room=room,
        wanted=tree(room), seconds=seconds, touches=touches,
    )  # fmt: skip


def pytest_generate_tests(metafunc):
    if "trial" in metafunc.fixturenames:
        metafunc.parametrize("trial", range(metafunc.config.getoption("kills")))


@pytest.mark.parametrize("whole", COMMANDS, indirect=True)
def test_killed_and_done_again(whole, inputs, tmp_path, trial):
    """In a folder with files of the user's; every other trial starts over from an earlier run."""
    rng = random.Random(f"{whole.name} {trial}")
    room, given = tmp_path / "room", tree(inputs)
    over = trial % 2 == 1
    if over:
        shutil.copytree(whole.earlier, room)
    (room / "out").mkdir(parents=True, exist_ok=True)
    mine = ["out/notes.txt", "out/.hidden", "out-overlay.txt", "out/.00003.png.123"]
    for name in mine:
        (room / name).write_text("mine")
    mine = {name: content(room / name) for name in mine}
    earlier, options = (tree(whole.earlier), whole.anew) if over else ({}, [])
    for kill in rng.sample([kill_by_clock, kill_at_call], 2):
        call = whole.command(inputs, room / "out", *options)
        how, status = kill(rng, room, call, whole)
        print(f"{whole.name} {trial}{' over' if over else ''}: {how}: {status}")
        assert status in ENDS
        check_what_is_there(room, whole, earlier, mine)
        if whole.command is train:  # goes on, or is the same command to the letter
            options = rng.choice([[], whole.anew])
    finish(room, whole.command(inputs, room / "out", *options))
    found, wanted = tree(room), whole.wanted | mine
    assert {name for name in found if found[name] != wanted.get(first_export(name))} == set()
    assert found.keys() >= wanted.keys()
    assert tree(inputs) == given


# ---- the parts ---------------------------------------------------------------------------------


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path):
    """At the first file that is written, whole or not. Who lives may still be writing."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = {f"{UNFINISHED}{number}-ab_c1" for number in (gone.pid, os.getpid())}
    kept = {f"{UNFINISHED}{os.getppid()}-abc", f"{UNFINISHED}notes-1", f"{UNFINISHED}7 (copy)"}
    for name in left | kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000.png").write_bytes(b"half")
    (tmp_path / f"{UNFINISHED}{gone.pid}-file").write_text("mine")
    with pytest.raises(BadInput, match="cannot be written"), written_whole(tmp_path / "a.txt"):
        raise OSError("full")
    kept.add(f"{UNFINISHED}{gone.pid}-file")
    assert {path.name for path in tmp_path.iterdir()} == kept
    with written_whole(tmp_path / "a.txt") as path:
        path.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == kept | {"a.txt"}
