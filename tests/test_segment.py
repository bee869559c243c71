"""A video in, masks out: object by object, then one softmax; and the command line."""

import dataclasses
import math
import runpy
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from davis_folder import write_davis
from PIL import Image

from gcvos_mini.config import SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.evaluate import FirstMask
from gcvos_mini.masks import PALETTE, read_mask, write_mask
from gcvos_mini.memory import GlobalContext, SpaceTime
from gcvos_mini.network import Network, log_odds, object_probabilities, save_model
from gcvos_mini.segment import (
    VideoSegmenter,
    follow,
    follow_source,
    load_segmenter,
    pad_to_stride,
    to_tensor,
    video_frames,
)

HEIGHT, WIDTH = 77, 101  # odd, not square, not multiples of 16


def video(count=4, height=HEIGHT, width=WIDTH):
    """Smooth coloured noise that drifts to the right."""
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 256, (12, 40, 3), np.uint8), (width + 4 * count, height))
    return [np.ascontiguousarray(wide[:, 4 * t : 4 * t + width]) for t in range(count)]


def first_mask(height=HEIGHT, width=WIDTH):
    mask = np.zeros((height, width), np.uint8)
    mask[10:40, 10:50], mask[45:70, 55:95] = 3, 7
    return mask


def run(model, frames, mask, memory="gc", **options):
    """The segmenter, and the masks and probabilities of every frame but the first."""
    segmenter = VideoSegmenter(model, memory, **options)
    steps = [(found, segmenter.probabilities) for _, found in follow(segmenter, frames, mask)]
    return segmenter, *map(list, zip(*steps[1:]))


# ---- many objects -------------------------------------------------------------------------------


def test_one_object_keeps_its_own_softmax():
    logits = 3 * torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(object_probabilities(log_odds(logits)), logits[0].softmax(dim=0))


def test_several_objects_against_a_plain_loop():
    logits = 3 * torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    soft = object_probabilities(log_odds(logits))
    assert soft.shape == (4, 4, 5)
    torch.testing.assert_close(soft.sum(dim=0), torch.ones(4, 5))
    for y in range(4):
        for x in range(5):
            odds = [math.exp(o[1, y, x] - o[0, y, x]) for o in logits]
            expected = [1 / (1 + sum(odds)), *(o / (1 + sum(odds)) for o in odds)]
            assert soft[:, y, x].tolist() == pytest.approx(expected, abs=1e-6)


def test_shapes_and_ids_on_odd_sizes(model):
    segmenter, masks, soft = run(model, video(), first_mask())
    for mask, probabilities in zip(masks, soft, strict=True):
        assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.uint8
        assert probabilities.shape == (3, HEIGHT, WIDTH) and probabilities.dtype == torch.float32
        torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(HEIGHT, WIDTH))
        labels = np.array([0, 3, 7])[probabilities.argmax(dim=0).numpy()]
        assert np.array_equal(mask, labels)
    assert set(np.unique(masks)) == {0, 3, 7}  # each comes up, or this test shows nothing
    assert segmenter.key.shape == (2, SMOKE.key_dim, 5, 7)  # 77 x 101 padded to 80 x 112


def test_names_of_objects_change_nothing_else(model):
    frames, mask = video(3), first_mask()
    _, masks, _ = run(model, frames, mask)
    swap = np.arange(256, dtype=np.uint8)
    swap[[3, 7]] = 200, 1  # the order changes too
    _, renamed, _ = run(model, frames, swap[mask])
    agree = [(swap[a] == b).mean() for a, b in zip(masks, renamed, strict=True)]
    assert min(agree) > 0.999


def test_void_is_background(model):
    frames, mask = video(2), first_mask()
    void = mask.copy()
    void[0:5] = 255
    segmenter, masks, _ = run(model, frames, void)
    assert segmenter.ids == [3, 7] and 255 not in masks[0]
    assert np.array_equal(masks[0], run(model, frames, mask)[1][0])


# ---- one step, by hand --------------------------------------------------------------------------


