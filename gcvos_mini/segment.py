"""A video in, masks out, one frame at a time, for many objects.

    segmenter = VideoSegmenter(load_model("mini"), memory="gc")
    segmenter.start(frame, mask)          # uint8 (H, W, 3), uint8 (H, W) of object ids
    mask = segmenter.step(next_frame)     # uint8 (H, W) of object ids

Each object is segmented by itself, then a softmax over all objects' maps decides every pixel
(section 4.2). Every frame is written to the memory with its soft mask (section 3.3).
Command line: python -m gcvos_mini.segment --frames DIR|VIDEO --mask PNG --out DIR
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gcvos_mini import fast
from gcvos_mini.cohorts import Cohorts
from gcvos_mini.config import STRIDE
from gcvos_mini.davis import make_folder
from gcvos_mini.device import pick_device
from gcvos_mini.errors import BadInput, at_least, exit_on_bad_input
from gcvos_mini.fast import Precision
from gcvos_mini.given import check_used, find_first_mask, find_masks
from gcvos_mini.masks import object_ids, read_first_mask, read_later_mask, write_mask
from gcvos_mini.memory import Choice, make_memory, name_of
from gcvos_mini.network import (
    Network,
    load_model,
    object_probabilities,
    pad_to_stride,
    to_tensor,
)
from gcvos_mini.outputs import claim, run_of_segmenter
from gcvos_mini.sources import check_fits, video_frames


class Segmenter(Protocol):
    """What `follow` runs through a video. Frames uint8 (H, W, 3), masks uint8 (H, W) of ids."""

    def start(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Begin a video with its first frame and the mask that is given for it."""

    def step(self, frame: np.ndarray) -> np.ndarray:
        """The next frame -> its mask."""


