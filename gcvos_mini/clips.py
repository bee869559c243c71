"""Training clips: made from stills by moving them, or sampled from videos (section 3.3).

A clip is frames float32 (T, 3, S, S) in [0, 1] and masks float32 (T, O, S, S), O = Stage.objects.
Object 0 is the one that the crop is drawn around, and its first mask is never empty; a mask of the
others that is empty in the first frame means that the clip has fewer objects. Clip number i of a
run depends on the seed and i alone, so a run that is resumed sees what it would have seen.
Notebook 06 shows them.
"""

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

from gcvos_mini.commands import python
from gcvos_mini.config import Stage
from gcvos_mini.davis import Sequence, find_resolution, load_sequence, load_split
from gcvos_mini.errors import BadInput, free_name
from gcvos_mini.masks import VOID, object_ids, read_sequence_mask
from gcvos_mini.pictures import FRAME_SUFFIXES, check_same_size, list_files, read_frame

TRIES = 10  # draws until the object is in the crop
MOST_TRIES = 100  # draws until anything of it is
SMALLEST = 0.01  # an object covers at least this share of the crop in the first frame


@dataclass(frozen=True)
class Still:
    """One image and its mask file; `year` says how to read the mask (davis.py)."""

    image: Path
    mask: Path
    year: int


def find_stills(folder: Path | str) -> list[Still]:
    """Stills of FOLDER/images/NAME.jpg with FOLDER/masks/NAME.png; others are named on stderr.

    Raises BadInput if there are none.
    """
    folder = Path(folder)
    images = list_files(folder / "images", FRAME_SUFFIXES)
    masks = {p.stem: p for p in list_files(folder / "masks", (".png",))}
    stills = [Still(p, masks[p.stem], 2016) for p in images if p.stem in masks]
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
    image, labels = read_frame(still.image), read_sequence_mask(still.mask, still.year)
    check_same_size(image, still.image, labels, still.mask)
    if labels.max() == VOID and not object_ids(labels):
        raise BadInput(
            f"{still.mask}: holds only 255, which is void in a 2017 data set; write the objects as "
            "ids 1, 2, 3, ..."
        )
    return image, labels


def center(mask: np.ndarray) -> np.ndarray:
    """(x, y) in pixels of an object's centre in its mask (H, W), or of the image's if empty."""
    y, x = np.nonzero(mask)
    if len(x) == 0:
        return np.array(mask.shape[::-1]) / 2
    return np.array([x.mean(), y.mean()])


def random_affine(rng: Generator, stage: Stage, mask: np.ndarray) -> np.ndarray:
    """A 2x3 matrix from crop pixels to pixels of the source, whose object mask (H, W) it centres.

    Section 3.3's rotation, scaling and random cropping. At scale 1 the crop spans the source's
    short side; the centre moves by up to a quarter of it.
    """
    span = min(mask.shape)
    angle = rng.uniform(-stage.rotation, stage.rotation)
    zoom = rng.uniform(*stage.scale) * stage.crop / span  # crop pixels per source pixel
    matrix = cv2.getRotationMatrix2D((stage.crop / 2, stage.crop / 2), angle, 1 / zoom)
    matrix[:, 2] += center(mask) + span * rng.uniform(-0.25, 0.25, 2) - stage.crop / 2
    return matrix


def thin_plate_spline(rng: Generator, size: int, strength: float, points: int = 4) -> np.ndarray:
    """A smooth random displacement (S, S, 2) in pixels that moves points x points control points.

    strength: the most that one moves along x or y, as a share of the size S.
    The thin-plate spline is the surface through the moved points that bends least:
    f(p) = a0 + a.p + sum_i w_i U(|p - c_i|), U(r) = r^2 log r^2 (Bookstein 1989).
    """
    axis = np.linspace(0, 1, points)
    control = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)  # (n, 2)
    shift = rng.uniform(-strength, strength, control.shape)

    def basis(p):  # (m, 2) -> (m, n + 3)
        r2 = ((p[:, None] - control) ** 2).sum(axis=2)
        return np.hstack([r2 * np.log(r2 + 1e-9), np.ones((len(p), 1)), p])

    n = len(control)
    system = np.zeros((n + 3, n + 3))
    system[:n] = basis(control)
    system[n:, :n] = system[:n, n:].T  # the weights hold no affine part
    weights = np.linalg.solve(system, np.vstack([shift, np.zeros((3, 2))]))
    coarse = np.linspace(0, 1, 24)  # smooth enough to draw coarsely
    grid = np.stack(np.meshgrid(coarse, coarse), axis=-1).reshape(-1, 2)
    field = (basis(grid) @ weights).reshape(24, 24, 2).astype(np.float32)
    return cv2.resize(field, (size, size), interpolation=cv2.INTER_LINEAR) * size


