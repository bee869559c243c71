"""Folders that masks go to: nothing of the user's is replaced, no two runs mix, and runs go on."""

import hashlib
import os
import re
import runpy
import shutil
import sys

import numpy as np
import pytest
from davis_folder import write_davis, write_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gcvos_mini import fast, stream
from gcvos_mini.errors import BadInput, free_name
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.network import save_model
from gcvos_mini.outputs import claim, masks_folder, run_id, run_of, source_state
from gcvos_mini.segment import VideoSegmenter

FRAMES, MASKS = "set/JPEGImages/480p/clip", "set/Annotations/480p/clip"


def tree(folder):
    """Every path below a folder, with a hash of its content where it is a file."""
    return {
        path.relative_to(folder): path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "smoke.safetensors"
    save_model(model, path)
    return path


def first_mask():
    mask = np.zeros((32, 48), np.uint8)
    mask[4:18, 5:30], mask[20:30, 25:45] = 1, 2
    return mask


@pytest.fixture
def work(tmp_path):
    """A folder with a clip of three PNG frames, its masks, and other files of the user's."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)
    write_davis(tmp_path / "set", {"clip": (frames, [first_mask()])}, suffix=".png")
    (tmp_path / "set/notes.txt").write_text("mine")
    return tmp_path


@pytest.fixture
def command(work, checkpoint, monkeypatch, capsys):
    """Run `python -m gcvos_mini.segment` in this process: (exit status, what stderr says)."""

    def call(out, *options, frames=FRAMES, mask=f"{MASKS}/00000.png"):
        given = ["--frames", str(work / frames), "--mask", str(work / mask), "--out", str(out)]
        argv = ["segment", *given, "--checkpoint", str(checkpoint), *options]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.delitem(sys.modules, "gcvos_mini.segment", raising=False)
        try:
            runpy.run_module("gcvos_mini.segment", run_name="__main__", alter_sys=True)
            return 0, capsys.readouterr().err
        except SystemExit as stop:
            return stop.code or 0, capsys.readouterr().err

    return call


# ---- through the command line -------------------------------------------------------------------


def linked(work):
    (work / "link").symlink_to(work / FRAMES, target_is_directory=True)
    return work / "link"


OUTS = {  # where masks may not go, and what is said
    "the frames' folder": (lambda work: work / FRAMES, "is "),
    "by another way": (lambda work: work / FRAMES / ".." / "clip", "is "),
    "through a link": (linked, "is "),
    "above the frames": (lambda work: work / "set", "holds "),
    "right above": (lambda work: work / "set/JPEGImages/480p", "holds "),
    "in the frames": (lambda work: work / FRAMES / "masks", "lies in "),
    "deep in the frames": (lambda work: work / FRAMES / "a/b/c", "lies in "),
    "the mask's folder": (lambda work: work / MASKS, "holds "),
    "everything": (lambda work: work, "holds "),
}


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
@pytest.mark.parametrize("where", OUTS)
def test_what_is_read_from_is_not_written_to(work, command, where, overwrite):
    place, relation = OUTS[where]
    out = place(work)
    before = tree(work)
    status, said = command(out, *overwrite)
    assert status == 2 and re.search(f"error: .*: {relation}.*read from; nothing was written", said)
    assert tree(work) == before


def test_a_relative_path_is_the_same_folder(work, command, monkeypatch):
    monkeypatch.chdir(work / FRAMES)
    before = tree(work)
    for out in (".", "..", "new"):
        assert command(out)[0] == 2
    assert tree(work) == before


FOREIGN = {
    "PNG of another program": lambda path: Image.new("L", (48, 32)).save(path / "00001.png"),
    "drawing under another name": lambda path: Image.new("L", (9, 9)).save(path / "plan.PNG"),
    "photo": lambda path: Image.new("RGB", (9, 9)).save(path / "me.jpeg"),
    "no picture at all": lambda path: (path / "00000.png").write_bytes(b"important"),
    "mask without a run": lambda path: write_mask(path / "00000.png", first_mask()),
}


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_pictures_of_anything_else_are_kept(work, command, kind, overwrite):
    """Also beside this program's own masks, none of which is removed then."""
    out = work / "out"
    assert command(out)[0] == 0
    FOREIGN[kind](out)
    before = tree(work)
    status, said = command(out, *overwrite)
    assert status == 2 and "not made by this program; nothing was written" in said
    assert tree(work) == before


def other_mask(work, checkpoint):
    write_mask(work / f"{MASKS}/00000.png", np.where(first_mask() == 1, 3, first_mask()))


def shorter(work, checkpoint):
    (work / FRAMES / "00002.png").unlink()


def longer(work, checkpoint):
    shutil.copy(work / FRAMES / "00002.png", work / FRAMES / "00003.png")


def other_frame(work, checkpoint):
    Image.new("RGB", (48, 32), "red").save(work / FRAMES / "00001.png")


OTHER_RUNS = {
    "another first mask": (other_mask, ()),
    "a frame less": (shorter, ()),
    "a frame more": (longer, ()),
    "another frame": (other_frame, ()),
    "another memory": (lambda *_: None, ("--memory", "stm")),
    "another height": (lambda *_: None, ("--height", "16")),
}


@pytest.mark.parametrize("how", OTHER_RUNS)
def test_two_runs_do_not_mix_unless_the_first_is_removed(work, command, checkpoint, how):
    """Refused as it is; with --overwrite the folder then holds what a new folder would."""
    change, options = OTHER_RUNS[how]
    out = work / "out"
    assert command(out)[0] == 0
    (out / "notes.txt").write_text("mine")
    change(work, checkpoint)
    before = tree(work)
    status, said = command(out, *options)
    assert status == 2 and "masks of another run" in said and "--overwrite" in said
    assert tree(work) == before
    assert command(out, *options, "--overwrite")[0] == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert command(work / "fresh", *options)[0] == 0
    (out / "notes.txt").unlink()
    assert tree(out) == tree(work / "fresh") != {}


def test_the_same_command_again_gives_the_same_files(work, command):
    """Also where the run before was stopped: a mask is missing, or half a hidden file is left."""
    out = work / "out"
    assert command(out)[0] == 0
    done = tree(out)
    assert command(out)[0] == 0 and tree(out) == done
    (out / "00002.png").unlink()
    assert command(out)[0] == 0 and tree(out) == done


@pytest.mark.parametrize("what", ["no frames", "no source", "no mask", "mask that does not fit"])
def test_a_run_that_cannot_start_removes_and_writes_nothing(work, command, what):
    """--overwrite takes the old masks away only once the new ones can be made."""
    out, options = work / "out", {}
    assert command(out)[0] == 0
    if what == "no source":
        options["frames"] = "nowhere"
    elif what == "no frames":
        (work / "empty").mkdir()
        options["frames"] = "empty"
    elif what == "no mask":
        options["mask"] = "nothing.png"
    else:
        write_mask(work / "small.png", first_mask()[:-1])
        options["mask"] = "small.png"
    before = tree(work)
    for folder in (out, work / "new"):
        status, said = command(folder, "--overwrite", **options)
        assert status == 2 and said.count("error: ") == 1
        assert tree(work) == before


def test_a_file_in_the_place_of_the_folder_stays(work, command):
    (work / "out").write_text("mine")
    assert command(work / "out")[0] == 2 and (work / "out").read_text() == "mine"


# ---- the runner's stream ------------------------------------------------------------------------


def run(model, work, out, mask=None, **options):
    mask = first_mask() if mask is None else mask
    return list(stream.stream(VideoSegmenter(model), work / FRAMES, mask, out, **options))


def test_a_stream_claims_its_folder_as_the_command_does(model, work, command):
    """The same guard, the same run: what the command began, the runner may go on with."""
    model = fast.prepare(model, fast.pick_precision())  # as the command does
    out, other = work / "out", np.where(first_mask() == 1, 9, first_mask()).astype(np.uint8)
    assert command(out)[0] == 0
    done = tree(out)
    run(model, work, out)
    assert tree(out) == done
    before = tree(work)
    for folder, mask in ((work / FRAMES, None), (work / "set", None), (out, other)):
        with pytest.raises(BadInput, match="read from|another run"):
            run(model, work, folder, mask)
    with pytest.raises(BadInput, match="the same size"):
        run(model, work, out, other[1:], overwrite=True)
    assert tree(work) == before
    run(model, work, out, other, overwrite=True)
    assert 9 in read_mask(out / "00000.png") and len(tree(out)) == 3


# ---- the parts ----------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    own=st.lists(st.integers(0, 20), unique=True, max_size=6),
    others=st.lists(st.integers(0, 20), unique=True, max_size=3),
    foreign=st.lists(st.integers(21, 30), unique=True, max_size=2),
    overwrite=st.booleans(),
)
def test_claim(tmp_path_factory, own, others, foreign, overwrite):
    """For any mix of masks in a folder: granted, emptied or refused, and never changed else."""
    root = tmp_path_factory.mktemp("claim")
    out, others = root / "out", sorted(set(others) - set(own))
    labels = np.zeros((4, 4), np.uint8)
    for numbers, maker in ((own, "mine"), (others, "other"), (foreign, None)):
        for n in numbers:
            write_mask(out / f"{n:05d}.png", labels, maker)
    out.mkdir(exist_ok=True)
    (out / "results.txt").write_text("mine")
    before = tree(out)
    if foreign or (others and not overwrite):
        with pytest.raises(BadInput):
            claim(out, [], "mine", overwrite)
        assert tree(out) == before
    else:
        claim(out, [], "mine", overwrite)
        kept = [] if overwrite else own
        assert {p.name for p in out.iterdir()} == {"results.txt", *(f"{n:05d}.png" for n in kept)}


