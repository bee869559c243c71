"""The segmentation network: two encoders, key, value and query heads, one decoder.

Section 3.2 of the paper, which takes encoder and decoder from STM (Oh et al. 2019). Notebook 05
takes it apart. All features are at stride 16; frames and masks must be multiples of 16 in size,
see `pad_to_stride`.
"""

import json
from collections import namedtuple
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gcvos_mini.commands import HOW_TO_TRAIN, python
from gcvos_mini.config import CONFIGS, STRIDE, Config
from gcvos_mini.encoders import Encoder, LightEncoder
from gcvos_mini.errors import BadInput, written_whole
from gcvos_mini.memory import NORMALIZATIONS, at_least_float32

WEIGHTS = resources.files("gcvos_mini") / "weights"  # what ships with the package
TWIN = "mini-stm"  # MINI trained with STM's memory: ships as weights, and is no Config of its own
# What a frame asks: key (B, C_key, H/16, W/16), local (B, C_local, H/16, W/16), and skips, what the
# decoder adds of this frame at strides 8 and 4, (B, decoder_dim, H/8, W/8) and (..., H/4, W/4). For
# a light memory encoder also features, the query encoder's own at strides 16, 8 and 4.
Query = namedtuple("Query", "key local skips features", defaults=(None,))


class ResBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3x3, the number of channels unchanged."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, h, w) -> the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Refine(nn.Module):
    """Upsample by two and add the query encoder's feature of that resolution, put through `skip`.

    `skip` does not depend on the object: Network.encode_query applies it, once for all of them.
    """

    def __init__(self, skip_dim: int, dim: int):
        super().__init__()
        self.skip = nn.Sequential(nn.Conv2d(skip_dim, dim, 3, padding=1), ResBlock(dim))
        self.out = ResBlock(dim)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """skip (B or 1, dim, 2h, 2w), x (B, dim, h, w) -> (B, dim, 2h, 2w)."""
        up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(skip + up)


class Decoder(nn.Module):
    """Context and local feature at stride 16 -> log odds of the object at full size.

    STM's decoder (section 3.2): compress, then twice upsample by two beside a skip connection.
    """

    def __init__(self, config: Config, skip_dims: list[int]):
        super().__init__()
        dim = config.decoder_dim
        in_dim = config.value_dim + config.local_dim
        if config.previous_mask:
            in_dim += STRIDE  # where the object was: 4 x 4 values of stride 4 at each position
        self.compress = nn.Sequential(nn.Conv2d(in_dim, dim, 3, padding=1), ResBlock(dim))
        self.refine8 = Refine(skip_dims[0], dim)
        self.refine4 = Refine(skip_dims[1], dim)
        self.predict = nn.Conv2d(dim, 2, 3, padding=1)

    def forward(self, feature: Tensor, skips: list[Tensor]) -> Tensor:
        """feature, all inputs in one (B, C, H/16, W/16), skips of Query -> log odds (B, H, W)."""
        x = self.compress(feature)  # (B, decoder_dim, H/16, W/16)
        x = self.refine8(skips[0], x)
        x = self.refine4(skips[1], x)  # (B, decoder_dim, H/4, W/4)
        logits = at_least_float32(self.predict(F.relu(x)))  # (B, 2, H/4, W/4)
        odds = log_odds(logits)[:, None]  # one map to enlarge, not two
        return F.interpolate(odds, scale_factor=4, mode="bilinear", align_corners=False)[:, 0]


