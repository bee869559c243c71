"""Training clips: made from stills by moving them, or sampled from videos (section 3.3).

A clip is frames float32 (T, 3, S, S) in [0, 1] and masks float32 (T, O, S, S), O = Stage.objects.
Object 0 is the one that the crop is drawn around, and its first mask is never empty; a mask of the
others that is empty in the first frame means that the clip has fewer objects. Clip number i of a
run depends on the seed and i alone, so a run that is resumed sees what it would have seen.
Notebook 06 shows them.
"""

import math
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from gcvos_mini import warps
from gcvos_mini.commands import python
from gcvos_mini.config import Stage
from gcvos_mini.davis import Sequence, find_resolution, load_sequence, load_split
from gcvos_mini.errors import BadInput, free_name
from gcvos_mini.masks import VOID, object_ids, read_sequence_mask, read_still_mask
from gcvos_mini.pictures import FRAME_SUFFIXES, check_same_size, list_files, read_frame

TRIES = 10  # draws until the object is in the crop
MOST_TRIES = 100  # draws until anything of it is


@dataclass(frozen=True)
class Still:
    """One image and its mask file; `year` says how to read the mask, None as of a single picture
    (masks.py)."""

    image: Path
    mask: Path
    year: int | None = None


def find_stills(folder: Path | str) -> list[Still]:
    """Stills of FOLDER/images/NAME.jpg with FOLDER/masks/NAME.png; others are named on stderr.

    Raises BadInput if there are none.
    """
    folder = Path(folder)
    images = list_files(folder / "images", FRAME_SUFFIXES)
    masks = {p.stem: p for p in list_files(folder / "masks", (".png",))}
    stills = [Still(p, masks[p.stem]) for p in images if p.stem in masks]
    if not stills:
        raise BadInput(f"{folder}: no image in images/ has a mask of the same name in masks/")
    alone = [p.name for p in images if p.stem not in masks]
    if alone:
        shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        note = f"note: {folder}: {len(alone)} of {len(images)} images have no mask and are left out"
        print(f"{note}: {shown}", file=sys.stderr)
    return stills


def find_data(
    folders: Iterable[Path | str], split: str = "train", without: Collection[str] = ()
) -> tuple[list[Still], list[list[Still]]]:
    """(stills, videos) in folders of stills or in DAVIS layout, sequences in `without` left out.

    A video is its annotated frames in time order; each of them also serves as a still. Raises
    BadInput on a folder of neither kind.
    """
    stills, videos = [], []
    for folder in map(Path, folders):
        if (folder / "images").is_dir() and (folder / "masks").is_dir():
            stills += find_stills(folder)
        elif (folder / "JPEGImages").is_dir():
            year = year_of(folder)
            for sequence in load_split(folder, year, split):
                if sequence.name in without:
                    continue
                video = [
                    Still(frame, sequence.masks[frame.stem], year)
                    for frame in sequence.frames
                    if frame.stem in sequence.masks
                ]
                videos.append(video)
                stills += video
        else:
            fix = python("-m", "gcvos_mini.toy", "--out", free_name(folder))
            raise BadInput(
                f"{folder}: neither stills (images/ and masks/) nor DAVIS (JPEGImages/, ...); "
                f"make the embedded clips: {fix}"
            )
    return stills, videos


def year_of(folder: Path) -> int:
    """The year by whose rules the masks of a folder in DAVIS layout are read.

    2017, one number for each object, where it has any split of that year; else 2016, one object.
    """
    return 2017 if any((folder / "ImageSets" / "2017").glob("*.txt")) else 2016


def held_out(folders: Collection[Path | str], names: Iterable[str]) -> list[tuple[Sequence, int]]:
    """[(Sequence, year)] of the sequences of these names, in any folder that has them.

    Raises BadInput on a name that no folder has, or a sequence of one mask: nothing to score.
    """
    found = []
    for name in names:
        before = len(found)
        for folder in dict.fromkeys(map(Path, folders)):
            if not (folder / "JPEGImages").is_dir():
                continue
            resolution = find_resolution(folder)
            if (folder / "JPEGImages" / resolution / name).is_dir():
                sequence = load_sequence(folder, name, resolution)
                if len(sequence.masks) < 2:
                    raise BadInput(f"{folder}: {name} has no second mask; validate on another")
                found.append((sequence, year_of(folder)))
        if len(found) == before:
            raise BadInput(f"{name}: no such sequence in {', '.join(map(str, folders))}")
    return found


