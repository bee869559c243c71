"""Training: the losses against loops, the clip as the paper says, resuming, and bad settings."""

import csv
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import tyro
from torch.nn import functional as F

from gcvos_mini import fast, logbook, train
from gcvos_mini.clips import TrainingClips, held_out
from gcvos_mini.config import MINI, PAPER, SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.losses import batch_J, clip_loss, dice_loss, hard_pixel_cross_entropy
from gcvos_mini.masks import read_mask
from gcvos_mini.matching_start import start_heads
from gcvos_mini.memory import MEMORIES, GlobalContext, PixelAdaptive
from gcvos_mini.metrics import region_similarity
from gcvos_mini.network import Network, read_weights
from gcvos_mini.pictures import read_frame
from gcvos_mini.segment import VideoSegmenter, follow

STAGE = SMOKE.stages["embedded"]
ROOT = Path(__file__).parent.parent


@pytest.fixture
def clip(toy_data):
    """A batch of two clips of one and two objects or more: masks (2, 3, 3, 64, 64)."""
    clips = TrainingClips(STAGE, [toy_data], total=8)
    crowded = next(i for i in range(8) if clips[i][1][0, 1].any())
    frames, masks = (torch.stack(x) for x in zip(clips[(crowded + 1) % 8], clips[crowded]))
    masks[0, :, 1:] = 0
    return frames, masks


def fake_logits(seed=0):
    torch.manual_seed(seed)
    return torch.randn(3, 2, 5, 4, dtype=torch.float64), torch.rand(3, 5, 4).round().double()


def fake_clip():
    """Logits (2, 2, 4, 8, 8) and masks (2, 3, 3, 8, 8) of two clips: one object, then two.

    The third object of the second clip comes only after its first frame.
    """
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 4, 8, 8)
    logits[0, :, 2:] = logits[1, :, 3:] = train.ABSENT
    ids = torch.randint(0, 4, (2, 3, 8, 8))
    ids[0] *= ids[0] < 2
    ids[1, 0] *= ids[1, 0] < 3
    return logits, (ids[:, :, None] == torch.arange(1, 4)[:, None, None]).float()


# ---- losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share, pixels", [(1.0, 20), (0.25, 5)])
def test_hard_pixel_cross_entropy(share, pixels):
    """The mean over images of the mean of each image's largest pixel losses, by sorting."""
    logits, truth = fake_logits()
    probability = np.exp(logits.numpy())
    probability /= probability.sum(axis=1, keepdims=True)
    wanted = []
    for image in range(3):
        right = np.where(truth[image] > 0, probability[image, 1], probability[image, 0])
        wanted.append(np.sort(-np.log(right).ravel())[-pixels:].mean())
    loss = hard_pixel_cross_entropy(logits, truth, share)
    assert loss.item() == pytest.approx(np.mean(wanted), rel=1e-12)


def test_dice():
    """Zero for a perfect mask and for two empty ones, near one for a miss; soft by the formula."""
    logits, truth = fake_logits(1)
    nothing = torch.zeros_like(truth)
    zeros = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(dice_loss(truth, truth), zeros, rtol=0, atol=1e-9)
    torch.testing.assert_close(dice_loss(nothing, nothing), zeros, rtol=0, atol=1e-9)
    assert (dice_loss(1 - truth, truth) > 0.9).all()
    soft = torch.sigmoid(logits[:, 0])
    p, t = soft.numpy(), truth.numpy()
    wanted = [1 - (2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1) for a, b in zip(p, t)]
    assert dice_loss(soft, truth).tolist() == pytest.approx(wanted, rel=1e-12)


def test_batch_J():
    """Equal to the metric on every object and predicted frame; the first frame does not count."""
    logits, masks = fake_clip()
    winner = logits.argmax(dim=2).numpy()  # (2, 2, 8, 8)
    wanted = [
        region_similarity(winner[clip, t] == o + 1, masks[clip, t + 1, o].bool().numpy())
        for clip, o in ((0, 0), (1, 0), (1, 1))
        for t in range(2)
    ]
    assert batch_J(logits, masks).item() == pytest.approx(np.mean(wanted), abs=1e-6)


