"""Masks in the middle of a video: objects that enter later, and corrections."""

import io
import re
import sys

import numpy as np
import pytest
import torch
from davis_folder import write_davis, write_masks

from gcvos_mini import evaluate
from gcvos_mini.cohorts import Cohorts
from gcvos_mini.davis import first_seen, load_split
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.memory import GlobalContext, SpaceTime, make_memory
from gcvos_mini.metrics import region_similarity
from gcvos_mini.network import object_probabilities, save_model
from gcvos_mini.segment import VideoSegmenter, segment, to_tensor
from gcvos_mini.sources import video_frames
from gcvos_mini.stream import export_video
from gcvos_mini.toy import clip_frames

FRAMES, TRUTH = (np.stack(part) for part in zip(*clip_frames("two-friends", 64, frames=6)))
HEIGHT, WIDTH = 64, 112  # of the frames, cut to multiples of 16: nothing is padded
FRAMES, TRUTH = FRAMES[:, :, :WIDTH], TRUTH[:, :, :WIDTH]
FIRST = np.where(TRUTH[0] == 1, 1, 0).astype(np.uint8)


def run(model, memory="gc", given=(), corrected=()):
    """Masks (T, H, W) of the clip from FIRST, with masks given to step, or by hand afterwards."""
    segmenter = VideoSegmenter(model, memory)
    segmenter.start(FRAMES[0], FIRST)
    masks = [FIRST]
    for t in range(1, len(FRAMES)):
        mask = segmenter.step(FRAMES[t], TRUTH[t] if t in given else None)
        masks.append(segmenter.correct(TRUTH[t]) if t in corrected else mask)
    return np.stack(masks), segmenter


@torch.inference_mode()
def by_hand(model, enters):
    """The same with a memory for each object, written out: object 2 is given at frame `enters`."""
    memories = {1: make_memory("gc", model.config), 2: make_memory("gc", model.config)}
    soft = {1: torch.from_numpy(FIRST == 1).float()}  # object -> (H, W)
    masks = [FIRST]
    for t, frame in enumerate(FRAMES):
        image = to_tensor(frame)
        if t > 0:
            query = model.encode_query(image)
            odds = [model.decode(memories[i].read(query.key), query)[0] for i in soft]
            probabilities = object_probabilities(torch.stack(odds))
            labels = np.array([0, *soft])[probabilities.argmax(0).numpy()]
            soft = {i: probabilities[o + 1] for o, i in enumerate(soft)}
            if t == enters:
                labels = np.where(TRUTH[t] > 0, TRUTH[t], np.where(labels == 1, 0, labels))
                soft = {i: torch.from_numpy(labels == i).float() for i in (1, 2)}
            masks.append(labels)
        for i, mask in soft.items():
            memories[i].write(*model.encode_memory(image, mask[None, None]))
    return np.stack(masks)


def test_an_object_that_enters_later_has_a_memory_of_its_own(model):
    masks, segmenter = run(model, given={2})
    assert (masks != by_hand(model, 2)).mean() < 1e-3  # batches round differently: ties flip
    assert segmenter.ids == [1, 2]
    assert [memory.frames for memory, _ in segmenter.memory.lots] == [6, 4]


@pytest.mark.parametrize("memory", ["gc", "stm", "stm-linear"])
def test_a_correction_is_as_if_the_mask_had_been_given_at_once(model, memory):
    at_once, one = run(model, memory, given={2, 4})
    by_hand_later, other = run(model, memory, corrected={2, 4})
    np.testing.assert_array_equal(at_once, by_hand_later)
    torch.testing.assert_close(one.probabilities, other.probabilities, atol=1e-4, rtol=0)
    assert (at_once[2] == TRUTH[2]).all()
    assert (at_once != run(model, memory)[0]).any()
    again, _ = run(model, memory, given={2, 4}, corrected={2})  # the frame with which object 2 came
    np.testing.assert_array_equal(at_once, again)


def test_objects_that_the_given_mask_does_not_show_keep_what_is_found(model, monkeypatch):
    only_two = np.where(TRUTH[2] == 2, 2, 0).astype(np.uint8)
    segmenter = VideoSegmenter(model)
    segmenter.start(FRAMES[0], FIRST)
    segmenter.step(FRAMES[1])
    found = segmenter.find(FRAMES[2])
    written, encode = [], model.encode_memory
    monkeypatch.setattr(
        model, "encode_memory", lambda image, mask, _: written.append(mask) or encode(image, mask)
    )
    mask = segmenter.step(FRAMES[2], only_two)
    assert (written[0][0, 0][torch.from_numpy(only_two == 2)] == 0).all()  # they are taken
    np.testing.assert_array_equal(mask, np.where(only_two == 2, 2, found))


