"""Two-stage training (section 3.3): one readable loop, one process or many.

    python -m gcvos_mini.train --config mini --stage videos --data DIR... --out DIR
    accelerate launch -m gcvos_mini.train --config paper --stage stills --data DIR... --out DIR

Each clip is treated as a short video: the first mask is given, the network finds the second, its
soft mask is written to the memory unthresholded, and the network finds the third.
With --validate, sequences of the data are kept out of training and segmented now and then.
DIR of --out holds last.safetensors (weights), best.safetensors (those of the highest validation J),
state.safetensors (the optimiser, for --resume) and log.csv (step, loss, J, validation J, learning
rate, clips per second, seconds), and the same for TensorBoard where that is installed. Notebook 06.
"""

import csv
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from gcvos_mini.clips import TrainingClips, held_out
from gcvos_mini.config import CONFIGS
from gcvos_mini.davis import make_folder, read_frame, read_sequence_mask, read_start
from gcvos_mini.errors import BadInput, exit_on_bad_input, written_whole
from gcvos_mini.memory import make_memory
from gcvos_mini.metrics import region_similarity
from gcvos_mini.network import (
    Network,
    Query,
    fill,
    load_trunk,
    read_note,
    read_weights,
    save_model,
)
from gcvos_mini.segment import VideoSegmenter

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # tensorboard is no requirement; log.csv holds the same
    SummaryWriter = None

SAVE_EVERY = 60  # seconds between checkpoints
VALIDATIONS = 10  # in a run
VALIDATION_FRAMES = 40  # of a sequence, at most
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"  # time left: see below
WARM_UP = 50  # steps over which the learning rate rises
ABSENT = -1e4  # logit of an object that a clip does not have: no probability, no gradient


class ClipSegmenter(nn.Module):
    """The network run over a short clip; a module of its own, so that accelerate can wrap it."""

    def __init__(self, network, memory="gc", soft_masks=True):
        super().__init__()
        self.network, self.memory, self.soft_masks = network, memory, soft_masks

    def forward(self, frames, masks):
        """frames (B, T, 3, S, S), masks (B, T, O, S, S) -> logits (B, T - 1, O + 1, S, S).

        The logits are of frames 2 to T; class 0 is the background, class o + 1 object o. Only
        masks[:, 0] is looked at: an object whose first mask is empty is not there.
        """
        clip, number = in_first_frame(masks).nonzero(as_tuple=True)  # (N,) of all N objects
        memory = make_memory(self.memory, self.network.config)
        mask, logits = masks[clip, 0, number][:, None], []  # (N, 1, S, S)
        for t in range(1, frames.shape[1]):
            memory.write(*self.network.memorize(frames[clip, t - 1], mask))
            key, local, skips = self.network.look(frames[:, t])  # once for all objects of a clip
            query = Query(key[clip], local[clip], [skip[clip] for skip in skips])
            each = self.network.decode(memory.read(query.key), query)  # (N, 2, S, S)
            logits.append(let_compete(each, clip, number, masks[:, 0]))
            mask = logits[-1].softmax(dim=1)[clip, number + 1][:, None]  # soft, not thresholded
            if not self.soft_masks:
                mask = (mask > 0.5).float()
        return torch.stack(logits, dim=1)


def in_first_frame(masks):
    """Which objects of masks (B, T, O, S, S) a clip has, (B, O)."""
    return masks[:, 0].flatten(2).any(dim=2)


def let_compete(logits, clip, number, first_masks):
    """Logits (N, 2, S, S) of single objects -> (B, O + 1, S, S) of the clips they belong to.

    As in segment.py: an object's map is its log-odds, the background's is 0 (section 4.2).
    """
    batch, objects = first_masks.shape[:2]
    odds = logits[:, 1] - logits[:, 0]  # (N, S, S)
    joint = odds.new_full((batch, objects + 1, *odds.shape[1:]), ABSENT)
    joint[:, 0] = 0
    return joint.index_put((clip, number + 1), odds)


