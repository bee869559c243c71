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

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import cv2
import torch
import torch.nn.functional as F
import tyro
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from gcvos_mini import fast
from gcvos_mini.clips import TrainingClips, held_out
from gcvos_mini.config import CONFIGS, Config, Stage, sequences_of
from gcvos_mini.davis import make_folder
from gcvos_mini.device import pick_device
from gcvos_mini.errors import LARGEST_SEED, BadInput, above_zero, at_least, exit_on_bad_input
from gcvos_mini.fast import Precision
from gcvos_mini.logbook import Logbook, Progress, check_validation, load_state
from gcvos_mini.losses import batch_J, clip_loss, in_first_frame
from gcvos_mini.matching_start import start_heads
from gcvos_mini.memory import make_memory, name_of
from gcvos_mini.network import Network, Query, fill, load_backbone, read_weights

WARM_UP = 50  # steps over which the learning rate rises
MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}  # accelerate's words
ABSENT = -1e4  # logit of an object that a clip does not have: no probability, no gradient


@dataclass(kw_only=True)
class Run:
    """What a training run is given besides the network's Config and the Stage.

    Args:
        data: folders of stills (images/ and masks/) or in DAVIS layout.
        out: folder for weights, state and log.
        init: weights to start from, such as last.safetensors of the stills stage.
        backbone: ImageNet weights for the encoders: a safetensors file, or "imagenet" (ResNet-18's
            ship with the package, others are downloaded).
        resume: go on from the state in --out.
        minutes: stop after this long; the learning rate then falls by time, not by steps.
        clips: train on this many clips in all, not the stage's number.
        validate: names of sequences to keep out of training, and to score ten times in the run;
            held-out: the eight on which this project makes its choices (config.py).
        workers: processes that prepare clips.
        seed: of the fresh weights and the clips.
        device: cuda, mps or cpu; the best there is if not given.
        precision: of the convolutions: float32, bfloat16 or float16; the fastest that the device
            has if not given. Weights, memory and loss are float32 in any case.
    """

    data: list[Path]
    out: Path
    init: Path | None = None
    backbone: str | None = None
    resume: bool = False
    minutes: float = math.inf
    clips: int | None = None
    validate: tuple[str, ...] = ()
    workers: int = 1
    seed: int = 0
    device: str | None = None
    precision: Precision | None = None


class ClipSegmenter(nn.Module):
    """The network run over a short clip; a module of its own, so that accelerate can wrap it."""

    def __init__(
        self, network: Network, soft_masks: bool = True, shake: float = 0.0, blank: float = 0.0
    ):
        super().__init__()
        self.network, self.soft_masks = network, soft_masks
        self.shake, self.blank = shake, blank

    def forward(self, frames: Tensor, masks: Tensor) -> Tensor:
        """frames (B, T, 3, S, S), masks (B, T, O, S, S) -> logits (B, T - 1, O + 1, S, S).

        The logits are of frames 2 to T; class 0 is the background, class o + 1 object o. Only
        masks[:, 0] is looked at: an object whose first mask is empty is not there.
        """
        clip, number = in_first_frame(masks).nonzero(as_tuple=True)  # (N,) of all N objects
        memory = make_memory(self.network.config.memory, self.network.config)
        mask, logits, query = masks[clip, 0, number][:, None], [], None  # (N, 1, S, S)
        for t in range(1, frames.shape[1]):
            written = self.network.encode_memory(frames[clip, t - 1], mask, query)
            query = of_objects(self.network.encode_query(frames[:, t]), clip)
            with torch.autocast(frames.device.type, enabled=False):  # any memory, in float32
                memory.write(*written)
                context = memory.read(query.key)
            sees = self.network.config.previous_mask
            previous = shaken(mask, self.shake, self.blank) if sees else None
            each = self.network.decode(context, query, previous)  # (N, S, S)
            logits.append(let_compete(each, clip, number, masks[:, 0]))
            mask = logits[-1].softmax(dim=1)[clip, number + 1][:, None]  # soft, not thresholded
            if not self.soft_masks:
                mask = (mask > 0.5).float()
        return torch.stack(logits, dim=1)


def of_objects(query: Query, clip: Tensor) -> Query:
    """A query of B clips, computed once for all their objects -> of N objects; clip (N,)."""
    key, local, skips, features = query
    each = [None if maps is None else [x[clip] for x in maps] for maps in (skips, features)]
    return Query(key[clip], local[clip], *each)


