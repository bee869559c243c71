"""Your own video, frame by frame: masks on the disk at once, what to worry about, exports.

    for step in stream(segmenter, "holiday.mp4", first_mask, "holiday-masks"):
        print(step.notices)

A source is what segment.video_frames takes: a video file or a folder of frames. Each mask is on the
disk before the next frame is read; to stop, ask for no more steps. Nothing here needs a widget, and
nothing holds a whole video but `export_gif`. Notebook 10.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from gcvos_mini.errors import BadInput, free_name, written_whole
from gcvos_mini.masks import write_mask
from gcvos_mini.outputs import by_hand, claim, run_of_segmenter
from gcvos_mini.pictures import FRAME_SUFFIXES
from gcvos_mini.segment import VideoSegmenter, follow_source
from gcvos_mini.sources import RATE, check_fits, length_and_rate

# Two frames in a row of one scene are at most 0.15 apart (`colour_distance`) in the embedded clips,
# and 0.23 in 41 sequences of DAVIS, which have no cut; two scenes at least 0.36, and 0.29.
CUT = 0.26
# An object's probability, averaged over its own mask, lies in 0.5..1 where one object is followed:
# below 0.5 a pixel goes to the background. So near to 0.5 its pixels are drawn by lot. Of several
# objects the likeliest wins, with less than 0.5 too: then the mark is high, but so is the doubt.
UNSURE = 0.6


@dataclass(frozen=True)
class Step:
    """One frame of a run: its number and name, frame (H, W, 3), mask of ids (H, W), what to say.

    notices: lines such as "frame 12: camera cut ...", often none.
    """

    index: int
    name: str
    frame: np.ndarray
    mask: np.ndarray
    notices: tuple[str, ...]


# ---- sources ---------------------------------------------------------------------------------


def take_pictures(folder: Path | str, frames: int = 1, camera: int = 0) -> None:
    """Take pictures with the camera of the machine that runs Python: PNG files in `folder`.

    frames: 1 for a still; camera: its number in OpenCV. Raises BadInput where there is no camera,
    or it gives no picture.
    """
    video = cv2.VideoCapture(camera)
    try:
        for index in range(frames):
            taken, frame = video.read()
            if not taken:
                raise BadInput(
                    f"camera {camera}: no picture from it; connect one to the machine that runs "
                    "Python, or take a picture elsewhere and give its folder"
                )
            with written_whole(Path(folder) / f"{index:05d}.png") as unfinished:
                unfinished.write_bytes(cv2.imencode(".png", frame)[1])
    finally:
        video.release()


def save_uploads(upload: Iterable[dict], folder: Path | str) -> Path:
    """Write the files of a widgets.FileUpload into a new folder inside `folder`.

    upload: the widget's `value`. A phone's browser offers its camera there, and may call every
    picture image.jpg. Returns the new folder, where pictures are frames, or the one video in it.
    Earlier uploads stay as they are. Raises BadInput on none, and on a video among other files.
    """
    if not upload:
        raise BadInput("nothing uploaded yet: choose a video, or pictures, first")
    names = [Path(file["name"]).name for file in upload]
    videos = [name for name in names if Path(name).suffix.lower() not in FRAME_SUFFIXES]
    if videos and len(names) > 1:
        count = f"{len(names)} files"
        raise BadInput(f"{videos[0]}: a video among {count}; choose one video, or pictures")
    new = free_name(Path(folder) / "upload")
    for file, name in zip(upload, names):
        path = free_name(new / name)
        with written_whole(path) as unfinished:
            unfinished.write_bytes(bytes(file["content"]))
    return path if videos else new


# ---- what to say -----------------------------------------------------------------------------


def colours(frame: np.ndarray) -> np.ndarray:
    """How often a frame, uint8 (H, W, 3), has each of 8 x 8 x 8 colours: float (512,), sum 1."""
    small = cv2.resize(frame, (64, 36), interpolation=cv2.INTER_AREA)  # noise averages out
    counts = cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel()
    return counts / counts.sum()


def colour_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Hellinger distance of two frames' `colours`: 0 the same, 1 not a colour in common."""
    return float(np.sqrt(max(0.0, 1 - np.sqrt(colours(one) * colours(other)).sum())))


class Watch:
    """Notices camera cuts and lost objects as a run goes by. `ids` are the first mask's objects."""

    def __init__(self, ids: list[int]):
        self.ids = ids
        self.lost = set()
        self.frame = None

    def look(
        self, index: int, frame: np.ndarray, mask: np.ndarray, probabilities: Tensor
    ) -> list[str]:
        """What there is to say of frame `index`, a list of lines. Frames are to come in order.

        probabilities: (O + 1, H, W) of background and objects, as VideoSegmenter keeps them.
        """
        lines = []
        if self.frame is not None:
            distance = colour_distance(self.frame, frame)
            if distance > CUT:
                lines.append(
                    f"frame {index}: camera cut (colour distance {distance:.2f}, above {CUT}); "
                    f"do not trust the masks from here on: start anew with a mask of frame {index}"
                )
        self.frame = frame
        for i, probability in zip(self.ids, probabilities[1:], strict=True):
            inside = mask == i
            sure = float(probability.cpu().numpy()[inside].mean()) if inside.any() else 0.0
            if sure < UNSURE and i not in self.lost:
                why = f"its pixels are only {sure:.2f} sure" if inside.any() else "no pixel is left"
                lines.append(f"frame {index}: object {i} is lost ({why})")
                self.lost.add(i)
            elif sure >= UNSURE and i in self.lost:
                lines.append(f"frame {index}: object {i} is found again, or something like it")
                self.lost.remove(i)
        return lines


