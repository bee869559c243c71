"""Things to try in JupyterLab: key maps (Fig. 6), the equivalence lab, the live swap.

    from gcvos_mini.explore import EquivalenceLab, KeyMapExplorer, LiveSwap
    KeyMapExplorer(frames, masks, keys)
    EquivalenceLab()
    LiveSwap(load_model("mini"), frames, first_mask)

All pixels come from render.py, whose `key_sheet`, `render_equivalence` and `render_swap` are the
printable twins; all numbers from benchmark.py.
"""

import asyncio

import ipywidgets as widgets
import numpy as np

from gcvos_mini import benchmark, render


class KeyMapExplorer(widgets.VBox):
    """Play a video and leaf through its key channels.

    frames: T uint8 (H, W, 3); masks: T uint8 (H, W) object ids; keys: float (T, C, h, w), such as
    `VideoSegmenter.key` of one object after each frame. Raises ValueError if their lengths differ.

    Frame and mask on the left, one key channel over the frame on the right: blue below zero, white
    at zero, red above. The channel slider counts channels, or ranks where "by selectivity" is
    ticked: then the channel that best tells the objects from the background by its strength comes
    first. Each channel keeps one colour scale through the video.
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


class EquivalenceLab(widgets.VBox):
    """The linear read in both bracketings: errors, operations, bytes, and seconds on a button.

    The sliders set a benchmark.Setting; the largest is the paper's map, 24x24 with 128 and 512
    channels, over 16 frames. Moving one measures the errors anew and drops the measured time.
    """

    def __init__(self):
        start = benchmark.Setting()
        self.controls = {
            "frames": self._slider(16, start.frames, "frames T"),
            "height": self._slider(24, start.height, "height H"),
            "width": self._slider(24, start.width, "width W"),
            "key_dim": self._choice([8, 16, 32, 64, 128], start.key_dim, "C_key"),
            "value_dim": self._choice([8, 16, 32, 64, 128, 256, 512], start.value_dim, "C_value"),
            "dtype": widgets.Dropdown(
                options=list(benchmark.DTYPES), value=start.dtype, description="dtype"
            ),
        }
        self.measure = widgets.Button(description="measure time", icon="clock-o")
        self.image = widgets.Image(format="jpeg")
        self.label = widgets.Label()
        for control in self.controls.values():
            control.observe(self.update, "value")
        self.measure.on_click(self.update_time)
        self.update()
        rows = list(self.controls.values())
        super().__init__(
            [
                widgets.HBox(rows[:3]),
                widgets.HBox(rows[3:]),
                widgets.HBox([self.measure, self.label]),
                self.image,
            ]
        )

    @staticmethod
    def _slider(largest, value, name):
        return widgets.IntSlider(
            value=value, min=1, max=largest, description=name, continuous_update=False
        )

    @staticmethod
    def _choice(options, value, name):
        return widgets.SelectionSlider(
            options=options, value=value, description=name, continuous_update=False
        )

    @property
    def setting(self):
        """What the controls say, a benchmark.Setting."""
        return benchmark.Setting(**{name: c.value for name, c in self.controls.items()})

    def update(self, change=None):
        """Measure the errors at the setting and draw. Called on every change."""
        self.result = benchmark.equivalence(self.setting)
        self.draw()

    def update_time(self, button=None):
        """Time both bracketings at the setting and draw. Called by the button."""
        self.label.value = "measuring"
        self.draw(benchmark.time_bracketings(self.setting))

    def draw(self, seconds=None):
        """Show errors and counts, and (context first, similarity first) seconds if given."""
        picture = render.render_equivalence(self.setting, self.result, seconds)
        self.image.value = render.to_jpeg(picture)
        self.label.value = (
            f"(q kᵀ) v takes {seconds[1] / seconds[0]:.2f} times as long" if seconds else ""
        )


class LiveSwap(widgets.VBox):
    """One network with several memories, run frame by frame side by side while you watch.

    network: from load_model; frames: a list of uint8 (H, W, 3); first_mask: uint8 (H, W) of object
    ids; memories, height: as in benchmark.live_swap. "run" starts and stops, "again" goes back to
    the first frame. `history` is what has been yielded so far.
    """

    def __init__(self, network, frames, first_mask, memories=("gc", "stm-linear"), height=None):
        self.frames = list(frames)
        self.make = lambda: benchmark.live_swap(network, self.frames, first_mask, memories, height)
        self.run = widgets.ToggleButton(description="run", icon="play")
        self.again = widgets.Button(description="again", icon="undo")
        self.progress = widgets.IntProgress(min=0, max=len(self.frames) - 1)
        self.image = widgets.Image(format="jpeg")
        self.label = widgets.Label()
        self.task = None
        self.run.observe(self._toggled, "value")
        self.again.on_click(self.restart)
        self.restart()
        super().__init__(
            [widgets.HBox([self.run, self.again, self.progress, self.label]), self.image]
        )

    def restart(self, button=None):
        """Back to the first frame, with empty memories; the first step is shown."""
        self.steps, self.history = self.make(), []
        self.advance()

    def advance(self):
        """Segment one more frame under every memory and show it. False at the end of the video."""
        swapped = next(self.steps, None)
        if swapped is None:
            return False
        self.history.append(swapped)
        self.image.value = render.to_jpeg(render.render_swap(self.history, len(self.frames)))
        self.progress.value = swapped.index
        equal = [min(swapped.equal.values()) for swapped in self.history]
        self.label.value = f"{np.mean(equal):.4%} of the pixels so far have the same id"
        return True

    async def play(self):
        """Advance until the end, or until "run" is released."""
        try:
            while self.run.value and self.advance():
                await asyncio.sleep(0.01)  # lets the kernel hear the buttons
        except Exception as error:  # a task's traceback is shown nowhere
            self.label.value = f"stopped: {error}"
            raise
        finally:
            self.run.value = False

    def _toggled(self, change):
        self.run.description = "stop" if change.new else "run"
        self.run.icon = "stop" if change.new else "play"
        if change.new and (self.task is None or self.task.done()):
            self.task = asyncio.ensure_future(self.play())
