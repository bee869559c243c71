"""Runs that stop and go on, notices, exports: with a small network, on drawn clips."""

import asyncio
import io
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ipycanvas")
import torch

from gcvos_mini import own_video
from gcvos_mini.davis import PALETTE, read_mask, write_mask
from gcvos_mini.errors import BadInput
from gcvos_mini.network import save_model
from gcvos_mini.own_video import CUT, VideoRunner, Watch, colour_distance, stream
from gcvos_mini.segment import VideoSegmenter, segment, video_frames
from gcvos_mini.toy import clip_frames
from gcvos_mini.toy_scenes import VAL

LINES = 48


def write_clip(folder, name, frames, start=0):
    """Write the clip's frames, numbered from `start`; its first mask."""
    drawn, masks = zip(*clip_frames(name, LINES, frames=frames), strict=True)
    for t, frame in enumerate(drawn, start):
        Image.fromarray(frame).save(folder / f"{t:05d}.png")
    return masks[0]


@pytest.fixture
def clip(tmp_path):
    """A folder of six frames, and the first one's true mask."""
    folder = tmp_path / "clip"
    folder.mkdir()
    return folder, write_clip(folder, "two-friends", 6)


def numbers(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- the run ------------------------------------------------------------------------------------


def test_stopped_and_continued_is_segment_bit_for_bit(model, clip, tmp_path):
    """Against `python -m gcvos_mini.segment`, with every stop there can be."""
    folder, first = clip
    save_model(model, tmp_path / "net.safetensors")
    write_mask(tmp_path / "first.png", first)
    segment(folder, tmp_path / "first.png", tmp_path / "plain", str(tmp_path / "net.safetensors"))
    runner = VideoRunner(model, folder, first, tmp_path / "mine")

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


def test_a_step_is_on_the_disk_when_it_is_yielded(model, clip, tmp_path):
    folder, first = clip
    for step in stream(VideoSegmenter(model), folder, first, tmp_path / "out"):
        assert len(numbers(tmp_path / "out")) == step.index + 1
        assert np.array_equal(read_mask(tmp_path / "out" / f"{step.name}.png"), step.mask)
        assert np.array_equal(step.frame, np.array(Image.open(folder / f"{step.name}.png")))
        if step.index == 0:
            assert np.array_equal(step.mask, first)


def test_a_broken_frame_ends_the_run_and_keeps_what_is_done(model, clip, tmp_path):
    folder, first = clip
    Image.new("RGB", (40, 30)).save(folder / "00004.png")
    runner = VideoRunner(model, folder, first, tmp_path / "out")

    async def press():
        runner.run.value = True
        await runner.task

    with pytest.raises(BadInput, match="clip: frame 4 is 40x30, the first was 85x48"):
        asyncio.run(press())
    assert runner.label.value.startswith("stopped: ") and not runner.run.value
    assert len(numbers(tmp_path / "out")) == 4
    assert length_of(runner.save_video()) == 4


def test_masks_do_not_replace_the_frames(model, clip):
    folder, first = clip
    before = [(folder / name).read_bytes() for name in numbers(folder)]
    with pytest.raises(BadInput, match="holds the frames"):
        VideoRunner(model, folder, first, folder.parent / "." / "clip")
    assert before == [(folder / name).read_bytes() for name in numbers(folder)]


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.ones((LINES, 84), np.uint8), "clip: first mask is 84x48, first frame is 85x48"),
        (np.zeros((LINES, 85), np.uint8), "clip: first mask has no object"),
    ],
)
def test_a_first_mask_that_does_not_fit(model, clip, tmp_path, mask, reason):
    with pytest.raises(BadInput, match=reason):
        VideoRunner(model, clip[0], mask, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_first_mask_from_a_file(tmp_path, clip):
    path = tmp_path / "mask.png"
    write_mask(path, clip[1])
    assert np.array_equal(own_video.read_first_mask(path), clip[1])
    Image.fromarray(255 * np.uint8(clip[1] == 1)).save(path)  # black and white
    assert np.array_equal(own_video.read_first_mask(path), clip[1] == 1)
    write_mask(path, 0 * clip[1])
    with pytest.raises(BadInput, match="mask.png: first mask is empty"):
        own_video.read_first_mask(path)


@pytest.mark.parametrize("content", [b"", b"no video\n" * 1000])
def test_an_unreadable_video(model, tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for attempt in (
        lambda: own_video.first_frame(path),
        lambda: VideoRunner(model, path, np.ones((8, 8), np.uint8), tmp_path / "out"),
    ):
        with pytest.raises(BadInput, match="clip.mp4: OpenCV reads no frame") as refused:
            attempt()
        assert "\n" not in str(refused.value)


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
    assert runner.last.index == 11 and not any("states" in line for line in runner.notices)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    runner = VideoRunner(model, path, np.ones((48, 80), np.uint8), tmp_path / "part")
    while runner.advance():
        pass
    runner.advance()  # says it once
    stated = own_video.length_and_rate(path)[0]
    done = runner.last.index + 1
    assert 1 < done < 12
    if done < stated:
        line = f"only {done} of the {stated} frames that the source states could be read"
        assert runner.notices.count(line) == 1 and line in runner.said.value


def test_memory_does_not_grow_with_the_video(model, clip, tmp_path, monkeypatch):
    """NumPy's bytes alive after each step of a long video: those of a few frames."""
    folder, first = clip
    frames = [frame for _, frame in video_frames(folder)]
    endless = ((f"{t:05d}", frames[t % 6].copy()) for t in range(40))
    monkeypatch.setattr(own_video, "video_frames", lambda source: endless)
    tracemalloc.start()
    steps = stream(VideoSegmenter(model, height=32), folder, first, tmp_path / "out")
    alive = [tracemalloc.get_traced_memory()[0] for _ in steps]
    tracemalloc.stop()
    assert len(alive) == 40 and alive[-1] - alive[5] < 3 * frames[0].nbytes


# ---- notices ------------------------------------------------------------------------------------


def pairs(name, height=144):
    frames = [frame for frame, _ in clip_frames(name, height)]
    return list(zip(frames, frames[1:]))


@pytest.fixture(scope="module")
def scenes():
    """Every embedded validation clip whole: pairs of successive frames."""
    return {name: pairs(name) for name in VAL}


def test_no_cut_within_an_embedded_clip(scenes):
    widest = {name: max(colour_distance(*pair) for pair in scenes[name]) for name in VAL}
    assert max(widest.values()) < 0.15, widest  # as own_video.CUT says


def test_a_cut_at_every_splice_of_two(scenes):
    splices = {
        (one, other): colour_distance(scenes[one][-1][1], scenes[other][0][0])
        for one in VAL for other in VAL if one != other
    }  # fmt: skip
    assert len(splices) == 56 and min(splices.values()) > 0.36, min(splices.values())
    assert 0.15 < CUT < 0.36


def test_colour_distance_by_hand():
    """Half of the colours shared, in equal parts: sqrt(1 - 1/2)."""
    one, other = np.zeros((2, 36, 64, 3), np.uint8)
    one[:, 32:], other[:, 32:] = (255, 0, 0), (0, 0, 255)
    assert colour_distance(one, one) == pytest.approx(0, abs=1e-3)
    assert colour_distance(one, other) == pytest.approx(0.5**0.5)
    assert colour_distance(one, 255 - one) == pytest.approx(1)


def test_a_splice_is_said_once_with_its_frame(model, tmp_path):
    folder = tmp_path / "spliced"
    folder.mkdir()
    first = write_clip(folder, "approach", 4)
    write_clip(folder, "sunset", 4, start=4)
    steps = list(stream(VideoSegmenter(model), folder, first))
    said = [(s.index, line) for s in steps for line in s.notices if "cut" in line]
    assert len(said) == 1 and said[0][0] == 4 and said[0][1].startswith("frame 4: camera cut")


def test_a_cut_is_said_above_the_threshold_and_not_below():
    """n of 64 columns recoloured are sqrt(1 - sqrt(1 - n / 64)) apart: 0.254 for 8, 0.271 for 9."""
    for columns, said in [(8, 0), (9, 1)]:
        before, after = np.zeros((2, 36, 64, 3), np.uint8)
        after[:, :columns] = 255
        watch = Watch([])
        for t, frame in enumerate((before, after)):
            lines = watch.look(t, frame, np.zeros((36, 64), np.uint8), torch.ones(1, 36, 64))
            assert len(lines) == said * t


def test_lost_and_found_objects_are_said_once_each():
    frame = np.zeros((10, 10, 3), np.uint8)
    both = np.zeros((10, 10), np.uint8)
    both[:5], both[5:] = 3, 7
    only = np.where(both == 3, 3, 0).astype(np.uint8)

    def soft(sure3, sure7):
        maps = np.stack([0 * both, (both == 3) * sure3, (both == 7) * sure7]).astype(np.float32)
        maps[1:, :, ::2] *= 0.8  # the mean over the object is asked, not its surest pixel
        maps[1:, :, 1::2] *= 1.2
        return torch.from_numpy(maps)

    watch = Watch([3, 7])
    assert watch.look(0, frame, both, soft(1, 1)) == []
    assert watch.look(1, frame, both, soft(0.9, 0.7)) == []
    assert watch.look(2, frame, both, soft(0.55, 0.9)) == [
        "frame 2: object 3 is lost (its pixels are only 0.55 sure)"
    ]
    assert watch.look(3, frame, only, soft(0.55, 0)) == [
        "frame 3: object 7 is lost (no pixel is left)"
    ]
    assert watch.look(4, frame, only, soft(0.5, 0)) == []
    assert watch.look(5, frame, both, soft(0.5, 0.8)) == [
        "frame 5: object 7 is found again, or something like it"
    ]


# ---- exports ------------------------------------------------------------------------------------


def length_of(path):
    return len(list(video_frames(path)))


@pytest.fixture
def done(model, clip, tmp_path):
    folder, first = clip
    runner = VideoRunner(model, folder, first, tmp_path / "out")
    while runner.advance():
        pass
    return runner


def test_exported_masks_are_the_masks_in_davis_colours(model, clip, done):
    again = stream(VideoSegmenter(model), *clip)
    for step, path in zip(again, sorted(done.folder.iterdir()), strict=True):
        assert np.array_equal(read_mask(path), step.mask)
        with Image.open(path) as image:
            assert image.mode == "P" and image.getpalette()[:24] == PALETTE[:24]


def test_video_of_odd_width_keeps_every_pixel(done):
    """85 x 48 becomes 86 x 48, the last column twice; the frames are the overlays, in order."""
    path = done.save_video()
    frames = [frame for _, frame in video_frames(path)]
    expected = list(own_video.overlays(done.source, done.folder, 6))
    assert path.name == "out-overlay.mp4" and len(frames) == 6
    assert own_video.length_and_rate(path) == (6, 24)
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
        expected = list(own_video.overlays(done.source, done.folder, 6))[::2]
        for t, image in enumerate(expected):
            gif.seek(t)
            assert np.abs(np.array(gif.convert("RGB")).astype(int) - image).mean() < 12


def test_gif_is_made_small(tmp_path):
    images = [np.zeros((200, 700, 3), np.uint8)] * 2
    own_video.export_gif(tmp_path / "a.gif", images)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (320, 91)


def test_masks_of_an_earlier_run_stay_out_of_the_export(done):
    done.again.click()
    done.advance()
    assert done.last.index == 1 and len(numbers(done.folder)) == 6
    assert length_of(done.save_video()) == 2


@pytest.mark.parametrize("export", [own_video.export_video, own_video.export_gif])
def test_an_export_that_fails_leaves_the_old_file(tmp_path, export):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"the old one")

    def images():
        yield np.zeros((20, 30, 3), np.uint8)
        raise BadInput("00001.png: no such file")

    with pytest.raises(BadInput, match="00001"):
        export(path, images())
    with pytest.raises(BadInput, match="film.mp4: no image"):
        export(path, [])
    assert path.read_bytes() == b"the old one" and numbers(tmp_path) == ["film.mp4"]


def test_a_video_that_is_not_all_there_is_not_exported(tmp_path):
    """OpenCV drops an image of another size without a word."""
    images = [np.zeros((20, 30, 3), np.uint8), np.zeros((24, 30, 3), np.uint8)]
    with pytest.raises(BadInput, match="film.mp4: cannot be written .*all 2 images"):
        own_video.export_video(tmp_path / "film.mp4", images)
    assert numbers(tmp_path) == []


def test_an_export_into_a_file_that_is_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    for export in (own_video.export_video, own_video.export_gif):
        with pytest.raises(BadInput, match="file/a.x: cannot be written"):
            export(tmp_path / "file" / "a.x", [np.zeros((20, 30, 3), np.uint8)])


def test_the_source_is_not_written_over(model, clip, tmp_path):
    folder, first = clip
    source = tmp_path / "me-overlay.mp4"
    own_video.export_video(source, (frame for _, frame in video_frames(folder)))
    before = source.read_bytes()
    mask = np.pad(first, ((0, 0), (0, 1)))
    runner = VideoRunner(model, source, mask, tmp_path / "me")
    with pytest.raises(BadInput, match="is the source"):
        runner.save_video()
    assert source.read_bytes() == before and runner.label.value.startswith("not saved: ")


# ---- widgets ------------------------------------------------------------------------------------


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


# ---- camera and upload --------------------------------------------------------------------------


class Camera:
    """A camera with three pictures."""

    def __init__(self, pictures=3):
        self.pictures = pictures

    def read(self):
        self.pictures -= 1
        frame = np.full((20, 30, 3), (200, 100, self.pictures), np.uint8)  # blue, green, red
        return self.pictures >= 0, frame

    def release(self):
        pass


def test_a_still_and_a_short_film_from_the_camera(tmp_path, monkeypatch):
    monkeypatch.setattr(own_video.cv2, "VideoCapture", lambda camera: Camera())
    own_video.record(tmp_path / "still")
    assert numbers(tmp_path / "still") == ["00000.png"]
    assert own_video.first_frame(tmp_path / "still")[0, 0].tolist() == [2, 100, 200]
    own_video.record(tmp_path / "film", frames=3)
    assert [f[0, 0, 0] for _, f in video_frames(tmp_path / "film")] == [2, 1, 0]
    with pytest.raises(BadInput, match="camera 0: no picture from it"):
        own_video.record(tmp_path / "long", frames=4)


def test_no_camera(tmp_path):
    with pytest.raises(BadInput, match="camera 99: no picture from it; connect one"):
        own_video.record(tmp_path / "still", camera=99)
    assert not (tmp_path / "still").exists()


def test_uploads(tmp_path):
    def file(name, content=b"x"):
        return {"name": name, "content": memoryview(content)}

    assert own_video.received((file("me.mp4"),), tmp_path / "a") == tmp_path / "a" / "me.mp4"
    assert own_video.received((file("me.JPG"),), tmp_path / "b") == tmp_path / "b"
    assert own_video.received((file("1.png"), file("2.png")), tmp_path / "c") == tmp_path / "c"
    assert numbers(tmp_path / "c") == ["1.png", "2.png"]
    own_video.received((file("../../up.png", b"new"),), tmp_path / "d")
    assert numbers(tmp_path / "d") == ["up.png"] and not (tmp_path / "up.png").exists()
    with pytest.raises(BadInput, match="nothing uploaded yet"):
        own_video.received((), tmp_path / "e")