@pytest.mark.parametrize("stage", ["stills", "videos"])
def test_clip_loss(stage):
    """By loops: the paper's loss; an object that comes later is background, one absent nothing."""
    logits, masks = fake_clip()
    pixels, regions = [], []
    for clip, objects in ((0, [0, 0]), (1, [0, 1])):  # twice: both clips count the same
        for t in range(2):
            probability = logits[clip, t].double().softmax(dim=0)  # (4, 8, 8)
            left = torch.ones(8, 8).bool()
            for o in objects:
                mask = masks[clip, t + 1, o].bool()
                pixels += probability[o + 1][mask & left].log().neg().tolist()
                left &= ~mask
                overlap = 2 * probability[o + 1][mask].sum() + 1
                regions.append(1 - overlap / (probability[o + 1].sum() + mask.sum() + 1))
            pixels += probability[0][left].log().neg().tolist()
    wanted = np.mean(pixels) + (stage == "videos") * np.mean(regions)  # the hybrid loss
    loss = clip_loss(logits, masks, PAPER.stages[stage])
    assert loss.item() == pytest.approx(wanted, rel=1e-5)


# ---- the clip ----------------------------------------------------------------------------------


def test_only_the_first_mask_is_seen(clip):
    frames, masks = clip
    model = train.ClipSegmenter(Network(SMOKE).eval())
    blind = masks.clone()
    blind[:, 1:] = 1 - blind[:, 1:]
    other = masks.clone()
    other[:, 0, 0] = 1 - other[:, 0, 0]
    logits = model(frames, masks)
    assert logits.shape == (2, 2, 4, 64, 64)
    torch.testing.assert_close(model(frames, blind), logits)
    assert (model(frames, other) - logits).abs().max() > 1e-4


@pytest.mark.parametrize("changes", [{}, {"previous_mask": True}, {"light": True}], ids=str)
@pytest.mark.parametrize("memory", MEMORIES)
def test_a_clip_is_segmented_as_a_video_is(clip, memory, changes):
    """The same probabilities as VideoSegmenter: training and use are one computation."""
    frames, masks = clip
    torch.manual_seed(0)
    network = Network(replace(SMOKE, memory=memory, **changes)).eval()
    with torch.no_grad():
        logits = train.ClipSegmenter(network)(frames, masks)
    for one, ids, joint in zip(frames, masks, logits, strict=True):
        every = PixelAdaptive() if memory == "pam" else memory  # training has no trigger
        segmenter = VideoSegmenter(network, every)
        pictures = (255 * one.permute(0, 2, 3, 1)).round().byte().numpy()
        there = ids[0].flatten(1).any(dim=1)
        labels = (ids[0] * torch.arange(1, 4)[:, None, None]).sum(dim=0).byte().numpy()
        segmenter.start(pictures[0], labels)
        for t in (1, 2):
            segmenter.step(pictures[t])
            soft = joint[t - 1].softmax(dim=0)
            kept = torch.cat([soft[:1], soft[1:][there]])
            torch.testing.assert_close(kept, segmenter.probabilities, rtol=1e-3, atol=1e-3)
            assert soft[1:][~there].sum() == 0


def test_soft_mask_carries_the_gradient(clip):
    """Frame three's loss alone reaches frame two's prediction: the mask is fed on unthresholded."""
    frames, masks = clip
    model = train.ClipSegmenter(Network(SMOKE).eval())
    logits = model(frames, masks)
    logits.retain_grad()
    seen = []
    original = model.network.encode_memory

    def watch(frame, mask, query=None):
        mask = mask.detach().requires_grad_() if not mask.requires_grad else mask
        mask.retain_grad()
        seen.append(mask)
        return original(frame, mask)

    model.network.encode_memory = watch
    model(frames, masks)[:, 1].sum().backward()
    assert len(seen) == 2
    assert seen[1].grad.abs().max() > 0
    assert ((seen[1] > 0.01) & (seen[1] < 0.99)).any()


