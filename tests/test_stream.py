"""A video frame by frame without a widget: masks on the disk, notices, exports, the camera."""

import tracemalloc

import numpy as np
import pytest
import torch
from davis_folder import numbers, write_davis, write_friends
from PIL import Image

from gcvos_mini import segment, stream
from gcvos_mini.errors import BadInput
from gcvos_mini.masks import read_mask
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.sources import first_frame, video_frames
from gcvos_mini.stream import CUT, Watch, colour_distance, export_gif, export_video
from gcvos_mini.toy import VAL, clip_frames

LINES = 48


@pytest.fixture
def clip(tmp_path):
    return write_friends(tmp_path, LINES)


# ---- the run ---------------------------------------------------------------------------------


def test_a_step_is_on_the_disk_when_it_is_yielded(model, clip, tmp_path):
    folder, first = clip
    for step in stream.stream(VideoSegmenter(model), folder, first, tmp_path / "out"):
        assert numbers(tmp_path / "out") == [f"{t:05d}.png" for t in range(step.index + 1)]
        assert np.array_equal(read_mask(tmp_path / "out" / f"{step.name}.png"), step.mask)
        assert np.array_equal(step.frame, np.array(Image.open(folder / f"{step.name}.png")))
        if step.index == 0:
            assert np.array_equal(step.mask, first)
    assert step.index == 5 and (step.mask != first).any()


def test_masks_do_not_replace_the_frames(model, clip):
    folder, first = clip
    before = [(folder / name).read_bytes() for name in numbers(folder)]
    with pytest.raises(BadInput, match="clip: is .*read from; nothing was written"):
        next(stream.stream(VideoSegmenter(model), folder, first, folder.parent / "." / "clip"))
    assert before == [(folder / name).read_bytes() for name in numbers(folder)]


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.ones((LINES, 84), np.uint8), "clip/00000.png is 85x48 but first mask is 84x48"),
        (np.zeros((LINES, 85), np.uint8), "clip: first mask has no object"),
    ],
)
def test_a_first_mask_that_does_not_fit(model, clip, tmp_path, mask, reason):
    with pytest.raises(BadInput, match=reason):
        next(stream.stream(VideoSegmenter(model), clip[0], mask, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"no video\n" * 1000])
def test_an_unreadable_video(model, tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    steps = stream.stream(VideoSegmenter(model), path, np.ones((8, 8), np.uint8), tmp_path / "out")
    for attempt in (first_frame, lambda _: next(steps)):
        with pytest.raises(BadInput, match="clip.mp4: not a video; give a video file") as refused:
            attempt(path)
        assert "\n" not in str(refused.value)


def test_memory_does_not_grow_with_the_video(model, clip, tmp_path, monkeypatch):
    """NumPy's bytes alive after each step of a long video: those of a few frames."""
    folder, first = clip
    frames = [frame for _, frame in video_frames(folder)]
    endless = ((f"{t:05d}", frames[t % 6].copy()) for t in range(40))
    monkeypatch.setattr(segment, "video_frames", lambda source: endless)
    tracemalloc.start()
    steps = stream.stream(VideoSegmenter(model, height=32), folder, first, tmp_path / "out")
    alive = [tracemalloc.get_traced_memory()[0] for _ in steps]
    tracemalloc.stop()
    assert len(alive) == 40 and alive[-1] - alive[5] < 3 * frames[0].nbytes


# ---- notices ---------------------------------------------------------------------------------


def pairs(name, height=144):
    frames = [frame for frame, _ in clip_frames(name, height)]
    return list(zip(frames, frames[1:]))


@pytest.fixture(scope="module")
def scenes():
    """Every embedded validation clip whole: pairs of successive frames."""
    return {name: pairs(name) for name in VAL}


def test_no_cut_within_an_embedded_clip(scenes):
    widest = {name: max(colour_distance(*pair) for pair in scenes[name]) for name in VAL}
    assert max(widest.values()) < 0.15, widest  # as stream.CUT says


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
    (one, masks), (other, _) = (
        zip(*clip_frames(name, LINES, frames=4)) for name in ("approach", "sunset")
    )
    write_davis(tmp_path, {"spliced": (one + other, masks)}, suffix=".png")
    steps = stream.stream(VideoSegmenter(model), tmp_path / "JPEGImages/480p/spliced", masks[0])
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


# ---- exports ---------------------------------------------------------------------------------


def test_gif_is_made_small(tmp_path):
    images = [np.zeros((200, 700, 3), np.uint8)] * 2
    export_gif(tmp_path / "a.gif", images)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (320, 91)


@pytest.mark.parametrize("rate", [12.5, 23.976, 24.0, 29.97, 30.0])
def test_a_gif_lasts_as_long_as_the_video(tmp_path, rate):
    count = 90
    images = (np.full((20, 30, 3), 2 * t, np.uint8) for t in range(count))
    export_gif(tmp_path / "a.gif", images, rate)
    with Image.open(tmp_path / "a.gif") as gif:
        shown = []
        for t in range(gif.n_frames):
            gif.seek(t)
            shown.append(gif.info["duration"])
    every = max(1, round(rate / 10))
    assert len(shown) == -(-count // every)
    assert abs(sum(shown) - len(shown) * 1000 * every / rate) <= 10  # milliseconds


@pytest.mark.parametrize("export", [export_video, export_gif])
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
        export_video(tmp_path / "film.mp4", images)
    assert numbers(tmp_path) == []


def test_an_export_into_a_file_that_is_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    for export in (export_video, export_gif):
        with pytest.raises(BadInput, match="file/a.x: cannot be written"):
            export(tmp_path / "file" / "a.x", [np.zeros((20, 30, 3), np.uint8)])


# ---- camera and upload -----------------------------------------------------------------------


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
    monkeypatch.setattr(stream.cv2, "VideoCapture", lambda camera: Camera())
    stream.take_pictures(tmp_path / "still")
    assert numbers(tmp_path / "still") == ["00000.png"]
    assert first_frame(tmp_path / "still")[0, 0].tolist() == [2, 100, 200]
    stream.take_pictures(tmp_path / "film", frames=3)
    assert [f[0, 0, 0] for _, f in video_frames(tmp_path / "film")] == [2, 1, 0]
    with pytest.raises(BadInput, match="camera 0: no picture from it"):
        stream.take_pictures(tmp_path / "long", frames=4)


def test_no_camera(tmp_path):
    with pytest.raises(BadInput, match="camera 99: no picture from it; connect one"):
        stream.take_pictures(tmp_path / "still", camera=99)
    assert not (tmp_path / "still").exists()


def test_uploads(tmp_path):
    def file(name, content=b"x"):
        return {"name": name, "content": memoryview(content)}

    new = tmp_path / "up" / "upload"
    assert stream.save_uploads((file("me.mp4"),), tmp_path / "up") == new / "me.mp4"
    folder = stream.save_uploads((file("1.png"), file("2.png")), tmp_path / "up")
    assert folder == new.with_name("upload-2") and numbers(folder) == ["1.png", "2.png"]
    folder = stream.save_uploads((file("../../up.png", b"new"),), tmp_path / "up")
    assert numbers(folder) == ["up.png"] and numbers(tmp_path) == ["up"]
    with pytest.raises(BadInput, match="nothing uploaded yet"):
        stream.save_uploads((), tmp_path / "e")
