"""python -m gcvos_mini.toy --out DIR: render the embedded data set."""

from pathlib import Path
from typing import Literal

import tyro

from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.toy.render import render_clips


def toy(
    out: Path,
    seed: int = 0,
    height: Literal[240, 480] = 240,
    clips: tuple[str, ...] = (),
    frames: int | None = None,
) -> None:
    """Render the embedded data set.

    Args:
        out: the folder to write.
        seed: of everything that is drawn.
        height: lines per frame.
        clips: clip names; all 168 if none.
        frames: per clip; training clips have 6, validation clips 40.
    """
    if frames is not None and frames < 1:
        raise BadInput(f"--frames {frames}: must be 1 or more")
    root = render_clips(out, seed, height, list(clips), frames)
    print(f"{root}: ready")


if __name__ == "__main__":
    exit_on_bad_input(lambda: tyro.cli(toy))