def test_shaken_masks_stay_near_and_some_are_blank():
    """Moved by up to a tenth of the crop, scaled by up to a tenth; a fifth of them not shown."""
    torch.manual_seed(0)
    masks = torch.zeros(2000, 1, 40, 40)
    masks[:, :, 15:25, 10:30] = 1
    seen = train.shaken(masks, shake=0.1, blank=0.2)
    there = seen.flatten(1).any(dim=1)
    assert 0.15 < 1 - there.float().mean() < 0.25
    size = seen[there].sum(dim=(1, 2, 3)) / 200
    assert 0.8 < size.min() < 0.86 and 1.17 < size.max() < 1.25  # of the area
    grid = torch.arange(40.0)
    for axis, middle in ((3, 19.5), (2, 19.5)):
        mass = seen[there].sum(dim=(1, 5 - axis))
        moved = (mass * grid).sum(dim=1) / mass.sum(dim=1) - middle
        assert 3.5 < moved.abs().max() < 4.6 and moved.mean().abs() < 0.3
    kept = train.shaken(masks[:5], shake=0.0, blank=0.0)
    torch.testing.assert_close(kept, masks[:5])


def test_a_memory_works_in_float32_whatever_the_precision(clip, monkeypatch):
    """Under autocast too, for one that does not care for it itself."""
    seen = []

    class Products(GlobalContext):
        def write(self, key, value):
            seen.append((key @ key.transpose(2, 3)).dtype)
            super().write(key, value)

        def read(self, query):
            seen.append((query @ query.transpose(2, 3)).dtype)
            return super().read(query)

    network = Network(replace(SMOKE, memory="gc"))
    monkeypatch.setattr(train, "make_memory", lambda *_: Products("mean"))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        train.ClipSegmenter(network)(*clip)
    assert set(seen) == {torch.float32}


def test_only_the_decoder_sees_a_shaken_mask(clip):
    """What is written to the memory is the mask as it is."""
    frames, masks = clip
    model = train.ClipSegmenter(Network(replace(SMOKE, previous_mask=True)).eval(), shake=0.2)
    written, shown = [], []
    encode, decode = model.network.encode_memory, model.network.decode
    model.network.encode_memory = lambda f, m, q: written.append(m) or encode(f, m, q)
    model.network.decode = lambda c, q, p: shown.append(p) or decode(c, q, p)
    with torch.no_grad():
        model(frames, masks)
    there = masks[:, 0][masks[:, 0].flatten(2).any(dim=2)]
    assert torch.equal(written[0][:, 0], there)
    assert not torch.equal(shown[0], written[0]) and shown[0].shape == written[0].shape


@pytest.mark.parametrize("light", [False, True])
def test_start_heads(clip, light):
    """On its own frames: key decorrelated, query like it, half of the value tells the mask."""
    frames, masks = clip[0].flatten(0, 1), clip[1][:, :, :1].flatten(0, 1)
    network = Network(replace(SMOKE, light=light))  # as it comes: batch norm must be frozen already
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}
    start_heads(network, frames, masks)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.named_buffers())
    network.eval()
    with torch.no_grad():
        feature = network.query_encoder((frames - network.mean) / network.std)[0]
        key, query = network.key(feature), network.query(feature)
        value = network.encode_memory(frames, masks)[1]
    mask = F.adaptive_avg_pool2d(masks, value.shape[-2:])
    together = torch.stack([value[:, 0].flatten(), value[:, 1].flatten(), mask.flatten()])
    correlation = torch.corrcoef(together)
    assert correlation[0, 1] < -0.99 and correlation[0, 2] > 0.5
    assert value[:, 0].std() == pytest.approx(1, rel=0.01)
    covariance = torch.cov(key.transpose(0, 1).flatten(1))
    assert (covariance - covariance.diag().diag()).abs().max() < 0.02
    assert covariance.diag().max() < 1.02 and covariance.diag()[0] > 0.9
    torch.testing.assert_close(query, 0.25 * key)