def test_what_cannot_be_corrected(model):
    segmenter = VideoSegmenter(model)
    segmenter.start(FRAMES[0], FIRST)
    with pytest.raises(BadInput, match="start again"):
        segmenter.correct(TRUTH[0])
    with pytest.raises(BadInput, match="mask of frame 1 is 9x9"):
        segmenter.step(FRAMES[1], np.ones((9, 9), np.uint8))
    segmenter.step(FRAMES[1])
    with pytest.raises(BadInput, match="mask of frame 1 is 9x9"):
        segmenter.correct(np.ones((9, 9), np.uint8))
    other = VideoSegmenter(model, "pam")
    other.start(FRAMES[0], FIRST)
    other.step(FRAMES[1])
    with pytest.raises(BadInput, match="memory pam: cannot take a frame out"):
        other.correct(TRUTH[1])


def features(frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(frames, 3, c, 2, 5, generator=generator) for c in (4, 6, 4)]


def test_space_time_deletes_the_frame_it_is_told():
    keys, values, queries = features(4)
    memory, without = SpaceTime(), SpaceTime()
    for t in range(4):
        memory.write(keys[t], values[t])
        if t != 1:
            without.write(keys[t], values[t])
    memory.remove(keys[1], values[1])
    torch.testing.assert_close(memory.read(queries[0]), without.read(queries[0]), rtol=0, atol=0)
    assert memory.frames == 3 and memory.nbytes == without.nbytes
    with pytest.raises(ValueError, match="no such frame"):
        memory.remove(keys[1], values[1])


def test_cohorts_are_their_memories_side_by_side():
    keys, values, queries = features(3)
    early, late = GlobalContext(), GlobalContext()
    cohorts = Cohorts(GlobalContext, GlobalContext(), 2)
    cohorts.write(keys[0, :, None][:2, 0], values[0, :2])
    early.write(keys[0, :2], values[0, :2])
    cohorts.enter(1)
    for t in (1, 2):
        cohorts.write(keys[t], values[t])
        early.write(keys[t, :2], values[t, :2])
        late.write(keys[t, 2:], values[t, 2:])
    wanted = torch.cat([early.read(queries[0, :2]), late.read(queries[0, 2:])])
    torch.testing.assert_close(cohorts.read(queries[0]), wanted, rtol=0, atol=0)
    assert cohorts.nbytes == early.nbytes + late.nbytes and cohorts.frames == 3


def test_segment_with_a_folder_of_masks(model, tmp_path, capsys):
    write_davis(tmp_path, {"clip": (FRAMES, {0: FIRST, 2: TRUTH[2]})}, suffix=".png")
    save_model(model, tmp_path / "net.safetensors")
    frames = tmp_path / "JPEGImages/480p/clip"
    segment(
        frames=frames,
        masks=tmp_path / "Annotations/480p/clip",
        out=tmp_path / "out",
        checkpoint=tmp_path / "net.safetensors",
        device="cpu",
        precision="float32",
    )
    found = [read_mask(tmp_path / f"out/{t:05d}.png") for t in range(len(FRAMES))]
    expected = run(model, given={2})[0]
    assert np.mean(found == expected) > 0.999  # the command's network is made fast: to rounding
    write_masks(tmp_path / "late", {2: TRUTH[2]})
    with pytest.raises(BadInput, match="00000.png: no such file; the first frame needs a mask"):
        segment(frames=frames, masks=tmp_path / "late", out=tmp_path / "other", device="cpu")


def segmented(model, folder, source, masks, first=None, status=0):
    """`segment --masks`: lines on stderr but tqdm's, and the masks written, by name."""
    save_model(model, folder / "net.safetensors")
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as error:
        patch.setattr(sys, "stderr", error)
        ended = 0
        try:
            exit_on_bad_input(
                lambda: segment(
                    frames=source, mask=first, masks=masks, out=folder / "out",
                    checkpoint=folder / "net.safetensors", device="cpu",
                )
            )  # fmt: skip
        except SystemExit as stop:
            ended = stop.code
        lines = re.split("[\r\n]+", error.getvalue())
    assert ended == status, lines
    written = folder / "out"
    made = {path.stem: read_mask(path) for path in written.iterdir()} if written.exists() else {}
    return [line for line in lines if line.startswith(("note: ", "error: "))], made


