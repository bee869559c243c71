"""Where frames come from: a folder of pictures, or a video file, read as a person sees it.

    for name, frame in video_frames("holiday.mp4"):     # uint8 (H, W, 3) RGB

PyAV decodes: FFmpeg's codecs, the display matrix (a phone held upright), pixels that are not
square, and the stream that a player shows. How many frames a file says it has is not believed:
whether it is whole shows in how its decoding ends.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from gcvos_mini.commands import command
from gcvos_mini.containers import ends_early
from gcvos_mini.errors import BadInput, free_name
from gcvos_mini.pictures import (
    DECODER_ERRORS,
    FOREIGN,
    FRAME_SUFFIXES,
    check_same_size,
    foreign_kind,
    list_files,
    list_in_time_order,
    read_frame,
)

VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv",
    ".3gp",
)  # fmt: skip
RATE = 24.0  # frames a second, of sources that do not say
OPEN_ERRORS = (av.FFmpegError, OSError, ValueError)  # of av.open; OSError on an empty file
av.logging.set_level(av.logging.PANIC)  # what is wrong is said in one line, here


def video_frames(source: Path | str) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 (H, W, 3)) of each frame of a folder of pictures or a video file, in order.

    A damaged video gives what can be decoded, then raises BadInput. Raises it at once on a path
    that is neither, or holds no frame.
    """
    source = Path(source)
    if source.is_dir():
        files = list_in_time_order(source, FRAME_SUFFIXES)
        if not files:
            raise BadInput(f"{source}: no .jpg or .png frames in this folder")
        for file in files:
            yield file.stem, read_frame(file)
    elif source.is_file():
        for index, frame in enumerate(decode(source)):
            yield f"{index:05d}", frame
    else:
        raise BadInput(f"{source}: no such folder or video file")


def first_frame(source: Path | str) -> np.ndarray:
    """The first frame, uint8 (H, W, 3), of a video file or a folder. BadInput if there is none."""
    return next(video_frames(source))[1]


def check_fits(source: Path | str, mask: np.ndarray, mask_path: Path | str = "first mask") -> None:
    """Raise BadInput where a source has no first frame, or it is of another size than a mask."""
    source = Path(source)
    frame = first_frame(source)
    path = list_files(source, FRAME_SUFFIXES)[0] if source.is_dir() else source
    check_same_size(frame, path, mask, mask_path)


def length_and_rate(source: Path | str) -> tuple[int | None, float]:
    """(frames, frames a second) as the source says; None frames where it does not.

    A damaged video may hold fewer frames than it says. Raises BadInput where it cannot be opened.
    """
    source = Path(source)
    if source.is_dir():
        return len(list_files(source, FRAME_SUFFIXES)), RATE
    if not source.is_file():
        raise BadInput(f"{source}: no such folder or video file")
    with source.open("rb") as file:
        try:
            with av.open(file) as container:
                stream = shown_stream(container, source)
                rate = float(stream.average_rate or 0)
                return stream.frames or None, rate if 0 < rate < 1000 else RATE
        except BadInput:  # a ValueError too
            raise
        except OPEN_ERRORS:
            return None, RATE


def shown_stream(container, path):
    """The video stream of the highest resolution, and no cover picture. BadInput if none."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
        and stream.codec_context is not None  # of a codec that is known
    ]
    if not streams and any(stream.codec_context is None for stream in container.streams.video):
        raise BadInput(f"{path}: a codec that FFmpeg does not know; convert it to H.264 where made")
    if not streams:
        raise BadInput(f"{path}: no video in it; give a video file or a folder of frames")
    return max(streams, key=lambda stream: (stream.width or 0) * (stream.height or 0))


def decode(path: Path) -> Iterator[np.ndarray]:
    """Frames uint8 (H, W, 3) of a video file, upright. Raises BadInput as `video_frames` does."""
    check_is_no_picture(path)
    with path.open("rb") as file:  # not by its name, which FFmpeg may take for a URL or a pattern
        try:
            container = av.open(file)
        except OPEN_ERRORS:
            container = None
        if container is not None:
            with container:
                stream = shown_stream(container, path)
                if stream.codec_context.name != "webp":  # FFmpeg knows no animated ones
                    yield from decode_stream(path, container, stream)
                    return
    yield from decode_animation(path)


def check_is_no_picture(path: Path) -> None:
    """Raise BadInput where a file that is named as a video holds one picture."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return
    kind = foreign_kind(path)
    kind = kind if kind in FOREIGN.values() else None
    try:
        with Image.open(path) as image:
            one = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
            kind = image.format if one and image.format != "MPEG" else None  # a video, to Pillow
    except Image.DecompressionBombError:  # after its first bytes have said that it is a picture
        kind = "huge"
    except DECODER_ERRORS:
        pass
    if kind:
        raise BadInput(
            f"{path}: is a {kind} picture, whatever its name says; give a video, or a folder of "
            "pictures"
        )


