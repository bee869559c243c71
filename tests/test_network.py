"""The network of section 3.2: its size, its shapes, and its weights on disk."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from gcvos_mini import network as module
from gcvos_mini.config import MINI, PAPER, SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.network import (
    Encoder,
    Network,
    Refine,
    ResBlock,
    load_model,
    load_trunk,
    save_model,
)

WIDER = dataclasses.replace(PAPER, key_dim=512)  # Table 2's second row


def on_meta(config):
    with torch.device("meta"):
        return Network(config)


def parameters(part):
    return sum(p.numel() for p in part.parameters())


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network(SMOKE).eval()


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
    trunk = parameters(resnet) - parameters(resnet.layer4) - parameters(resnet.fc)
    assert parameters(paper.query_encoder) == trunk
    assert parameters(paper.memory_encoder) == trunk + 64 * 7 * 7


# ---- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [PAPER, MINI], ids=lambda c: c.name)
@pytest.mark.parametrize("size", [(64, 96), (48, 32)])
def test_shapes_and_strides(config, size):
    h, w = size
    with torch.device("meta"):
        net = Network(config)
        frame, mask = torch.empty(2, 3, h, w), torch.empty(2, 1, h, w)
        key, value = net.memorize(frame, mask)
        query = net.look(frame)
        logits = net.decode(value, query)
    assert key.shape == query.key.shape == (2, config.key_dim, h // 16, w // 16)
    assert value.shape == (2, config.value_dim, h // 16, w // 16)
    assert query.local.shape == (2, config.local_dim, h // 16, w // 16)
    assert [x.shape[-2:] for x in query.skips] == [(h // 8, w // 8), (h // 4, w // 4)]
    assert logits.shape == (2, 2, h, w)


def test_one_query_serves_all_objects(network):
    """Decoding three contexts at once gives what decoding each by itself gives."""
    contexts = torch.randn(3, SMOKE.value_dim, 4, 6, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        query = network.look(picture())
        together = network.decode(contexts, query)
        alone = torch.cat([network.decode(c[None], query) for c in contexts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1])


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
    torch.testing.assert_close(refine(skip, x), residual(refine.out, side + up))


def test_frames_are_normalised_once(network):
    """A frame of ImageNet's mean colour reaches both encoders as zero, the mask untouched."""
    seen = []
    hooks = [
        e.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        for e in (network.memory_encoder, network.query_encoder)
    ]
    grey = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 64, 96)
    with torch.inference_mode():
        network.memorize(grey, box())
        network.look(grey)
        network.look(grey + torch.tensor([0.229, 0.224, 0.225])[None, :, None, None])
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(seen[0][:, :3], torch.zeros(1, 3, 64, 96))
    torch.testing.assert_close(seen[0][:, 3:], box())
    torch.testing.assert_close(seen[1], torch.zeros(1, 3, 64, 96))
    torch.testing.assert_close(seen[2], torch.ones(1, 3, 64, 96), rtol=1e-4, atol=1e-5)