# ---- the run ---------------------------------------------------------------------------------


def stream(
    segmenter: VideoSegmenter,
    source: Path | str,
    first_mask: np.ndarray,
    folder: Path | str | None = None,
    overwrite: bool = False,
    corrected: Mapping[str, np.ndarray] | None = None,
) -> Iterator[Step]:
    """Yield a Step for every frame of a source, the first with `first_mask` as it is.

    segmenter: a VideoSegmenter; first_mask: uint8 (H, W) of object ids; folder: where each mask is
    written, as a palette PNG named as its frame, before its Step is yielded. To stop, ask for no
    more steps; the next one asked for goes on as if nothing had been. overwrite: start over where
    the folder holds masks of another run; removes what this program wrote, and nothing else.
    corrected: {frame name: uint8 (H, W)} of masks put right by hand, which stay in the folder, and
    which the segmenter is given when it comes to their frames.
    Raises BadInput, with the source's name, on a first mask that does not fit or a frame of another
    size, and before anything is written where the folder holds anything else (outputs.py).
    """
    check_fits(source, first_mask)  # before `overwrite` removes anything
    run = run_of_segmenter(segmenter, source, first_mask)
    corrected = dict(corrected or {})
    if folder is not None:
        claim(Path(folder), [Path(source)], run, overwrite, corrected)
        for name, mask in corrected.items():  # now: a run that is stopped must not lose them
            write_mask(Path(folder) / f"{name}.png", mask, by_hand(run))
    watch = None
    followed = follow_source(segmenter, source, first_mask, corrected.get)
    for index, (name, frame, mask) in enumerate(followed):
        watch = watch or Watch(segmenter.ids)
        watch.ids = segmenter.ids  # more, where a mask in between brought some
        if folder is not None and name not in corrected:
            write_mask(Path(folder) / f"{name}.png", mask, run)
        notices = watch.look(index, frame, mask, segmenter.probabilities)
        if name in corrected:
            notices.append(f"frame {index}: corrected by hand")
        yield Step(index, name, frame, mask, tuple(notices))


# ---- exports ---------------------------------------------------------------------------------


def export_video(path: Path | str, images: Iterable[np.ndarray], rate: float = RATE) -> None:
    """Write images, uint8 (H, W, 3) of one size, as an MP4 file (VP9), whole or not at all.

    rate: images a second. One image at a time is in memory. Odd sizes get their last row or column
    twice, since video has even ones. Browsers play VP9; OpenCV as pip installs it has no H.264.
    Raises BadInput where it cannot be written, or there is no image.
    """
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise BadInput(f"{path}: no image to write; run the segmenter first")
    height, width = first.shape[:2]
    size = width + width % 2, height + height % 2
    with written_whole(path) as unfinished:
        writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*"vp09"), rate, size)
        try:
            written = 0
            for image in itertools.chain([first], images):
                grown = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
                writer.write(cv2.cvtColor(grown, cv2.COLOR_RGB2BGR))
                written += 1
            writer.release()
            # OpenCV says nothing of a full disk, or of an image that does not fit
            if length_and_rate(unfinished)[0] != written:
                raise OSError(f"OpenCV did not write all {written} images as VP9")
        finally:
            writer.release()


def export_gif(
    path: Path | str,
    images: Iterable[np.ndarray],
    rate: float = RATE,
    width: int = 320,
    fastest: float = 10.0,
) -> None:
    """Write images, uint8 (H, W, 3), as a GIF at most `width` pixels wide, whole or not at all.

    At most `fastest` images a second are kept, and each shows for as long as those it stands for.
    Pillow keeps the small images in memory until the file is written: a GIF is for a short video.
    Raises BadInput where it cannot be written, or there is no image.
    """
    every = max(1, round(rate / fastest))
    small = []
    for image in itertools.islice(images, 0, None, every):
        size = min(width, image.shape[1])
        picture = Image.fromarray(image)
        picture = picture.resize((size, max(1, round(size * image.shape[0] / image.shape[1]))))
        small.append(picture.quantize(128))
    if not small:
        raise BadInput(f"{path}: no image to write; run the segmenter first")
    with written_whole(path) as unfinished:
        small[0].save(
            unfinished, format="GIF", save_all=True, append_images=small[1:], loop=0,
            duration=gif_durations(len(small), 1000 * every / rate),
        )  # fmt: skip


def gif_durations(count: int, wanted: float) -> list[int]:
    """How long each of `count` images shows, in milliseconds, `wanted` on average.

    A GIF counts in hundredths of a second: single ones are up to half of one off, the sum is not.
    """
    ends = np.round(wanted * np.arange(count + 1) / 10).astype(int) * 10
    return np.diff(ends).tolist()
