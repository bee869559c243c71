"""Your own video under a widget: run it, stop, go on, save what is there (notebook 10).

    runner = VideoRunner(load_model("mini"), "holiday.mp4", painter.mask, "holiday-masks")

stream.py does the work; here it is drawn, and given buttons.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from gcvos_mini.errors import BadInput, free_name
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.outputs import by_hand, corrected_masks, run_of_segmenter
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.show import render
from gcvos_mini.show.explore import Runner
from gcvos_mini.show.paint import canvas_picture, fitted
from gcvos_mini.sources import length_and_rate, video_frames
from gcvos_mini.stream import export_gif, export_video, stream


def overlays(source, folder, frames):
    """Yield the first `frames` frames under their masks, uint8 (H, W, 3), one at a time.

    Only so many: an earlier run may have left masks of later frames in the folder. Raises BadInput
    where a mask is missing.
    """
    for name, frame in itertools.islice(video_frames(source), frames):
        yield render.overlay(frame, read_mask(Path(folder) / f"{name}.png"))


def sheet(source, folder, frames, count=6):
    """The run on paper: `count` frames spread over the first `frames`, uint8 (h, w, 3)."""
    at = render.spread(frames, count)
    images = [image for t, image in enumerate(overlays(source, folder, frames)) if t in at]
    letters = max(13, images[0].shape[1] // 12)  # large: the sheet is often shown made small
    return render.contact_sheet(images, 3, [f"frame {t}" for t in at], letters=letters)


class VideoRunner(Runner):
    """Segment a video while you watch, stop, go on, export.

    network: from load_model; source: a video file or a folder of frames; first_mask: uint8 (H, W)
    of object ids; folder: where the masks go. "run" starts and stops, "again" goes back to the
    first frame. Masks that were corrected by hand stay, also those of an earlier runner in this
    folder: the segmenter is given them when their frames come. `notices` are the lines said so far;
    `last` is the newest Step. overwrite: as of stream.stream, for another first mask, say.
    """

    def __init__(
        self, network, source, first_mask, folder, memory=None, height=None, overwrite=False
    ):
        self.source, self.folder = Path(source), Path(folder)
        self.length, self.rate = length_and_rate(source)
        self.segmenter = VideoSegmenter(network, memory, height=height)
        self.run_id = run_of_segmenter(self.segmenter, source, first_mask)
        self.first_mask, self.overwrite = first_mask, overwrite
        super().__init__(self.length or 1)
        self.video = widgets.Button(description="save video", icon="film")
        self.gif = widgets.Button(description="save GIF", icon="image")
        self.said = widgets.HTML()
        self.video.on_click(self.save_video)
        self.gif.on_click(self.save_gif)
        exports = widgets.HBox([self.video, self.gif])
        self.children = [self.controls, self.image, self.said, exports]
        self.layout.align_items = "flex-start"  # the picture at its own size, not stretched
        self.restart()

    def restart(self, button=None):
        """Back to the first frame, with an empty memory; the first mask is shown."""
        corrected = {} if self.overwrite else corrected_masks(self.folder, self.run_id)
        run = run_of_segmenter(self.segmenter, self.source, self.first_mask)
        mended = run != self.run_id  # a frame, say: the masks that this runner made are done anew
        self.run_id, overwrite = run, self.overwrite or mended
        self.steps = stream(
            self.segmenter, self.source, self.first_mask, self.folder, overwrite, corrected
        )
        self.notices = []
        self.advance()
        self.overwrite = False  # "again" is no wish to lose what was corrected since

    def advance(self):
        """Segment one more frame, save and show it. False at the end of the video."""
        try:
            step = next(self.steps, None)
        except BadInput as error:  # a damaged video: what could be read is segmented
            if not hasattr(self, "last"):
                raise
            self.notices.append(str(error))
            step = None
        if step is None:
            self.said.value = "<br>".join(self.notices)
            return False
        self.last = step
        self.notices += step.notices
        self.show()
        return True

    def correct(self, mask):
        """The newest frame's mask by hand, uint8 (H, W) of ids: "run" goes on from it.

        Raises BadInput as VideoSegmenter.correct does.
        """
        labels = self.segmenter.correct(mask)
        write_mask(self.folder / f"{self.last.name}.png", labels, by_hand(self.run_id))
        self.last = replace(self.last, mask=labels)
        self.notices.append(f"frame {self.last.index}: corrected by hand")
        self.show()

    def show(self):
        """Draw the newest frame, and say what there is to say."""
        step, done = self.last, self.last.index + 1
        self.image.value = render.to_jpeg(canvas_picture(fitted(step.frame), step.mask))
        self.progress.max = max(self.progress.max, done)  # a source may not say its length
        self.progress.value = done
        total = f" of {self.length}" if done <= (self.length or 0) else ""
        self.label.value = f"frame {step.index}, {done}{total} done"
        self.said.value = "<br>".join(self.notices)

    def save_video(self, button=None):
        """Write what is segmented so far as an MP4 file beside the masks' folder; its path."""
        return self._export(export_video, ".mp4")

    def save_gif(self, button=None):
        """Write what is segmented so far as a GIF beside the masks' folder; its path."""
        return self._export(export_gif, ".gif")

    def _export(self, export, ending):
        path = free_name(self.folder.with_name(f"{self.folder.name}-overlay{ending}"))
        done = self.last.index + 1
        try:
            export(path, overlays(self.source, self.folder, done), self.rate)
        except BadInput as error:
            self.label.value = f"not saved: {error}"
            raise
        self.label.value = f"{done} frames saved in {path}"
        return path

    def picture(self):
        """The runner on paper: a contact sheet of what is segmented so far, uint8 (h, w, 3)."""
        return sheet(self.source, self.folder, self.last.index + 1)
