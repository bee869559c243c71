"""The runner under a widget: it stops and goes on, shows what it does, and saves what is there."""

import asyncio
import io

import cv2
import numpy as np
import pytest
from davis_folder import numbers, write_friends
from PIL import Image

pytest.importorskip("ipycanvas")

from gcvos_mini import fast
from gcvos_mini.errors import BadInput
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.network import save_model
from gcvos_mini.segment import segment
from gcvos_mini.show.own_video import VideoRunner, overlays
from gcvos_mini.sources import length_and_rate, video_frames
from gcvos_mini.stream import export_video, stream
from gcvos_mini.toy import clip_frames

LINES = 48


@pytest.fixture
def clip(tmp_path):
    return write_friends(tmp_path, LINES)


def length_of(path):
    return len(list(video_frames(path)))


def test_stopped_and_continued_is_segment_bit_for_bit(model, clip, tmp_path):
    """Against `python -m gcvos_mini.segment`, with every stop there can be."""
    folder, first = clip
    save_model(model, tmp_path / "net.safetensors")
    write_mask(tmp_path / "first.png", first)
    checkpoint = str(tmp_path / "net.safetensors")
    segment(
        frames=folder, mask=tmp_path / "first.png", out=tmp_path / "plain", checkpoint=checkpoint
    )
    quick = fast.prepare(model, fast.pick_precision())  # as the command does
    runner = VideoRunner(quick, folder, first, tmp_path / "mine")

    async def press():
        for press in range(1, 20):
            runner.run.value = True
            await asyncio.sleep(0)  # one frame
            runner.run.value = False
            await runner.task
            assert runner.last.index == min(press, 5)

    asyncio.run(press())
    assert numbers(tmp_path / "mine") == numbers(tmp_path / "plain") and runner.last.index == 5
    for name in numbers(tmp_path / "plain"):
        assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert read_mask(tmp_path / "mine" / "00005.png").any()  # or equal is no news


def test_a_broken_frame_ends_the_run_and_keeps_what_is_done(model, clip, tmp_path):
    """Once it is mended, "again" gets to the end."""
    folder, first = clip
    whole = (folder / "00004.png").read_bytes()
    Image.new("RGB", (40, 30)).save(folder / "00004.png")
    runner = VideoRunner(model, folder, first, tmp_path / "out")

    async def press():
        runner.run.value = True
        await runner.task

    asyncio.run(press())
    assert "clip: frame 4 is 40x30, the first was 85x48" in runner.said.value
    assert not runner.run.value and runner.last.index == 3
    assert len(numbers(tmp_path / "out")) == 4
    assert length_of(runner.save_video()) == 4
    (folder / "00004.png").write_bytes(whole)
    runner.again.click()
    asyncio.run(press())
    assert runner.last.index == 5 and len(numbers(tmp_path / "out")) == 6
    assert not any("clip: " in line for line in runner.notices)


def hand_made(runner, number):
    """Stop after a frame and correct its mask: all of the file that then lies in the folder."""
    while runner.last.index < number:
        runner.advance()
    mask = np.zeros(runner.last.mask.shape, np.uint8)
    mask[5:20, 5 * number : 5 * number + 20] = 1
    mask[25:40, 40 : 60 - number] = 2
    runner.correct(mask)
    assert (runner.last.mask == 1)[mask == 1].all()
    return (runner.folder / f"{number:05d}.png").read_bytes()


@pytest.mark.parametrize("how", ["button", "button, overwrite", "another runner"])
def test_again_after_a_correction_starts_over_and_keeps_it(model, clip, tmp_path, how):
    """The same masks as before, the corrected ones among them, bit for bit."""
    folder, first = clip
    runner = VideoRunner(model, folder, first, tmp_path / "out", overwrite="over" in how)
    kept = {number: hand_made(runner, number) for number in (2, 4)}
    found = runner.segmenter.find(runner.last.frame)
    while runner.advance():
        pass
    masks = {path.name: read_mask(path) for path in (tmp_path / "out").iterdir()}
    if how == "another runner":
        runner = VideoRunner(model, folder, first, tmp_path / "out")
    else:
        runner.again.click()
    assert runner.last.index == 0
    for number, content in kept.items():  # already before their frames come
        assert (tmp_path / f"out/{number:05d}.png").read_bytes() == content
    while runner.advance():
        if runner.last.index == 4:  # the memory has what was corrected
            assert (runner.segmenter.find(runner.last.frame) != found).mean() < 2e-3
    for number, content in kept.items():
        assert (tmp_path / f"out/{number:05d}.png").read_bytes() == content
        assert f"frame {number}: corrected by hand" in runner.notices
    for path in (tmp_path / "out").iterdir():  # a frame taken out again leaves rounding
        assert (read_mask(path) != masks[path.name]).mean() < 2e-3
    assert length_of(runner.save_video()) == 6


def test_a_mended_frame_does_not_cost_a_correction(model, clip, tmp_path):
    """All masks are made anew then, but those that somebody made."""
    folder, first = clip
    runner = VideoRunner(model, folder, first, tmp_path / "out")
    hand_made(runner, 2)
    before = read_mask(tmp_path / "out/00002.png")
    Image.open(folder / "00004.png").transpose(Image.Transpose.ROTATE_180).save(
        folder / "00004.png"
    )
    runner.again.click()
    np.testing.assert_array_equal(read_mask(tmp_path / "out/00002.png"), before)
    while runner.advance():
        pass
    np.testing.assert_array_equal(read_mask(tmp_path / "out/00002.png"), before)
    assert len(numbers(tmp_path / "out")) == 6


