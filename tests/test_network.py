"""The network of section 3.2: its size, its shapes, ImageNet weights; checkpoints have a file."""

import dataclasses

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from gcvos_mini.config import MINI, PAPER, SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.network import Encoder, Network, Refine, ResBlock, load_backbone

WIDER = dataclasses.replace(PAPER, key_dim=512)  # Table 2's second row


def on_meta(config):
    with torch.device("meta"):
        return Network(config)


def parameters(part):
    return sum(p.numel() for p in part.parameters())


def picture(height=64, width=96, batch=1):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, height, width, generator=generator)


def box(height=64, width=96):
    mask = torch.zeros(1, 1, height, width)
    mask[..., 16:48, 32:64] = 1
    return mask


# ---- size ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "counted", "table_2"), [(PAPER, 38_922_434, 38), (WIDER, 46_001_090, 46)]
)
def test_table_2(config, counted, table_2):
    assert parameters(on_meta(config)) == counted
    assert counted // 10**6 == table_2


def test_parts_of_paper_by_hand():
    """The heads, from their shapes: 3x3 convolutions of res4's 1024 channels, with a bias."""
    paper = on_meta(PAPER)
    for name, out in (("key", 128), ("query", 128), ("value", 512), ("local", 512)):
        assert parameters(getattr(paper, name)) == 1024 * out * 9 + out
    # ResNet-50 without layer4 and classifier; the fourth channel adds 64 kernels of 7x7.
    resnet = torchvision.models.resnet50(weights=None)
    backbone = parameters(resnet) - parameters(resnet.layer4) - parameters(resnet.fc)
    assert parameters(paper.query_encoder) == backbone
    assert parameters(paper.memory_encoder) == backbone + 64 * 7 * 7


