"""browser/export.py: the network as graphs finds the masks that PyTorch finds, but for ties."""

import json
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from browser_page.built import exported, modules, small

from gcvos_mini.bunny import load_bunny
from gcvos_mini.config import SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.network import Query, find_weights, load_model
from gcvos_mini.segment import VideoSegmenter, follow
from gcvos_mini.toy import VAL, clip_frames


class Graphs(torch.nn.Module):
    """The exported graphs in the network's place, so that the same segmenter runs them."""

    def __init__(self, folder, config):
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.device = torch.nn.Parameter(torch.zeros(1))
        self.config = config
        self.sessions = {
            name: onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options)
            for name in ("query", "memory", "decoder")
        }

    def run(self, name, **inputs):
        asked = {key: np.ascontiguousarray(x.numpy()) for key, x in inputs.items()}
        return [torch.from_numpy(x) for x in self.sessions[name].run(None, asked)]

    def encode_query(self, frame):
        key, local, *skips = self.run("query", frame=frame)
        return Query(key, local, skips)

    def encode_memory(self, frame, mask, query=None):
        parts = [self.run("memory", frame=frame[:1], mask=m[None]) for m in mask]
        return tuple(torch.cat(part) for part in zip(*parts))

    def decode(self, context, query, previous=None):
        asked = {"local": query.local, "skip8": query.skips[0], "skip4": query.skips[1]}
        odds = []
        for o, one in enumerate(context):
            also = {"previous": previous[o : o + 1]} if self.config.previous_mask else {}
            odds += self.run("decoder", context=one[None], **asked, **also)
        return torch.cat(odds)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped network: its folder of graphs, and itself in PyTorch."""
    folder = exported(tmp_path_factory)
    return SimpleNamespace(folder=folder, network=load_model(folder / "weights.safetensors"))


def both(folder, network, frames, mask, height=None):
    """Masks (T, H, W) by the graphs, and by PyTorch."""
    graphs = Graphs(folder, network.config)
    return [
        np.stack([m for _, m in follow(VideoSegmenter(n, "gc", height=height), frames, mask)])
        for n in (graphs, network)
    ]


def test_masks_of_the_bunny_are_equal_but_for_ties(shipped):
    """Sums in another order: where object and background are as likely, a pixel may flip."""
    frames, masks = load_bunny()
    by_graphs, by_pytorch = (
        VideoSegmenter(network, "gc", height=160)
        for network in (Graphs(shipped.folder, shipped.network.config), shipped.network)
    )
    flipped = 0
    for segmenter in (by_graphs, by_pytorch):
        segmenter.start(frames[0], masks[0])
    for frame in frames[1:16]:
        found, right = by_graphs.step(frame), by_pytorch.step(frame)
        background, rabbit = by_pytorch.probabilities.numpy()  # (H, W) each
        differ = found != right
        assert (abs(background - rabbit)[differ] < 1e-3).all()
        flipped += differ.sum()
    assert flipped <= 3 and (right > 0).mean() > 0.01  # 1 of 1,639,680


@pytest.mark.parametrize("name", VAL)
def test_masks_of_the_embedded_clips_are_equal_on_every_pixel(shipped, name):
    frames, masks = zip(*islice(clip_frames(name, 112), 0, 40, 7))  # not a multiple of 16 wide
    found, right = both(shipped.folder, shipped.network, np.stack(frames), masks[0])
    assert (found == right).all() and right[1:].any()


@pytest.mark.parametrize("previous", [False, True])
def test_each_graph_is_its_part_of_a_network_with_or_without_the_previous_mask(
    tmp_path_factory, previous
):
    folder = exported(tmp_path_factory, previous)
    network = load_model(folder / "weights.safetensors")
    graphs = Graphs(folder, network.config)
    frame, masks = torch.rand(1, 3, 64, 112), torch.rand(2, 1, 64, 112)
    context = torch.randn(2, SMOKE.value_dim, 4, 7)
    with torch.no_grad():
        asked, right = graphs.encode_query(frame), network.encode_query(frame)
        pairs = [(asked.key, right.key), (asked.local, right.local), *zip(asked.skips, right.skips)]
        pairs += zip(graphs.encode_memory(frame, masks),
                     network.encode_memory(frame.expand(2, -1, -1, -1), masks))  # fmt: skip
        odds = [n.decode(context, right, masks) for n in (graphs, network)]
        blind = network.decode(context, right, torch.zeros_like(masks))
    for found, wanted in [*pairs, odds]:
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert torch.equal(odds[1], blind) is not previous
    about = json.loads((folder / "model.json").read_text())
    assert about["previous_mask"] is previous and about["first_share"] == 0


def test_the_weights_are_there_once(shipped):
    _, export = modules()
    source, copy = find_weights("mini"), shipped.folder / export.WEIGHTS
    assert copy.read_bytes() == source.read_bytes()
    graphs = [shipped.folder / f"{name}.onnx" for name in export.PARTS]
    assert sum(path.stat().st_size for path in graphs) < 300_000


def test_metadata_say_what_the_page_needs(shipped):
    about = json.loads((shipped.folder / "model.json").read_text())
    assert {**shipped.network.config.stored(), **about} == about
    assert about["stride"] == 16 and len(about["check"]["masks"]) == 2


def test_float32_weights_become_the_float16_that_the_graphs_read(tmp_path):
    _, export = modules()
    path = small(tmp_path)
    export.half_weights(path, tmp_path / "half.safetensors")
    half, whole = (load_model(p).key.weight for p in (tmp_path / "half.safetensors", path))
    assert torch.equal(half, whole.half().float()) and not torch.equal(half, whole)


@pytest.mark.bad_input
@pytest.mark.parametrize("config", [{"normalization": "softmax"}, {"light": True}], ids=str)
def test_what_cannot_be_exported_is_refused(tmp_path, config):
    _, export = modules()
    with pytest.raises(BadInput, match="cannot be exported"):
        export.export(str(small(tmp_path, **config)), tmp_path / "model")
