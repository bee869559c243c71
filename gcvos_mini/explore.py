"""A first explorer of the global context's keys (Fig. 6), for JupyterLab.

    from gcvos_mini.explore import KeyMapExplorer
    KeyMapExplorer(frames, masks, keys)

Frame and mask on the left, one key channel over the frame on the right: blue below zero, white at
zero, red above. All pixels come from render.py, whose `key_sheet` is the printable twin.
"""

import ipywidgets as widgets
import numpy as np

from gcvos_mini import render


class KeyMapExplorer(widgets.VBox):
    """Play a video and leaf through its key channels.

    frames: T uint8 (H, W, 3); masks: T uint8 (H, W) object ids; keys: float (T, C, h, w), such as
    `VideoSegmenter.key` of one object after each frame. Raises ValueError if their lengths differ.

    The channel slider counts channels, or ranks where "by selectivity" is ticked: then the channel
    that best tells the objects from the background by its strength comes first. Each channel keeps
    one colour scale through the video.
    """

    def __init__(self, frames, masks, keys):
        if not len(frames) == len(masks) == len(keys) > 0:
            raise ValueError(f"{len(frames)} frames, {len(masks)} masks and {len(keys)} keys")
        self.frames, self.masks = frames, masks
        self.maps = np.asarray(keys, np.float32)  # a widget's own `keys` are its traits
        channels, height, width = self.maps.shape[1:]
        scores = [
            render.selectivity(key, render.mask_on_map(mask, (width, height)))
            for key, mask in zip(self.maps, masks, strict=True)
        ]
        seen = [score for score in scores if not np.isnan(score).any()]  # frames with an object
        # (C,) mean over those frames; 0.5, "tells nothing", if there are none
        self.selectivity = np.mean(seen, axis=0) if seen else np.full(channels, 0.5)
        self.ranking = np.argsort(-self.selectivity, kind="stable")

        last = len(frames) - 1
        self.play = widgets.Play(value=0, min=0, max=last, interval=100, show_repeat=False)
        self.frame = widgets.IntSlider(value=0, min=0, max=last, description="frame")
        self.channel = widgets.IntSlider(value=0, min=0, max=channels - 1, description="channel")
        self.by_selectivity = widgets.Checkbox(value=False, description="by selectivity")
        self.alpha = widgets.FloatSlider(value=0.6, min=0, max=1, step=0.05, description="opacity")
        self.image = widgets.Image(format="jpeg")
        self.label = widgets.Label()
        self._link = widgets.link((self.play, "value"), (self.frame, "value"))
        for control in (self.frame, self.channel, self.by_selectivity, self.alpha):
            control.observe(self.update, "value")
        self.update()
        super().__init__(
            [
                widgets.HBox([self.play, self.frame]),
                widgets.HBox([self.channel, self.by_selectivity, self.alpha]),
                self.image,
                self.label,
            ]
        )

    @property
    def shown_channel(self):
        """Index into the keys' channels of the map on show."""
        rank = self.channel.value
        return int(self.ranking[rank]) if self.by_selectivity.value else rank

    def update(self, change=None):
        """Draw what the controls say. Called on every change; may be called directly."""
        t, c = self.frame.value, self.shown_channel
        limits = self.maps[:, c].min(), self.maps[:, c].max()
        view = render.render_view(
            self.frames[t], self.maps[t, c], self.masks[t], self.alpha.value, limits=limits
        )
        self.image.value = render.to_jpeg(view)
        self.label.value = (
            f"frame {t} of {len(self.frames) - 1}, channel {c}, "
            f"selectivity {self.selectivity[c]:.2f} (1 objects, 0 background)"
        )