class VideoSegmenter:
    """Segments the objects of a first mask through a video.

    model: from load_model; memory: a name, a class or "module:Class" as memory.py takes it, the one
    the model was trained with if not given; `start` makes a fresh one for each video. write_every:
    write each n-th frame only (the paper's GC writes all, STM every fifth). height: in pixels, at
    which the network works; Config.height if not given, or the frames' own where that is less.
    Masks come out at the frames' own size.
    To look at after each frame: ids, of the O objects; probabilities (O + 1, H, W), background
    first; key (O, C_key, h, w) and value (O, C_value, h, w) as last written, query (C_key, h, w) as
    last asked, at stride 16 of the working size.
    Raises BadInput on an unknown memory, a mask without an object, or of another size than its
    frame, or a frame of another size than the first.
    """

    def __init__(
        self,
        model: Network,
        memory: Choice | None = None,
        write_every: int = 1,
        height: int | None = None,
    ):
        self.model = model
        self.memory_choice = model.config.memory if memory is None else memory
        self.write_every = write_every
        self.height = height
        self.device = next(model.parameters()).device
        self.memory = self._fresh()
        self.frames = 0

    def _fresh(self):
        return make_memory(self.memory_choice, self.model.config)

    @torch.inference_mode()
    def start(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Begin a video, with a fresh memory.

        frame uint8 (H, W, 3), mask uint8 (H, W): object ids, 0 background, 255 void. Raises
        BadInput on a mask without an object, or of another size than the frame.
        """
        if mask.shape != frame.shape[:2]:
            raise BadInput(
                f"first mask is {mask.shape[1]}x{mask.shape[0]}, first frame is "
                f"{frame.shape[1]}x{frame.shape[0]}: they must be the same size"
            )
        self.ids = object_ids(mask)
        if not self.ids:
            raise BadInput("first mask has no object: paint at least one pixel with an id 1..254")
        self.shape = mask.shape
        self.memory = self._fresh()
        self.frames = 0
        objects = self._objects(mask)
        self.probabilities = torch.cat([1 - objects.sum(dim=0, keepdim=True), objects])
        image, self.previous = self._prepare(frame), self._resize(objects[None])[0]  # (O, h, w)
        self._wanted(image, self.previous)
        self._write((image, None), self.previous)

    @torch.inference_mode()
    def step(self, frame: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """The next frame, uint8 (H, W, 3) -> its mask, uint8 (H, W) of object ids.

        mask: uint8 (H, W), where something of this frame is known. Its ids become objects from here
        on, or are corrected; objects that it does not show keep what is found. Raises BadInput on a
        frame or mask of another size, ValueError before `start`.
        """
        labels, seen, soft = self._find(frame)
        objects = soft[1:]
        if mask is not None:
            labels, objects = self._with_given(mask, labels, objects)
        self.last, self.previous = (seen, labels, soft[1:]), objects
        wanted = self.frames % self.write_every == 0 and self._wanted(seen[0], objects)
        if wanted or mask is not None:
            self._write(seen, objects)
        else:
            self.frames += 1
            self.written = False
        return labels

    @torch.inference_mode()
    def correct(self, mask: np.ndarray) -> np.ndarray:
        """The mask of the newest frame by hand, uint8 (H, W): as if `step` had been given it.

        What was written of that frame is taken out again, which a mean of frames can do exactly
        (GlobalContext.remove), and the right one is put in. Raises BadInput on a mask of another
        size, on the first frame, and where the memory cannot take a frame out.
        """
        if self.frames < 2:
            raise BadInput("the first frame has the mask it was given: start again with another")
        if not hasattr(self._fresh(), "remove"):
            name = name_of(self.memory_choice)
            raise BadInput(f"memory {name}: cannot take a frame out; start again from this frame")
        seen, labels, soft = self.last
        self._check_mask(mask, self.frames - 1)
        if self.written:
            self.memory.remove(self.key, self.value)
        self.frames -= 1
        if len(soft) < len(self.ids):  # of objects that entered with this very frame
            new = self._objects(labels)[len(soft) :]
            soft = torch.cat([soft, self._resize(new[None])[0]])
        labels, objects = self._with_given(mask, labels, soft)
        self.last, self.previous = (seen, labels, objects), objects
        self._write(seen, objects)
        return labels

    def _check_mask(self, mask, frame):
        if mask.shape != self.shape:
            raise BadInput(
                f"mask of frame {frame} is {mask.shape[1]}x{mask.shape[0]}, the frames are "
                f"{self.shape[1]}x{self.shape[0]}: they must be the same size"
            )

    def _with_given(self, mask, labels, soft):
        """The ids (H, W) found and the soft masks (O, h, w), with what a mask (H, W) says."""
        self._check_mask(mask, self.frames)
        given = object_ids(mask)
        claimed = np.isin(mask, given)
        labels = np.where(np.isin(labels, given), 0, labels)
        labels = np.where(claimed, mask, labels)  # (H, W)
        new = [i for i in given if i not in self.ids]
        if new:
            if not isinstance(self.memory, Cohorts):
                self.memory = Cohorts(self._fresh, self.memory, len(self.ids))
            self.memory.enter(len(new))
            self.ids = [*self.ids, *new]
        hard = self._objects(labels)  # (O, H, W)
        self.probabilities = torch.cat([1 - hard.sum(dim=0, keepdim=True), hard])
        objects = self._resize(hard[None])[0]  # (O, h, w)
        free = 1 - self._resize(torch.from_numpy(claimed).to(hard)[None, None])[0, 0]
        for o, i in enumerate(self.ids):
            if i not in given:
                objects[o] = soft[o] * free
        return labels, objects

    @torch.inference_mode()
    def find(self, frame: np.ndarray) -> np.ndarray:
        """The mask of a frame as `step` finds it, raising as it does; the memory stays as it is."""
        return self._find(frame)[0]

    @torch.inference_mode()
    def encode(self, frame: np.ndarray, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """What would be written: key (O, C_key, h, w) and value (O, C_value, h, w) of a frame with
        a mask, uint8 (H, W) of object ids; the memory stays as it is."""
        objects = self._resize(self._objects(mask)[None])[0]
        return self._encode((self._prepare(frame), None), objects)

    def _objects(self, mask):
        """Object ids (H, W) -> float32 (O, H, W), 1 on the object."""
        objects = np.stack([mask == i for i in self.ids]).astype(np.float32)
        return torch.from_numpy(objects).to(self.device)

    def _find(self, frame):
        """Its mask, the frame (1, 3, h, w) with its query, and all soft masks (O + 1, h, w)."""
        if self.frames == 0:
            raise ValueError("no first frame yet: call start(frame, mask) before step(frame)")
        if frame.shape[:2] != self.shape:
            raise BadInput(
                f"frame {self.frames} is {frame.shape[1]}x{frame.shape[0]}, the first was "
                f"{self.shape[1]}x{self.shape[0]}: all frames must be the same size"
            )
        image = self._prepare(frame)  # (1, 3, h, w)
        query = self.model.encode_query(pad_to_stride(image))
        self.query = query.key[0]  # (C_key, h, w), the same for all objects
        context = self.memory.read(query.key.expand(len(self.ids), -1, -1, -1))  # (O, C_value, ...)
        odds = self.model.decode(context, query, pad_to_stride(self.previous[:, None]))
        odds = odds[..., : image.shape[2], : image.shape[3]]
        soft = object_probabilities(odds)  # (O + 1, h, w)
        self.probabilities = F.interpolate(soft[None], self.shape, mode="bilinear")[0]
        winner = self.probabilities.max(dim=0).indices  # (H, W); argmax takes twenty times as long
        labels = np.array([0, *self.ids], dtype=np.uint8)
        return labels[winner.cpu().numpy()], (image, query), soft

    def _prepare(self, frame):
        return self._resize(to_tensor(frame, self.device))

    def _resize(self, x):
        """(1, C, H, W) -> (1, C, h, w) at the working height, the width in proportion."""
        own = x.shape[2]
        height = self.height or min(own, self.model.config.height or own)
        if height == own:
            return x
        width = max(1, round(x.shape[3] * height / own))
        return F.interpolate(x, (height, width), mode="bilinear", antialias=True)

    def _encode(self, seen, objects):
        """Frame (1, 3, h, w) and query, soft masks (O, h, w) -> key and value of each object."""
        image, query = seen
        frame = pad_to_stride(image).expand(len(objects), -1, -1, -1)
        return self.model.encode_memory(frame, pad_to_stride(objects[:, None]), query)

    def _wanted(self, image, objects):
        """Whether the memory takes a frame: one may look at it first (trigger.py), most do not."""
        wants = getattr(self.memory, "wants", None)
        return wants is None or wants(image, objects)

    def _write(self, seen, objects):
        """One more frame in the memory; `key` and `value` keep what was written last."""
        self.key, self.value = self._encode(seen, objects)
        self.memory.write(self.key, self.value)
        self.written = True
        self.frames += 1


def follow(
    segmenter: Segmenter,
    frames: Iterable[np.ndarray],
    first_mask: np.ndarray,
    source: Path | str | None = None,
    told: Iterable[np.ndarray | None] = itertools.repeat(None),
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Segment a video: yield (frame, mask) of each frame, the first with the mask that is given.

    Frames are uint8 (H, W, 3), masks uint8 (H, W) of ids. segmenter: a VideoSegmenter, or anything
    with its start and step. told: for each frame its mask as far as it is known, or None; the first
    is not looked at. A frame is read and segmented when its pair is asked for. Raises BadInput as
    the segmenter does, with the name of the source in front where it is given.
    """
    mask = None
    for frame, known in zip(frames, told):
        try:
            if mask is None:
                segmenter.start(frame, first_mask)
                mask = first_mask
            else:
                mask = segmenter.step(frame) if known is None else segmenter.step(frame, known)
        except BadInput as error:
            raise BadInput(f"{source}: {error}" if source else str(error)) from error
        yield frame, mask


def follow_source(
    segmenter: Segmenter,
    source: Path | str,
    first_mask: np.ndarray,
    mask_of: Callable[[str], np.ndarray | None] = lambda name: None,
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """As `follow`, of a folder or a video file: yield (name, frame, mask) of each frame.

    mask_of: gives what is known of a later frame's mask by the frame's name, or None. Raises
    BadInput as `video_frames` and `follow` do.
    """
    names = []

    def frames():
        for name, frame in fast.ahead(video_frames(source)):
            names.append(name)
            yield frame

    def told():
        yield None  # the first frame's mask is given, and read as a first one
        while True:
            yield mask_of(names[-1])

    for frame, mask in follow(segmenter, frames(), first_mask, source, told()):
        yield names.pop(), frame, mask  # one frame at a time is read, so one name is there


def load_segmenter(
    checkpoint: Path | str,
    memory: Choice | None = None,
    height: int | None = None,
    device: str | None = None,
    precision: Precision | None = None,
    compiled: bool = False,
) -> VideoSegmenter:
    """A VideoSegmenter of a checkpoint, as the commands make it: fast. Arguments as of `segment`.

    The memory is the checkpoint's own if not given; another one is named on stderr. Raises BadInput
    on a checkpoint, memory, height, device or precision that cannot be used.
    """
    at_least(STRIDE, height=height)
    on = pick_device(device)
    precision = fast.pick_precision(precision, on)
    model = fast.prepare(load_model(checkpoint, device=on), precision, compiled)
    fast.keep_large_buffers()
    segmenter = VideoSegmenter(model, memory, height=height)
    own = model.config.memory
    if memory is not None and name_of(memory) != own:
        note = f"note: {checkpoint} was trained with the memory {own}, this is {memory}"
        print(note, file=sys.stderr)
    return segmenter


def segment(
    *,
    frames: Path,
    out: Path,
    mask: Path | None = None,
    masks: Path | None = None,
    checkpoint: str = "mini",
    memory: str | None = None,
    height: int | None = None,
    device: str | None = None,
    precision: Precision | None = None,
    compile: bool = False,
    overwrite: bool = False,
) -> None:
    """Segment a video from its first mask; write one palette PNG per frame.

    The same command again, after it was stopped, makes the same masks. A folder that holds other
    pictures is refused before a mask is written.

    Args:
        frames: folder of frames, or a video file.
        out: folder for the masks.
        mask: PNG with the object ids of the first frame.
        masks: folder of PNGs named as their frames, where more than the first is known: new ids
            become objects from there on, known ones are corrected. The first frame's may be in it,
            in place of --mask.
        checkpoint: a shipped network's name, or a safetensors file.
        memory: gc, stm, stm-linear, pam, or module:Class of your own; the one that the network was
            trained with if not given.
        height: height in pixels at which the network works; the checkpoint's own if not given, or
            the frames' where that is less.
        device: cuda, mps or cpu; the best there is if not given.
        precision: of the convolutions: float32, bfloat16 or float16; the fastest that the device
            has if not given.
        compile: with torch.compile: some ten seconds more at the start, a tenth faster after it.
        overwrite: start over where --out holds masks of another run; removes what this program
            wrote there, and nothing else.
    """
    from tqdm import tqdm

    segmenter = load_segmenter(checkpoint, memory, height, device, precision, compile)
    mask = find_first_mask(frames, mask, masks)
    first_mask = read_first_mask(mask)
    check_fits(frames, first_mask, mask)  # before --overwrite removes anything
    known = find_masks(frames, masks, mask) if masks else {}
    run = run_of_segmenter(segmenter, frames, first_mask, masks)
    claim(out, [frames, mask, *([masks] if masks else [])], run, overwrite)
    make_folder(out)

    def mask_of(name):
        return read_later_mask(known[name]) if name in known else None

    names, followed = [], follow_source(segmenter, frames, first_mask, mask_of)
    with fast.beside(write_mask) as write:
        for name, _, labels in tqdm(followed, unit="frame"):
            write(out / f"{name}.png", labels, run)
            names.append(name)
    print(f"{len(names)} masks in {out}")
    check_used(masks, known, names)


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(segment))