def test_nothing_else_takes_a_corrected_mask_away(model, clip, tmp_path):
    folder, first = clip
    runner = VideoRunner(model, folder, first, tmp_path / "out")
    content = hand_made(runner, 2)
    with pytest.raises(BadInput, match="1 of them corrected by hand"):
        next(stream(runner.segmenter, folder, first, tmp_path / "out"))
    with pytest.raises(BadInput, match="another run"):
        VideoRunner(model, folder, np.where(first == 1, 9, first), tmp_path / "out")
    assert (tmp_path / "out/00002.png").read_bytes() == content
    VideoRunner(model, folder, first, tmp_path / "out", overwrite=True)  # asked for
    assert not (tmp_path / "out/00002.png").exists()


def test_one_frame_is_a_video(model, clip, tmp_path):
    folder, first = clip
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    runner = VideoRunner(model, folder, first, tmp_path / "out")
    assert not runner.advance() and runner.progress.value == runner.progress.max == 1
    assert runner.notices == [] and length_of(runner.save_video()) == 1
    with Image.open(runner.save_gif()) as gif:
        assert gif.n_frames == 1


def test_a_cut_off_video_is_said(model, tmp_path):
    """The first two thirds of an AVI, whose header still states all frames."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (80, 48))
    for frame, _ in clip_frames("approach", 48, frames=12):
        writer.write(np.ascontiguousarray(frame[:, :80, ::-1]))
    writer.release()
    runner = VideoRunner(model, path, np.ones((48, 80), np.uint8), tmp_path / "whole")
    while runner.advance():
        pass
    assert runner.last.index == 11 and not any("clip.avi" in line for line in runner.notices)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    runner = VideoRunner(model, path, np.ones((48, 80), np.uint8), tmp_path / "part")
    while runner.advance():
        pass
    runner.advance()  # says it once
    done = runner.last.index + 1
    assert 1 < done < 12
    said = [line for line in runner.notices if "clip.avi" in line]
    assert len(said) == 1 and said[0] in runner.said.value
    assert f"{done} frames could be read, the masks of those are kept" in said[0]


@pytest.fixture
def done(model, clip, tmp_path):
    folder, first = clip
    runner = VideoRunner(model, folder, first, tmp_path / "out")
    while runner.advance():
        pass
    return runner


def test_video_of_odd_width_keeps_every_pixel(done):
    """85 x 48 becomes 86 x 48, the last column twice; the frames are the overlays, in order."""
    path = done.save_video()
    frames = [frame for _, frame in video_frames(path)]
    expected = list(overlays(done.source, done.folder, 6))
    assert path.name == "out-overlay.mp4" and len(frames) == 6
    assert length_and_rate(path) == (6, 24)
    for frame, image in zip(frames, expected, strict=True):
        assert frame.shape == (48, 86, 3)
        assert np.abs(frame[:, :85].astype(int) - image).mean() < 12
        away = np.abs(frame[:, :85].astype(int) - expected[0][:, ::-1]).mean()
        assert np.abs(frame[:, :85].astype(int) - image).mean() < away / 2
    assert done.label.value.startswith("6 frames saved in ")


def test_gif_shows_the_overlays_at_their_speed(done):
    path = done.save_gif()
    with Image.open(path) as gif:
        assert gif.n_frames == 3 and gif.size == (85, 48)  # every second of 24 a second
        assert gif.info["loop"] == 0 and gif.info["duration"] == pytest.approx(1000 / 12, abs=10)
        expected = list(overlays(done.source, done.folder, 6))[::2]
        for t, image in enumerate(expected):
            gif.seek(t)
            assert np.abs(np.array(gif.convert("RGB")).astype(int) - image).mean() < 12


def test_masks_of_an_earlier_run_stay_out_of_the_export(done):
    done.again.click()
    done.advance()
    assert done.last.index == 1 and len(numbers(done.folder)) == 6
    assert length_of(done.save_video()) == 2


def test_an_export_replaces_no_file(model, clip, tmp_path):
    folder, first = clip
    source = tmp_path / "me-overlay.mp4"
    export_video(source, (frame for _, frame in video_frames(folder)))
    before = source.read_bytes()
    mask = np.pad(first, ((0, 0), (0, 1)))
    runner = VideoRunner(model, source, mask, tmp_path / "me")
    made = [runner.save_video().name for _ in range(2)]
    assert made == ["me-overlay-2.mp4", "me-overlay-3.mp4"] and source.read_bytes() == before


def test_runner_shows_what_it_has_done(model, clip, tmp_path):
    runner = VideoRunner(model, *clip, tmp_path / "out")
    seen = {runner.image.value}
    assert runner.progress.value == 1 and runner.progress.max == 6
    while runner.advance():
        assert runner.image.value not in seen
        seen.add(runner.image.value)
        assert runner.progress.value == runner.last.index + 1
        assert runner.label.value == f"frame {runner.last.index}, {len(seen)} of 6 done"
        with Image.open(io.BytesIO(runner.image.value)) as image:
            assert image.size == (255, 144)  # three times as large
    assert len(seen) == 6 and runner.picture().shape[1] > 3 * 85
    runner.again.click()
    assert runner.last.index == 0 and runner.notices == [] and runner.image.value in seen