def test_a_mask_says_its_run_and_a_copy_by_another_program_does_not(tmp_path):
    write_mask(tmp_path / "a.png", first_mask(), "abc")
    assert run_of(tmp_path / "a.png") == "abc"
    with Image.open(tmp_path / "a.png") as image:
        Image.fromarray(np.array(image)).save(tmp_path / "b.png")
    write_masks(tmp_path / "c", [first_mask()])
    assert run_of(tmp_path / "b.png") is run_of(tmp_path / "c/00000.png") is None


def test_equal_settings_are_one_run_and_any_other_is_another():
    base = {"mask": first_mask(), "memory": "gc", "height": None, "source": [["a", 1, 2]]}
    changed = [
        base | {"mask": first_mask() * 2},
        base | {"memory": "stm"},
        base | {"height": 240},
        base | {"source": [["a", 1, 3]]},
    ]
    runs = [run_id(**settings) for settings in (base, *changed)]
    assert len(set(runs)) == 5 and run_id(**dict(reversed(base.items()))) == runs[0]


def test_the_state_of_a_source_changes_with_any_of_its_frames(work):
    states = [source_state(work / FRAMES)]
    os.utime(work / FRAMES / "00001.png", ns=(1, 1))
    states.append(source_state(work / FRAMES))
    (work / FRAMES / "00002.png").unlink()
    states.append(source_state(work / FRAMES))
    (work / FRAMES / "notes.txt").write_text("no frame")
    assert len({str(state) for state in states}) == 3
    assert source_state(work / FRAMES) == states[-1]


