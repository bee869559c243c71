"""What a training step costs, counted: it scales with weights, clips and pixels as it should."""

from dataclasses import replace

import pytest
import torch

from gcvos_mini.budget import StepCost, step_cost
from gcvos_mini.config import SMOKE
from gcvos_mini.network import Network


def test_bytes_are_those_of_weights_and_of_each_clip():
    """Twice the clips need the same for the weights and twice the rest; larger crops need more."""
    one, two = (step_cost(SMOKE, "videos", "cpu", "float32", clips, steps=1) for clips in (1, 2))
    weights = sum(p.numel() for p in Network(SMOKE).parameters())
    assert one.fixed == two.fixed == 4 * 4 * weights  # gradient, Adam's two
    assert two.each == pytest.approx(one.each, rel=0.02)
    assert one.gigabytes(3) == pytest.approx((one.fixed + 3 * one.each) / 1e9)
    stages = SMOKE.stages | {"videos": replace(SMOKE.stages["videos"], crop=128)}
    large = step_cost(replace(SMOKE, stages=stages), "videos", "cpu", "float32", 1, steps=1)
    assert large.each == pytest.approx(4 * one.each, rel=0.1)  # four times the pixels


def test_what_is_kept_for_the_way_back_is_counted_once():
    """Half of the bytes in bfloat16, but for the memory; and no less than one layer needs."""
    config = replace(SMOKE, stages={"videos": replace(SMOKE.stages["videos"], crop=64)})
    full = step_cost(config, "videos", "cpu", "float32", 1, steps=1).each
    half = step_cost(config, "videos", "cpu", "bfloat16", 1, steps=1).each
    assert 0.4 * full < half < 0.75 * full  # activations in half of the bytes, the memory's in full
    # the first convolution's output alone: 64 channels at half the size, on four encodings
    assert full > 4 * 64 * 32 * 32 * 4


def test_hours_and_seconds():
    cost = StepCost(clips=4, seconds=2.0, fixed=0, each=0)
    assert cost.hours(clips=7200) == 1.0
    torch.manual_seed(0)
    assert 0 < step_cost(SMOKE, "stills", "cpu", clips=1, steps=2).seconds < 60