def source_positions(
    matrix: np.ndarray, size: int, displacement: np.ndarray | int = 0
) -> np.ndarray:
    """Where each crop pixel looks in the source, float32 (S, S, 2), (x, y) in pixels.

    matrix: of `random_affine`; displacement: of `thin_plate_spline`, in the crop, before it.
    """
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    crop = np.stack([x, y], axis=-1) + displacement  # (S, S, 2)
    return (crop @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def sample(image: np.ndarray, labels: np.ndarray, positions: np.ndarray) -> list[np.ndarray]:
    """Image (H, W, 3) and ids (H, W) at positions (S, S, 2), both mirrored beyond the source.

    An object's mirror image is the object too: left unmarked, it would teach that nothing is.
    """
    return [
        cv2.remap(source, positions, None, how, borderMode=cv2.BORDER_REFLECT_101)
        for source, how in ((image, cv2.INTER_LINEAR), (labels, cv2.INTER_NEAREST))
    ]


def renumber(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Labels uint8 (H, W) with ids[0] as 1, ids[1] as 2 and so on; the rest is background."""
    table = np.zeros(256, np.uint8)
    table[ids] = np.arange(1, len(ids) + 1)
    return table[labels]


def jitter(rng: Generator, frame: np.ndarray, strength: float) -> np.ndarray:
    """Change brightness and contrast of uint8 (S, S, 3), each by up to +-strength (0.1 is 10 %)."""
    gain, shift = 1 + rng.uniform(-strength, strength, 2)
    return np.clip(frame * gain + 255 * (shift - 1), 0, 255).astype(np.uint8)


def tint(rng: Generator, strength: float) -> np.ndarray:
    """A colour matrix (3, 3): hue turned by up to +-strength half turns, saturation scaled too."""
    grey = np.full((3, 3), 1 / 3)  # RGB -> its mean, three times
    turn = cv2.Rodrigues(np.full(3, np.pi * rng.uniform(-strength, strength) / np.sqrt(3)))[0]
    return grey + (1 + rng.uniform(-strength, strength)) * turn @ (np.eye(3) - grey)


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
            if share >= SMALLEST or (share > 0 and attempt >= TRIES - 1):
                break
        else:
            raise BadInput(f"{self.names}: {MOST_TRIES} clips without an object; fill the masks")
        if self.stage.jitter:
            frames = [jitter(rng, frame, self.stage.jitter) for frame in frames]
        if self.stage.tint:
            colors = tint(rng, self.stage.tint)
            frames = [cv2.transform(frame, colors) for frame in frames]
        frames, labels = np.stack(frames), np.stack(labels)  # (T, S, S, 3), (T, S, S)
        if rng.random() < 0.5:
            frames, labels = frames[:, :, ::-1], labels[:, :, ::-1]
        numbers = np.arange(1, self.stage.objects + 1, dtype=np.uint8)
        masks = labels[:, None] == numbers[:, None, None]  # (T, O, S, S)
        frames = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()).float() / 255
        return frames, torch.from_numpy(masks).float()

    def from_still(self, rng: Generator, progress: float) -> tuple[list, list]:
        """Move one still by affine and spline, or paste its object on another that moves too.

        T frames uint8 (S, S, 3) and T maps of ids (S, S); section 3.3, "Pre-training on images".
        The other's objects then have masks of their own, or are bystanders: background that looks
        like an object, from the same folder so that it may be of the same kind.
        """
        group = choose(rng, self.stills)
        image, labels = self._read(rng, group)
        paste = rng.random() < self.stage.paste
        bystanders = paste and self.stage.bystanders and rng.random() < self.stage.bystanders
        if paste:
            labels[labels > 1] = 0  # of this still only the object that is pasted
            other, behind = self._read(rng, group if bystanders else choose(rng, self.stills))
            behind[behind > 0] += 1  # the other still's objects come after it
            behind[behind > self.stage.objects] = 0
        frames, ids = [], []
        for _ in range(self.stage.clip_frames):
            frame, now = self._moved(rng, image, labels)
            if paste:
                back, now_behind = self._moved(rng, other, behind)
                alpha = cv2.GaussianBlur(now.astype(np.float32), (3, 3), 0)[..., None]
                frame = (alpha * frame + (1 - alpha) * back).astype(np.uint8)
                now = now if bystanders else np.where(now, now, now_behind)
            frames.append(frame)
            ids.append(now)
        return frames, ids

    def from_video(self, rng: Generator, progress: float) -> list[list]:
        """Frames of one video in time order, all under the same affine, given as by from_still.

        Section 3.3, "Fine-tuning on videos". The longest interval grows in the first half of the
        run; progress: how much of it is done, 0 to 1.
        """
        video = choose(rng, choose(rng, self.videos))
        shortest, longest = self.stage.interval
        longest = round(shortest + (longest - shortest) * min(1, 2 * progress))
        steps = rng.integers(shortest, longest + 1, self.stage.clip_frames - 1)
        steps = np.minimum(steps, (len(video) - 1) // (self.stage.clip_frames - 1))
        first = rng.integers(len(video) - steps.sum())
        pairs = [read_pair(video[i]) for i in first + np.concatenate([[0], np.cumsum(steps)])]
        chosen = self._choose(rng, pairs[0][1])
        matrix = random_affine(rng, self.stage, renumber(pairs[0][1], chosen) == 1)
        positions = source_positions(matrix, self.stage.crop)
        moved = [sample(image, renumber(labels, chosen), positions) for image, labels in pairs]
        return [list(part) for part in zip(*moved)]

    def _choose(self, rng, labels):
        """The ids of up to `objects` objects in a mask, in random order."""
        return rng.permutation(np.array(object_ids(labels), np.uint8))[: self.stage.objects]

    def _read(self, rng, group):
        """Image (H, W, 3) and ids (H, W) of a still of the group, its objects numbered from 1."""
        image, labels = read_pair(choose(rng, group))
        return image, renumber(labels, self._choose(rng, labels))

    def _moved(self, rng, image, labels):
        size = self.stage.crop
        first = labels[labels > 0].min(initial=255)  # the object that the crop is drawn around
        matrix = random_affine(rng, self.stage, labels == first)
        spline = thin_plate_spline(rng, size, self.stage.spline) if self.stage.spline else 0
        return sample(image, labels, source_positions(matrix, size, spline))
