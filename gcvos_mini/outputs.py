"""Folders that masks are written to: no file of the user's is replaced, and no two runs mix.

Every mask says which run made it, in a text field of its PNG. A folder is claimed before anything
is written: it may hold masks of the very same run, which come out the same again, and nothing else.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gcvos_mini.errors import BadInput
from gcvos_mini.masks import RUN_FIELD, read_mask
from gcvos_mini.memory import name_of
from gcvos_mini.pictures import DECODER_ERRORS, FRAME_SUFFIXES, list_files

BY_HAND = ", corrected"  # behind the run's name, in a mask that was corrected by hand


def run_id(**settings) -> str:
    """What makes a run this run, as twelve letters; equal settings give equal ones.

    settings: plain values, and arrays, which count by their content.
    """
    plain = {
        name: hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
        if isinstance(value, np.ndarray)
        else value
        for name, value in settings.items()
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def source_state(source: Path | str) -> list:
    """What a source holds now, without reading it: a video's size and time, a folder's files."""
    source = Path(source)
    files = list_files(source, FRAME_SUFFIXES) if source.is_dir() else [source]
    return [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.exists()]


def run_of_segmenter(
    segmenter, source: Path | str, first_mask: np.ndarray, masks: Path | None = None
) -> str:
    """The run id of a segment.VideoSegmenter on a source: the same where all masks come out so.

    first_mask: uint8 (H, W); masks: a folder of later ones.
    """
    weights = torch.cat([p.detach().flatten().float().cpu() for p in segmenter.model.parameters()])
    return run_id(
        source=source_state(source),
        masks=source_state(masks) if masks else [],
        first_mask=first_mask,
        weights=weights.numpy(),
        config=segmenter.model.config.stored(),
        memory=name_of(segmenter.memory_choice),
        write_every=segmenter.write_every,
        height=segmenter.height,
    )


def run_of(mask: Path) -> str | None:
    """Which run made a mask; None where this program did not make it."""
    try:
        with Image.open(mask) as image:
            return image.info.get(RUN_FIELD)
    except DECODER_ERRORS:
        return None


def check_apart(out: Path, inputs: Iterable[Path]) -> None:
    """Raise BadInput where a folder to write to is, holds or lies in one that is read from.

    Of an input that is a file, only a folder that holds it.
    """
    new = Path(out).resolve()
    for path in inputs:
        given = Path(path).resolve()
        inside = given.is_dir() and given in new.parents
        if new == given or new in given.parents or inside:
            relation = "lies in" if inside else "is" if new == given else "holds"
            raise BadInput(
                f"{out}: {relation} {path}, which is read from; nothing was written, name another "
                "folder for the masks"
            )


def by_hand(run: str) -> str:
    """What a mask says that was corrected by hand: another run, so that this one keeps it."""
    return run + BY_HAND


def corrected_masks(out: Path, run: str) -> dict[str, np.ndarray]:
    """{frame name: uint8 (H, W)} of a run's masks in a folder that were corrected by hand."""
    masks = list_files(Path(out), (".png",))
    return {path.stem: read_mask(path) for path in masks if run_of(path) == by_hand(run)}


def claim(
    out: Path,
    inputs: Iterable[Path],
    run: str,
    overwrite: bool = False,
    corrected: Collection[str] = (),
) -> None:
    """Make sure that masks of a run may be written to `out`. overwrite: start over.

    corrected: names of frames whose masks were corrected by hand, and that the run takes over.
    Starting over removes what this program wrote, and nothing else. Raises BadInput where `out` is
    mixed up with what is read, or holds pictures of another run, or of anything else.
    """
    check_apart(out, inputs)
    made = {path: run_of(path) for path in list_files(Path(out), FRAME_SUFFIXES)}
    foreign = [path for path, maker in made.items() if maker is None]
    if foreign:
        raise BadInput(
            f"{foreign[0]}: was not made by this program; nothing was written, name an empty folder"
        )
    if overwrite:
        for path in made:
            path.unlink()
        return
    taken = {name: by_hand(run) for name in corrected}
    if any(maker not in (run, taken.get(path.stem)) for path, maker in made.items()):
        hand = sum(maker.endswith(BY_HAND) for maker in made.values())
        also = f"; {hand} of them corrected by hand" if hand else ""
        raise BadInput(
            f"{out}: holds {len(made)} masks of another run (other frames, first mask, weights or "
            f"settings{also}); name another folder, or remove them with --overwrite"
        )


def masks_folder(source: Path | str) -> Path:
    """The folder beside a source for its masks, of its whole name: no two sources share one."""
    return Path(source).with_name(f"{Path(source).name}-masks")
