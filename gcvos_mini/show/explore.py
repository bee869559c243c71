"""Things to try in JupyterLab: key maps (Fig. 6), the read, the past changed, the two live labs.

    from gcvos_mini.show.explore import KeyMapExplorer, ReadExplorer, GhostLab, ...
    KeyMapExplorer({"approach": (frames, masks, keys)})
    ReadExplorer(record)                # of record.watch
    GhostLab(model, record, masks)
    EquivalenceLab()
    LiveSwap(load_model("mini"), frames, first_mask)

All pixels come from render.py and labs.py, whose `key_sheet` and `render_...` are the twins on
paper; all numbers from keymaps.py, record.py and equality.py.
"""

import asyncio

import ipywidgets as widgets
import numpy as np
from ipycanvas import Canvas

from gcvos_mini import equality, keymaps
from gcvos_mini.metrics import region_similarity
from gcvos_mini.record import EDITS, Ghost
from gcvos_mini.show import labs, render


class KeyMapExplorer(widgets.VBox):
    """Play a video and leaf through its key channels.

    clips: name -> (frames, masks, keys): T uint8 (H, W, 3); T uint8 (H, W) object ids; float
    (T, C, h, w), such as `Record.keys` of one object. Raises ValueError if their lengths
    differ, or if there is no clip.

    Frame and mask on the left, then one key channel over the frame: blue below zero, white at zero,
    red above. The channel slider counts channels, or ranks where they are sorted: then the channel
    comes first that best selects the object (its border, the ground, the background) by its
    strength. "pin" keeps the channel on show beside the next ones. Each channel keeps one colour
    scale through the video; below the threshold, a share of it, the frame is left as it is.
    """

    def __init__(self, clips):
        if not clips:
            raise ValueError("no clips")
        for name, parts in clips.items():
            if not len(parts[0]) == len(parts[1]) == len(parts[2]) > 0:
                frames, masks, keys = map(len, parts)
                raise ValueError(f"{name}: {frames} frames, {masks} masks and {keys} keys")
        self.clips, self.pinned, self.scores = clips, [], {}
        self.clip = widgets.Dropdown(options=list(clips), description="clip")
        self.play = widgets.Play(interval=50, show_repeat=False)  # 20 frames a second
        self.frame = widgets.IntSlider(description="frame")
        self.channel = widgets.IntSlider(description="channel")
        self.order = widgets.Dropdown(
            options=["channel number", *keymaps.REGIONS], description="sorted by"
        )
        self.alpha = widgets.FloatSlider(value=0.6, min=0, max=1, step=0.05, description="opacity")
        self.threshold = widgets.FloatSlider(min=0, max=1, step=0.05, description="threshold")
        self.pin = widgets.Button(description="pin", icon="thumb-tack")
        self.image = widgets.Image(format="jpeg")
        self.label = widgets.Label()
        self._link = widgets.link((self.play, "value"), (self.frame, "value"))
        self.load()
        for control in (self.frame, self.channel, self.order, self.alpha, self.threshold):
            control.observe(self.update, "value")
        self.clip.observe(self.load, "value")
        self.pin.on_click(self.toggle_pin)
        super().__init__(
            [
                widgets.HBox([self.clip, self.play, self.frame]),
                widgets.HBox([self.channel, self.order, self.pin]),
                widgets.HBox([self.alpha, self.threshold]),
                self.image,
                self.label,
            ]
        )

    def load(self, change=None):
        """Show the clip chosen, from its first frame. Called on every choice."""
        self.frame.value = self.channel.value = 0  # first: the next clip may be shorter
        self.name = self.clip.value
        self.frames, self.masks, keys = self.clips[self.name]
        self.maps = np.asarray(keys, np.float32)  # a widget's own `keys` are its traits
        self.limits = list(zip(self.maps.min(axis=(0, 2, 3)), self.maps.max(axis=(0, 2, 3))))
        self.pinned = [c for c in self.pinned if c < self.maps.shape[1]]
        self.play.max = self.frame.max = len(self.frames) - 1
        self.channel.max = self.maps.shape[1] - 1
        self.update()

    def selectivity(self, region):
        """(C,) how well each channel of the clip on show selects a region, worked out once."""
        at = self.name, region
        if at not in self.scores:
            self.scores[at] = keymaps.mean_selectivity(self.maps, self.masks, region)
        return self.scores[at]

    @property
    def shown_channel(self):
        """Index into the keys' channels of the map on show."""
        rank = self.channel.value
        if self.order.value not in keymaps.REGIONS:
            return rank
        return int(np.argsort(-self.selectivity(self.order.value), kind="stable")[rank])

    def toggle_pin(self, button=None):
        """Keep the channel on show beside the next ones, or let it go. Called by the button."""
        c = self.shown_channel
        self.pinned = [p for p in self.pinned if p != c] if c in self.pinned else [*self.pinned, c]
        self.update()

    def update(self, change=None):
        """Draw what the controls say. Called on every change; may be called directly."""
        t, c = self.frame.value, self.shown_channel
        shown = [c, *(p for p in self.pinned if p != c)]
        region = self.order.value if self.order.value in keymaps.REGIONS else "object"
        score = self.selectivity(region)
        view = render.render_view(
            self.frames[t], self.masks[t], [(self.maps[t, i], self.limits[i]) for i in shown],
            self.alpha.value, self.threshold.value,
            [f"frame {t}", *(f"channel {i}, {region} {score[i]:.2f}" for i in shown)],
        )  # fmt: skip
        self.image.value = render.to_jpeg(view)
        self.pin.description = "unpin" if c in self.pinned else "pin"
        self.label.value = (
            f"frame {t} of {len(self.frames) - 1}, channel {c}, selectivity {score[c]:.2f} "
            f"(1: strong on the {region} only, 0: everywhere else, 0.5: it does not care)"
        )