@pytest.fixture(params=["folder", "video"])
def source(request, tmp_path):
    """Six frames, as a folder of pictures or a video, and the first mask's file."""
    write_davis(tmp_path, {"clip": (FRAMES, {0: FIRST})}, suffix=".png")
    folder = tmp_path / "JPEGImages/480p/clip"
    if request.param == "video":
        write_mask(tmp_path / "first.png", FIRST)
        export_video(tmp_path / "clip.mp4", (frame for _, frame in video_frames(folder)))
        return tmp_path / "clip.mp4", tmp_path / "first.png"
    return folder, tmp_path / "Annotations/480p/clip/00000.png"


@pytest.mark.parametrize(
    "names, said",
    [
        (["00002.png"], []),
        (["00002.png", "._00003.png"], []),
        (["00002.png", "3.png"], ["not used, 1 file: 3.png; "]),
        (["00002.png", "00004.jpg", "notes.txt"], ["not used, 2 files: 00004.jpg, notes.txt; "]),
        (["00002.png", "00099.png"], ["not used, 1 file: 00099.png; "]),
        (["00002.png", "a.png", "b.png", "c.png", "d.png"], ["4 files: a.png, b.png, c.png, ...;"]),
        (["00002.png", "00000.png"], ["00000.png: not used, the first frame has "]),
    ],
)
def test_a_mask_that_no_frame_has_is_said(model, tmp_path, source, names, said):
    for name in names:
        write_mask(tmp_path / "masks/x.png", TRUTH[2])
        (tmp_path / "masks/x.png").rename(tmp_path / "masks" / name)
    frames, first = source
    lines, made = segmented(model, tmp_path, frames, tmp_path / "masks", first)
    assert len(lines) == len(said) and all(part in line for part, line in zip(said, lines))
    assert len(made) == len(FRAMES) and (made["00002"] == TRUTH[2]).all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "names",
    [[], ["2.png"], ["00002.jpg"], ["00099.png"], ["mask.png", "b.png"], ["2.png", "02.png"]],
)
def test_masks_that_no_frame_has_are_refused(model, tmp_path, source, names):
    (tmp_path / "masks").mkdir()
    for name in names:
        write_mask(tmp_path / "masks/x.png", TRUTH[2])
        (tmp_path / "masks/x.png").rename(tmp_path / "masks" / name)
    frames, first = source
    lines, made = segmented(model, tmp_path, frames, tmp_path / "masks", first, status=2)
    assert len(lines) == 1 and lines[0].startswith(f"error: {tmp_path / 'masks'}")
    assert all(name in lines[0] for name in names)
    late = names == ["00099.png"] and frames.is_file()  # shows when the video has ended
    assert len(made) == (6 if late else 0)


@pytest.mark.bad_input
def test_a_folder_of_masks_that_there_is_not(model, tmp_path, source):
    lines, made = segmented(model, tmp_path, source[0], tmp_path / "nowhere", source[1], status=2)
    assert len(lines) == 1 and "nowhere: no such folder" in lines[0] and made == {}


def test_an_object_counts_from_its_first_mask_on(model, tmp_path):
    truth = TRUTH.copy()
    truth[:2][truth[:2] == 2] = 0  # object 2 is shown from frame 2 on
    write_davis(tmp_path, {"clip": (FRAMES, list(truth))}, suffix=".png")
    save_model(model, tmp_path / "net.safetensors")
    asked = evaluate.Evaluation(
        data=tmp_path,
        checkpoint=str(tmp_path / "net.safetensors"),
        out=tmp_path / "out",
        late=True,
        device="cpu",
    )
    (sequence,) = load_split(tmp_path)
    assert first_seen(sequence, 2017) == {1: "00000", 2: "00002"}
    objects = evaluate.run(asked)["sequences"]["clip"]["objects"]
    masks = [read_mask(tmp_path / f"out/clip/{t:05d}.png") for t in range(len(FRAMES))]
    assert (masks[2] == 2).sum() == (truth[2] == 2).sum()
    for i, first in ((1, 0), (2, 2)):
        J = [region_similarity(masks[t] == i, truth[t] == i) for t in range(first + 1, 5)]
        assert objects[str(i)]["J_mean"] == pytest.approx(np.mean(J))
