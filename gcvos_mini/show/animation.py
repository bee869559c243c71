"""The moving picture of README: the bunny, the masks found, and two key channels, as a GIF.

    python -m gcvos_mini.show.animation --out docs/bunny.gif

Stored in the repository; run it again when the shipped weights change.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from gcvos_mini import load_model
from gcvos_mini.bunny import CREDIT, load_bunny
from gcvos_mini.device import pick_device
from gcvos_mini.errors import exit_on_bad_input, written_whole
from gcvos_mini.record import Record, watch
from gcvos_mini.show import render

CHANNELS = {0: "the object", 63: "the rest"}  # where basis.py turned the shipped network's keys
PANEL = (320, 180)  # pixels across and down; four panels in two rows
EVERY = 2  # the network sees all frames, the picture shows each second one
MILLISECONDS = 150  # for each shown frame: 32 frames take about five seconds
STILL = 12  # a colour that moves by less, of 255, stays as it was: a GIF stores only what changes
COLOURS = 192  # one palette for all frames, so that nothing flickers


def draw_sheets(record: Record) -> list[np.ndarray]:
    """One picture, uint8 (H, W, 3), for each shown frame: frame, mask and two key channels.

    A channel is drawn by its strength, |key|, on one scale for the whole clip.
    """
    strength = np.abs(record.keys[:, 0, list(CHANNELS)])  # (T, 2, h, w)
    brightest = np.quantile(strength, 0.99, axis=(0, 2, 3))
    size, sheets = record.frames.shape[2:0:-1], []
    for t in range(0, len(record.frames), EVERY):
        panels = [record.frames[t], render.overlay(record.frames[t], record.masks[t])]
        for channel, most in zip(strength[t], brightest):
            panels.append(render.key_map(channel, size, limits=(0, most)))
        panels = [cv2.resize(panel, PANEL, interpolation=cv2.INTER_AREA) for panel in panels]
        labels = [f"frame {t}", "mask found" if t else "mask given"]
        labels += [f"key channel {c}: {what}" for c, what in CHANNELS.items()]
        sheet = render.contact_sheet(panels, 2, labels, letters=20)
        sheets.append(render.contact_sheet([sheet], 1, [CREDIT], pad=0, letters=15))
    return sheets


def hold_still(images: list[np.ndarray]) -> list[np.ndarray]:
    """The same images; a pixel keeps the colour it had until it moves by more than STILL."""
    held = images[:1]
    for image in images[1:]:
        moved = np.abs(image.astype(int) - held[-1]).max(axis=2, keepdims=True) > STILL
        held.append(np.where(moved, image, held[-1]))
    return held


def animation(out: Path, device: str | None = None) -> None:
    """Write README's moving picture.

    Args:
        out: the GIF file to write.
        device: cuda, mps or cpu; the best there is if not given.
    """
    frames, truth = load_bunny()
    record = watch(load_model("mini", device=pick_device(device)), frames, truth[0])
    images = hold_still(draw_sheets(record))
    palette = Image.fromarray(np.concatenate(images[::6])).quantize(COLOURS)
    images = [Image.fromarray(image).quantize(palette=palette, dither=0) for image in images]
    with written_whole(out) as unfinished:
        images[0].save(unfinished, format="GIF", save_all=True, append_images=images[1:], loop=0,
                       duration=MILLISECONDS, comment=CREDIT)  # fmt: skip
    print(f"open {out} ({out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(animation))
