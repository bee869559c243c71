"""Two-stage training (section 3.3): one readable loop, one process or many.

    python -m gcvos_mini.train --config mini --stage videos --data DIR... --out DIR
    accelerate launch -m gcvos_mini.train --config paper --stage stills --data DIR... --out DIR

Each clip is treated as a short video: the first mask is given, the network finds the second, its
soft mask is written to the memory unthresholded, and the network finds the third.
DIR of --out holds last.safetensors (weights), state.safetensors (the optimiser, for --resume) and
log.csv (step, loss, J, learning rate, clips per second, seconds). Notebook 06.
"""

import csv
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from gcvos_mini.clips import TrainingClips
from gcvos_mini.config import CONFIGS
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.memory import make_memory
from gcvos_mini.network import Network, load_trunk, read_weights, save_model

SAVE_EVERY = 60  # seconds between checkpoints
WARM_UP = 50  # steps over which the learning rate rises


class ClipSegmenter(nn.Module):
    """The network run over a short clip; a module of its own, so that accelerate can wrap it."""

    def __init__(self, network, memory="gc"):
        super().__init__()
        self.network, self.memory = network, memory

    def forward(self, frames, masks):
        """frames (B, T, 3, S, S), masks (B, T, 1, S, S) -> logits (B, T - 1, 2, S, S), frames 2 to T.

        Only masks[:, 0] is looked at.
        """
        memory = make_memory(self.memory, self.network.config.normalization)
        mask, logits = masks[:, 0], []
        for t in range(1, frames.shape[1]):
            memory.write(*self.network.memorize(frames[:, t - 1], mask))
            query = self.network.look(frames[:, t])
            logits.append(self.network.decode(memory.read(query.key), query))
            mask = logits[-1].softmax(dim=1)[:, 1:]  # (B, 1, S, S): soft, not thresholded
        return torch.stack(logits, dim=1)


def hard_pixel_cross_entropy(logits, truth, share):
    """Cross-entropy over the `share` of pixels with the largest loss. (N, 2, S, S), (N, S, S)."""
    losses = F.cross_entropy(logits, truth.long(), reduction="none").flatten(1)  # (N, SS)
    hardest = max(1, round(share * losses.shape[1]))
    return losses.topk(hardest, dim=1).values.mean()


def dice_loss(logits, truth):
    """1 - 2 |P T| / (|P| + |T|) with soft P: the region term. (N, 2, S, S), (N, S, S)."""
    probability = logits.softmax(dim=1)[:, 1]
    overlap = (probability * truth).sum(dim=(1, 2))
    size = probability.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
    return (1 - (2 * overlap + 1) / (size + 1)).mean()  # +1: two empty masks agree


def clip_loss(logits, masks, stage):
    """Loss of logits (B, T - 1, 2, S, S) against masks (B, T, 1, S, S), frames 2 to T."""
    logits, truth = logits.flatten(0, 1).float(), masks[:, 1:, 0].flatten(0, 1)
    loss = hard_pixel_cross_entropy(logits, truth, stage.hard_pixels)
    return loss + stage.region * dice_loss(logits, truth) if stage.region else loss


def batch_J(logits, masks):
    """Mean J of the thresholded prediction on frames 2 to T, as a float tensor."""
    prediction, truth = logits.argmax(dim=2).bool(), masks[:, 1:, 0].bool()
    overlap = (prediction & truth).sum(dim=(2, 3))
    union = (prediction | truth).sum(dim=(2, 3))
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0).mean()


def make_optimizer(network, stage, trained_trunks):
    """Adam, as the paper; trunks that start from trained weights have a rate of their own."""
    trunks = [p for n, p in network.named_parameters() if "_encoder." in n]
    rest = [p for n, p in network.named_parameters() if "_encoder." not in n]
    rates = (stage.trunk_learning_rate if trained_trunks else stage.learning_rate, stage.learning_rate)
    groups = [{"params": p, "lr": r, "rate": r} for p, r in zip((trunks, rest), rates, strict=True)]
    return torch.optim.Adam(groups)


def set_rate(optimizer, stage, step, progress):
    """A short warm-up, then a cosine from the stage's rate to its final share of it."""
    share = stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * progress)) / 2
    share *= min(1, (step + 1) / WARM_UP)
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * share
    return optimizer.param_groups[-1]["lr"]


def save_state(out, network, optimizer, step, seconds, run):
    """Write the weights, then what --resume needs; each file whole or not at all."""
    save_model(network, out / "last.safetensors")
    tensors = {f"model.{n}": t.contiguous() for n, t in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{n}": t.contiguous().clone() for n, t in moments.items()}
    run = json.dumps(run | {"step": step, "seconds": seconds})
    save_file(tensors, out / "state.unfinished", metadata={"run": run})
    (out / "state.unfinished").replace(out / "state.safetensors")


def load_state(path, network, optimizer, run):
    """Fill network and optimizer; returns (step, seconds). BadInput if it is another run's."""
    tensors, metadata = read_weights(path)
    saved = json.loads(metadata.get("run", "{}"))
    step, seconds = saved.pop("step", 0), saved.pop("seconds", 0.0)
    if saved != run:
        changed = sorted(k for k in run.keys() | saved.keys() if run.get(k) != saved.get(k))
        raise BadInput(
            f"{path}: that run had other settings ({', '.join(changed)}); "
            "resume with the same ones, or choose another --out"
        )
    network.load_state_dict(
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    )
    state = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".")
            state.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return step, seconds