def decode_stream(path, container, stream) -> Iterator[np.ndarray]:
    """Frames of one stream; BadInput at its end where it was damaged, or held no frame."""
    count, problems = 0, []
    shape = float(stream.sample_aspect_ratio or 1)  # of a pixel, width over height
    shape = shape if 0.1 < shape < 10 else 1.0  # a damaged header says anything
    for packet, sound in packets_of(path, container, stream):
        if packet is not None and packet.is_corrupt:
            problems.append(f"damaged after frame {count - 1}")
        try:
            frames = stream.codec_context.decode(packet)
        except av.FFmpegError:
            problems.append(f"damaged after frame {count - 1}")
            continue
        for frame in frames:
            if sound < math.inf and (frame.pts is None or frame.pts >= sound):
                break
            if frame.is_corrupt:
                problems.append(f"frame {count} is damaged")
            yield upright(frame, shape)
            count += 1
        if packet is None and sound < math.inf:
            problems.append(f"cut off after frame {count - 1}" if count else "cut off at once")
    if count == 0 and not problems:
        codec = stream.codec_context.name
        converted = free_name(path.with_name(f"{path.stem}-h264.mp4"))
        fix = command("ffmpeg", "-i", path, "-c:v", "libx264", converted)
        raise BadInput(f"{path}: not one frame can be decoded ({codec}); convert it first: {fix}")
    if problems:
        raise BadInput(
            f"{path}: {problems[0]}; {count} frames could be read, the masks of those are kept"
        )


def packets_of(path, container, stream):
    """Yield (packet, time) of a stream, None as the last one: frames before the time are sound.

    Where the file breaks off, its last packet is left out, which may be half there, and so are all
    frames that follow something that was lost. A missing packet is decoded later, so it is shown
    later, than the time at which the last one was to be decoded.
    """
    last, broken = None, ends_early(path)
    try:
        for packet in container.demux(stream):
            if packet.size:  # the empty ones ask for what the decoder still holds
                if last is not None:
                    yield last, math.inf
                last = packet
    except av.FFmpegError:
        broken = True
    if last is not None and (broken or last.is_corrupt):
        yield None, -math.inf if last.dts is None else last.dts
        return
    if last is not None:
        yield last, math.inf
    yield None, -math.inf if broken else math.inf


def decode_animation(path) -> Iterator[np.ndarray]:
    """Frames of an animated picture that FFmpeg does not know. BadInput on what is no picture."""
    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                yield np.array(frame.convert("RGB"))
    except UnidentifiedImageError:
        if ends_early(path):
            raise BadInput(f"{path}: cut off, nothing in it can be read; copy it again") from None
        raise BadInput(f"{path}: not a video; give a video file or a folder of frames") from None
    except DECODER_ERRORS as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path}: cannot be read to its end ({reason}); copy it again") from None


# how (x, y) of the picture shown come from x and y as stored, rounded, -> rows and columns
TURNS = {
    (1, 0, 0, 1): lambda frame: frame,
    (-1, 0, 0, -1): lambda frame: frame[::-1, ::-1],
    (0, 1, -1, 0): lambda frame: np.rot90(frame, -1),
    (0, -1, 1, 0): lambda frame: np.rot90(frame),
    (-1, 0, 0, 1): lambda frame: frame[:, ::-1],
    (1, 0, 0, -1): lambda frame: frame[::-1],
    (0, 1, 1, 0): lambda frame: frame.swapaxes(0, 1),
    (0, -1, -1, 0): lambda frame: frame[::-1, ::-1].swapaxes(0, 1),
}


def upright(frame, shape: float) -> np.ndarray:
    """A decoded frame as a player shows it, uint8 (H, W, 3): square pixels, turned upright.

    shape: of a pixel as stored, its width over its height.
    """
    picture = frame.to_ndarray(format="rgb24")
    width = round(picture.shape[1] * shape)
    if width != picture.shape[1]:
        picture = cv2.resize(picture, (width, picture.shape[0]), interpolation=cv2.INTER_AREA)
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("<9i", bytes(data))
            turn = tuple(round(x / 65536) for x in (a, b, c, d))
            picture = TURNS.get(turn, TURNS[1, 0, 0, 1])(picture)
    return np.ascontiguousarray(picture)