def test_sources_that_differ_after_a_dot_have_folders_of_their_own(tmp_path):
    names = ["2024.05.01", "2024.05.02", "2024", "clip.mp4", "clip.mov", "clip"]
    assert len({masks_folder(tmp_path / name) for name in names}) == len(names)


def test_exports_take_a_free_name(tmp_path):
    image = [np.zeros((32, 48, 3), np.uint8)] * 2
    for export, name in ((stream.export_video, "2024.05.mp4"), (stream.export_gif, "a.gif")):
        made = []
        for _ in range(3):
            made.append(free_name(tmp_path / name))
            export(made[-1], image)
        assert len(set(made)) == 3 and {path.suffix for path in made} == {made[0].suffix}
        assert made[0].name == name and all(path.is_file() for path in made)


def test_a_first_mask_among_the_later_ones_is_read_as_a_first_one(work, command):
    """White on black is its object; the files lie in one folder, as --masks takes them."""
    white = 255 * np.uint8(first_mask() == 1)
    Image.fromarray(white).save(work / f"{MASKS}/00000.png")
    assert command(work / "a")[0] == 0
    assert command(work / "b", "--masks", str(work / MASKS))[0] == 0
    for name in ("00000.png", "00001.png", "00002.png"):
        np.testing.assert_array_equal(read_mask(work / "a" / name), read_mask(work / "b" / name))