def read_pair(still: Still) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and object ids (H, W), uint8. Raises BadInput where their sizes differ."""
    image = read_frame(still.image)
    if still.year is None:
        labels = read_still_mask(still.mask)
    else:
        labels = read_sequence_mask(still.mask, still.year)
    check_same_size(image, still.image, labels, still.mask)
    if labels.max() == VOID and not object_ids(labels):
        raise BadInput(
            f"{still.mask}: holds only 255, which is void in a 2017 data set; write the objects as "
            "ids 1, 2, 3, ..."
        )
    return image, labels


def renumber(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Labels uint8 (H, W) with ids[0] as 1, ids[1] as 2 and so on; the rest is background."""
    table = np.zeros(256, np.uint8)
    table[ids] = np.arange(1, len(ids) + 1)
    return table[labels]


def choose(rng: Generator, things: list[Any]) -> Any:
    """One of a list, all as likely."""
    return things[rng.integers(len(things))]


class TrainingClips(torch.utils.data.Dataset):
    """Clips 0 ... total-1 of a run, for one Stage on folders of data, some sequences left out.

    Raises BadInput where the stage needs videos or stills that the folders lack.
    """

    def __init__(
        self,
        stage: Stage,
        folders: Collection[Path | str],
        total: int,
        seed: int = 0,
        without: Collection[str] = (),
    ):
        self.stage, self.total, self.seed = stage, total, seed
        groups = [[folder] for folder in folders] if stage.folders_alike else [folders]
        found = [find_data(group, without=without) for group in groups]
        self.stills = [stills for stills, _ in found if stills]
        videos = [[v for v in videos if len(v) >= stage.clip_frames] for _, videos in found]
        self.videos = [group for group in videos if group]
        names = self.names = ", ".join(map(str, folders))
        if stage.stills != (1.0, 1.0) and not self.videos:
            raise BadInput(
                f"{names}: no training video of {stage.clip_frames} frames; "
                "this stage needs a folder in DAVIS layout"
            )
        if not self.stills:
            raise BadInput(f"{names}: no training image")

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Clip `index`: frames (T, 3, S, S) in [0, 1], masks (T, O, S, S) of 0 and 1, float32.

        Raises BadInput where a hundred draws show no object, or a file cannot be read.
        """
        rng = np.random.default_rng([self.seed, index])
        progress = index / self.total
        start, end = self.stage.stills
        still = rng.random() < start + (end - start) * progress
        make = self.from_still if still else self.from_video
        for attempt in range(MOST_TRIES):
            frames, labels = make(rng, progress)
            share = (labels[0] == 1).mean()
            if share >= self.stage.smallest or (share > 0 and attempt >= TRIES - 1):
                break
        else:
            raise BadInput(f"{self.names}: {MOST_TRIES} clips without an object; fill the masks")
        if self.stage.jitter:
            frames = [warps.jitter(rng, frame, self.stage.jitter) for frame in frames]
        if self.stage.tint:
            colors = warps.tint(rng, self.stage.tint)
            frames = [cv2.transform(frame, colors) for frame in frames]
        frames, labels = np.stack(frames), np.stack(labels)  # (T, S, S, 3), (T, S, S)
        if rng.random() < 0.5:
            frames, labels = frames[:, :, ::-1], labels[:, :, ::-1]
        numbers = np.arange(1, self.stage.objects + 1, dtype=np.uint8)
        masks = labels[:, None] == numbers[:, None, None]  # (T, O, S, S)
        frames = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()).float() / 255
        return frames, torch.from_numpy(masks).float()

    def from_still(self, rng: Generator, progress: float) -> list[list]:
        """Move one still, or objects of several over another one that moves too.

        T frames uint8 (S, S, 3) and T maps of ids (S, S); section 3.3, "Pre-training on images".
        """
        group = choose(rng, self.stills)
        if rng.random() < self.stage.paste:
            return self._collage(rng, group)
        image, labels = self._read(rng, group)
        views = self._still(rng, image, labels, warps.center(labels == 1))
        return [list(part) for part in zip(*views)]

    def from_video(self, rng: Generator, progress: float) -> list[list]:
        """Frames of one video in time order, turned alike, given as by from_still.

        Section 3.3, "Fine-tuning on videos". The longest interval grows in the first half of the
        run; progress: how much of it is done, 0 to 1. The more a clip zooms, the more closely the
        view follows its object.
        """
        video = choose(rng, choose(rng, self.videos))
        shortest, longest = self.stage.interval
        longest = round(shortest + (longest - shortest) * min(1, 2 * progress))
        steps = rng.integers(shortest, longest + 1, self.stage.clip_frames - 1)
        steps = np.minimum(steps, (len(video) - 1) // (self.stage.clip_frames - 1))
        first = rng.integers(len(video) - steps.sum())
        pairs = [read_pair(video[i]) for i in first + np.concatenate([[0], np.cumsum(steps)])]
        chosen = self._choose(rng, pairs[0][1])
        pairs = [(image, renumber(labels, chosen)) for image, labels in pairs]
        scale, angle, *shift = warps.random_motion(rng, self.stage)[0]
        growth = warps.random_growth(rng, self.stage)  # (T,)
        follow = min(1, abs(math.log2(growth[-1] / growth[0])))  # wholly, from twice the size on
        start, crop, moved = warps.center(pairs[0][1] == 1), self.stage.crop, []
        for (image, labels), grown in zip(pairs, growth):
            about = start + follow * (warps.center(labels == 1) - start)
            zoom = scale * grown * crop / min(labels.shape)
            matrix = warps.crop_matrix(crop, zoom, angle, about, crop * (0.5 + np.array(shift)))
            moved.append(warps.sample(image, labels, warps.source_positions(matrix, crop)))
        return [list(part) for part in zip(*moved)]

    def _choose(self, rng, labels):
        """The ids of up to `objects` objects in a mask, in random order."""
        return rng.permutation(np.array(object_ids(labels), np.uint8))[: self.stage.objects]

    def _read(self, rng, group):
        """Image (H, W, 3) and ids (H, W) of a still of the group, its objects numbered from 1."""
        image, labels = read_pair(choose(rng, group))
        return image, renumber(labels, self._choose(rng, labels))

    def _still(self, rng, image, labels, about):
        """Yield (frame, ids) of a whole still; the crop is drawn around its point `about`."""
        crop = self.stage.crop
        zoom, middle = crop / min(labels.shape), np.full(2, crop / 2)
        return warps.move(rng, self.stage, image, labels, zoom, about, middle)

    def _cutout(self, rng, group, at):
        """Yield (frame, mask) of one object of a still, cut out, at a point of the crop."""
        image, labels = self._read(rng, group)
        mask = (labels == 1).astype(np.uint8)
        low, high = self.stage.cutout
        share = low * (high / low) ** rng.random()  # of the crop; as often small as large
        zoom = self.stage.crop * math.sqrt(share / max(1, mask.sum()))
        about = warps.center(mask)
        return warps.move(rng, self.stage, image, mask, zoom, about, at, cv2.BORDER_CONSTANT)

    def _collage(self, rng, group):
        """Cut-outs over a still: object 1, and others that may come in, go out, or hide it.

        Those others, and the objects of the still behind, have masks too, as far as there are
        numbers; or they are bystanders, background that looks like an object. Half of them are from
        object 1's own folder, so that they may be of its kind.
        """
        stage, free = self.stage, iter(range(2, self.stage.objects + 1))

        def folder():
            return group if rng.random() < 0.5 else choose(rng, self.stills)

        def number():
            return 0 if rng.random() < stage.bystanders else next(free, 0)

        layers = [(1, self._cutout(rng, group, np.full(2, stage.crop / 2)))]
        for _ in range(rng.integers(stage.cutouts)):
            at = stage.crop * rng.uniform(-0.1, 1.1, 2)  # partly or wholly out of the picture
            layers.append((number(), self._cutout(rng, folder(), at)))
        rng.shuffle(layers)  # the last one is in front
        image, labels = self._read(rng, folder())
        numbers = np.array([0, *(number() for _ in range(labels.max()))], np.uint8)
        frames, ids = [], []
        about = rng.uniform(0, labels.shape[::-1])  # not its object, which would mostly be hidden
        for frame, behind in self._still(rng, image, labels, about):
            now = numbers[behind]
            for own, cutout in layers:
                picture, mask = next(cutout)
                alpha = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0)[..., None]
                frame = (alpha * picture + (1 - alpha) * frame).astype(np.uint8)
                now = np.where(mask == 1, np.uint8(own), now)
            frames.append(frame)
            ids.append(now)
        return [frames, ids]
