"""How long the pictures of notebook 08 take, from a click to the bytes that the browser gets.

python -m gcvos_mini.show.latency
"""

import numpy as np

from gcvos_mini.complexity import map_size
from gcvos_mini.config import MINI
from gcvos_mini.equality import clock
from gcvos_mini.errors import at_least, exit_on_bad_input
from gcvos_mini.record import Record
from gcvos_mini.show.explore import KeyMapExplorer, ReadExplorer
from gcvos_mini.show.render import overlay, to_jpeg
from gcvos_mini.tables import markdown
from gcvos_mini.toy import clip_frames


def random_record(clip, frames):
    """A Record of an embedded clip at 427x240 with keys of random numbers, of MINI's size."""
    images, masks = map(np.stack, zip(*clip_frames(clip, 240, frames=frames)))
    h, w = map_size(*masks.shape[1:])
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(frames, 1, MINI.key_dim, h, w))
    queries = rng.normal(size=(frames, MINI.key_dim, h, w))
    values = np.zeros((frames, 1, 1, h, w))  # none of the pictures shows values
    return Record(images, masks, [1], keys, values, queries, "mean", MINI.first_share)


def tasks(clip, record):
    """{what: function of the frame number that draws it}."""
    shown = {clip: (record.frames, record.masks, record.keys[:, 0])}
    one, pinned, read = KeyMapExplorer(shown), KeyMapExplorer(shown), ReadExplorer(record)
    for channel in (1, 2, 3):
        pinned.channel.value = channel
        pinned.toggle_pin()

    def move(explorer):
        last = explorer.frame.max
        return lambda t: setattr(explorer.frame, "value", (explorer.frame.value + 1) % (last + 1))

    return {
        "one overlay": lambda t: overlay(record.frames[t], record.masks[t]),
        "one overlay, as JPEG": lambda t: to_jpeg(overlay(record.frames[t], record.masks[t])),
        "KeyMapExplorer, the frame slider moved": move(one),
        "the same, three channels pinned": move(pinned),
        "ReadExplorer, a click": lambda t: read.click(20.0 * t, 10.0 * t),
    }


def latency(clip: str = "approach", frames: int = 20, turns: int = 5) -> None:
    """Milliseconds to draw one overlay, and of the explorers from an event to the new picture.

    At 427x240 pixels, on keys of random numbers, for no network runs. Prints Markdown.

    Args:
        clip: name of an embedded clip.
        frames: its length.
        turns: how often it is played.
    """
    at_least(2, frames=frames)
    at_least(1, turns=turns)
    rows = []
    for name, task in tasks(clip, random_record(clip, frames)).items():
        taken = []
        for t in [*range(frames)] * turns:
            began = clock()
            task(t)
            taken.append(1e3 * (clock() - began))
        rows.append((name, *(f"{np.quantile(taken, q):.1f}" for q in (0.5, 0.9))))
    print(f"427x240 pixels, {frames} frames, {turns} turns\n")
    print(markdown(("what", "median, ms", "slowest tenth, ms"), rows))


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(latency))