def test_steps_by_hand(model):
    """Two steps written out: padding, one memory per object, soft masks written unthresholded."""
    frames, mask = video(3), first_mask()
    _, _, soft = run(model, frames, mask)
    expected = []
    with torch.inference_mode():
        images = [pad_to_stride(to_tensor(f)) for f in frames]
        assert images[0].shape == (1, 3, 80, 112)
        given = [torch.from_numpy(mask == i).float()[None, None] for i in (3, 7)]
        memories = [GlobalContext("mean") for _ in given]
        for t in (1, 2):
            odds = []
            for memory, object_mask in zip(memories, given, strict=True):
                memory.write(*model.encode_memory(images[t - 1], pad_to_stride(object_mask)))
                query = model.encode_query(images[t])
                odds.append(model.decode(memory.read(query.key), query)[0, :HEIGHT, :WIDTH])
            probabilities = torch.stack([torch.zeros_like(odds[0]), *odds]).softmax(dim=0)
            expected.append(probabilities)
            given = [p[None, None] for p in probabilities[1:]]
    for a, b in zip(soft, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    thresholded = (expected[0][1:] > 0.5).float()
    assert (thresholded - expected[0][1:]).abs().max() > 0.1  # or the last line shows nothing


def test_the_decoder_is_shown_the_previous_mask(monkeypatch):
    """The one that is given, then the soft one found, then the one that was corrected, padded."""
    torch.manual_seed(0)
    model = Network(dataclasses.replace(SMOKE, previous_mask=True)).eval()
    shown, decode = [], model.decode
    monkeypatch.setattr(
        model, "decode", lambda c, q, previous: shown.append(previous) or decode(c, q, previous)
    )
    frames, mask = video(5), first_mask()
    segmenter = VideoSegmenter(model)
    segmenter.start(frames[0], mask)
    given = torch.stack([torch.from_numpy(mask == i) for i in (3, 7)]).float()
    for frame in frames[1:3]:
        segmenter.step(frame)
        assert shown[-1].shape == (2, 1, 80, 112)
        torch.testing.assert_close(shown[-1][:, 0, :HEIGHT, :WIDTH], given)
        given = segmenter.probabilities[1:]
    segmenter.correct(np.roll(mask, 9, axis=1))
    segmenter.step(frames[3])
    moved = torch.stack([torch.from_numpy(np.roll(mask, 9, axis=1) == i) for i in (3, 7)])
    torch.testing.assert_close(shown[-1][:, 0, :HEIGHT, :WIDTH], moved.float())
    segmenter.find(frames[4])
    found = segmenter.probabilities[1:]
    segmenter.step(frames[4])
    torch.testing.assert_close(segmenter.probabilities[1:], found)  # find leaves it as it was
    # and it matters: what is shown decides what is found
    other = VideoSegmenter(model)
    other.start(frames[0], mask)
    other.previous = torch.zeros_like(other.previous)
    before = other.step(frames[1]), other.probabilities
    again = VideoSegmenter(model)
    again.start(frames[0], mask)
    again.step(frames[1])
    assert (again.probabilities - before[1]).abs().max() > 1e-4


def test_padding_repeats_the_edge():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert pad_to_stride(x, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5]] + 2 * [[3, 4, 5, 5]]
    assert pad_to_stride(torch.zeros(1, 1, 32, 48)).shape == (1, 1, 32, 48)


def test_to_tensor():
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[1, 2] = 255, 0, 51
    tensor = to_tensor(frame)
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor[0, :, 1, 2].tolist() == pytest.approx([1, 0, 0.2])


# ---- memories -----------------------------------------------------------------------------------


