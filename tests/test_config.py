"""The paper's recipe, number by number, and where MINI leaves it."""

import dataclasses

import pytest
import torch

from gcvos_mini.config import CONFIGS, HELD_OUT, MINI, PAPER, SMOKE, sequences_of, tier
from gcvos_mini.errors import BadInput
from gcvos_mini.network import Network


def count(config):
    with torch.device("meta"):
        return sum(p.numel() for p in Network(config).parameters())


def changed(a, b):
    """Names of the fields in which two dataclass instances differ."""
    names = (f.name for f in dataclasses.fields(a))
    return {n for n in names if getattr(a, n) != getattr(b, n)}


def test_section_3_2():
    assert PAPER.backbone == "resnet50"  # "We use ResNet50 as the backbone"
    assert (PAPER.value_dim, PAPER.key_dim) == (512, 128)  # "C_M = 512 and C_N = 128"
    assert PAPER.decoder_dim == 256  # "compressed to have 256 channels"
    assert PAPER.normalization == "none" and PAPER.first_share == 0.0  # eqs. 1 and 2 as printed


BOTH = {
    "final_rate": 1.0,  # no decay
    "batch": 8,
    "clips_per_epoch": None,  # an epoch is the data set, "about 15000 images"
    "clip_frames": 3,
    "rotation": 30.0,
    "scale": (0.75, 1.25),
}
PRINTED = {
    "stills": BOTH | {
        "learning_rate": 1e-5,
        "backbone_learning_rate": 1e-5,  # one rate for the whole network
        "epochs": 100,
        "crop": 384,  # the input of Table 1
        "hard_pixels": 1.0,  # plain cross-entropy
        "region": 0.0,
        "paste": 0.0,
        "jitter": 0.0,
        "stills": (1.0, 1.0),
    },
    "videos": BOTH | {
        "learning_rate": 1e-6,
        "backbone_learning_rate": 1e-6,
        "epochs": 30,
        "interval": (1, 3),
        "crop": 480,  # "at 480p resolution"
        "stills": (0.0, 0.0),
        "region": 1.0,  # "the hybrid loss used in our fine-tuning", section 4.1
    },
}  # fmt: skip


@pytest.mark.parametrize("stage", PRINTED)
def test_section_3_3(stage):
    found = {field: getattr(PAPER.stages[stage], field) for field in PRINTED[stage]}
    assert found == PRINTED[stage]


def test_paper_uses_a_spline_in_the_stills_stage():
    assert PAPER.stages["stills"].spline > 0


def test_mini_differs_from_paper_only_where_intended():
    assert changed(PAPER, MINI) == {
        "name", "backbone", "key_dim", "value_dim", "local_dim", "decoder_dim", "normalization",
        "stages", "height", "previous_mask",
    }  # fmt: skip
    both = {
        "epochs", "clips_per_epoch", "batch", "crop", "learning_rate", "backbone_learning_rate",
        "final_rate", "paste", "jitter", "hard_pixels", "matching_start", "objects",
        "shake", "blank",
    }  # fmt: skip
    assert changed(PAPER.stages["stills"], MINI.stages["stills"]) == both | {"region"}
    assert changed(PAPER.stages["videos"], MINI.stages["videos"]) == both | {
        "stills", "interval", "two_frames", "folders_alike", "tint", "scale", "bystanders",
        "cutouts", "cutout", "smallest", "zoom", "calm",
    }  # fmt: skip


def test_smoke_is_mini_made_tiny():
    assert changed(MINI, SMOKE) == {
        "name", "key_dim", "value_dim", "local_dim", "decoder_dim", "stages", "height",
        "previous_mask",
    }  # fmt: skip
    assert count(SMOKE) < count(MINI)
    for stage in SMOKE.stages.values():
        assert stage.epochs * stage.clips_per_epoch <= 16 and stage.crop <= 64


def test_mini_has_at_most_8_4_million_parameters():
    assert count(MINI) <= 8_400_000


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_config_is_usable(config):
    assert CONFIGS[config.name] is config
    assert {"stills", "videos"} <= set(config.stages) <= {"stills", "videos", "embedded"}
    assert config.stages["stills"].stills == (1.0, 1.0)  # this stage must run without a video
    for stage in config.stages.values():
        assert stage.crop % 16 == 0 and stage.clip_frames >= 3 and stage.batch > 0
        assert 0 < stage.scale[0] <= 1 <= stage.scale[1]
        assert 1 <= stage.interval[0] <= stage.interval[1]


def test_tier(monkeypatch):
    monkeypatch.delenv("GCVOS_TIER", raising=False)
    assert tier() == "mini"
    for name in ("smoke", "mini", "paper"):
        monkeypatch.setenv("GCVOS_TIER", name)
        assert tier() == name
    monkeypatch.setenv("GCVOS_TIER", "huge")
    with pytest.raises(BadInput, match=r"GCVOS_TIER=huge.*smoke, mini, paper"):
        tier()


def test_held_out_stands_for_the_eight():
    """And nothing else does: a sequence may have any name beside it."""
    assert len(set(HELD_OUT)) == 8
    assert sequences_of(("held-out",)) == HELD_OUT
    assert sequences_of(("bear",)) == ("bear",) and sequences_of(()) == ()