def to_tensor(frame: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    pixels = torch.from_numpy(frame)
    if torch.device(device).type == "cuda":
        pixels = pixels.pin_memory()  # is copied while the processor goes on
    return pixels.to(device, non_blocking=True).permute(2, 0, 1)[None].float() / 255


def pad_to_stride(x: Tensor, stride: int = STRIDE) -> Tensor:
    """(B, C, H, W) -> padded at the bottom and right to multiples of the stride, edges repeated."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")


def log_odds(logits: Tensor) -> Tensor:
    """An object's map: object minus background logit, (B, 2, H, W) -> (B, H, W).

    The background's own map is then 0, and a softmax over several objects' maps and it (section
    4.2) leaves a single object the probability that its two logits give it.
    """
    return logits[:, 1] - logits[:, 0]


def object_probabilities(odds: Tensor) -> Tensor:
    """Log odds (O, H, W) of O objects, each on its own -> probabilities (O + 1, H, W).

    A softmax over the objects' maps and the background's, which is 0 (section 4.2).
    """
    return torch.cat([torch.zeros_like(odds[:1]), odds]).softmax(dim=0)


class Network(nn.Module):
    """The whole network (section 3.2), but for its memory: that is made outside, see memory.py.

    Frames are RGB in [0, 1], masks are soft object masks in [0, 1].
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        if not config.light:
            self.memory_encoder = Encoder(config.backbone, in_channels=4)
        self.query_encoder = Encoder(config.backbone, in_channels=3)
        dim, *skip_dims = self.query_encoder.dims
        if config.light:
            self.aggregate = LightEncoder(self.query_encoder.dims)
        self.key = nn.Conv2d(dim, config.key_dim, 3, padding=1)  # k of eq. 1
        self.value = nn.Conv2d(dim, config.value_dim, 3, padding=1)  # v of eq. 1
        self.query = nn.Conv2d(dim, config.key_dim, 3, padding=1)  # q of eq. 3
        self.local = nn.Conv2d(dim, config.local_dim, 3, padding=1)
        self.decoder = Decoder(config, skip_dims)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], False)
        self.train()  # freezes the batch norm before anyone runs the network

    def train(self, mode: bool = True) -> Self:
        """As nn.Module's, but batch norm stays frozen: its statistics are the backbone's own."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    @property
    def dtype(self) -> torch.dtype:
        """In which the convolutions multiply: float32, or less in a copy made by fast.py."""
        return self.key.weight.dtype

    def encode_memory(
        self, frame: Tensor, mask: Tensor, query: Query | None = None
    ) -> tuple[Tensor, Tensor]:
        """What is written of a frame (k and v of eq. 1): frame (B, 3, H, W), soft mask (B, 1, H, W)
        -> key (B, C_key, H/16, W/16), value (B, C_value, H/16, W/16), float32 both.

        query: of the same frame, for one or all of the B masks; saves a light encoder its backbone.
        """
        feature = self.memory_feature(frame, mask, query)
        return at_least_float32(self.key(feature)), at_least_float32(self.value(feature))

    def memory_feature(self, frame: Tensor, mask: Tensor, query: Query | None = None) -> Tensor:
        """What key and value are made of: (B, C, H/16, W/16). Arguments as of encode_memory."""
        normalised = (frame - self.mean) / self.std
        if not self.config.light:
            return self.memory_encoder(torch.cat([normalised, mask], dim=1).to(self.dtype))[0]
        features = query.features if query else self.query_encoder(normalised.to(self.dtype))
        features = [feature.expand(len(mask), -1, -1, -1) for feature in features]
        return self.aggregate(features, mask.to(self.dtype))

    def encode_query(self, frame: Tensor) -> Query:
        """What a frame asks (q of eq. 3): (B, 3, H, W) -> Query, its key (B, C_key, H/16, W/16)."""
        x = (frame - self.mean) / self.std
        features = self.query_encoder(x.to(self.dtype))
        refines = self.decoder.refine8, self.decoder.refine4
        skips = [refine.skip(skip) for refine, skip in zip(refines, features[1:])]
        key, local = self.query(features[0]), self.local(features[0])
        return Query(at_least_float32(key), local, skips, features if self.config.light else None)

    def decode(self, context: Tensor, query: Query, previous: Tensor | None = None) -> Tensor:
        """context (B, C_value, H/16, W/16) -> log odds of the object (B, H, W), float32.

        A query of one frame serves all B objects. previous: their soft masks (B, 1, H, W) on the
        frame before, needed where Config.previous_mask is set and not looked at elsewhere.
        """
        local = query.local.expand(len(context), -1, -1, -1)
        parts = [context.to(local.dtype), local]
        if self.config.previous_mask:
            at_stride4 = F.avg_pool2d(previous, 4).to(local.dtype)  # (B, 1, H/4, W/4)
            parts.append(F.pixel_unshuffle(at_stride4, 4))  # (B, 16, H/16, W/16)
        return self.decoder(torch.cat(parts, dim=1), query.skips)


def load_backbone(network: Network, source: Path | str) -> None:
    """Fill the encoders with ImageNet weights: a safetensors FILE, or "imagenet".

    "imagenet" means torchvision's: ResNet-18's ship with the package, others are downloaded. The
    file's keys are torchvision's (conv1 ... layer3). The memory encoder's fourth input channel,
    the mask, keeps its random start. Raises BadInput on a file that does not fit.
    """
    shipped = WEIGHTS / f"{network.config.backbone}-imagenet.safetensors"
    if str(source) == "imagenet" and shipped.is_file():
        weights = read_weights(shipped)[0]
    elif str(source) == "imagenet":
        resnet = torchvision.models.get_model(network.config.backbone, weights="DEFAULT")
        weights = resnet.state_dict()
    else:
        weights = read_weights(source)[0]
    encoders = [module for module in network.children() if isinstance(module, Encoder)]
    for encoder in encoders:
        named = {"conv1": encoder.stem[0], "bn1": encoder.stem[1]}
        named |= {name: getattr(encoder, name) for name in ("layer1", "layer2", "layer3")}
        for name, module in named.items():
            part = {
                key.removeprefix(f"{name}."): tensor
                for key, tensor in weights.items()
                if key.startswith(f"{name}.")
            }
            try:
                if name == "conv1" and "weight" in part:
                    own = module.weight.detach()[:, 3:]  # the mask channel, if it has one
                    part["weight"] = torch.cat([part["weight"], own], dim=1)
                module.load_state_dict(part)
            except (RuntimeError, ValueError) as error:
                raise BadInput(
                    f"{source}: not {network.config.backbone} weights ({name} does not fit); "
                    "give a safetensors file with torchvision's names, or 'imagenet'"
                ) from error


def read_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file, both by name.

    Raises BadInput where the file is missing, or no whole safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path, or train one: {HOW_TO_TRAIN}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise BadInput(
            f"{path}: not a readable safetensors file (truncated, or another format); "
            "copy or train it again"
        ) from error


def read_note(metadata: dict[str, str], name: str, path: Path | str) -> Any:
    """What a file's metadata say under a name, read as JSON; None if nothing.

    Raises BadInput where it is not JSON. path: the file's, for that message.
    """
    try:
        return json.loads(metadata.get(name, "null"))
    except (ValueError, RecursionError):
        raise BadInput(f"{path}: its metadata are damaged ({name}); train it again") from None


def save_model(network: Network, path: Path | str, half: bool = False) -> None:
    """Write weights and what the network is (Config.stored) to a safetensors file, whole or not at
    all; `half` stores float16. Raises BadInput where it cannot be written.
    """
    weights = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    with written_whole(path) as unfinished:
        save_file(weights, unfinished, metadata={"config": json.dumps(network.config.stored())})


def find_weights(name: Path | str) -> Path:
    """The file of weights shipped as `name`, or `name` itself, a path. BadInput if none ships."""
    if name not in (*CONFIGS, TWIN):
        return Path(name)
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        fix = python("-m", "gcvos_mini.train", "--config", str(name), "--help")
        raise BadInput(
            f"{name}: no trained weights are shipped for it; pass pretrained=False, or train: {fix}"
        )
    return path


def load_model(
    name: Path | str, pretrained: bool = True, device: str | torch.device = "cpu"
) -> Network:
    """A network in eval mode: "mini", "mini-stm" or "paper" by name, or a checkpoint by its path.

    `load_model("mini")` is the network shipped with the package, "mini-stm" the same with STM's
    memory; `pretrained=False` gives fresh weights of a Config's size. The Config is the one that
    the checkpoint was trained with: its memory, share of the first frame, working height and
    normalization included. Raises BadInput where there is nothing to load, or it does not fit.
    """
    if name in CONFIGS and not pretrained:
        return Network(CONFIGS[name]).to(device).eval()
    path = find_weights(name)
    tensors, metadata = read_weights(path)
    network = Network(stored_config(read_note(metadata, "config", path), path))
    fill(network, tensors, path)
    return network.to(device).eval()


POSSIBLE = {  # what may differ between two checkpoints of one size
    "normalization": lambda value: value in NORMALIZATIONS,
    "first_share": lambda value: type(value) in (int, float) and 0 <= value <= 1,
    "previous_mask": lambda value: type(value) is bool,
    "light": lambda value: type(value) is bool,
    "height": lambda value: value is None or (type(value) is int and value >= STRIDE),
    "memory": lambda value: isinstance(value, str),
}


def stored_config(stored: Any, path: Path | str) -> Config:
    """The Config of a checkpoint, from what `Config.stored` said of it when it was saved.

    Raises BadInput where its sizes are none of ours, or a value is impossible.
    """
    stored = stored if isinstance(stored, dict) else {}
    if stored:
        stored = {"previous_mask": False, "light": False} | stored  # older ones do not say
    for base in CONFIGS.values():
        sizes = base.stored() | {name: stored.get(name) for name in POSSIBLE}
        if sizes == stored:
            break
    else:
        given = " ".join(str(stored or "none given")[:200].split())
        raise BadInput(f"{path}: made for other network sizes ({given}); retrain")
    for name, possible in POSSIBLE.items():
        if not possible(stored[name]):
            shown = ascii(stored[name])[:40]
            raise BadInput(f"{path}: its {name} cannot be {shown}; train it again")
    return replace(base, **{name: stored[name] for name in POSSIBLE})


def fill(network: Network, tensors: dict[str, Tensor], path: Path | str) -> None:
    """Give a network the tensors of a file. Raises BadInput where they are not its own."""
    own = network.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | tensors.keys()
        if name not in own
        or name not in tensors
        or own[name].shape != tensors[name].shape
        or own[name].is_floating_point() != tensors[name].is_floating_point()
        or not tensors[name].float().isfinite().all()
    )
    if wrong:
        raise BadInput(
            f"{path}: its tensors do not fit the {network.config.name} network "
            f"({ascii(wrong[0][:80])} is missing, not known, of another shape or type, or not "
            "finite); retrain"
        )
    network.load_state_dict(tensors)
