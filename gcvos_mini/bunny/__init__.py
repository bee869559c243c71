"""The one real clip in the box: a stretch of Big Buck Bunny, with some masks painted by hand.

(c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0: wherever a picture of it is shown,
`CREDIT` stands with it. The folder is a data set in DAVIS layout with one sequence, so

    python -m gcvos_mini.evaluate --data gcvos_mini/bunny --checkpoint mini --out DIR

scores a network on it, at the frames that have a mask.
"""

from importlib import resources
from pathlib import Path

import numpy as np

from gcvos_mini.davis import load_sequence
from gcvos_mini.masks import read_mask
from gcvos_mini.pictures import read_frame

FOLDER = Path(str(resources.files(__name__)))
CREDIT = "Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0"


def load_bunny(every: int = 1) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Frames uint8 (T, H, W, 3) and {frame number: mask uint8 (H, W), 1 on the rabbit}.

    every: take each n-th frame only; a mask stays where its frame does. Frame 0 has one.
    """
    sequence = load_sequence(FOLDER, "bunny", "240p")
    paths = sequence.frames[::every]
    frames = np.stack([read_frame(path) for path in paths])
    masks = {
        t: read_mask(sequence.masks[path.stem])
        for t, path in enumerate(paths)
        if path.stem in sequence.masks
    }
    return frames, masks