def let_compete(odds: Tensor, clip: Tensor, number: Tensor, first_masks: Tensor) -> Tensor:
    """Log odds (N, S, S) of single objects -> logits (B, O + 1, S, S) of the clips they belong to.

    As in segment.py, but for a batch: objects that a clip does not have stay out (section 4.2).
    """
    batch, objects = first_masks.shape[:2]
    joint = odds.new_full((batch, objects + 1, *odds.shape[1:]), ABSENT)
    joint[:, 0] = 0  # the background's
    return joint.index_put((clip, number + 1), odds)


def shaken(masks: Tensor, shake: float, blank: float) -> Tensor:
    """Previous masks (N, 1, S, S) as training shows them to the decoder: moved, scaled, or blank.

    A true mask that hardly moves would teach to copy it; in use it is neither true nor still.
    """
    count, like = len(masks), {"device": masks.device, "dtype": masks.dtype}
    move = shake * (2 * torch.rand(count, 3, **like) - 1)  # the grid spans two crop widths
    matrix = torch.zeros(count, 2, 3, **like)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 + move[:, 0]
    matrix[:, :, 2] = 2 * move[:, 1:]
    grid = F.affine_grid(matrix, list(masks.shape), align_corners=False)
    shown = torch.rand(count, 1, 1, 1, **like) >= blank
    return shown * F.grid_sample(masks, grid, align_corners=False)


def make_optimizer(
    network: Network, stage: Stage, trained_backbones: bool
) -> torch.optim.Optimizer:
    """Adam, as in section 3.3; backbones that start from trained weights have their own rate."""
    backbones = [p for n, p in network.named_parameters() if "_encoder." in n]
    rest = [p for n, p in network.named_parameters() if "_encoder." not in n]
    backbone_rate = stage.backbone_learning_rate if trained_backbones else stage.learning_rate
    rated = ((backbones, backbone_rate), (rest, stage.learning_rate))
    groups = [{"params": p, "lr": rate, "rate": rate} for p, rate in rated]
    return torch.optim.Adam(groups, fused=True)  # one pass over the weights: a tenth of a CPU step


def set_rate(optimizer: torch.optim.Optimizer, stage: Stage, step: int, progress: float) -> float:
    """A short warm-up, then a cosine from the stage's rate to its final share of it; the rate set.

    progress: how much of the run is done, 0 to 1.
    """
    share = stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * progress)) / 2
    share *= min(1, (step + 1) / WARM_UP)
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * share
    return optimizer.param_groups[-1]["lr"]