def test_gc_and_linear_stm_give_the_same_masks_and_stm_does_not(model):
    frames, mask = video(4, 64, 96), first_mask(64, 96)
    gc, linear, stm = (run(model, frames, mask, m) for m in ("gc", "stm-linear", "stm"))
    for a, b in zip(gc[2], linear[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    for a, b in zip(gc[1], linear[1], strict=True):
        assert np.array_equal(a, b)
    assert max((a - b).abs().max() for a, b in zip(gc[2], stm[2], strict=True)) > 1e-2


def test_memory_bytes(model):
    frames, mask = video(5, 32, 48), first_mask(32, 48)
    mask[20:, 30:] = 7
    sizes = {}
    for name in ("gc", "stm"):
        segmenter = VideoSegmenter(model, name)
        sizes[name] = [segmenter.memory.nbytes for _ in follow(segmenter, frames, mask)]
    objects, key, value = 2, SMOKE.key_dim, SMOKE.value_dim
    assert sizes["gc"] == 5 * [objects * key * value * 4]
    assert sizes["stm"] == [objects * (key + value) * 2 * 3 * 4 * t for t in range(1, 6)]


def test_write_every(model):
    segmenter, _, _ = run(model, video(8, 32, 48), first_mask(32, 48), write_every=3)
    assert segmenter.frames == 8 and segmenter.memory.frames == 3  # frames 0, 3 and 6


@pytest.mark.parametrize("choice", [None, "stm", SpaceTime, GlobalContext("mean")], ids=str)
def test_start_makes_a_fresh_memory(model, choice):
    """Three videos in a row, the last of a single object: it finds what a new segmenter finds."""
    frames, mask = video(3, 32, 48), first_mask(32, 48)
    mask[20:, 30:] = 7
    segmenter = VideoSegmenter(model, choice)
    for _ in range(2):
        list(follow(segmenter, frames, mask))
        assert segmenter.memory.frames == segmenter.frames == 3
    alone = np.uint8(mask == 3)
    segmenter.start(frames[0], alone)
    assert (segmenter.memory.frames, segmenter.frames, segmenter.ids) == (1, 1, [1])
    state = segmenter.memory.keys if choice in ("stm", SpaceTime) else segmenter.memory.context
    assert len(state) == 1
    _, found, _ = run(model, frames, alone, choice)
    np.testing.assert_array_equal([segmenter.step(frame) for frame in frames[1:]], found)


def test_a_memory_object_stays_as_it_was_given(model):
    memory = GlobalContext("mean", first_share=0.5)
    segmenter, _, _ = run(model, video(2, 32, 48), first_mask(32, 48), memory)
    assert segmenter.memory.first_share == 0.5 and segmenter.memory.frames == 2
    assert memory.frames == memory.nbytes == 0
    with pytest.raises(BadInput, match="memory:GlobalContext: holds 2 frames; give a fresh one"):
        VideoSegmenter(model, segmenter.memory)


def test_working_height(model):
    frames, mask = video(2), first_mask()
    segmenter, masks, soft = run(model, frames, mask, height=48)
    assert masks[0].shape == (HEIGHT, WIDTH) and soft[0].shape == (3, HEIGHT, WIDTH)
    assert segmenter.key.shape == (2, SMOKE.key_dim, 3, 4)  # 48 x 63, padded to 48 x 64


@pytest.mark.parametrize("height, rows", [(48, 3), (HEIGHT, 5), (160, 5), (None, 5)])
def test_config_height_is_the_most(model, monkeypatch, height, rows):
    """Larger frames are made smaller, smaller ones keep their 77 lines."""
    monkeypatch.setattr(model, "config", dataclasses.replace(SMOKE, height=height))
    segmenter, _, _ = run(model, video(2), first_mask())
    assert segmenter.key.shape[2] == rows
    asked, _, _ = run(model, video(2), first_mask(), height=160)
    assert asked.key.shape[2] == 10


# ---- the one loop -------------------------------------------------------------------------------


class Counting(FirstMask):
    """Finds the number of its step in every pixel; refuses the third."""

    def step(self, frame):
        if frame is None:
            raise BadInput("frame 3 is not there")
        self.mask = self.mask + 1
        return self.mask


def test_follow_starts_then_steps_one_frame_at_a_time():
    """The next frame is not asked for before its pair is; the first pair has the given mask."""
    asked, given = [], np.zeros((2, 2), np.uint8)
    frames = (asked.append(t) or t for t in range(4))
    found = follow(Counting(), frames, given)
    assert asked == []
    for t in range(3):
        frame, mask = next(found)
        assert asked == list(range(t + 1)) and frame == t and (mask == t).all()
    assert list(follow(Counting(), [], given)) == []


@pytest.mark.parametrize(
    "source, complaint", [("a/b.mp4", "^a/b.mp4: frame 3"), (None, "^frame 3")]
)
def test_follow_names_the_source_in_errors(source, complaint):
    found = follow(Counting(), [1, 2, None], np.zeros((2, 2), np.uint8), source)
    with pytest.raises(BadInput, match=complaint):
        list(found)


def test_follow_source_names_every_frame(files):
    given = first_mask()
    found = list(follow_source(Counting(), files / FRAMES, given))
    assert [name for name, _, _ in found] == ["00000", "00001", "00002"]
    for t, (_, frame, mask) in enumerate(found):
        assert frame.shape == (HEIGHT, WIDTH, 3) and (mask == given + t).all()


# ---- bad input ----------------------------------------------------------------------------------


def test_step_before_start(model):
    with pytest.raises(ValueError, match="call start"):
        VideoSegmenter(model).step(video(1)[0])


def test_start_refuses(model):
    frame = video(1)[0]
    segmenter = VideoSegmenter(model)
    with pytest.raises(BadInput, match="first mask is 100x77, first frame is 101x77"):
        segmenter.start(frame, first_mask()[:, :-1])
    for empty in (0, 255):
        with pytest.raises(BadInput, match="no object"):
            segmenter.start(frame, np.full((HEIGHT, WIDTH), empty, np.uint8))


def test_step_refuses_another_size(model):
    segmenter, _, _ = run(model, video(2), first_mask())
    with pytest.raises(BadInput, match="frame 2 is 77x101, the first was 101x77"):
        segmenter.step(video(1)[0].transpose(1, 0, 2).copy())


# ---- command line -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "smoke.safetensors"
    save_model(model, path)
    return path


FRAMES, MASK = "JPEGImages/480p/clip", "Annotations/480p/clip/00000.png"


@pytest.fixture
def files(tmp_path):
    write_davis(tmp_path, {"clip": (video(3), [first_mask()])})
    (tmp_path / FRAMES / "notes.txt").write_text("not a frame")
    return tmp_path


def arguments(files, checkpoint, **changes):
    values = {"frames": FRAMES, "mask": MASK, "out": "masks"} | changes
    pairs = [[f"--{name}", str(files / value)] for name, value in values.items()]
    return [*sum(pairs, []), "--checkpoint", str(checkpoint)]


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `python -m gcvos_mini.segment` in this process: (exit status, last lines of stderr)."""

    def call(arguments):
        monkeypatch.setattr(sys, "argv", ["segment", *arguments])
        monkeypatch.delitem(sys.modules, "gcvos_mini.segment")
        try:
            runpy.run_module("gcvos_mini.segment", run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        return status, capsys.readouterr()

    return call


def test_the_checkpoints_memory_is_used_unless_another_is_named(checkpoint, capsys):
    assert isinstance(load_segmenter(checkpoint).memory, GlobalContext)
    assert isinstance(load_segmenter(checkpoint, "gc", device="cpu").memory, GlobalContext)
    assert capsys.readouterr().err == ""
    assert isinstance(load_segmenter(checkpoint, "stm").memory, SpaceTime)
    note = f"note: {checkpoint} was trained with the memory gc, this is stm\n"
    assert capsys.readouterr().err == note
    with pytest.raises(BadInput, match="--height 15: too small"):
        load_segmenter(checkpoint, height=15)


def test_masks_are_palette_images(files, checkpoint, command):
    status, text = command(arguments(files, checkpoint))
    assert status == 0 and "3 masks in" in text.out
    names = sorted(p.name for p in (files / "masks").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png"]
    for name in names:
        with Image.open(files / "masks" / name) as image:
            assert image.mode == "P" and image.size == (WIDTH, HEIGHT)
            assert image.getpalette()[: 3 * 8] == PALETTE[: 3 * 8]
        assert set(np.unique(read_mask(files / "masks" / name))) <= {0, 3, 7}
    assert np.array_equal(read_mask(files / "masks" / "00000.png"), first_mask())


def test_black_and_white_mask(files, checkpoint, command):
    Image.fromarray(255 * np.uint8(first_mask() == 3)).save(files / MASK)
    assert command(arguments(files, checkpoint))[0] == 0
    assert np.array_equal(read_mask(files / "masks" / "00000.png"), first_mask() == 3)


def damage(files, how):
    third = files / FRAMES / "00002.jpg"
    if how == "frame of another size":
        Image.new("RGB", (40, 30)).save(third)
    elif how == "mask of another size":
        write_mask(files / MASK, first_mask()[:-1])
    elif how == "empty mask":
        write_mask(files / MASK, 0 * first_mask())
    elif how == "no frames":
        for file in (files / FRAMES).glob("*.jpg"):
            file.unlink()


@pytest.mark.parametrize(
    ("how", "named", "reason"),
    [
        ("frame of another size", f"{FRAMES}: ", "frame 2 is 40x30, the first was 101x77"),
        ("mask of another size", MASK, "00000.jpg is 101x77 but "),
        ("empty mask", MASK, "first mask is empty"),
        ("no frames", FRAMES, "no .jpg or .png frames"),
    ],
)
def test_bad_files_end_in_one_line(files, checkpoint, command, how, named, reason):
    damage(files, how)
    status, text = command(arguments(files, checkpoint))
    errors = [line for line in text.err.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(errors) == 1 and "Traceback" not in text.err
    assert named in errors[0] and reason in errors[0]
    assert text.err.rstrip().endswith(errors[0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frames": "nowhere"}, "nowhere: no such folder or video file"),
        ({"frames": "first.txt"}, "first.txt: not a video; give a video file or a folder"),
        ({"mask": "nomask.png"}, "nomask.png: no such file"),
    ],
)
def test_missing_files(files, checkpoint, command, changes, reason):
    (files / "first.txt").write_text("text\n")
    status, text = command(arguments(files, checkpoint, **changes))
    assert status == 2 and reason in text.err


def test_as_a_person_calls_it(files):
    """In a process of its own: one line on stderr, status 2, no traceback, nothing written."""
    done = subprocess.run(
        [sys.executable, "-m", "gcvos_mini.segment"]
        + arguments(files, files / "none.safetensors"),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and not (files / "masks").exists()
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "none.safetensors: no such file" in done.stderr


def test_video_files(tmp_path):
    """A video file gives the frames of a folder, in order and in RGB."""
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (48, 32))
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    for colour in colours:
        writer.write(np.full((32, 48, 3), colour[::-1], np.uint8))
    writer.release()
    names, frames = zip(*video_frames(path), strict=True)
    assert names == ("00000", "00001", "00002")
    for frame, colour in zip(frames, colours, strict=True):
        assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 12
