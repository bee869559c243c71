"""Videos for the page: whole ones, and damaged or odd ones, each with the words they must meet."""

import struct

import av
import numpy as np

RATE, FRAMES, SIZE = 10, 8, (96, 160)  # H, W
# What the page must say of each file, any of the words; "" where it simply opens.
WORDS = {
    "text.mp4": "text file",
    "empty.mp4": "is empty",
    "sound.m4a": "no picture",
    "sound.wav": "no picture",
    "cut-off.mp4": "cut off",
    "one-frame.webm": "one frame",
    "large.webm": "1280 x 720",
    "portrait.mp4": "",
    "av1.mp4": "",
    "one-picture.png": "one picture",
    "old-codec.mp4": "MPEG-4",
    "noise.webm": "cannot play it",
    "not-a-video.mov": "not a video",
}


def moving_square(count=FRAMES, size=SIZE):
    """uint8 (T, H, W, 3): a bright square that goes right over slow waves, and its masks."""
    height, width = size
    t, y, x = np.ogrid[:count, :height, :width]
    waves = [90 + 50 * np.sin((x + 2 * t) / a + y / b) for a, b in ((9, 11), (17, 8), (12, 23))]
    frames = np.stack(waves, axis=-1).astype(np.uint8)
    side = height // 3
    left = width // 8 + t * width // 40
    inside = (x >= left) & (x < left + side) & (y >= side) & (y < 2 * side)
    frames[inside] = 250, 120, 30
    return frames, inside.astype(np.uint8)


def write(path, frames, codec, **options):
    """A video file of frames (T, H, W, 3)."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        file.mux(stream.encode())
    return path


def write_sound(path, codec):
    """A file with a second of silence in it, and nothing to see."""
    layout = "fltp" if codec == "aac" else "s16"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=44100)
        for _ in range(10):
            silence = np.zeros((1, 4096), np.float32 if codec == "aac" else np.int16)
            frame = av.AudioFrame.from_ndarray(silence, layout, "mono")
            frame.sample_rate = 44100
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def turned(path, source):
    """A copy with a quarter turn in its track header, as a phone held upright writes it."""
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") + 44
    one, (height, _) = 1 << 16, SIZE
    matrix = 0, one, 0, -one & 0xFFFFFFFF, 0, 0, height << 16, 0, 1 << 30
    content[at : at + 36] = struct.pack(">9I", *matrix)
    path.write_bytes(content)


def make(folder):
    """All files of WORDS in a folder, whole.webm, and long.webm of 21 frames."""
    frames, _ = moving_square()
    vp9 = {"crf": "10", "cpu-used": "8"}
    write(folder / "whole.webm", frames, "libvpx-vp9", **vp9)
    write(folder / "long.webm", moving_square(21)[0], "libvpx-vp9", **vp9)
    whole = write(folder / "whole.mp4", frames, "libx264", crf="10")
    write(folder / "one-frame.webm", frames[:1], "libvpx-vp9")
    large = np.repeat(np.repeat(frames[:2, :90], 24, axis=1), 24, axis=2)  # 3840 x 2160
    write(folder / "large.webm", large, "libvpx-vp9", deadline="realtime", **{"cpu-used": "8"})
    write(folder / "av1.mp4", frames, "libsvtav1", preset="12")
    write(folder / "old-codec.mp4", frames, "mpeg4")
    write_sound(folder / "sound.m4a", "aac")
    write_sound(folder / "sound.wav", "pcm_s16le")
    turned(folder / "portrait.mp4", whole)
    content = whole.read_bytes()
    (folder / "cut-off.mp4").write_bytes(content[: content.index(b"moov") - 4])
    (folder / "text.mp4").write_text("Dear reader,\nthis is a letter.\n" * 20)
    (folder / "empty.mp4").write_bytes(b"")
    noise = np.random.default_rng(0).bytes(20_000)
    head = (folder / "whole.webm").read_bytes()[:40]
    (folder / "noise.webm").write_bytes(head + noise)
    (folder / "not-a-video.mov").write_bytes(noise)
    from PIL import Image

    Image.fromarray(frames[0]).save(folder / "one-picture.png")