def test_learning_rate():
    """A rise over the warm-up, then a cosine down to the final share; constant for the paper's."""
    network = Network(SMOKE)
    stage = MINI.stages["videos"]
    optimizer = train.make_optimizer(network, stage, trained_backbones=True)
    rates = [train.set_rate(optimizer, stage, step, step / 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(stage.learning_rate / train.WARM_UP, rel=1e-3)
    assert max(rates) <= stage.learning_rate
    assert rates[-1] == pytest.approx(stage.final_rate * stage.learning_rate)
    assert rates[500] == pytest.approx((1 + stage.final_rate) / 2 * stage.learning_rate)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(
        stage.final_rate * stage.backbone_learning_rate
    )
    paper = PAPER.stages["stills"]
    optimizer = train.make_optimizer(network, paper, trained_backbones=True)
    assert train.set_rate(optimizer, paper, 500, 0.9) == pytest.approx(1e-5)


# ---- runs --------------------------------------------------------------------------------------


def train_in(out, data, config="smoke", stage="embedded", memory=None, learning_rate=None, **how):
    """Train by the command's function; the weights at the end."""
    run = train.Run(data=[data], out=out, **{"clips": 12, "workers": 0} | how)
    train.train(run, config, stage, memory, learning_rate)
    return read_weights(out / "last.safetensors")[0]


@pytest.fixture
def run(tmp_path, toy_data):
    """Train in a folder of this name, or in the test's own: run("name", **options) -> weights."""

    def call(name="", data=toy_data, **options):
        return train_in(tmp_path / name, data, **options)

    return call


@pytest.fixture(scope="module")
def ends(tmp_path_factory, toy_data):
    """Weights before the first step and after an uninterrupted run."""
    out = tmp_path_factory.mktemp("runs")
    return train_in(out / "start", toy_data, learning_rate=1e-30), train_in(out / "whole", toy_data)


def log(out):
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def moved_alike(start, one, two):
    """Whether two runs moved the weights the same way from the same start, to rounding."""
    names = [name for name, tensor in start.items() if tensor.is_floating_point()]
    a, b = (torch.cat([(end[n] - start[n]).flatten() for n in names]) for end in (one, two))
    assert a.norm() > 0
    return (a - b).norm() < 0.02 * a.norm()


def test_learns_a_clip_by_heart(run, tmp_path, monkeypatch):
    """Shown nothing but one batch, the network gets it right; and the log says so."""
    get = TrainingClips.__getitem__
    monkeypatch.setattr(TrainingClips, "__getitem__", lambda self, i: get(self, 4 + i % 2))
    run(clips=160, learning_rate=3e-3)
    rows = log(tmp_path)
    losses, J = ([float(row[name]) for row in rows] for name in ("loss", "J"))
    assert [int(row["step"]) for row in rows] == list(range(1, 81))
    assert np.mean(losses[-5:]) < 0.5 * losses[0] and np.mean(J[-5:]) > 0.5


def test_resumed_run_equals_an_uninterrupted_one(run, ends, tmp_path, monkeypatch):
    """Bit for bit on a quiet machine; where memory lies may change a rounding."""
    start, whole = ends
    assert moved_alike(start, whole, run("again", workers=1))  # nor does it hang
    assert not moved_alike(start, whole, run("other", seed=1))

    monkeypatch.setattr(logbook, "SAVE_EVERY", 0)  # after every step
    get, asked = TrainingClips.__getitem__, []

    def broken(self, index):
        asked.append(index)
        if asked.count(8) == 2:  # the first time is for the heads' start
            raise RuntimeError("power cut")
        return get(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingClips, "__getitem__", broken)
        with pytest.raises(RuntimeError, match="power cut"):
            run("cut")
    assert moved_alike(start, whole, run("cut", resume=True))
    assert [row["step"] for row in log(tmp_path / "cut")] == list("123456")


KILLED = """
import os, signal, sys
from pathlib import Path
from gcvos_mini import fast, logbook, train
from gcvos_mini.clips import TrainingClips

logbook.SAVE_EVERY = 0
get, asked = TrainingClips.__getitem__, []

def die(self, index):
    asked.append(index)
    if asked.count(8) == 2:  # the first time is for the heads' start
        os.kill(os.getpid(), signal.SIGKILL)
    return get(self, index)

TrainingClips.__getitem__ = die
run = train.Run(data=[Path(sys.argv[1])], out=Path(sys.argv[2]), clips=12, workers=0)
train.train(run, "smoke", "embedded")
"""


def test_killed_run_is_resumed(run, ends, toy_data, tmp_path):
    """kill -9 in the middle of a run: its checkpoint is whole, and the end is the same."""
    start, whole = ends
    done = subprocess.run([sys.executable, "-c", KILLED, toy_data, tmp_path / "cut"])
    assert done.returncode == -signal.SIGKILL
    half = read_weights(tmp_path / "cut/last.safetensors")[0]
    assert not moved_alike(start, whole, half)
    assert moved_alike(start, whole, run("cut", resume=True))


def test_a_run_that_starts_over_is_not_mixed_with_the_one_before(run, tmp_path, monkeypatch):
    """Killed before its first checkpoint, it cannot be resumed from the other one's."""
    run(clips=4)
    (tmp_path / "best.safetensors").write_bytes(b"of a run that validated")
    monkeypatch.setattr(train, "set_rate", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(clips=4)
    assert log(tmp_path) == [] and not (tmp_path / "best.safetensors").exists()
    with pytest.raises(BadInput, match="state.safetensors: no such file"):
        run(clips=4, resume=True)


@pytest.mark.parametrize("cut", ["", "1", "12", "4,2.0", "5,2.03,0.04,0.1,1e-4,2.0,1"])
def test_a_log_that_was_cut_short_goes_on_whole(run, tmp_path, monkeypatch, cut):
    """Whatever is left of its last row; and no row is lost where the resumed run is killed too."""
    run(clips=6)
    rows = log(tmp_path)
    with (tmp_path / "log.csv").open("a") as file:
        file.write(cut)
    with monkeypatch.context() as patch:
        patch.setattr(csv.DictWriter, "writerows", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            run(clips=6, resume=True)
    run(clips=6, resume=True)
    assert log(tmp_path) == rows and len(rows) == 3


def test_validation(run, tmp_path, monkeypatch):
    """Ten scores in a run, of sequences it does not train on; the best weights are kept."""
    asked, scores = [], iter([0.1, 0.3, 0.2, *[0.25] * 7])
    monkeypatch.setattr(logbook, "validation_J", lambda network, sequences: next(scores))
    build = train.TrainingClips
    monkeypatch.setattr(
        train, "TrainingClips", lambda *a, **k: asked.append(k["without"]) or build(*a, **k)
    )
    last = run(clips=40, validate=["train-001"])
    assert asked == [["train-001"]]
    rows = log(tmp_path)
    found = {int(row["step"]): row["validation_J"] for row in rows if row["validation_J"]}
    assert list(found) == list(range(2, 21, 2)) and float(found[4]) == 0.3
    best = read_weights(tmp_path / "best.safetensors")[0]
    assert not same(best, last)
    again = run(clips=40, resume=True, validate=["train-001"])
    assert same(again, last)  # nothing left to do, and nothing lost
    assert same(read_weights(tmp_path / "best.safetensors")[0], best)


def test_validation_J(toy_data, monkeypatch):
    """The mean over objects of the metric on every frame but the first, by VideoSegmenter."""
    network = Network(SMOKE)
    sequences = held_out([toy_data], ["crossing"])
    monkeypatch.setattr(logbook, "VALIDATION_FRAMES", 4)
    [(sequence, _)] = sequences
    frames = [read_frame(path) for path in sequence.frames[:4]]
    truths = [read_mask(sequence.masks[path.stem]) for path in sequence.frames[:4]]
    segmenter = VideoSegmenter(fast.prepare(network, fast.pick_precision()))
    found = [mask for _, mask in follow(segmenter, frames, truths[0])]
    wanted = [
        region_similarity(mask == i, truth == i)
        for i in segmenter.ids
        for mask, truth in zip(found[1:], truths[1:])
    ]
    assert logbook.validation_J(network, sequences) == pytest.approx(np.mean(wanted))
    assert network.training


def test_validation_needs_a_mask_among_the_frames_it_looks_at(run, toy_data, tmp_path, monkeypatch):
    """The second mask comes after them: said before the run begins."""
    data = shutil.copytree(toy_data, tmp_path / "data")
    next(data.glob("Annotations/*/train-001/00001.png")).unlink()
    monkeypatch.setattr(logbook, "VALIDATION_FRAMES", 2)
    with pytest.raises(BadInput, match="train-001: no mask .* among the first 2 frames; add one"):
        run("out", data=data, validate=["train-001"])
    assert not (tmp_path / "out").exists()


def test_thresholded_masks(clip):
    """The ablation: what is written is 0 or 1, and nothing comes back through it."""
    frames, masks = clip
    written = []
    for soft in (True, False):
        model = train.ClipSegmenter(Network(SMOKE).eval(), soft_masks=soft)
        model.network.memory_encoder.register_forward_pre_hook(lambda _, x: written.append(x[0]))
        model(frames, masks)
    written = [x[:, 3:] for x in written]  # the mask is the fourth channel
    assert ((written[1] > 0.01) & (written[1] < 0.99)).any() and written[1].requires_grad
    assert set(written[3].unique().tolist()) <= {0.0, 1.0} and not written[3].requires_grad


def test_log_for_tensorboard(run, tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    run(clips=4)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [float(row["loss"]) for row in log(tmp_path)]
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(i, pytest.approx(loss, abs=1e-4)) for i, loss in enumerate(losses, 1)]


def test_resume_refuses_other_settings(run):
    run(clips=2)
    with pytest.raises(BadInput, match="other settings .*seed"):
        run(clips=2, resume=True, seed=3)
    with pytest.raises(BadInput, match=r"state\.safetensors: no such file"):
        run("none", resume=True)


def test_minutes_stop_the_run(run, tmp_path, monkeypatch):
    """By a clock that goes on by one second each time it is asked."""
    seconds = itertools.count()
    monkeypatch.setattr(logbook, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    run(clips=10_000, minutes=1)
    rows = log(tmp_path)
    assert 2 < len(rows) < 20 and float(rows[-1]["seconds"]) < 70


def test_nan_stops_with_one_line(run, tmp_path, monkeypatch):
    """The checkpoint on disk is the last good one."""
    good = run()
    monkeypatch.setattr(train, "clip_loss", lambda *_: torch.tensor(math.nan))
    with pytest.raises(BadInput, match="the loss is nan at step 0.*learning-rate"):
        run()
    assert same(good, read_weights(tmp_path / "last.safetensors")[0])


def test_first_and_last_frames_first(run, monkeypatch):
    """Half of the run has clips of two frames: the two that lie furthest apart."""
    whole, parts = [], []
    forward, stack = train.ClipSegmenter.forward, train.batches

    def watch(self, frames, masks):
        parts.append((frames, masks))
        return forward(self, frames, masks)

    def note(loader):
        for batch in stack(loader):
            whole.append(batch)
            yield batch

    monkeypatch.setattr(train.ClipSegmenter, "forward", watch)
    monkeypatch.setattr(train, "batches", note)
    run(clips=8)
    assert [frames.shape[1] for frames, _ in parts] == [2, 2, 3, 3]
    for made, used in zip(whole[:2], parts[:2], strict=True):
        assert all(torch.equal(m[:, [0, 2]], u) for m, u in zip(made, used, strict=True))


def test_init_and_bad_settings(run, tmp_path):
    first = run("a", clips=2)
    kept = run("b", clips=2, init=tmp_path / "a/last.safetensors", learning_rate=1e-30)
    for name, tensor in first.items():  # a rate so small moves nothing but zeros, by nothing
        torch.testing.assert_close(kept[name], tensor, rtol=0, atol=1e-20)
    with pytest.raises(BadInput, match="do not fit the mini network"):
        run("c", config="mini", init=tmp_path / "a/last.safetensors")
    with pytest.raises(BadInput, match="paper has the stages stills, videos"):
        run("d", config="paper")
    with pytest.raises(BadInput, match="no-such-folder"):
        run("e", data=tmp_path / "no-such-folder")


# ---- the paper's recipe ------------------------------------------------------------------------


def test_paper_trains_on_a_cpu(run, tmp_path, monkeypatch):
    """Both stages of PAPER, one after the other, as it is but for crops that fit a CPU."""
    stages = {name: replace(stage, crop=64, batch=2) for name, stage in PAPER.stages.items()}
    monkeypatch.setitem(train.CONFIGS, "paper", replace(PAPER, stages=stages))
    options = {"config": "paper", "clips": 4}
    stills = run("stills", stage="stills", **options)
    init = tmp_path / "stills/last.safetensors"
    videos = run("videos", stage="videos", init=init, **options)
    weights = [name for name, tensor in stills.items() if tensor.is_floating_point()]
    moved = max((videos[name] - stills[name]).abs().max() for name in weights)
    assert 1e-8 < moved < 1e-5  # two steps of Adam in the warm-up of a rate of 1e-6
    assert len(log(tmp_path / "videos")) == 2


def test_make_paper_runs_the_papers_recipe(monkeypatch):
    """`make paper`: its commands, asked of make and read by the command line, but not run."""
    words = ["make", "-n", "paper", "STILLS=MSRA10K ECSSD", "DAVIS=DAVIS", "GPUS=4"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = printed.replace("\\\n", " ").splitlines()
    lines = [line for line in lines if "gcvos_mini.train" in line]
    asked = []
    monkeypatch.setattr(train, "fit", lambda *arguments: asked.append(arguments))
    for line in lines:
        assert "accelerate.commands.launch --num_processes 4 --mixed_precision bf16" in line
        tyro.cli(train.train, args=line.split("gcvos_mini.train")[1].split())
    (paper, stage, stills), (same_paper, next_stage, videos) = asked
    assert paper == same_paper == PAPER and PAPER.memory == "gc"
    assert (stage, next_stage) == (PAPER.stages["stills"], PAPER.stages["videos"])
    assert stills.data == [Path("MSRA10K"), Path("ECSSD")] and videos.data == [Path("DAVIS")]
    assert stills.backbone == "imagenet" and videos.init == stills.out / "last.safetensors"
    assert stills.out != videos.out and stills.clips is videos.clips is None  # all there are


# ---- several processes -------------------------------------------------------------------------


def test_processes_that_cannot_share_a_batch_are_refused(run, monkeypatch):
    monkeypatch.setattr(train, "start", lambda _: SimpleNamespace(num_processes=3))
    with pytest.raises(BadInput, match=f"--num_processes 3 .*a batch of {STAGE.batch} clips"):
        run()


def test_two_processes_train_as_one(run, toy_data, tmp_path):
    """The same clips, shared: the weights move as in one process, to rounding."""
    start = run("start", clips=2)
    options = ["--config", "smoke", "--stage", "embedded", "--clips", "12", "--workers", "0"]
    options += ["--init", str(tmp_path / "start/last.safetensors"), "--data", str(toy_data)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    ends = []
    for count in ("1", "2"):
        out = tmp_path / count
        done = subprocess.run(
            [*launch, count, "-m", "gcvos_mini.train", *options, "--out", out],
            capture_output=True, text=True,
            env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        ends.append(read_weights(out / "last.safetensors")[0])
        assert len(log(out)) == 6
    assert moved_alike(start, *ends)