def hard_pixel_cross_entropy(logits, truth, share):
    """Cross-entropy over the `share` of pixels with the largest loss. (N, C, S, S), (N, S, S)."""
    losses = F.cross_entropy(logits, truth.long(), reduction="none").flatten(1)  # (N, SS)
    hardest = max(1, round(share * losses.shape[1]))
    return losses.topk(hardest, dim=1).values.mean()


def dice_loss(probability, truth):
    """1 - 2 |P T| / (|P| + |T|) with soft P: the region term. (..., S, S), (..., S, S) -> (...)."""
    overlap = (probability * truth).sum(dim=(-2, -1))
    size = probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    return 1 - (2 * overlap + 1) / (size + 1)  # +1: two empty masks agree


def clip_loss(logits, masks, stage):
    """Loss of logits (B, T - 1, O + 1, S, S) against masks (B, T, O, S, S), frames 2 to T.

    Every clip counts the same, however many objects it has.
    """
    logits, there = logits.float(), in_first_frame(masks)  # (B, O)
    truth = masks[:, 1:] * there[:, None, :, None, None]  # what came later is background
    numbers = torch.arange(1, masks.shape[2] + 1, device=masks.device)
    classes = (truth * numbers[:, None, None]).sum(dim=2)  # (B, T - 1, S, S)
    loss = hard_pixel_cross_entropy(logits.flatten(0, 1), classes.flatten(0, 1), stage.hard_pixels)
    if stage.region:
        region = dice_loss(logits.softmax(dim=2)[:, :, 1:], truth).mean(dim=1)  # (B, O)
        share = there / there.sum(dim=1, keepdim=True)  # of each object in its clip
        loss = loss + stage.region * (share * region).sum(dim=1).mean()
    return loss


def batch_J(logits, masks):
    """Mean J of the objects' masks on frames 2 to T, as a float tensor. Shapes as in clip_loss."""
    there = in_first_frame(masks)
    winner = F.one_hot(logits.argmax(dim=2), logits.shape[2])[..., 1:]  # (B, T - 1, S, S, O)
    prediction = winner.permute(0, 4, 1, 2, 3)[there].bool()  # (N, T - 1, S, S)
    truth = masks[:, 1:].transpose(1, 2)[there].bool()
    overlap, union = (x.sum(dim=(2, 3)) for x in (prediction & truth, prediction | truth))
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0).mean()


@torch.no_grad()
def start_heads(network, frames, masks):
    """Let the heads match before the first step; frames (N, 3, S, S), masks (N, 1, S, S).

    With random heads q.k means nothing and the value hides the mask, so a network first learns to
    find whatever stands out, and then ignores its memory. Here key and query start as the query
    encoder's whitened feature (the C_key strongest directions, of equal variance), which makes q.k
    a similarity; half of the value channels start as the memory encoder's best linear guess of the
    mask, which makes the read say "like the object" or "like the rest". Not in the paper.
    """
    frames = (frames - network.mean) / network.std
    feature = network.query_encoder(frames)[0]  # (N, C, h, w)
    x = feature.transpose(0, 1).flatten(1).double()  # (C, Nhw)
    mean = x.mean(dim=1, keepdim=True)
    variances, directions = torch.linalg.eigh(torch.cov(x))
    floor = 1e-3 * variances.mean()  # a direction that hardly varies is not blown up
    whitener = (directions / (variances + floor).sqrt()).flip(1)[:, : network.config.key_dim].T
    for head, scale in ((network.key, 1.0), (network.query, 0.25)):  # 0.25: reads of order one
        set_center(head, slice(None), scale * whitener, -scale * (whitener @ mean)[:, 0])

    feature = network.memory_encoder(torch.cat([frames, masks], dim=1))[0]
    x = feature.transpose(0, 1).flatten(1).double()
    mask = F.adaptive_avg_pool2d(masks, feature.shape[-2:]).flatten().double()  # (Nhw,)
    mean = x.mean(dim=1, keepdim=True)
    covariance = torch.cov(x)
    ridge = covariance + 1e-3 * covariance.trace() / len(x) * torch.eye(len(x), device=x.device)
    guess = torch.linalg.solve(ridge, (x - mean) @ (mask - mask.mean()) / len(mask))  # (C,)
    guess /= (guess @ (x - mean)).std()
    network.value.weight /= network.value(feature).std()  # else the read is too faint to be used
    half = network.config.value_dim // 2
    signs = torch.tensor([1.0, -1.0], device=x.device).repeat(half)[:half, None].double()
    set_center(network.value, slice(half), signs * guess, -signs[:, 0] * (guess @ mean))


