"""A memory in a file of one's own, outside the package, through every command that takes one."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from gcvos_mini import benchmark, compare, evaluate, segment, train
from gcvos_mini.clips import TrainingClips
from gcvos_mini.config import SMOKE
from gcvos_mini.errors import exit_on_bad_input
from gcvos_mini.masks import read_mask
from gcvos_mini.memory import name_of
from gcvos_mini.network import load_model
from gcvos_mini.pictures import read_frame
from gcvos_mini.segment import VideoSegmenter, follow
from gcvos_mini.train import ClipSegmenter

ROOT = Path(__file__).parents[1]
NAME = "mymemory:Decay"
DECAY = """
import torch
from gcvos_mini.memory import check_write, flat, unflat


class Decay:
    def __init__(self):
        self.context, self.frames = None, 0

    @property
    def nbytes(self):
        return 0 if self.context is None else self.context.nbytes

    def write(self, key, value):
        check_write(key, value)
        new = flat(key) @ flat(value).transpose(1, 2) / key[0, 0].numel()
        self.context = new if self.context is None else torch.lerp(self.context, new, 0.25)
        self.frames += 1

    def read(self, query):
        return unflat(self.context.transpose(1, 2) @ flat(query), query)
"""
WRONG = {  # what stands in module x, the memory that is asked for, and what is said of it
    "no name": ("", "lstm", "memory 'lstm': no such memory; choose from gc, stm, stm-linear, pam"),
    "no module": ("", "nowhere:Decay", "memory 'nowhere:Decay': cannot be imported (ModuleNotFoun"),
    "no class": ("", "x:Decay", "memory 'x:Decay': cannot be imported (AttributeError"),
    "no read": (DECAY.replace("def read", "def reed"), "x:Decay", "memory x:Decay: has no read"),
}
REFUSING = [(train.train, what) for what in WRONG] + [
    (run, "no module") for run in (evaluate.evaluate, segment.segment, compare.compare)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with nothing in it but the file."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mymemory.py").write_text(DECAY)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    """This process, as if it had been started in that folder."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mymemory", raising=False)
    return folder