# ---- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [PAPER, MINI], ids=lambda c: c.name)
@pytest.mark.parametrize("size", [(64, 96), (48, 32)])
def test_shapes_and_strides(config, size):
    h, w = size
    with torch.device("meta"):
        net = Network(config)
        frame, mask = torch.empty(2, 3, h, w), torch.empty(2, 1, h, w)
        key, value = net.encode_memory(frame, mask)
        query = net.encode_query(frame)
        odds = net.decode(value, query, mask)
    assert key.shape == query.key.shape == (2, config.key_dim, h // 16, w // 16)
    assert value.shape == (2, config.value_dim, h // 16, w // 16)
    assert query.local.shape == (2, config.local_dim, h // 16, w // 16)
    assert [tuple(x.shape) for x in query.skips] == [
        (2, config.decoder_dim, h // 8, w // 8), (2, config.decoder_dim, h // 4, w // 4)
    ]  # fmt: skip
    assert odds.shape == (2, h, w)


def test_one_query_serves_all_objects(model):
    """Decoding three contexts at once gives what decoding each by itself gives."""
    contexts = torch.randn(3, SMOKE.value_dim, 4, 6, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        query = model.encode_query(picture())
        together = model.decode(contexts, query)
        alone = torch.cat([model.decode(c[None], query) for c in contexts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1])


def test_previous_mask_reaches_the_decoder_in_place(monkeypatch):
    """Each 4 x 4 pixels of it are one number, at the position of the map that they lie on."""
    network = Network(dataclasses.replace(SMOKE, previous_mask=True)).eval()
    context, query = torch.zeros(1, SMOKE.value_dim, 4, 6), network.encode_query(picture())
    seen = []
    monkeypatch.setattr(network.decoder, "forward", lambda feature, skips: seen.append(feature))
    previous = torch.zeros(1, 1, 64, 96)
    previous[..., 20:24, 40:44] = 1  # the second row and third column of the map's row 1, column 2
    network.decode(context, query, previous)
    added = seen[0][:, SMOKE.value_dim + SMOKE.local_dim :]  # (1, 16, 4, 6)
    assert added.nonzero().tolist() == [[0, 4 * 1 + 2, 1, 2]] and added.sum() == 1


def test_previous_mask_counts_only_where_the_config_says_so(model):
    context = torch.randn(2, SMOKE.value_dim, 4, 6, generator=torch.Generator().manual_seed(2))
    other = torch.cat([box(), 1 - box()])
    with torch.inference_mode():
        query = model.encode_query(picture())
        assert torch.equal(model.decode(context, query, other), model.decode(context, query))
        torch.manual_seed(0)
        seeing = Network(dataclasses.replace(SMOKE, previous_mask=True)).eval()
        query = seeing.encode_query(picture())
        one, two = (seeing.decode(context, query, m) for m in (other, other.flip(0)))
    assert (one - two).abs().max() > 1e-4
    assert parameters(seeing) - parameters(model) == 16 * 9 * SMOKE.decoder_dim


def test_encoder_is_torchvisions_resnet_to_layer3():
    torch.manual_seed(0)
    encoder = Encoder("resnet18", 3).eval()
    resnet = torchvision.models.resnet18(weights=None).eval()
    names = ("layer1", "layer2", "layer3")
    resnet.conv1.load_state_dict(encoder.stem[0].state_dict())
    resnet.bn1.load_state_dict(encoder.stem[1].state_dict())
    for name in names:
        getattr(resnet, name).load_state_dict(getattr(encoder, name).state_dict())
    taken = {}
    for name in names:
        getattr(resnet, name).register_forward_hook(
            lambda _, __, out, name=name: taken.update({name: out})
        )
    with torch.inference_mode():
        resnet(picture())
        stride16, stride8, stride4 = encoder(picture())
    torch.testing.assert_close(stride16, taken["layer3"])
    torch.testing.assert_close(stride8, taken["layer2"])
    torch.testing.assert_close(stride4, taken["layer1"])


def test_resblock_and_refine_by_hand():
    torch.manual_seed(0)
    conv = torch.nn.functional.conv2d
    x, skip = torch.randn(1, 4, 3, 5), torch.randn(1, 6, 6, 10)

    def residual(block, x):
        a = conv(x.clamp(min=0), block.conv1.weight, block.conv1.bias, padding=1)
        return x + conv(a.clamp(min=0), block.conv2.weight, block.conv2.bias, padding=1)

    block, refine = ResBlock(4), Refine(6, 4)
    torch.testing.assert_close(block(x), residual(block, x))
    first, second = refine.skip
    side = residual(second, conv(skip, first.weight, first.bias, padding=1))
    # bilinear by two, by hand: output pixel j looks at (j + 0.5) / 2 - 0.5, clamped to the image
    matrices = []
    for n in x.shape[-2:]:
        at = ((torch.arange(2 * n) + 0.5) / 2 - 0.5).clamp(0, n - 1)
        matrices.append((1 - (at[:, None] - torch.arange(n)).abs()).clamp(min=0))  # (2n, n)
    up = matrices[0] @ x @ matrices[1].T
    torch.testing.assert_close(refine(refine.skip(skip), x), residual(refine.out, side + up))


def test_frames_are_normalised_once(model):
    """A frame of ImageNet's mean colour reaches both encoders as zero, the mask untouched."""
    seen = []
    hooks = [
        e.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        for e in (model.memory_encoder, model.query_encoder)
    ]
    grey = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 64, 96)
    with torch.inference_mode():
        model.encode_memory(grey, box())
        model.encode_query(grey)
        model.encode_query(grey + torch.tensor([0.229, 0.224, 0.225])[None, :, None, None])
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(seen[0][:, :3], torch.zeros(1, 3, 64, 96))
    torch.testing.assert_close(seen[0][:, 3:], box())
    torch.testing.assert_close(seen[1], torch.zeros(1, 3, 64, 96))
    torch.testing.assert_close(seen[2], torch.ones(1, 3, 64, 96), rtol=1e-4, atol=1e-5)


def test_encode_memory_sees_the_mask(model):
    with torch.inference_mode():
        key, value = model.encode_memory(picture(), box())
        empty_key, empty_value = model.encode_memory(picture(), 0 * box())
        soft_key, _ = model.encode_memory(picture(), 0.5 * box())
    assert (key - empty_key).abs().max() > 1e-3
    assert (value - empty_value).abs().max() > 1e-3
    assert (soft_key - key).abs().max() > 1e-3 and (soft_key - empty_key).abs().max() > 1e-3


def test_batch_norm_stays_frozen_in_training():
    torch.manual_seed(0)
    net = Network(SMOKE).train()
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 2 * 15  # of one ResNet-18 to layer3
    assert net.training and net.decoder.training and not any(n.training for n in norms)
    before = [n.running_mean.clone() for n in norms]
    alone = net.encode_query(picture())
    pair = net.encode_query(torch.cat([picture(), 0 * picture()]))
    assert all(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))
    # statistics of the batch would let one clip change another's features
    torch.testing.assert_close(pair.key[:1], alone.key, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns():
    """A part left out of the forward pass would keep a gradient of None."""
    torch.manual_seed(0)
    net = Network(SMOKE).train()
    key, value = net.encode_memory(picture(), box())
    query = net.encode_query(picture())
    context = value + (key.mean() + query.key.mean())
    net.decode(context, query).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


# ---- ImageNet weights ---------------------------------------------------------------------------


@pytest.fixture
def backbone_file(tmp_path):
    torch.manual_seed(3)
    weights = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / "resnet18.safetensors"
    save_file({n: t.clone() for n, t in weights.items()}, path)
    return path, weights


def test_load_backbone_fills_both_encoders_and_keeps_the_mask_channel(backbone_file):
    path, weights = backbone_file
    torch.manual_seed(0)
    net = Network(SMOKE)
    mask_channel = net.memory_encoder.stem[0].weight[:, 3:].clone()
    load_backbone(net, path)
    torch.testing.assert_close(net.memory_encoder.stem[0].weight[:, 3:], mask_channel)
    assert mask_channel.abs().max() > 0
    for encoder in (net.memory_encoder, net.query_encoder):
        torch.testing.assert_close(encoder.stem[0].weight[:, :3], weights["conv1.weight"])
        torch.testing.assert_close(encoder.stem[1].weight, weights["bn1.weight"])
        for name in ("layer1", "layer2", "layer3"):
            for key, tensor in getattr(encoder, name).state_dict().items():
                torch.testing.assert_close(tensor, weights[f"{name}.{key}"])


def changed_backbone(weights, what):
    weights = {n: t.clone() for n, t in weights.items()}
    if what == "of resnet50":
        weights = torchvision.models.resnet50(weights=None).state_dict()
    elif what == "no layer3":
        weights = {n: t for n, t in weights.items() if not n.startswith("layer3")}
    elif what == "no conv1":
        del weights["conv1.weight"]
    elif what == "conv1 of one channel":
        weights["conv1.weight"] = weights["conv1.weight"][:, :1].clone()
    elif what == "conv1 of 32 kernels":
        weights["conv1.weight"] = weights["conv1.weight"][:32].clone()
    return weights


@pytest.mark.parametrize(
    "what",
    ["of resnet50", "no layer3", "no conv1", "conv1 of one channel", "conv1 of 32 kernels"],
)
def test_load_backbone_refuses_other_weights(backbone_file, what):
    path, weights = backbone_file
    save_file(changed_backbone(weights, what), path)
    with pytest.raises(BadInput, match="resnet18.safetensors: not resnet18 weights"):
        load_backbone(Network(SMOKE), path)
    path.write_text("these are not weights")
    with pytest.raises(BadInput, match="resnet18.safetensors: not a readable safetensors file"):
        load_backbone(Network(SMOKE), path)