def set_center(head, channels, weight, bias):
    """Make channels of a 3x3 convolution a 1x1 one: weight (n, C), bias (n,)."""
    head.weight[channels] = 0
    head.weight[channels, :, 1, 1] = weight.to(head.weight.dtype)
    head.bias[channels] = bias.to(head.bias.dtype)


def make_optimizer(network, stage, trained_trunks):
    """Adam, as the paper; trunks that start from trained weights have a rate of their own."""
    trunks = [p for n, p in network.named_parameters() if "_encoder." in n]
    rest = [p for n, p in network.named_parameters() if "_encoder." not in n]
    trunk_rate = stage.trunk_learning_rate if trained_trunks else stage.learning_rate
    rated = ((trunks, trunk_rate), (rest, stage.learning_rate))
    groups = [{"params": p, "lr": rate, "rate": rate} for p, rate in rated]
    return torch.optim.Adam(groups, fused=True)  # one pass over the weights: a tenth of a CPU step


def set_rate(optimizer, stage, step, progress):
    """A short warm-up, then a cosine from the stage's rate to its final share of it."""
    share = stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * progress)) / 2
    share *= min(1, (step + 1) / WARM_UP)
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * share
    return optimizer.param_groups[-1]["lr"]


def validation_J(network, sequences, memory):
    """Mean J over the objects of [(Sequence, year)], on their first frames but the given one."""
    segmenter = VideoSegmenter(network.eval(), memory)
    scores = []
    for sequence, year in sequences:
        segmenter.start(*read_start(sequence, year))
        J = []  # of every object on each frame that has a mask
        for path in sequence.frames[1:VALIDATION_FRAMES]:
            mask = segmenter.step(read_frame(path))
            if path.stem in sequence.masks:
                truth = read_sequence_mask(sequence.masks[path.stem], year)
                J.append([region_similarity(mask == i, truth == i) for i in segmenter.ids])
        scores += np.mean(J, axis=0).tolist()
    network.train()
    return float(np.mean(scores))


def save_state(out, network, optimizer, position, run):
    """Write the weights, then what --resume needs; each file whole or not at all."""
    save_model(network, out / "last.safetensors")
    tensors = {f"model.{n}": t.contiguous() for n, t in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{n}": t.contiguous().clone() for n, t in moments.items()}
    metadata = {"run": json.dumps(run), "position": json.dumps(position)}
    with written_whole(out / "state.safetensors") as unfinished:
        save_file(tensors, unfinished, metadata=metadata)


def load_state(path, network, optimizer, run):
    """Fill network and optimizer; returns the position. BadInput if it is another run's."""
    tensors, metadata = read_weights(path)
    saved, position = read_note(metadata, "run", path), read_note(metadata, "position", path)
    if not isinstance(saved, dict) or not isinstance(position, dict):
        raise BadInput(f"{path}: not the state of a run; give the --out of one to --resume")
    if saved != run:
        changed = sorted(k for k in run.keys() | saved.keys() if run.get(k) != saved.get(k))
        raise BadInput(
            f"{path}: that run had other settings ({', '.join(changed)}); "
            "resume with the same ones, or choose another --out"
        )
    model = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    fill(network, model, path)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".")
            like = parameters[int(index)]
            if tensor.shape == like.shape:  # the fused Adam wants the parameter's memory layout
                tensor = torch.empty_like(like).copy_(tensor)
            state.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return position