def command(module, *words, cwd, status=0):
    """What a person types, in a process of its own: the finished process."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    line = [sys.executable, "-m", f"gcvos_mini.{module}", *map(str, words)]
    done = subprocess.run(
        line, cwd=cwd, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def checkpoint(folder, toy_data):
    """Two steps of training with it, by the command."""
    command("train", "--config", "smoke", "--stage", "embedded", "--data", toy_data, "--out", "run",
            "--clips", 4, "--workers", 0, "--memory", NAME, cwd=folder)  # fmt: skip
    assert len((folder / "run/log.csv").read_text().split()) == 3
    return folder / "run" / "last.safetensors"


def test_trained_and_stored(checkpoint, here, toy_data):
    """The checkpoint says its name; a clip of three frames tells it from the global context."""
    model = load_model(checkpoint)
    assert model.config == replace(SMOKE, memory=NAME)
    assert name_of(VideoSegmenter(model).memory) == NAME
    clips = TrainingClips(SMOKE.stages["embedded"], [toy_data], total=1)
    frames, masks = (part[None] for part in clips[0])
    with torch.no_grad():
        own = ClipSegmenter(model)(frames, masks)
        model.config = SMOKE
        context = ClipSegmenter(model)(frames, masks)
    torch.testing.assert_close(own[:, 0], context[:, 0], rtol=1e-3, atol=1e-4)  # one frame written
    assert (own[:, 1] - context[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("asked, used", [((), NAME), (("--memory", "gc"), "gc")])
def test_evaluate_uses_what_is_stored_or_says_so(checkpoint, folder, toy_data, asked, used):
    out = folder / f"eval-{used[:2]}"
    done = command("evaluate", "--data", toy_data, "--checkpoint", checkpoint, "--out", out,
                   *asked, cwd=folder)  # fmt: skip
    assert json.loads((out / "results.json").read_text())["run"]["memory"] == used
    note = f"note: {checkpoint} was trained with the memory {NAME}, this is {used}"
    said = [line for line in done.stderr.splitlines() if line.startswith("note")]
    assert said == ([note] if asked else [])


def test_segment(checkpoint, here, toy_data):
    frames, masks = (toy_data / part / "64p/crossing" for part in ("JPEGImages", "Annotations"))
    command("segment", "--frames", frames, "--mask", masks / "00000.png", "--out", "masks",
            "--checkpoint", checkpoint, cwd=here)  # fmt: skip
    images = [read_frame(path) for path in sorted(frames.iterdir())]
    run = follow(VideoSegmenter(load_model(checkpoint)), images, read_mask(masks / "00000.png"))
    for t, (_, mask) in enumerate(run):
        np.testing.assert_array_equal(read_mask(here / f"masks/{t:05d}.png"), mask)


def test_benchmarks_and_live_swap(checkpoint, here, monkeypatch, capsys):
    """A row each, beside gc's: of write and read, of a network with both, and along a clip."""

    def rows(*words):
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
        benchmark.main()
        lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
        return {row[0]: row for row in lines if len(row) > 5}

    both = ("--memory", "gc", NAME)
    costs = rows("memory", *both, "--frames", 2, "--runs", 1)
    assert costs[NAME][4:] == costs["gc"][4:]  # as many operations and bytes as gc, at PAPER's size
    monkeypatch.setattr(sys, "argv", [
        "benchmark", "segment", *both, "--frames", "4", "--lines", "64", "--checkpoint",
        str(checkpoint), "--precision", "float32",
    ])  # fmt: skip
    benchmark.main()
    assert capsys.readouterr().out.count(f"| {NAME} |") == 3  # one in each table
    found = rows("length", "--memory", NAME, "--clips", "approach", "--frames", 7, "--head", 2,
                 "--checkpoint", checkpoint)  # fmt: skip
    assert 0 <= float(found["approach"][2]) <= 1


def test_compare(here, toy_data, tmp_path, capsys):
    asked = compare.Comparison(data=(toy_data,), out=tmp_path, steps=1)
    compare.compare(asked, variants=(), memory=(NAME,), seeds=(0,))
    assert f"| Decay | memory {NAME} |" in capsys.readouterr().out
    assert load_model(tmp_path / "mymemory.Decay-0/last.safetensors").config.memory == NAME


@pytest.mark.parametrize("run, what", REFUSING)
def test_what_is_no_memory_is_one_line(run, what, here, toy_data, tmp_path, monkeypatch, capsys):
    text, asked, complaint = WRONG[what]
    (tmp_path / "x.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "x", raising=False)
    frames, mask = (toy_data / part / "64p/crossing" for part in ("JPEGImages", "Annotations"))
    words = ["--data", toy_data]
    if run is segment.segment:
        words = ["--frames", frames, "--mask", mask / "00000.png"]
    elif run is evaluate.evaluate:
        words += ["--checkpoint", "mini"]
    words += ["--out", tmp_path / "out", "--memory", asked]
    with pytest.raises(SystemExit) as stop:
        exit_on_bad_input(lambda: tyro.cli(run, args=list(map(str, words))))
    error = capsys.readouterr().err
    assert stop.value.code == 2 and not (tmp_path / "out").exists()
    assert error.startswith(f"error: {complaint}") and error.count("\n") == 1


def test_a_slip_in_the_file_is_one_line_too(folder, toy_data, tmp_path):
    """In a process of its own, started where the file is."""
    (tmp_path / "slip.py").write_text(DECAY.replace("self.frames += 1", "self.frames +="))
    done = command("benchmark", "memory", "--memory", "slip:Decay", cwd=tmp_path, status=2)
    assert done.stderr.startswith("error: memory 'slip:Decay': cannot be imported (SyntaxError")
    assert done.stderr.count("\n") == 1 and done.stdout == ""