def test_memorize_sees_the_mask_and_look_does_not(network):
    with torch.inference_mode():
        key, value = network.memorize(picture(), box())
        empty_key, empty_value = network.memorize(picture(), 0 * box())
        soft_key, _ = network.memorize(picture(), 0.5 * box())
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
    alone = net.look(picture())
    pair = net.look(torch.cat([picture(), 0 * picture()]))
    assert all(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))
    # statistics of the batch would let one clip change another's features
    torch.testing.assert_close(pair.key[:1], alone.key, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns():
    """A part left out of the forward pass would keep a gradient of None."""
    torch.manual_seed(0)
    net = Network(SMOKE).train()
    key, value = net.memorize(picture(), box())
    query = net.look(picture())
    context = value + (key.mean() + query.key.mean())
    net.decode(context, query).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


# ---- weights on disk ----------------------------------------------------------------------------


@pytest.fixture
def trunk_file(tmp_path):
    torch.manual_seed(3)
    weights = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / "resnet18.safetensors"
    save_file({n: t.clone() for n, t in weights.items()}, path)
    return path, weights


def test_load_trunk_fills_both_encoders_and_keeps_the_mask_channel(trunk_file):
    path, weights = trunk_file
    torch.manual_seed(0)
    net = Network(SMOKE)
    mask_channel = net.memory_encoder.stem[0].weight[:, 3:].clone()
    load_trunk(net, path)
    torch.testing.assert_close(net.memory_encoder.stem[0].weight[:, 3:], mask_channel)
    assert mask_channel.abs().max() > 0
    for encoder in (net.memory_encoder, net.query_encoder):
        torch.testing.assert_close(encoder.stem[0].weight[:, :3], weights["conv1.weight"])
        torch.testing.assert_close(encoder.stem[1].weight, weights["bn1.weight"])
        for name in ("layer1", "layer2", "layer3"):
            for key, tensor in getattr(encoder, name).state_dict().items():
                torch.testing.assert_close(tensor, weights[f"{name}.{key}"])


def changed_trunk(weights, what):
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
def test_load_trunk_refuses_other_weights(trunk_file, network, what):
    path, weights = trunk_file
    save_file(changed_trunk(weights, what), path)
    with pytest.raises(BadInput, match="resnet18.safetensors: not resnet18 weights"):
        load_trunk(Network(SMOKE), path)


def spoil(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "pickle":
        torch.save({"weight": torch.zeros(3)}, path)
    elif how == "text":
        path.write_text("these are not weights\n" * 20)
    elif how == "missing":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["truncated", "empty", "pickle", "text", "missing", "folder"])
def test_unreadable_files_are_named(trunk_file, network, how):
    path, _ = trunk_file
    spoil(path, how)
    for read in (lambda: load_model(path), lambda: load_trunk(network, path)):
        with pytest.raises(BadInput, match="resnet18.safetensors: ") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("half", [False, True])
def test_save_and_load(network, tmp_path, half):
    path = tmp_path / "net.safetensors"
    save_model(network, path, half=half)
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]  # no unfinished file left
    loaded = load_model(path)
    assert not loaded.training and loaded.config == SMOKE
    tolerance = {"rtol": 1e-3, "atol": 1e-6} if half else {"rtol": 0, "atol": 0}
    for (name, a), (_, b) in zip(
        network.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, **tolerance, msg=name)


def test_full_disk_is_one_line_and_keeps_the_old_file(tmp_path):
    """In a process whose files may not grow beyond 1,000 bytes."""
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")
    lines = f"""
import resource
from gcvos_mini.config import SMOKE
from gcvos_mini.errors import exit_on_bad_input
from gcvos_mini.network import Network, save_model
network = Network(SMOKE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
exit_on_bad_input(lambda: save_model(network, {str(path)!r}))
"""
    result = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {path}: cannot be written")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"old"


def test_half_takes_half_the_bytes(network, tmp_path):
    for half in (False, True):
        save_model(network, tmp_path / f"{half}.safetensors", half)
    sizes = [(tmp_path / f"{h}.safetensors").stat().st_size for h in (True, False)]
    assert 0.49 < sizes[0] / sizes[1] < 0.52


def with_sizes(network, path, **changes):
    sizes = json.dumps(network.config.sizes | changes)
    save_file(network.state_dict(), path, metadata={"sizes": sizes})


def test_other_sizes_are_refused(network, tmp_path):
    path = tmp_path / "net.safetensors"
    with_sizes(network, path)
    load_model(path)
    for changes in ({"key_dim": 9}, {"normalization": "none"}, {"name": "huge"}):
        with_sizes(network, path, **changes)
        with pytest.raises(BadInput, match="net.safetensors: made for other network sizes"):
            load_model(path)
    save_file(network.state_dict(), path)
    with pytest.raises(BadInput, match="none given"):
        load_model(path)
    save_file({"key.bias": torch.zeros(8)}, path, metadata={"sizes": json.dumps(SMOKE.sizes)})
    with pytest.raises(BadInput, match="net.safetensors: its tensors do not fit the smoke network"):
        load_model(path)


def test_by_name(tmp_path, network, monkeypatch):
    fresh = load_model("smoke", pretrained=False)
    assert fresh.config is SMOKE and not fresh.training
    with pytest.raises(BadInput, match="paper: no trained weights.*--config paper"):
        load_model("paper")
    with pytest.raises(BadInput, match="no-such-network: no such file"):
        load_model("no-such-network")
    (tmp_path / "weights").mkdir()
    save_model(network, tmp_path / "weights" / "smoke.safetensors")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    torch.testing.assert_close(load_model("smoke").key.weight, network.key.weight)
