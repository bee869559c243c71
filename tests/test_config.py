"""The paper's recipe, number by number, and where MINI leaves it."""

import dataclasses

import pytest
import torch

from gcvos_mini.config import CONFIGS, MINI, PAPER, SMOKE, tier
from gcvos_mini.errors import BadInput
from gcvos_mini.network import Network


def count(config):
    with torch.device("meta"):
        return sum(p.numel() for p in Network(config).parameters())


def changed(a, b):
    """Names of the fields in which two dataclass instances differ."""
    names = (f.name for f in dataclasses.fields(a))
    return {n for n in names if getattr(a, n) != getattr(b, n)}


@pytest.mark.parametrize(
    ("field", "printed"),
    [
        ("trunk", "resnet50"),  # "We use ResNet50 as the backbone"
        ("key_dim", 128),  # "C_M = 512 and C_N = 128"
        ("value_dim", 512),
        ("decoder_dim", 256),  # "compressed to have 256 channels"
        ("normalization", "none"),  # eq. 1 as printed
        ("first_share", 0.0),  # eq. 2 as printed
    ],
)
def test_section_3_2(field, printed):
    assert getattr(PAPER, field) == printed


@pytest.mark.parametrize(
    ("stage", "field", "printed"),
    [
        ("stills", "learning_rate", 1e-5),
        ("stills", "trunk_learning_rate", 1e-5),  # one rate for the whole network
        ("stills", "final_rate", 1.0),  # no decay
        ("stills", "epochs", 100),
        ("stills", "batch", 8),
        ("stills", "clips_per_epoch", None),  # an epoch is the data set, "about 15000 images"
        ("stills", "clip_frames", 3),
        ("stills", "rotation", 30.0),
        ("stills", "scale", (0.75, 1.25)),
        ("stills", "crop", 384),  # the input of Table 1
        ("stills", "hard_pixels", 1.0),  # plain cross-entropy
        ("stills", "region", 0.0),
        ("stills", "paste", 0.0),
        ("stills", "jitter", 0.0),
        ("stills", "stills", (1.0, 1.0)),
        ("videos", "learning_rate", 1e-6),
        ("videos", "trunk_learning_rate", 1e-6),
        ("videos", "final_rate", 1.0),
        ("videos", "epochs", 30),
        ("videos", "batch", 8),
        ("videos", "clips_per_epoch", None),
        ("videos", "clip_frames", 3),
        ("videos", "rotation", 30.0),
        ("videos", "scale", (0.75, 1.25)),
        ("videos", "interval", (1, 3)),
        ("videos", "crop", 480),  # "at 480p resolution"
        ("videos", "stills", (0.0, 0.0)),
        ("videos", "region", 1.0),  # "the hybrid loss used in our fine-tuning", section 4.1
    ],
)
def test_section_3_3(stage, field, printed):
    assert getattr(PAPER.stages[stage], field) == printed


def test_paper_uses_a_spline_in_the_stills_stage():
    assert PAPER.stages["stills"].spline > 0


def test_mini_differs_from_paper_only_where_intended():
    assert changed(PAPER, MINI) == {
        "name", "trunk", "key_dim", "value_dim", "local_dim", "decoder_dim", "normalization",
        "stages", "height", "first_share",
    }  # fmt: skip
    both = {
        "epochs", "clips_per_epoch", "batch", "crop", "learning_rate", "trunk_learning_rate",
        "final_rate", "paste", "jitter", "hard_pixels", "matching_start", "objects",
    }  # fmt: skip
    assert changed(PAPER.stages["stills"], MINI.stages["stills"]) == both | {"region"}
    assert changed(PAPER.stages["videos"], MINI.stages["videos"]) == both | {
        "stills", "interval", "two_frames", "folders_alike", "tint", "scale", "bystanders",
    }  # fmt: skip


def test_smoke_is_mini_made_tiny():
    assert changed(MINI, SMOKE) == {
        "name", "key_dim", "value_dim", "local_dim", "decoder_dim", "stages", "height",
        "first_share",
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


def test_sizes_tell_networks_apart_and_nothing_else():
    assert MINI.sizes != SMOKE.sizes
    for name in ("trunk", "key_dim", "value_dim", "local_dim", "decoder_dim", "normalization"):
        other = {"trunk": "resnet50", "normalization": "none"}.get(name, 7)
        assert dataclasses.replace(MINI, **{name: other}).sizes != MINI.sizes, name
    assert dataclasses.replace(MINI, stages={}, height=5).sizes == MINI.sizes


def test_tier(monkeypatch):
    monkeypatch.delenv("GCVOS_TIER", raising=False)
    assert tier() == "mini"
    for name in ("smoke", "mini", "paper"):
        monkeypatch.setenv("GCVOS_TIER", name)
        assert tier() == name
    monkeypatch.setenv("GCVOS_TIER", "huge")
    with pytest.raises(BadInput, match=r"GCVOS_TIER=huge.*smoke, mini, paper"):
        tier()
