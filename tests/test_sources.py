"""Videos of every kind, made here: read as a person sees them; cut or damaged, it is said."""

import random
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from gcvos_mini.errors import BadInput
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.network import save_model
from gcvos_mini.pictures import read_frame
from gcvos_mini.show.own_video import VideoRunner
from gcvos_mini.sources import length_and_rate, video_frames

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, FRAMES = 48, 64, 24
FAST = {"movflags": "faststart"}  # the index in front: what comes before a cut can be read


def pictures(count=FRAMES, height=HEIGHT, width=WIDTH):
    """uint8 (T, H, W, 3): slow waves, no two frames alike, no symmetry."""
    t, y, x = np.ogrid[:count, :height, :width]
    waves = [127 + 100 * np.sin((x + 3 * t) / a + y / b) for a, b in ((9, 11), (17, 8), (12, 23))]
    return np.stack(waves, axis=-1).astype(np.uint8)


def add_video(container, codec, shape, pixels="yuv420p", options=None, aspect=None):
    stream = container.add_stream(codec, rate=10, options=options or {})
    stream.height, stream.width = shape
    stream.pix_fmt = pixels
    if aspect:
        stream.codec_context.sample_aspect_ratio = aspect
    return stream


def encode(container, stream, frames):
    for frame in frames:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
    container.mux(stream.encode())


def write_video(path, frames, codec="libx264", pixels="yuv420p", container=None, format=None, **of):
    """A video with one stream; container: options of it; of: options of add_video."""
    with av.open(str(path), "w", format=format, options=container or {}) as file:
        encode(file, add_video(file, codec, frames.shape[1:3], pixels, **of), frames)
    return path


def read(path):
    """(frames, the message of the BadInput in which they end, or None)."""
    frames = []
    try:
        for name, frame in video_frames(path):
            assert name == f"{len(frames):05d}"
            frames.append(frame)
    except BadInput as error:
        message = str(error)
        assert message.startswith(str(path)) and len(message.splitlines()) == 1, message
        return frames, message
    return frames, None


def assert_shows(path, frames, most=12):
    """Every frame is there, in its place, with no more loss than a codec brings."""
    found, message = read(path)
    assert message is None and len(found) == len(frames)
    for t, frame in enumerate(found):
        assert frame.shape == frames[t].shape
        far = [np.abs(frame - other.astype(float)).mean() for other in frames]
        assert np.argmin(far) == t and far[t] < most


# ---- every kind ------------------------------------------------------------------------------

