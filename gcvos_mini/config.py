"""Every size and rate of the reproduction, in one place.

`PAPER` follows the paper (section 3). `MINI` is the same method for two CPU cores; each field in
which it differs from `PAPER` carries its reason here. `SMOKE` is `MINI` made tiny, for the tests.
The environment variable GCVOS_TIER (smoke, mini or paper) picks one for the notebooks.
"""

import os
from dataclasses import asdict, dataclass, replace

from gcvos_mini.errors import BadInput

# Sequences of DAVIS 2016's training split that no training run sees: what is chosen, a setting or
# weights, is chosen on them. Growing (drift-turn, motocross-bumps), small and fast (bmx-bumps,
# soccerball), crowded (dance-jump, hockey), thin (stroller) and quick to turn (dog-agility).
HELD_OUT = (
    "bmx-bumps", "dance-jump", "dog-agility", "drift-turn", "hockey", "motocross-bumps",
    "soccerball", "stroller",
)  # fmt: skip
STRIDE = 16  # of the feature map: a ResNet up to res4 halves its input four times


@dataclass(frozen=True)
class Stage:
    """One training stage (section 3.3). Lengths in pixels, angles in degrees, shares in [0, 1]."""

    epochs: int
    learning_rate: float
    backbone_learning_rate: float  # for backbones that start from trained weights
    final_rate: float = 1.0  # learning rate at the end, as a share; the paper names no decay
    batch: int = 8
    crop: int = 384
    height: int | None = None  # at which its network then works, in place of Config.height
    clip_frames: int = 3
    two_frames: float = 0.0  # share of the run that starts on clips' first and last frames alone
    matching_start: bool = False  # heads that match before the first step, see matching_start.py
    objects: int = 1  # of one clip, at most; with more they compete for the pixels, as in use
    clips_per_epoch: int | None = None  # None: one per still, or one per video frame
    rotation: float = 30.0
    scale: tuple[float, float] = (0.75, 1.25)  # the paper prints [-0.75, 1.25], a slip
    spline: float = 0.1  # thin-plate spline: shift of the control points, as a share of the crop
    interval: tuple[int, int] = (1, 3)  # frames between two frames of a clip
    soft_masks: bool = True  # fed on without a threshold; False only to see what that is worth
    folders_alike: bool = False  # clips come from all folders of data equally, whatever they hold
    calm: float = 1.0  # least share of the differences between its frames that a clip keeps
    zoom: float = 1.0  # times that an object grows or shrinks within a clip, at most
    smallest: float = 0.01  # share of the crop that an object covers at least in the first frame
    paste: float = 0.0  # share of synthetic clips with cut-out objects over another still
    cutouts: int = 1  # of one such clip, at most
    cutout: tuple[float, float] = (0.02, 0.4)  # share of the crop that one covers, at scale 1
    bystanders: float = 0.0  # share of the other objects in them that have no mask
    stills: tuple[float, float] = (1.0, 1.0)  # share of synthetic clips, at the start and the end
    shake: float = 0.0  # of the previous mask: shift as a share of the crop, and scaling
    blank: float = 0.0  # share of the previous masks that are not shown
    jitter: float = 0.0  # brightness and contrast, drawn once per frame
    tint: float = 0.0  # hue (in half turns) and saturation, drawn once per clip
    hard_pixels: float = 1.0  # share of the pixels, hardest first, that the cross-entropy sees
    region: float = 0.0  # weight of the soft region (Dice) term: the "hybrid loss" of section 4.1


@dataclass(frozen=True)
class Config:
    """The network's sizes (section 3.2) and its two training stages (section 3.3)."""

    name: str
    backbone: str  # torchvision's name; used up to layer3 (the paper's res4), stride 16
    key_dim: int  # C_key; the paper calls it C_N or C_M, depending on the section
    value_dim: int  # C_value
    local_dim: int  # the query encoder's own feature, concatenated with the read context
    decoder_dim: int  # the feature is compressed to this many channels
    normalization: str  # of the frame context: "none" is eq. 1 as printed, see memory.py
    stages: dict[str, Stage]
    first_share: float = 0.0  # of the first frame in what is read; 0 is eq. 2, see memory.py
    previous_mask: bool = False  # shown to the decoder: where the object was; not in the paper
    height: int | None = None  # pixels at which frames are segmented; None: their own
    light: bool = False  # SwiftNet's light memory encoder in place of a second backbone
    memory: str = "gc"  # which memory it trains with, as memory.py takes it

    def stored(self) -> dict:
        """What a checkpoint says of its network: everything here but the training stages."""
        return {name: value for name, value in asdict(self).items() if name != "stages"}