def train(
    data: list[Path],
    out: Path,
    config: Literal["smoke", "mini", "paper"] = "mini",
    stage: Literal["stills", "videos"] = "videos",
    memory: Literal["gc", "stm", "stm-linear"] = "gc",
    init: Path | None = None,
    trunk: str | None = None,
    resume: bool = False,
    minutes: float = math.inf,
    learning_rate: float | None = None,
    clips: int | None = None,
    workers: int = 1,
    seed: int = 0,
):
    """Train the network; write weights, log and resumable state to --out.

    Args:
        data: folders of stills (images/ and masks/) or in DAVIS layout.
        out: folder for weights, state and log.
        config: the network's size and the recipe.
        stage: synthetic clips from stills, or clips from videos.
        memory: which memory the network trains with.
        init: weights to start from, such as last.safetensors of the stills stage.
        trunk: ImageNet weights for the encoders: a safetensors file, or "imagenet" to download.
        resume: go on from the state in --out.
        minutes: stop after this long; the learning rate then falls by time, not by steps.
        learning_rate: another rate than the stage's, for all parts.
        clips: train on this many clips in all, not the stage's number.
        workers: processes that prepare clips.
        seed: of the fresh weights and the clips.
    """
    settings = CONFIGS[config].stages[stage]
    if learning_rate is not None:
        settings = dataclasses.replace(
            settings, learning_rate=learning_rate, trunk_learning_rate=learning_rate
        )
    accelerator = Accelerator(split_batches=True)
    set_seed(seed)
    network = Network(CONFIGS[config])
    if trunk:
        load_trunk(network, trunk)
    if init:
        load_init(network, init)
    trained_trunks = bool(trunk or init)
    optimizer = make_optimizer(network, settings, trained_trunks)

    dataset = TrainingClips(settings, data, total=1, seed=seed)
    per_epoch = settings.clips_per_epoch or len(dataset.stills)
    dataset.total = clips or settings.epochs * per_epoch
    steps = max(1, dataset.total // settings.batch)
    run = {
        "config": config, "stage": stage, "memory": memory, "seed": seed,
        "settings": json.dumps(dataclasses.asdict(settings)), "clips": dataset.total,
    }  # fmt: skip
    first, spent = 0, 0.0
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        first, spent = load_state(out / "state.safetensors", network, optimizer, run)
    todo = Subset(dataset, range(first * settings.batch, steps * settings.batch))
    loader = DataLoader(todo, settings.batch, num_workers=workers, persistent_workers=workers > 0)
    model, optimizer, loader = accelerator.prepare(
        ClipSegmenter(network, memory), optimizer, loader
    )
    model.train()

    start = saved = time.monotonic()
    main = accelerator.is_main_process
    bar = tqdm(total=steps, initial=first, unit="step", disable=not main)
    log = Log(out / "log.csv", first) if main else None
    step = first
    for step, (frames, masks) in enumerate(loader, first):
        elapsed = spent + time.monotonic() - start
        progress = max(step / steps, elapsed / (60 * minutes))
        if progress >= 1:
            break
        rate = set_rate(optimizer, settings, step, progress)
        logits = model(frames, masks)
        loss = clip_loss(logits, masks, settings)
        if not torch.isfinite(loss):
            raise BadInput(
                f"{out}: the loss is {loss.item()} at step {step}; the last checkpoint is kept, "
                "try a lower --learning-rate"
            )
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if main:
            speed = settings.batch * (step + 1 - first) / (time.monotonic() - start)
            log.write(step, loss.item(), batch_J(logits, masks).item(), rate, speed, elapsed)
            bar.set_postfix(loss=f"{log.loss:.3f}", J=f"{log.J:.3f}", lr=f"{rate:.1e}")
            bar.update()
            if time.monotonic() - saved > SAVE_EVERY:
                saved = time.monotonic()
                save_state(out, network, optimizer, step + 1, elapsed, run)
    if main:
        bar.close()
        elapsed = spent + time.monotonic() - start
        save_state(out, network, optimizer, step + 1, elapsed, run)
        print(f"trained {step + 1} steps in {elapsed / 60:.1f} min; weights: {out}/last.safetensors")


class Log:
    """log.csv, one line a step, and running means for the progress bar."""

    columns = "step loss J learning_rate clips_per_second seconds".split()

    def __init__(self, path, first):
        kept = []
        if first and path.is_file():  # resumed: drop the lines after the checkpoint
            with path.open() as file:
                kept = [row for row in list(csv.reader(file))[1:] if int(row[0]) < first]
        self.file = path.open("w", newline="", buffering=1)
        self.writer = csv.writer(self.file)
        self.writer.writerows([self.columns, *kept])
        self.loss = self.J = None

    def write(self, step, loss, J, rate, speed, seconds):
        self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
        self.J = J if self.J is None else 0.95 * self.J + 0.05 * J
        row = [step, f"{loss:.5f}", f"{J:.4f}", f"{rate:.3e}", f"{speed:.2f}", f"{seconds:.1f}"]
        self.writer.writerow(row)


def load_init(network, path):
    """Start from weights of the same sizes. Raises BadInput if they do not fit."""
    try:
        network.load_state_dict(read_weights(path)[0])
    except RuntimeError as error:
        raise BadInput(f"{path}: not weights of the {network.config.name} network") from error


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(train))