H264 = {"codec": "libx264", "options": {"g": "8"}}
MPEG4 = {"codec": "mpeg4", "options": {"b": "1M"}}
WHOLE = {
    "index first.mp4": H264 | {"container": FAST},
    "index last.mp4": H264,
    "fragments.mp4": H264 | {"container": {"movflags": "frag_keyframe+empty_moov"}},
    "mpeg4.mp4": MPEG4 | {"container": FAST},
    "b frames.mp4": {"codec": "mpeg4", "options": {"bf": "2", "b": "1M"}, "container": FAST},
    "hevc.mov": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12"}, "container": FAST},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "no length.webm": {"codec": "libvpx", "container": {"live": "1"}},
    "h264.mkv": H264,
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "mpeg4.avi": MPEG4,
    "stream.ts": H264 | {"format": "mpegts"},
    "raw.h264": H264 | {"format": "h264"},
    "animated.gif": {"codec": "gif", "pixels": "rgb8"},
    "animated.png": {"codec": "apng", "pixels": "rgb24", "format": "apng"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """{name: path} of a whole clip of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "animated.webp").touch()
    first, *rest = map(Image.fromarray, pictures())
    first.save(folder / "animated.webp", save_all=True, append_images=rest, quality=95)
    made = {name: write_video(folder / name, pictures(), **how) for name, how in WHOLE.items()}
    return made | {"animated.webp": folder / "animated.webp"}


@pytest.mark.parametrize("name", [*WHOLE, "animated.webp"])
def test_whole_video(whole, name):
    assert_shows(whole[name], pictures(), 40 if name == "animated.gif" else 12)  # of 256 colours


@pytest.mark.parametrize("name", [*WHOLE, "animated.webp"])
def test_length_is_right_or_not_known(whole, name):
    assert length_and_rate(whole[name])[0] in (FRAMES, None)


def test_pixels_of_a_lossless_video(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 30, 46, 3), np.uint8)
    path = tmp_path / "lossless.mkv"
    with av.open(str(path), "w") as file:
        stream = add_video(file, "ffv1", (30, 46), "bgr0")
        shown = [
            av.VideoFrame.from_ndarray(f, format="rgb24").reformat(format="bgr0") for f in frames
        ]
        for frame in shown:
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    np.testing.assert_array_equal(read(path)[0], frames)


# ---- as a person sees it ---------------------------------------------------------------------

TURNS = [(1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0),
         (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]  # fmt: skip


def tag(path, source, turn):
    """A copy with a display matrix in its track header, as a phone writes it."""
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") + 44
    assert struct.unpack(">9i", content[at : at + 36])[0] == 1 << 16  # it is the matrix
    a, b, c, d = (x << 16 for x in turn)
    corner = [(WIDTH if x < 0 else 0, HEIGHT if y < 0 else 0) for x, y in zip(turn[:2], turn[2:])]
    move = [sum(pair) << 16 for pair in corner]
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, *move, 1 << 30)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_display_matrix(whole, tmp_path, turn):
    """Every pixel lies where the matrix puts it: (x', y') = (a x + c y, b x + d y) + a shift."""
    stored, _ = read(whole["index first.mp4"])
    found, message = read(tag(tmp_path / "turned.mp4", whole["index first.mp4"], turn))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    a, b, c, d = turn
    x, y = a * x + c * y, b * x + d * y
    x, y = x - x.min(), y - y.min()
    for frame, lying in zip(found, stored, strict=True):
        wanted = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
        wanted[y, x] = lying
        np.testing.assert_array_equal(frame, wanted)


@pytest.mark.parametrize("turn", TURNS[:4], ids=str)
def test_turned_as_opencv_turns(whole, tmp_path, turn):
    path = tag(tmp_path / "turned.mp4", whole["mpeg4.mp4"], turn)
    video, found = cv2.VideoCapture(str(path)), read(path)[0]
    for frame in found:
        wanted = cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB)
        assert frame.shape == wanted.shape
        assert np.abs(frame - wanted.astype(float)).mean() < 4  # two conversions from YUV


@pytest.mark.parametrize("aspect, width", [((4, 3), 85), ((1, 2), 32), ((8, 9), 57)])
def test_pixels_that_are_not_square(tmp_path, aspect, width):
    flat = read(write_video(tmp_path / "flat.mp4", pictures(3)))[0]
    path = write_video(tmp_path / "wide.mp4", pictures(3), aspect=Fraction(*aspect))
    for frame, stored in zip(read(path)[0], flat, strict=True):
        wanted = np.array(
            Image.fromarray(stored).resize((width, HEIGHT), Image.Resampling.BILINEAR)
        )
        assert frame.shape == wanted.shape
        assert np.abs(frame - wanted.astype(float)).mean() < 3


def test_cover_picture_is_not_the_video(tmp_path):
    path = tmp_path / "cover.mp4"
    cover = pictures(1, 2 * HEIGHT, 2 * WIDTH)  # larger, and the first stream
    with av.open(str(path), "w") as file:
        picture = add_video(file, "mjpeg", cover.shape[1:3], "yuvj420p")
        picture.disposition = av.stream.Disposition.attached_pic
        video = add_video(file, "libx264", (HEIGHT, WIDTH))
        encode(file, picture, cover)
        encode(file, video, pictures())
    assert_shows(path, pictures())
    assert length_and_rate(path)[0] == FRAMES


@pytest.mark.parametrize("large_first", [True, False])
def test_the_larger_of_two_streams(tmp_path, large_first):
    path, small = tmp_path / "two.mp4", pictures(5, HEIGHT // 2, WIDTH // 2)
    both = [pictures(), small][:: 1 if large_first else -1]
    with av.open(str(path), "w") as file:
        streams = [add_video(file, "libx264", frames.shape[1:3]) for frames in both]
        for stream, frames in zip(streams, both):
            encode(file, stream, frames)
    assert_shows(path, pictures())
    assert length_and_rate(path)[0] == FRAMES


def write_sound(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        silence.sample_rate = 44100
        file.mux(stream.encode(silence))
        file.mux(stream.encode())


def test_sound_alone(tmp_path):
    write_sound(tmp_path / "sound.m4a")
    frames, message = read(tmp_path / "sound.m4a")
    assert (frames, "no video in it" in message) == ([], True)


@pytest.mark.parametrize("name, codec", [("vp9.webm", b"V_VP9"), ("h264.mkv", b"V_MPEG4/ISO/AVC")])
def test_unknown_codec(whole, tmp_path, name, codec):
    path = tmp_path / name
    path.write_bytes(whole[name].read_bytes().replace(codec, b"V_" + b"X" * (len(codec) - 2)))
    frames, message = read(path)
    assert frames == [] and "a codec that FFmpeg does not know" in message
    with pytest.raises(BadInput, match="does not know"):
        length_and_rate(path)


NAMES = ["take:2.mp4", "clip%03d.mp4", "2024-05-01T12:30:05.mp4", "file:x.mp4", "http:x.mp4",
         "concat:a.mp4", "-i.mp4", "a b'c.mp4", "\u72ac.MP4", "frame_*.mp4", "[0].mp4", "x.jpg.mp4",
         "noending", "x.txt", "pipe:0", "50%.mp4", "data:,x.mp4"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_file(whole, tmp_path, monkeypatch, name):
    """Also as it is typed, relative to the working directory."""
    (tmp_path / name).write_bytes(whole["index first.mp4"].read_bytes())
    monkeypatch.chdir(tmp_path)
    assert_shows(Path(name), pictures())
    assert length_and_rate(name)[0] == FRAMES


NOTHING = {
    "empty": b"", "text": b"not a video\n" * 50, "zeros": bytes(1000),
    "noise": random.Random(0).randbytes(5000), "html": b"<!DOCTYPE html><html></html>",
    "playlist": b"#EXTM3U\n#EXTINF:1,\nother.mp4\n",
    "concat": b"ffconcat version 1.0\nfile a.mp4\n",
    "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\nhello\n", "pdf": b"%PDF-1.7\n",
    "mp4 without anything": bytes([0, 0, 0, 8]) + b"ftyp", "webm header": b"\x1a\x45\xdf\xa3",
    "riff header": b"RIFF\x10\0\0\0AVI ", "gif header": b"GIF89a\x01\0\x01\0\x80\0\0",
}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize("content", NOTHING.values(), ids=NOTHING)
def test_no_video(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    frames, message = read(path)
    assert frames == [] and message


CONTAINERS = [
    name for name in WHOLE if Path(name).suffix in (".mp4", ".mov", ".mkv", ".webm", ".avi")
]


@pytest.mark.bad_input
@pytest.mark.parametrize("read_it", [read_frame, read_mask])
@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_video_named_as_a_picture(whole, whole_frames, tmp_path, name, ending, read_it):
    """It is named what it is; and what the message says to do with it works."""
    path = tmp_path / f"0{ending}"
    path.write_bytes(whole[name].read_bytes())
    with pytest.raises(
        BadInput, match=r"is a video \(.*give this file alone as the video"
    ) as refused:
        read_it(path)
    kinds = {".mkv": "Matroska or WebM", ".webm": "Matroska or WebM", ".avi": "AVI"}
    assert f"({kinds.get(Path(name).suffix, 'MP4 or MOV')})" in str(refused.value)
    frames, message = read(path)
    assert message is None
    np.testing.assert_array_equal(frames, whole_frames[name])


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "HEIC"])
@pytest.mark.parametrize("ending", [".mp4", ".MOV", ".webm"])
def test_a_picture_named_as_a_video(tmp_path, kind, ending):
    path = tmp_path / f"clip{ending}"
    if kind == "HEIC":
        path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(300))
    else:
        Image.fromarray(pictures(1)[0]).save(path, format=kind)
    frames, message = read(path)
    assert frames == [] and f"is a {kind} picture, whatever its name says; give a video" in message


@pytest.mark.parametrize("name", ["animated.gif", "animated.png", "animated.webp"])
def test_an_animation_named_as_a_video_is_one(whole, whole_frames, tmp_path, name):
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole[name].read_bytes())
    frames, message = read(path)
    assert message is None
    np.testing.assert_array_equal(frames, whole_frames[name])


# ---- cut, damaged, trimmed -------------------------------------------------------------------

IN_PART = [name for name in WHOLE if name != "raw.h264"]  # a raw stream has no end of its own


@pytest.fixture(scope="module")
def whole_frames(whole):
    return {name: read(path)[0] for name, path in whole.items()}


@pytest.mark.bad_input
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", [*IN_PART, "animated.webp"])
def test_cut_off(whole, whole_frames, tmp_path, name, seed):
    """It is said, and all frames before the cut are those of the whole clip."""
    content = whole[name].read_bytes()
    cut = random.Random(f"{name} {seed}").randrange(1, len(content) - 1)
    path = tmp_path / name
    path.write_bytes(content[:cut])
    frames, message = read(path)
    assert message, f"cut at {cut} of {len(content)}"
    np.testing.assert_array_equal(frames, whole_frames[name][: len(frames)])


def test_much_is_read_before_the_cut(whole, tmp_path):
    """Where the index comes first: frames of the bytes that are there, but a few."""
    for name in ("mpeg4.mp4", "h264.mkv", "mjpeg.avi", "vp9.webm", "stream.ts", "animated.gif"):
        content = whole[name].read_bytes()
        path = tmp_path / name
        path.write_bytes(content[: int(0.9 * len(content))])
        frames, message = read(path)
        assert FRAMES // 2 < len(frames) < FRAMES
        assert f"cut off after frame {len(frames) - 1}; {len(frames)} frames" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("seed", range(8))
def test_cut_raw_stream_gives_no_frame_of_another_place(whole, whole_frames, tmp_path, seed):
    """Frames before the first one that is said to be damaged are right; only the last may be not,
    for nothing says where such a stream should end."""
    content, name = whole["raw.h264"].read_bytes(), "raw.h264"
    path = tmp_path / name
    path.write_bytes(content[: random.Random(seed).randrange(800, len(content))])
    frames, message = read(path)
    count = int(message.split("frame ")[1].split()[0].strip(";")) if message else len(frames) - 1
    np.testing.assert_array_equal(frames[:count], whole_frames[name][:count])


@pytest.mark.bad_input
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", [*WHOLE, "animated.webp"])
def test_noise_inside(whole, tmp_path, name, seed):
    """Frames, or one line: no other end. A decoder may find nothing wrong with noise."""
    content, rng = bytearray(whole[name].read_bytes()), random.Random(f"{name} {seed}")
    at = rng.randrange(len(content) - 64)
    content[at : at + 64] = rng.randbytes(64)
    path = tmp_path / name
    path.write_bytes(content)
    read(path)


@pytest.mark.bad_input
@pytest.mark.parametrize("seed", range(8))
def test_noise_that_a_decoder_finds(whole, tmp_path, seed):
    """MPEG-4 in its pictures: it is said, and where."""
    content, rng = bytearray(whole["mpeg4.mp4"].read_bytes()), random.Random(seed)
    at = rng.randrange(content.index(b"mdat") + 400, len(content) - 64)
    content[at : at + 64] = rng.randbytes(64)
    path = tmp_path / "noise.mp4"
    path.write_bytes(content)
    assert "damaged" in read(path)[1]


def trimmed(path, source, start):
    """Packets from the key frame number `start` on, copied, not encoded again."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        [stream] = old.streams.video
        copy, keys, zero = new.add_stream_from_template(stream), 0, None
        for packet in old.demux(stream):
            keys += packet.is_keyframe
            if packet.dts is None or keys <= start:
                continue
            zero = packet.dts if zero is None else zero
            packet.pts, packet.dts, packet.stream = packet.pts - zero, packet.dts - zero, copy
            new.mux(packet)
    return path


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_trimmed_without_loss(whole, whole_frames, tmp_path, ending, start):
    """Cut at a key frame (every eighth), copied: no alarm, the frames of the whole from there."""
    path = trimmed(tmp_path / f"trimmed.{ending}", whole["index first.mp4"], start)
    frames, message = read(path)
    assert message is None
    np.testing.assert_array_equal(frames, whole_frames["index first.mp4"][8 * start :])


def test_command_keeps_the_masks_and_says_it(whole, model, tmp_path):
    """python -m gcvos_mini.segment: status 2, one line, a mask for each frame before the cut."""
    content = whole["mpeg4.mp4"].read_bytes()
    path, weights, mask = tmp_path / "cut.mp4", tmp_path / "w.safetensors", tmp_path / "mask.png"
    path.write_bytes(content[: len(content) * 2 // 3])
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 10:30] = 1
    write_mask(mask, labels)
    save_model(model, weights)
    line = [sys.executable, "-m", "gcvos_mini.segment", "--frames", path, "--mask", mask,
            "--out", tmp_path / "out", "--checkpoint", weights, "--device", "cpu"]  # fmt: skip
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {path}: cut off after frame ")
    masks = sorted((tmp_path / "out").iterdir())
    assert len(masks) == len(read(path)[0]) > 1
    for file in masks:
        assert read_mask(file).shape == (HEIGHT, WIDTH)


# ---- progress --------------------------------------------------------------------------------


def lies_about_its_length(path, source, length):
    """A copy of an AVI whose header says another number of frames."""
    content = bytearray(source.read_bytes())
    at = content.index(b"strh") + 8 + 32
    assert struct.unpack("<I", content[at : at + 4]) == (FRAMES,)
    content[at : at + 4] = struct.pack("<I", length)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["no length.webm", "raw.h264", "1", "23", "1000", "mjpeg.avi"])
def test_progress_never_passes_its_end(whole, model, tmp_path, name):
    """A length that is not known, too small, too large: never "6 of 1", no frame is left out."""
    path = whole.get(name)
    if path is None:
        path = lies_about_its_length(tmp_path / "lies.avi", whole["mjpeg.avi"], int(name))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30, 10:30] = 1
    runner, done = VideoRunner(model, path, mask, tmp_path / "masks", height=16), 1
    while True:
        words = runner.label.value.split()  # frame 3, 4 of 24 done
        assert words[:3] == ["frame", f"{done - 1},", str(done)]
        assert "of" not in words or int(words[words.index("of") + 1]) >= done
        assert runner.progress.value == done <= runner.progress.max
        if not runner.advance():
            break
        done += 1
    assert done == FRAMES and len(list((tmp_path / "masks").iterdir())) == FRAMES
