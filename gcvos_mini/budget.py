"""What training will cost on a device, from a few steps on it: seconds, gigabytes, hours.

    cost = step_cost(PAPER, "stills", "cuda", clips=8, steps=20)
    cost.seconds, cost.gigabytes(clips=8), cost.hours(steps=193_000)

The clips are noise: a step takes as long on any. Making clips is not in it, see
`python -m gcvos_mini.benchmark train`. Notebook 06.
"""

import statistics
import time
from dataclasses import dataclass

import torch

from gcvos_mini.config import Config
from gcvos_mini.device import pick_device
from gcvos_mini.fast import Precision, pick_precision
from gcvos_mini.losses import clip_loss
from gcvos_mini.network import Network
from gcvos_mini.train import ClipSegmenter, make_optimizer

ADAM_COPIES = 4  # a weight, its gradient, and Adam's two means


@dataclass(frozen=True)
class StepCost:
    """One training step: median seconds for `clips` clips, and bytes of GPU or main memory.

    fixed: for the weights, whatever the batch; each: for each clip, what the way back needs.
    """

    clips: int
    seconds: float
    fixed: int
    each: int

    def gigabytes(self, clips: int) -> float:
        """Of a step of so many clips, in 10^9 bytes; a GPU's library adds some of its own."""
        return (self.fixed + clips * self.each) / 1e9

    def hours(self, clips: int) -> float:
        """Of training on so many clips in all."""
        return clips / self.clips * self.seconds / 3600


def step_cost(
    config: Config,
    stage: str,
    device: str | torch.device | None = None,
    precision: Precision | None = None,
    clips: int = 1,
    steps: int = 3,
) -> StepCost:
    """Time `steps` training steps of a Config's stage, after one that is not counted.

    device and precision: the fastest there is if not given. Clips have all frames of the stage.
    """
    device = pick_device(device)
    precision = pick_precision(precision, device)
    stage = config.stages[stage]
    network = Network(config).to(device, memory_format=torch.channels_last)
    model = ClipSegmenter(network).train()
    optimizer = make_optimizer(network, stage, trained_backbones=True)
    shape = (clips, stage.clip_frames, 3, stage.crop, stage.crop)
    frames = torch.rand(shape, device=device)
    masks = (frames[:, :, :1] > 0.5).float()  # (B, T, 1, S, S)
    weights = {weight.shape for weight in network.parameters()}
    saved = {}  # of each storage that is kept for the way back: its bytes

    def pack(tensor):
        if tensor.shape not in weights:  # nor copies of them in another precision
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    seconds = []
    for step in range(steps + 1):
        began = time.perf_counter()
        with torch.autocast(device.type, getattr(torch, precision), precision != "float32"):
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss = clip_loss(model(frames, masks), masks, stage)
        if step == 0:
            each = sum(saved.values()) // clips
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.isfinite():  # asks for the result: the device is done
            seconds.append(time.perf_counter() - began)
    fixed = ADAM_COPIES * sum(weight.nbytes for weight in network.parameters())
    return StepCost(clips, statistics.median(seconds[1:]), fixed, each)