def fit(config: Config, stage: Stage, run: Run) -> None:
    """Train a Config by a Stage; the memory is the Config's. Weights, log and state go to run.out.

    Raises BadInput on data or weights that do not fit, and on a loss that is not finite.
    """
    accelerator = start(run)
    check_shares(stage.batch, accelerator.num_processes)
    kept_out = sequences_of(run.validate)
    dataset = TrainingClips(stage, run.data, total=1, seed=run.seed, without=kept_out)
    sequences = held_out(run.data, kept_out)
    check_validation(sequences)
    in_epoch = stage.clips_per_epoch or sum(map(len, dataset.stills))
    dataset.total = run.clips or stage.epochs * in_epoch
    steps = max(1, dataset.total // stage.batch)
    config = replace(config, height=stage.height or config.height)
    network = start_network(config, stage, dataset, run)
    optimizer = make_optimizer(network, stage, trained_backbones=bool(run.backbone or run.init))
    settings = settings_of(config, stage, run, dataset.total)
    position = {}
    if run.resume:
        position = load_state(run.out / "state.safetensors", network, optimizer, settings)
    make_folder(run.out)
    progress = Progress(steps, run.minutes, **position)
    ahead = Subset(dataset, range(progress.step * stage.batch, steps * stage.batch))
    loader = DataLoader(
        ahead, stage.batch, num_workers=run.workers, persistent_workers=run.workers > 0
    )
    model, optimizer, loader = accelerator.prepare(
        ClipSegmenter(network, stage.soft_masks, stage.shake, stage.blank), optimizer, loader
    )
    model.train()
    logbook = None
    if accelerator.is_main_process:
        logbook = Logbook(run.out, network, optimizer, progress, settings, sequences)
    for frames, masks in batches(loader):
        began, now = progress.seconds(), progress.share()
        if now >= 1:
            break
        if now < stage.two_frames:
            frames, masks = frames[:, [0, -1]], masks[:, [0, -1]]
        torch.manual_seed(run.seed + progress.step)  # a resumed run sees what it would have seen
        rate = set_rate(optimizer, stage, progress.step, now)
        logits = model(frames, masks)
        loss = clip_loss(logits, masks, stage)
        check_finite(loss, run.out, progress.step)
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress.step += 1
        if logbook:
            logbook.step(
                loss=loss.item(),
                J=batch_J(logits, masks).item(),
                learning_rate=rate,
                clips_per_second=stage.batch / (progress.seconds() - began),
            )
    if logbook:
        logbook.close()


def start(run: Run) -> Accelerator:
    """The device, precision and seed of a run; before any worker process is forked."""
    cv2.setNumThreads(1)  # the cores belong to the network
    fast.keep_large_buffers()
    on = pick_device(run.device)
    precision = fast.pick_precision(run.precision, on)
    set_seed(run.seed)
    return Accelerator(
        cpu=on.type == "cpu",
        mixed_precision=MIXED_PRECISION[precision],
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )


def check_shares(batch: int, processes: int) -> None:
    """Raise BadInput where processes cannot have equal shares of a batch of clips."""
    if batch % processes:
        raise BadInput(
            f"--num_processes {processes} (GPUS of make paper): no equal shares of a batch of "
            f"{batch} clips; give a divisor of {batch}"
        )


def settings_of(config: Config, stage: Stage, run: Run, clips: int) -> dict:
    """What two runs must have in common for one to go on where the other stopped."""
    return {
        "config": config.stored(),
        "stage": json.dumps(dataclasses.asdict(stage)),
        "clips": clips,
        "seed": run.seed,
        "data": list(map(str, run.data)),
        "validate": list(sequences_of(run.validate)),
    }


def check_finite(loss: Tensor, out: Path, step: int) -> None:
    """Raise BadInput where the loss is not a number any more."""
    if not torch.isfinite(loss):
        raise BadInput(
            f"{out}: the loss is {loss.item()} at step {step}; the last checkpoint is kept, "
            "try a lower --learning-rate"
        )


def batches(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    """The loader's batches: frames (B, T, 3, S, S), masks (B, T, O, S, S).

    BadInput in a worker process comes wrapped in that process's traceback, of which the last line
    is the message; this raises it with that line alone.
    """
    try:
        yield from loader
    except BadInput as error:
        line = str(error).rstrip().splitlines()[-1]
        raise BadInput(line.removeprefix(f"{BadInput.__module__}.BadInput: ")) from None


def start_network(config: Config, stage: Stage, dataset: TrainingClips, run: Run) -> Network:
    """A network before its first step: from run.init, or fresh, with run.backbone if given.

    Raises BadInput on weights that do not fit.
    """
    network = Network(config).to(memory_format=torch.channels_last)
    if run.backbone:
        load_backbone(network, run.backbone)
    if run.init:
        fill(network, read_weights(run.init)[0], run.init)
    elif stage.matching_start:
        clips = [dataset[i] for i in range(min(48, dataset.total))]
        firsts = [torch.stack([part[0] for part in parts]) for parts in zip(*clips)]
        start_heads(network, firsts[0], firsts[1][:, :1])
    return network


def find_stage(config: Config, stage: str) -> Stage:
    """A stage of a Config by its name. Raises BadInput where it has none of this name."""
    if stage not in config.stages:
        raise BadInput(f"--stage {stage}: {config.name} has the stages {', '.join(config.stages)}")
    return config.stages[stage]


def train(
    run: Annotated[Run, tyro.conf.OmitArgPrefixes],
    config: Literal["smoke", "mini", "paper"] = "mini",
    stage: Literal["stills", "videos", "embedded"] = "videos",
    memory: str | None = None,
    learning_rate: float | None = None,
) -> None:
    """Train the network; write weights, log and resumable state to --out.

    Args:
        run: data, output and length of the run.
        config: the network's size and the recipe.
        stage: the paper's stills or videos, or the short recipe for the embedded clips (not paper).
        memory: gc, stm, stm-linear, pam, or module:Class of your own; gc if not given.
        learning_rate: another rate than the stage's, for all parts.
    """
    network = CONFIGS[config]
    settings = find_stage(network, stage)
    if learning_rate is not None:
        settings = replace(
            settings, learning_rate=learning_rate, backbone_learning_rate=learning_rate
        )
    above_zero(learning_rate=learning_rate, minutes=run.minutes)
    at_least(0, workers=run.workers)
    at_least(0, LARGEST_SEED, seed=run.seed)
    at_least(1, clips=run.clips)
    if run.device not in (None, "cuda", "mps", "cpu"):
        raise BadInput(
            f"--device {run.device}: give cuda, mps or cpu; CUDA_VISIBLE_DEVICES chooses a card"
        )
    if memory is not None:
        make_memory(memory, network)  # a name that is none is found now
        network = replace(network, memory=name_of(memory))
    fit(network, settings, run)


if __name__ == "__main__":
    exit_on_bad_input(lambda: tyro.cli(train))