PAPER = Config(
    name="paper",
    backbone="resnet50",
    key_dim=128,
    value_dim=512,
    local_dim=512,
    decoder_dim=256,
    normalization="none",
    stages={
        "stills": Stage(epochs=100, learning_rate=1e-5, backbone_learning_rate=1e-5),
        "videos": Stage(
            epochs=30,
            learning_rate=1e-6,
            backbone_learning_rate=1e-6,
            crop=480,
            stills=(0.0, 0.0),
            region=1.0,
        ),
    },
)

_MINI_STILLS = Stage(
    epochs=1,
    clips_per_epoch=8000,  # minutes, not a day
    batch=4,  # two cores, no GPU
    crop=192,  # a quarter of the pixels: four times the clips in the same time
    learning_rate=3e-4,  # few steps: thirty times the paper's rate, with a decay
    backbone_learning_rate=3e-5,  # ImageNet features are kept, the rest is new
    final_rate=0.05,
    matching_start=True,  # few steps: without it, salience is learned before matching
    objects=3,  # "not mine, the other's" is learned only where there is another
    paste=0.7,  # few stills: object and background from different ones make more
    jitter=0.15,  # lighting changes more in the embedded clips than in DAVIS
    hard_pixels=0.3,  # most pixels are easy background and drown the rest
    shake=0.1,  # a previous mask must say where to look, not what to answer
    blank=0.2,
    region=1.0,  # overlap, whatever the object's size
)

MINI = Config(
    name="mini",
    backbone="resnet18",
    key_dim=64,
    value_dim=256,
    local_dim=128,
    decoder_dim=96,
    normalization="mean",  # trained on small crops, used on large frames: the context must not grow
    previous_mask=True,  # 30 videos do not teach to tell a thing from its doubles by looks alone
    height=320,  # objects look about as large as in the training crops
    stages={
        "stills": _MINI_STILLS,
        "videos": replace(
            _MINI_STILLS,
            clips_per_epoch=20000,
            crop=256,  # masks are as wrong on the second frame as later: detail is worth more
            learning_rate=2e-4,
            backbone_learning_rate=1e-4,
            two_frames=0.75,  # than long clips are, at half the cost
            stills=(0.5, 0.25),  # few videos: synthetic clips stay in the mixture
            scale=(0.8, 1.6),  # frames are worked on at 320 lines, a crop holds 160 to 320 of them
            interval=(1, 16),  # larger steps stand in for long videos
            bystanders=0.5,  # else whatever looks like an object gets a mask: a dancer's onlookers
            paste=0.9,
            cutouts=4,  # objects hide one another, come in and go out
            cutout=(0.003, 0.4),  # a far-away object begins as a few pixels
            smallest=0.003,
            zoom=4.0,  # what comes closer looks another way than in the first frame
            calm=0.1,  # most things hardly move from one frame to the next
            tint=0.3,  # few videos: the colour of a thing says little about the next video
            folders_alike=True,  # 30 real videos, hundreds of embedded ones
        ),
        "embedded": Stage(  # what `make run` trains in minutes, on the embedded clips alone
            epochs=1,
            clips_per_epoch=9600,
            batch=4,
            crop=128,
            height=144,  # the lines that its crops stand for
            scale=(0.8, 1.5),
            learning_rate=3e-4,
            backbone_learning_rate=1e-4,
            final_rate=0.0,
            two_frames=0.6,
            matching_start=True,
            objects=3,
            paste=0.5,
            stills=(0.5, 0.5),
            interval=(1, 3),  # at most 2 in the six frames of an embedded training clip
            jitter=0.15,
            region=1.0,
            shake=0.1,
            blank=0.2,
        ),
    },
)

_SMOKE_STAGE = replace(_MINI_STILLS, clips_per_epoch=8, batch=2, crop=64)

SMOKE = replace(
    MINI,
    name="smoke",
    height=None,
    previous_mask=False,  # notebook 06 shows with it that the memory is used
    key_dim=8,
    value_dim=16,
    local_dim=16,
    decoder_dim=16,
    stages={
        "stills": _SMOKE_STAGE,
        "videos": replace(_SMOKE_STAGE, stills=(0.5, 0.5)),
        "embedded": replace(_SMOKE_STAGE, stills=(0.5, 0.5), two_frames=0.5),
    },
)

CONFIGS = {config.name: config for config in (SMOKE, MINI, PAPER)}


def sequences_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of sequences, as a command line gives them: "held-out" stands for HELD_OUT."""
    return HELD_OUT if names == ("held-out",) else names


def tier() -> str:
    """The tier the notebooks run in, from GCVOS_TIER: "smoke", "mini" (default) or "paper".

    Raises BadInput on another.
    """
    name = os.environ.get("GCVOS_TIER", "mini")
    if name not in CONFIGS:
        raise BadInput(f"GCVOS_TIER={name}: no such tier; choose one of {', '.join(CONFIGS)}")
    return name