def train(
    data: list[Path],
    out: Path,
    config: Literal["smoke", "mini", "paper"] = "mini",
    stage: Literal["stills", "videos", "embedded"] = "videos",
    memory: Literal["gc", "stm", "stm-linear"] = "gc",
    init: Path | None = None,
    trunk: str | None = None,
    resume: bool = False,
    minutes: float = math.inf,
    learning_rate: float | None = None,
    clips: int | None = None,
    validate: tuple[str, ...] = (),
    workers: int = 1,
    seed: int = 0,
):
    """Train the network; write weights, log and resumable state to --out.

    Args:
        data: folders of stills (images/ and masks/) or in DAVIS layout.
        out: folder for weights, state and log.
        config: the network's size and the recipe.
        stage: the paper's stills or videos, or the short recipe for the embedded clips (not paper).
        memory: which memory the network trains with.
        init: weights to start from, such as last.safetensors of the stills stage.
        trunk: ImageNet weights for the encoders: a safetensors file, or "imagenet" to download.
        resume: go on from the state in --out.
        minutes: stop after this long; the learning rate then falls by time, not by steps.
        learning_rate: another rate than the stage's, for all parts.
        clips: train on this many clips in all, not the stage's number.
        validate: names of sequences to keep out of training, and to score ten times in the run.
        workers: processes that prepare clips.
        seed: of the fresh weights and the clips.
    """
    stages = CONFIGS[config].stages
    if stage not in stages:
        raise BadInput(f"--stage {stage}: {config} has the stages {', '.join(stages)}")
    settings = stages[stage]
    if learning_rate is not None:
        settings = dataclasses.replace(
            settings, learning_rate=learning_rate, trunk_learning_rate=learning_rate
        )
    fit(
        CONFIGS[config], settings, data, out, memory, init, trunk, resume, minutes, clips,
        validate, workers, seed,
    )  # fmt: skip