class ReadExplorer(widgets.VBox):
    """Click a pixel, and see what it reads of the past.

    record: of record.watch. The click asks for the cell of the feature map under it; `click(x, y)`
    in pixels of the canvas does the same. The picture is labs.render_read.
    """

    def __init__(self, record):
        self.record = record
        height, width = record.frames.shape[1:3]
        self.zoom = max(1, round(384 / width))
        self.canvas = Canvas(width=width * self.zoom, height=height * self.zoom)
        last = len(record.frames) - 1
        self.frame = widgets.IntSlider(value=last, min=1, max=last, description="frame")
        self.object = widgets.Dropdown(
            options=[(f"object {n}", o) for o, n in enumerate(record.ids)], description="read for"
        )
        self.image = widgets.Image(format="jpeg")
        self.label = widgets.Label()
        self.cell = keymaps.middle(keymaps.mask_on_map(record.masks[last], self.map_size))
        self.frame.observe(self.update, "value")
        self.object.observe(self.update, "value")
        self.canvas.on_mouse_down(self.click)
        self.update()
        super().__init__(
            [widgets.HBox([self.frame, self.object]), self.canvas, self.label, self.image],
            layout={"align_items": "flex-start"},  # the canvas at its own size, not stretched
        )

    @property
    def map_size(self):
        """(w, h) of the feature map."""
        return self.record.queries.shape[:1:-1]

    def click(self, x, y):
        """Ask for the cell under pixel (x, y) of the canvas."""
        size = self.record.frames.shape[2:0:-1]
        self.cell = keymaps.cell_at((x / self.zoom, y / self.zoom), size, self.map_size)
        self.update()

    def update(self, change=None):
        """Draw the read of the cell. Called on every change."""
        t, index = self.frame.value, self.object.value
        shown = render.overlay(self.record.frames[t], self.record.masks[t], 0.3)
        shown = render.mark_cell(shown, self.cell, self.map_size)
        self.canvas.put_image_data(shown.repeat(self.zoom, 0).repeat(self.zoom, 1), 0, 0)
        picture = labs.render_read(self.record, t, self.cell, index)
        self.image.value = render.to_jpeg(picture)
        on = [keymaps.mask_on_map(mask == self.record.ids[index], self.map_size)
              for mask in self.record.masks[:t]]  # fmt: skip
        shares = [
            (weights * on).sum() / weights.sum()
            for weights in (
                np.abs(self.record.implied_weights(t, *self.cell, index)),
                self.record.softmax_weights(t, *self.cell, index),
            )
        ]
        self.label.value = (
            f"frame {t}, cell (row {self.cell[0]}, column {self.cell[1]}): of its weight on the "
            f"past, signs left out, GC puts {shares[0]:.0%} on the object, STM {shares[1]:.0%}"
        )


