"""SwiftNet's light memory encoder: what it keeps of a mask, what it shares, what it saves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gcvos_mini.config import MINI, PAPER, SMOKE
from gcvos_mini.encoders import LightEncoder
from gcvos_mini.fast import prepare
from gcvos_mini.network import Network, load_backbone, load_model, save_model
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.toy import clip_frames

LIGHT = replace(SMOKE, light=True)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network(LIGHT).eval()


def test_against_loops():
    """One position of the map: its mask's pixels and the features under it, 1x1 by 1x1."""
    torch.manual_seed(0)
    encoder = LightEncoder([4, 3, 2]).double()
    at16, at8, at4 = (torch.randn(1, c, n, n).double() for c, n in ((4, 1), (3, 2), (2, 4)))
    mask = torch.rand(1, 1, 16, 16).double()

    def mix(layer, x):
        return layer.weight[:, :, 0, 0].detach().numpy() @ x + layer.bias.detach().numpy()

    def of(feature, y, x):
        return feature[0, :, y, x].numpy()

    stride4 = {}
    for y, x in np.ndindex(4, 4):
        pixels = mask[0, 0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].flatten().numpy()
        joined = np.concatenate([mix(encoder.mask, pixels), of(at4, y, x)])
        stride4[y, x] = np.maximum(mix(encoder.mix4, joined), 0)
    stride8 = {}
    for y, x in np.ndindex(2, 2):
        under = np.stack([stride4[2 * y + i, 2 * x + j] for i in (0, 1) for j in (0, 1)])  # (4, C)
        joined = np.concatenate([under.T.flatten(), of(at8, y, x)])
        stride8[y, x] = np.maximum(mix(encoder.mix8, joined), 0)
    under = np.stack([stride8[i, j] for i in (0, 1) for j in (0, 1)])
    joined = np.concatenate([under.T.flatten(), of(at16, 0, 0)])
    wanted = np.maximum(mix(encoder.mix16, joined), 0)
    with torch.no_grad():
        found = encoder([at16, at8, at4], mask)
    np.testing.assert_allclose(found[0, :, 0, 0].numpy(), wanted, rtol=1e-12)


def test_every_pixel_of_the_mask_can_be_told_apart(network):
    """Reversed sub-pixel sampling loses nothing: each pixel has a gradient of its own."""
    frame = torch.rand(1, 3, 32, 48)
    mask = torch.rand(1, 1, 32, 48, requires_grad=True)
    weights = torch.randn_like(network.memory_feature(frame, mask))
    (network.memory_feature(frame, mask) * weights).sum().backward()
    assert mask.grad.flatten().unique().numel() == mask.numel()


def test_fresh_keys_match_fresh_queries(network):
    """Or `matching_start` matches nothing: keys are made of what this encoder gives on."""
    frame, mask = torch.rand(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        seen = network.encode_query(frame).features[0]
        given_on = network.memory_feature(frame, mask)
    both = torch.stack([seen.flatten(), given_on.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9


def test_what_the_query_saw_serves_for_writing(network):
    """With the frame's query the key and value are the same, for all of its objects."""
    frame, masks = torch.rand(1, 3, 32, 48), torch.rand(3, 1, 32, 48)
    with torch.inference_mode():
        query = network.encode_query(frame)
        shared = network.encode_memory(frame.expand(3, -1, -1, -1), masks, query)
        afresh = network.encode_memory(frame.expand(3, -1, -1, -1), masks)
    for a, b in zip(shared, afresh, strict=True):
        assert a.shape[0] == 3
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert (shared[1][0] - shared[1][1]).abs().max() > 1e-4  # each mask has its value


@pytest.mark.parametrize("objects", [1, 2])
def test_one_backbone_pass_for_each_frame_of_a_video(network, objects):
    calls = []
    network.query_encoder.register_forward_hook(lambda m, x, y: calls.append(len(x[0])))
    (first, mask), (second, _), (third, _) = clip_frames("two-friends", 64, frames=3)
    segmenter = VideoSegmenter(network)
    segmenter.start(first, np.where(mask <= objects, mask, 0).astype(np.uint8))
    calls.clear()
    segmenter.step(second)
    segmenter.step(third)
    assert calls == [1, 1]  # one image each, whatever the number of objects
    segmenter.correct(np.uint8(mask))
    assert calls == [1, 1]  # what was seen of the frame is still there


def test_it_has_no_second_backbone(tmp_path):
    """Parameters saved: all of it, but for the mixing; ImageNet weights and checkpoints fit."""
    for config in (MINI, PAPER):
        with torch.device("meta"):
            full, light = Network(config), Network(replace(config, light=True))
        count = [sum(p.numel() for p in n.parameters()) for n in (full, light)]
        backbone = sum(p.numel() for p in full.memory_encoder.parameters())
        mixing = sum(p.numel() for p in light.aggregate.parameters())
        assert count[0] - count[1] == backbone - mixing and mixing < 0.25 * backbone
    network = Network(LIGHT).eval()
    load_backbone(network, "imagenet")
    save_model(network, tmp_path / "light.safetensors")
    again = load_model(tmp_path / "light.safetensors")
    assert again.config == LIGHT
    for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_runs_in_lower_precision(network):
    made = prepare(network, "bfloat16")
    frame, mask = torch.rand(1, 3, 32, 48), torch.rand(2, 1, 32, 48)
    with torch.inference_mode():
        key, value = made.encode_memory(frame.expand(2, -1, -1, -1), mask, made.encode_query(frame))
        wanted, _ = network.encode_memory(frame.expand(2, -1, -1, -1), mask)
    assert key.dtype == value.dtype == torch.float32
    assert (key - wanted).norm() < 0.05 * wanted.norm()


@pytest.mark.parametrize("config", [MINI, PAPER], ids=lambda config: config.name)
def test_writing_takes_a_fraction_of_the_operations(config):
    """Multiplications of the memory encoder alone, counted by PyTorch, without its heads."""
    with torch.device("meta"):
        full, light = Network(config), Network(replace(config, light=True))
        frame, mask = torch.empty(1, 3, 96, 96), torch.empty(1, 1, 96, 96)
        query = light.encode_query(frame)
        operations = []
        for network, seen in ((full, None), (light, query)):
            with FlopCounterMode(display=False) as counter:
                network.memory_feature(frame, mask, seen)
            operations.append(counter.get_total_flops())
    assert operations[1] < 0.2 * operations[0]