def fit(
    config, stage, data, out, memory="gc", init=None, trunk=None, resume=False, minutes=math.inf,
    clips=None, validate=(), workers=1, seed=0,
):  # fmt: skip
    """Train a Config by a Stage; the rest as in `train`."""
    cv2.setNumThreads(1)  # the cores belong to the network; before any worker is forked
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
    set_seed(seed)
    dataset = TrainingClips(stage, data, total=1, seed=seed, without=validate)
    sequences = held_out(data, validate)
    in_epoch = stage.clips_per_epoch or sum(map(len, dataset.stills))
    dataset.total = clips or stage.epochs * in_epoch
    steps = max(1, dataset.total // stage.batch)
    network = start_network(config, stage, dataset, trunk, init)
    optimizer = make_optimizer(network, stage, trained_trunks=bool(trunk or init))
    run = {
        "config": config.sizes | {"first_share": config.first_share}, "memory": memory,
        "stage": json.dumps(dataclasses.asdict(stage)), "clips": dataset.total, "seed": seed,
        "data": list(map(str, data)), "validate": list(validate),
    }  # fmt: skip
    position = {"step": 0, "seconds": 0.0, "best": 0.0}
    if resume:
        position = load_state(out / "state.safetensors", network, optimizer, run)
    done, spent, best = position.values()
    make_folder(out)
    ahead = Subset(dataset, range(done * stage.batch, steps * stage.batch))
    loader = DataLoader(ahead, stage.batch, num_workers=workers, persistent_workers=workers > 0)
    model, optimizer, loader = accelerator.prepare(
        ClipSegmenter(network, memory, stage.soft_masks), optimizer, loader
    )
    model.train()

    main = accelerator.is_main_process
    log = Log(out, done) if main else None
    bar = tqdm(total=steps, initial=done, unit="step", disable=not main, bar_format=BAR)
    start = saved = time.monotonic()

    def seconds():
        return spent + time.monotonic() - start

    def progress():
        return max(done / steps, seconds() / (60 * minutes))

    since, validated = progress(), int(VALIDATIONS * progress())
    for frames, masks in batches(loader):
        began, now = seconds(), progress()
        if now >= 1:
            break
        if now < stage.two_frames:
            frames, masks = frames[:, :2], masks[:, :2]
        rate = set_rate(optimizer, stage, done, now)
        logits = model(frames, masks)
        loss = clip_loss(logits, masks, stage)
        if not torch.isfinite(loss):
            raise BadInput(
                f"{out}: the loss is {loss.item()} at step {done}; the last checkpoint is kept, "
                "try a lower --learning-rate"
            )
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        done += 1
        if not main:
            continue
        row = {
            "step": done, "loss": loss.item(), "J": batch_J(logits, masks).item(),
            "learning_rate": rate, "clips_per_second": stage.batch / (seconds() - began),
        }  # fmt: skip
        if sequences and int(VALIDATIONS * progress()) > validated:
            validated = int(VALIDATIONS * progress())
            row["validation_J"] = validation_J(network, sequences, memory)
            if row["validation_J"] > best:
                best = row["validation_J"]
                save_model(network, out / "best.safetensors")
        shown = log.write(row | {"seconds": seconds()})
        left = max(0, 1 - progress()) * (seconds() - spent) / (progress() - since)
        bar.set_postfix(shown | {"left": tqdm.format_interval(left)})
        bar.update()
        if time.monotonic() - saved > SAVE_EVERY:
            saved = time.monotonic()
            position = {"step": done, "seconds": seconds(), "best": best}
            save_state(out, network, optimizer, position, run)
    if main:
        bar.close()
        log.close()
        position = {"step": done, "seconds": seconds(), "best": best}
        save_state(out, network, optimizer, position, run)
        print(f"trained {done} steps in {seconds() / 60:.1f} min; weights: {out}/last.safetensors")


def batches(loader):
    """The loader's batches. BadInput in a worker process comes wrapped in that process's traceback,
    of which the last line is the message; this raises it with that line alone.
    """
    try:
        yield from loader
    except BadInput as error:
        line = str(error).rstrip().splitlines()[-1]
        raise BadInput(line.removeprefix(f"{BadInput.__module__}.BadInput: ")) from None


def start_network(config, stage, dataset, trunk, init):
    """A network before its first step: from `init`, or fresh with `trunk` weights if given.

    Raises BadInput on weights that do not fit.
    """
    network = Network(config).to(memory_format=torch.channels_last)
    if trunk:
        load_trunk(network, trunk)
    if init:
        fill(network, read_weights(init)[0], init)
    elif stage.matching_start:
        clips = [dataset[i] for i in range(min(48, dataset.total))]
        firsts = [torch.stack([part[0] for part in parts]) for parts in zip(*clips)]
        start_heads(network, firsts[0], firsts[1][:, :1])
    return network


class Log:
    """log.csv and TensorBoard, one row a step, and running means for the progress bar."""

    formats = {
        "step": "d", "loss": ".5f", "J": ".4f", "validation_J": ".4f", "learning_rate": ".3e",
        "clips_per_second": ".2f", "seconds": ".1f",
    }  # fmt: skip

    def __init__(self, out, first):
        path, kept = out / "log.csv", []
        if first and path.is_file():  # resumed: what came after the checkpoint comes again
            with path.open() as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= first]
        self.file = path.open("w", newline="", buffering=1)
        self.table = csv.DictWriter(self.file, self.formats)
        self.table.writeheader()
        self.table.writerows(kept)
        self.board = SummaryWriter and SummaryWriter(out / "tensorboard", purge_step=first + 1)
        self.shown = {}

    def write(self, row):
        """Log a row and return what the bar shows: loss and J smoothed, the rest as it is."""
        written = {name: format(value, self.formats[name]) for name, value in row.items()}
        self.table.writerow(written)
        for name in row.keys() - {"step"} if self.board else ():
            self.board.add_scalar(name, row[name], row["step"])
        for name in ("loss", "J"):
            self.shown[name] = 0.95 * self.shown.get(name, row[name]) + 0.05 * row[name]
        if "validation_J" in row:
            self.shown["validation_J"] = row["validation_J"]
        shown = {name: f"{value:.3f}" for name, value in self.shown.items()}
        return shown | {"lr": f"{row['learning_rate']:.1e}"}

    def close(self):
        self.file.close()
        if self.board:
            self.board.close()


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(train))
