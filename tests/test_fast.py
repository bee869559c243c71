"""What is there for speed changes no result beyond rounding, no order, and loses no error."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from gcvos_mini import fast, load_model
from gcvos_mini.bunny import load_bunny
from gcvos_mini.config import MINI, SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.network import Network
from gcvos_mini.segment import VideoSegmenter, follow
from gcvos_mini.toy import clip_frames

PICTURE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
MASK = (PICTURE[:, :1] > 0.5).float()
LOWER = ["float32", "bfloat16"]


def with_statistics(config):
    """A network whose batch norms have statistics of their own, as trained backbones do."""
    torch.manual_seed(0)
    network = Network(config).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


def outputs(network):
    with torch.inference_mode():
        query = network.encode_query(PICTURE)
        key, value = network.encode_memory(PICTURE, MASK)
        return query.key, key, value, network.decode(value, query, MASK)


# ---- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"previous_mask": True}, {"light": True}], ids=str)
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_folding_the_batch_norm_is_exact_to_rounding(backbone, changes):
    network = with_statistics(replace(SMOKE, backbone=backbone, **changes))
    made = fast.prepare(network, "float32")
    left = [m for m in made.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not left and any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    for a, b in zip(outputs(made), outputs(network), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize("precision", LOWER)
def test_only_the_convolutions_are_in_lower_precision(precision):
    network = load_model("mini")
    made = fast.prepare(network, precision)
    assert {p.dtype for p in made.parameters()} == {getattr(torch, precision)}
    assert made.mean.dtype == made.std.dtype == torch.float32  # pixels are normalised in full
    assert {x.dtype for x in outputs(made)} == {torch.float32}
    assert {p.dtype for p in network.parameters()} == {torch.float32}  # the given one is untouched
    segmenter = VideoSegmenter(made)
    frame, mask = next(clip_frames("look-alikes", 64, frames=1))
    segmenter.start(frame, mask)
    segmenter.step(frame)
    assert segmenter.memory.context.dtype == segmenter.probabilities.dtype == torch.float32


def followed(network, frames, mask):
    return np.stack([labels for _, labels in follow(VideoSegmenter(network), frames, mask)])


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("video", ["two-friends", "bunny"])
def test_masks_are_those_of_float32(precision, video):
    """At least 99.9 % of the pixels, and of those near an outline 99 %, after ten frames."""
    if video == "bunny":
        frames, masks = load_bunny()
        frames, mask = frames[:10], masks[0]
    else:
        frames, masks = zip(*clip_frames(video, 160, frames=10), strict=True)
        mask = masks[0]
    network = load_model("mini")
    plain = followed(network, frames, mask)
    quick = followed(fast.prepare(network, precision), frames, mask)
    assert (plain == quick).mean() > 0.999
    found = (plain > 0) | (quick > 0)
    assert (plain == quick)[found].mean() > 0.99 and found.mean() > 0.01


def test_the_query_side_is_computed_once_for_all_objects():
    """Its skips reach the decoder with a batch of one, however many objects there are."""
    network, batches = load_model("mini"), []
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d) and ("query" in name or ".skip." in name):
            module.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    frame, mask = next(clip_frames("look-alikes", 64, frames=1))
    segmenter = VideoSegmenter(network)
    segmenter.start(frame, mask)
    segmenter.step(frame)
    assert len(segmenter.ids) > 1 and len(batches) > 20 and set(batches) == {1}


# ---- which precision -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "able, picked",
    [({}, "float32"), ({"avx512_bf16": False, "avx512_f": True}, "float32"),
     ({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"),
     ({"bf16": True, "neon": True}, "bfloat16")],
)  # fmt: skip
def test_the_processor_decides(able, picked, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert fast.pick_precision(None, "cpu") == picked
    assert fast.pick_precision("float32", "cpu") == "float32"


def test_a_torch_that_cannot_tell_means_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert fast.pick_precision(None, "cpu") == "float32"


@pytest.mark.parametrize("native, picked", [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_decides(native, picked, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert fast.pick_precision(None, "cuda") == picked
    assert fast.pick_precision(None, "mps") == "float32"


@pytest.mark.bad_input
def test_what_cannot_be_is_said():
    with pytest.raises(BadInput, match="--precision float16: for GPUs; give bfloat16 or float32"):
        fast.pick_precision("float16", "cpu")


@pytest.mark.bad_input
def test_no_compiler(monkeypatch):
    monkeypatch.setattr(fast.shutil, "which", lambda _: None)
    with pytest.raises(BadInput, match="--compile: no C\\+\\+ compiler here"):
        fast.prepare(Network(MINI), "float32", compiled=True)


# ---- threads -------------------------------------------------------------------------------------


def test_ahead_keeps_the_order_and_does_not_run_away():
    made, lead = [], []

    def items():
        for i in range(30):
            made.append(i)
            time.sleep(1e-3)  # so that a second thread would find the first at it
            yield i

    for i in fast.ahead(items(), most=3):
        assert i == len(lead)
        lead.append(len(made) - i)
    assert len(lead) == 30 and max(lead) <= 5  # those waiting, the one in hand, one being made


def test_ahead_works_in_a_thread():
    main = threading.get_ident()
    assert main not in list(fast.ahead(threading.get_ident() for _ in range(5)))


def test_an_error_of_ahead_comes_in_its_place():
    def items():
        yield from (1, 2)
        raise BadInput("third")

    found = fast.ahead(items())
    assert next(found) == 1 and next(found) == 2
    with pytest.raises(BadInput, match="third"):
        next(found)


def test_beside_calls_in_order_in_a_thread():
    done = []
    with fast.beside(lambda i: done.append((i, threading.get_ident())), most=2) as call:
        for i in range(20):
            call(i)
    assert [i for i, _ in done] == list(range(20))
    assert threading.get_ident() not in {thread for _, thread in done}


def fail_at_three(done):
    def write(i):
        if i == 3:
            raise BadInput("disk full")
        done.append(i)

    return write


@pytest.mark.parametrize("calls", [4, 40])
def test_an_error_of_beside_is_not_lost(calls):
    """Neither where it was the last call, nor where many more would have come."""
    done = []
    with pytest.raises(BadInput, match="disk full"), fast.beside(fail_at_three(done)) as call:
        for i in range(calls):
            call(i)
    assert done[:3] == [0, 1, 2] and len(done) < 15


def test_what_was_asked_of_beside_is_done_when_the_loop_fails():
    done = []
    with pytest.raises(BadInput, match="frame 5"), fast.beside(done.append) as call:
        for i in range(5):
            call(i)
        raise BadInput("frame 5 is damaged")
    assert done == [0, 1, 2, 3, 4]