class GhostLab(widgets.VBox):
    """Change the past and look at a frame again.

    model, record: of record.watch; truth: T uint8 (H, W) of ids, where it is known; height: as
    given to record.watch. The network runs when a slider is let go. The picture is
    labs.render_ghost.
    """

    def __init__(self, model, record, truth=None, height=None):
        self.ghost, self.record, self.truth = Ghost(model, record, height), record, truth
        last = len(record.frames) - 1
        self.frame = widgets.IntSlider(
            value=last, min=1, max=last, description="look at", continuous_update=False
        )
        self.past = widgets.IntRangeSlider(
            value=(0, 0), min=0, max=last - 1, description="frames", continuous_update=False
        )
        self.edit = widgets.Dropdown(options=EDITS, description="are")
        self.image = widgets.Image(format="jpeg")
        self.label = widgets.Label()
        for control in (self.frame, self.past, self.edit):
            control.observe(self.update, "value")
        self.update()
        super().__init__([widgets.HBox([self.frame, self.past, self.edit]), self.label, self.image])

    @property
    def edits(self):
        """What the controls say, {past frame: edit}."""
        first, last = self.past.value
        return {i: self.edit.value for i in range(first, min(last + 1, self.frame.value))}

    def update(self, change=None):
        """Run the network on the frame with the changed past, and draw. Called on every change."""
        t = self.frame.value
        self.label.value = "looking again ..."
        try:
            found = self.ghost.look(t, self.edits)
        except ValueError as error:
            self.label.value = str(error)
            return
        J = None
        if self.truth is not None:
            J = [self.mean_J(mask, self.truth[t]) for mask in (self.record.masks[t], found)]
        picture = labs.render_ghost(self.record, t, found, self.edits, J)
        self.image.value = render.to_jpeg(picture)
        self.label.value = f"{np.mean(found != self.record.masks[t]):.2%} of the pixels differ"
        if J is not None:
            self.label.value += f"; J {J[0]:.3f} as it was, {J[1]:.3f} now"

    def mean_J(self, mask, truth):
        """J of a mask (H, W), the mean over the objects."""
        return float(np.mean([region_similarity(mask == n, truth == n) for n in self.record.ids]))


class EquivalenceLab(widgets.VBox):
    """The linear read in both bracketings: errors, operations, bytes, and seconds on a button.

    The sliders set a equality.Setting; the largest is the paper's map, 24x24 with 128 and 512
    channels, over 16 frames. Moving one measures the errors anew and drops the measured time.
    """

    def __init__(self):
        start = equality.Setting()
        self.controls = {
            "frames": self._slider(16, start.frames, "frames T"),
            "height": self._slider(24, start.height, "height H"),
            "width": self._slider(24, start.width, "width W"),
            "key_dim": self._choice([8, 16, 32, 64, 128], start.key_dim, "C_key"),
            "value_dim": self._choice([8, 16, 32, 64, 128, 256, 512], start.value_dim, "C_value"),
            "dtype": widgets.Dropdown(
                options=list(equality.DTYPES), value=start.dtype, description="dtype"
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
        """What the controls say, a equality.Setting."""
        return equality.Setting(**{name: c.value for name, c in self.controls.items()})

    def update(self, change=None):
        """Measure the errors at the setting and draw. Called on every change."""
        self.result = equality.equivalence(self.setting)
        self.draw()

    def update_time(self, button=None):
        """Time both bracketings at the setting and draw. Called by the button."""
        self.label.value = "measuring"
        self.draw(equality.time_bracketings(self.setting))

    def draw(self, seconds=None):
        """Show errors and counts, and (context first, similarity first) seconds if given."""
        picture = labs.render_equivalence(self.setting, self.result, seconds)
        self.image.value = render.to_jpeg(picture)
        self.label.value = (
            f"(q kᵀ) v takes {seconds[1] / seconds[0]:.2f} times as long" if seconds else ""
        )


class Runner(widgets.VBox):
    """Step by step while you watch: "run" starts and stops, "again" goes back to the start.

    length: steps, for the progress bar. A subclass has `restart` and `advance`, which shows one
    step more and is False at the end, and calls `restart` when it is ready.
    """

    def __init__(self, length):
        super().__init__()
        self.run = widgets.ToggleButton(description="run", icon="play")
        self.again = widgets.Button(description="again", icon="undo")
        self.progress = widgets.IntProgress(min=0, max=length)
        self.image = widgets.Image(format="jpeg")
        self.label = widgets.Label()
        self.task = None
        self.run.observe(self._toggled, "value")
        self.again.on_click(self.restart)
        self.controls = widgets.HBox([self.run, self.again, self.progress, self.label])

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


class LiveSwap(Runner):
    """One network with several memories, run frame by frame side by side while you watch.

    network: from load_model; frames: a list of uint8 (H, W, 3); first_mask: uint8 (H, W) of object
    ids; memories, height: as in equality.live_swap. "run" starts and stops, "again" goes back to
    the first frame. `history` is what has been yielded so far.
    """

    def __init__(self, network, frames, first_mask, memories=("gc", "stm-linear"), height=None):
        self.frames = list(frames)
        self.make = lambda: equality.live_swap(network, self.frames, first_mask, memories, height)
        super().__init__(len(self.frames) - 1)
        self.children = [self.controls, self.image]
        self.restart()

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
        self.image.value = render.to_jpeg(labs.render_swap(self.history, len(self.frames)))
        self.progress.value = swapped.index
        equal = [min(swapped.equal.values()) for swapped in self.history]
        self.label.value = f"{np.mean(equal):.4%} of the pixels so far have the same id"
        return True
