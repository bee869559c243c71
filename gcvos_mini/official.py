"""Other people's official code, run beside ours from a checkout of it; none of it is part of this.

The evaluator: https://github.com/davisvideochallenge/davis2017-evaluation
Space-time memory networks: https://github.com/seoungwugoh/STM
"""

import contextlib
import importlib.util
import io
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from tqdm import tqdm

from gcvos_mini.davis import Sequence, load_split
from gcvos_mini.equality import clock
from gcvos_mini.errors import BadInput, at_least
from gcvos_mini.evaluate import score_masks
from gcvos_mini.fast import Precision
from gcvos_mini.masks import read_sequence_mask, write_mask
from gcvos_mini.predictions import check_predictions
from gcvos_mini.tables import markdown


def as_2017(sequences: list[Sequence], year: int, masks: Path, folder: Path) -> None:
    """Copy truth and predictions of [Sequence] to folder, in the form of DAVIS 2017.

    The official evaluator wants ids in place of 2016's 255, and takes the length of a sequence from
    its frames, which it does not open: they are empty files.
    """
    (folder / "ImageSets" / "2017").mkdir(parents=True)
    names = "".join(f"{sequence.name}\n" for sequence in sequences)
    (folder / "ImageSets" / "2017" / "val.txt").write_text(names)
    for sequence in tqdm(sequences, "copying", unit="sequence", disable=None):
        (folder / "JPEGImages" / "480p" / sequence.name).mkdir(parents=True)
        for frame, path in sequence.masks.items():
            (folder / "JPEGImages" / "480p" / sequence.name / f"{frame}.jpg").touch()
            own = Path(sequence.name, f"{frame}.png")
            write_mask(folder / "Annotations" / "480p" / own, read_sequence_mask(path, year))
            if (masks / own).is_file():  # the first and the last need not be there
                write_mask(folder / "masks" / own, read_sequence_mask(masks / own, year))


def import_official(folder: Path) -> type:
    """The official evaluator's class, from a checkout. Raises BadInput where it is none."""
    sys.path.insert(0, str(folder))
    try:
        from davis2017.evaluation import DAVISEvaluation
    except ImportError as error:
        raise BadInput(
            f"{folder}: the official evaluator cannot be imported ({error}); clone "
            "https://github.com/davisvideochallenge/davis2017-evaluation, pip install what it needs"
        ) from error
    return DAVISEvaluation


def official_stm(folder: Path) -> nn.Module:
    """The official STM network, from a checkout. Raises BadInput where it is none.

    Its backbones come with random weights, in place of being downloaded: it is only timed here.
    """
    sys.path.insert(0, str(folder))  # it imports its helpers.py
    resnet50 = torchvision.models.resnet50
    try:
        torchvision.models.resnet50 = lambda pretrained: resnet50(weights=None)
        spec = importlib.util.spec_from_file_location("official_stm", Path(folder) / "model.py")
        module = importlib.util.module_from_spec(spec)
        with contextlib.redirect_stdout(io.StringIO()):  # it says hello
            spec.loader.exec_module(module)
        return module.STM()
    except (ImportError, OSError, AttributeError) as error:
        raise BadInput(
            f"{folder}: the official network cannot be imported ({error}); clone "
            "https://github.com/seoungwugoh/STM, pip install what it needs"
        ) from error
    finally:
        torchvision.models.resnet50 = resnet50
        sys.path.remove(str(folder))


def stm_step(folder: Path, frame: Tensor, kept: int, precision: Precision) -> Callable[[], Tensor]:
    """A function that does what the official network does for one more frame of one object.

    frame (1, 3, H, W); kept: stored frames, besides the one before this, which is always read too.
    As its eval_DAVIS.py: encode the last frame and mask, append, read all, decode. In float32 it is
    run as it is; in another precision by autocast, channels last. Raises BadInput as official_stm.
    """
    torch.manual_seed(0)
    network = official_stm(folder).to(frame.device).eval()
    lower = precision != "float32"
    if lower:
        network.to(memory_format=torch.channels_last)
    objects = torch.tensor([1])
    masks = torch.zeros(1, 2, *frame.shape[2:], device=frame.device)
    masks[:, 1, : frame.shape[2] // 2] = 1  # any mask takes the same time

    def encoded():
        return network(frame, masks, objects)

    @torch.inference_mode()
    @torch.autocast(frame.device.type, getattr(torch, precision), enabled=lower)
    def step():
        pairs = zip((keys, values), encoded())
        return network(frame, *(torch.cat(pair, dim=3) for pair in pairs), objects).softmax(dim=1)

    with torch.inference_mode():
        keys, values = (x.repeat(1, 1, 1, kept, 1, 1) for x in encoded())
    return step


def benchmark_evaluate(
    data: Path,
    masks: Path,
    official: Path,
    year: Literal[2016, 2017] = 2017,
    split: str = "val",
    runs: int = 1,
) -> None:
    """Seconds to score masks, beside the official evaluator on the same files, as Markdown.

    Args:
        data: folder of a data set in DAVIS layout.
        masks: the masks to score, MASKS/<sequence>/<frame>.png.
        official: a checkout of https://github.com/davisvideochallenge/davis2017-evaluation.
        year: 2016, one object (any non-zero value), or 2017, several.
        split: name of the list of sequences in ImageSets.
        runs: how often each is run, in turns; the table has the medians.
    """
    at_least(1, runs=runs)
    sequences = load_split(data, year, split, need_frames=False)
    # now, since without one of them the official evaluator ends the process with status 0
    check_predictions([s for s in sequences if len(s.masks) > 2], masks)
    DAVISEvaluation = import_official(official)
    seconds = {"official": [], "gcvos_mini": []}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        as_2017(sequences, year, masks, copy)
        for _ in range(runs):
            began = clock()
            theirs = DAVISEvaluation(folder, "semi-supervised", "val").evaluate(copy / "masks")
            middle = clock()
            ours = score_masks(copy, 2017, "val", copy / "masks")["mean"]
            seconds["official"].append(middle - began)
            seconds["gcvos_mini"].append(clock() - middle)
    scores = {
        "official": (np.mean(theirs["J"]["M"]), np.mean(theirs["F"]["M"])),
        "gcvos_mini": (ours["J_mean"], ours["F_mean"]),
    }
    median = {name: statistics.median(times) for name, times in seconds.items()}
    rows = [
        (name, f"{median[name]:.1f}", f"{median[name] / median['gcvos_mini']:.2f}",
         *(f"{score:.6f}" for score in scores[name]))
        for name in seconds
    ]  # fmt: skip
    print(f"{sum(len(s.masks) for s in sequences)} masks of {len(sequences)} sequences\n")
    print(markdown(("evaluator", "seconds", "/ gcvos_mini", "J", "F"), rows))
