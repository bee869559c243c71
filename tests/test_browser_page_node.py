"""browser/gcvos.js on onnxruntime's browser bundle, in Node: the masks are Python's; and the single
functions of the page against those that they are written after."""

import io
import zipfile
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from browser_page.built import BROWSER, assert_same, exported, node, python_masks, runtime
from PIL import Image

from gcvos_mini.bunny import load_bunny
from gcvos_mini.config import MINI
from gcvos_mini.keymaps import mask_on_map, selectivity
from gcvos_mini.memory import GlobalContext
from gcvos_mini.network import load_model
from gcvos_mini.record import Record
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.toy import clip_frames


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The runtime's bundle, and a folder with the shipped network."""
    folder = tmp_path_factory.mktemp("node")
    bundle = runtime(folder)
    return bundle, exported(tmp_path_factory)


def followed(tools, tmp_path, frames, given, height=None, **more):
    """Masks (T, H, W) that gcvos.js finds, and what the script says. given: {frame: mask}."""
    bundle, model = tools
    frames.tofile(tmp_path / "frames")
    for t, mask in given.items():
        mask.tofile(tmp_path / f"mask-{t}")
    job = {
        "ort": str(bundle), "gcvos": str(BROWSER / "gcvos.js"), "model": str(model),
        "frames": str(tmp_path / "frames"), "size": frames.shape[:3], "height": height,
        "first": str(tmp_path / "mask-0"), "out": str(tmp_path / "out"),
        "given": {t: str(tmp_path / f"mask-{t}") for t in given if t},
    }  # fmt: skip
    said = node("follow.mjs", job | more, tmp_path)
    return np.fromfile(tmp_path / "out", np.uint8).reshape(frames.shape[:3]), said


def right(tools, frames, given, height=None, **more):
    masks = python_masks(tools[1] / "weights.safetensors", frames, given, height, **more)
    return np.stack(list(masks.values()))


def test_masks_of_the_bunny_are_pythons(tools, tmp_path):
    frames, masks = load_bunny()
    frames, given = frames[:8], {0: masks[0]}
    found, said = followed(tools, tmp_path, frames, given, 160)
    assert_same(found, right(tools, frames, given, 160))
    assert len(set(said["bytes"])) == 1  # however many frames


@pytest.mark.parametrize("correct", [False, True])
def test_an_object_enters_and_one_is_corrected(tools, tmp_path, correct):
    frames, truth = (np.stack(x) for x in zip(*islice(clip_frames("two-friends", 96), 6)))
    later = np.where(truth[3] == 1, 1, 0).astype(np.uint8)
    later[:20, :20] = 7  # a new object
    given = {0: truth[0], 3: later}
    found, _ = followed(tools, tmp_path, frames, given, correct=correct)
    assert_same(found, right(tools, frames, given))
    assert set(np.unique(found[3])) == {0, 1, 2, 7}


@pytest.mark.parametrize("correct", [False, True])
def test_a_whole_mask_says_what_is_not_there(tools, tmp_path, correct):
    """As the page gives its masks. Python's partial masks cannot say it: it is written by hand."""
    frames, truth = (np.stack(x) for x in zip(*islice(clip_frames("two-friends", 96), 6)))
    later = np.where(truth[3] == 1, 1, 0).astype(np.uint8)  # object 2 has left
    job = {"correct": correct, "whole": True}
    found, _ = followed(tools, tmp_path, frames, {0: truth[0], 3: later}, **job)
    segmenter = VideoSegmenter(load_model(tools[1] / "weights.safetensors"))
    segmenter.start(frames[0], truth[0])
    for frame in frames[1:4]:
        segmenter.step(frame)
    segmenter.memory.remove(segmenter.key, segmenter.value)
    segmenter.memory.write(*segmenter.encode(frames[3], later))
    segmenter.previous = torch.from_numpy(np.stack([later == 1, later == 2])).float()
    assert (found[3] == later).all()
    assert_same(found[4:], [segmenter.step(frame) for frame in frames[4:]])


def test_eq_2_as_printed(tools, tmp_path):
    frames, masks = zip(*islice(clip_frames("approach", 96), 6))
    frames, given = np.stack(frames), {0: masks[0]}
    found, said = followed(tools, tmp_path, frames, given, first_share=0)
    assert_same(found, right(tools, frames, given, share=0))
    assert said["bytes"][0] == 4 * MINI.key_dim * MINI.value_dim


def test_a_network_that_looks_at_the_previous_mask(tools, tmp_path, tmp_path_factory):
    tools = tools[0], exported(tmp_path_factory, True)
    frames, masks = (np.stack(x) for x in zip(*islice(clip_frames("two-friends", 80), 3)))
    found, _ = followed(tools, tmp_path, frames, {0: masks[0]}, 64)
    assert_same(found, right(tools, frames, {0: masks[0]}, 64), 1e-3)  # of weights that are noise


# ---- single functions ----------------------------------------------------------------------------


def part(tmp_path, what, **job):
    plain = {k: v.ravel().tolist() if isinstance(v, np.ndarray) else v for k, v in job.items()}
    return node("parts.mjs", plain | {"what": what, "browser": str(BROWSER)}, tmp_path)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("to", [(24, 43), (37, 61), (50, 90)], ids=str)
def test_resize_is_pytorchs(tmp_path, to):
    x = RNG.random((2, 37, 61), np.float32)
    got = part(tmp_path, "resize", x=x, **{"from": x.shape}, to=to)
    want = F.interpolate(torch.tensor(x)[None], to, mode="bilinear", antialias=True)[0]
    np.testing.assert_allclose(got, want.numpy().ravel(), atol=1e-5)
    got = part(tmp_path, "enlarge", x=x[0], **{"from": x.shape[1:]}, to=to)
    want = F.interpolate(torch.tensor(x[:1])[None], to, mode="bilinear")[0]
    np.testing.assert_allclose(got, want.numpy().ravel(), atol=1e-5)


def test_round_is_pythons(tmp_path):
    x = [0.5, 1.5, 2.5, 2.49, 284.67, 3.0]
    assert part(tmp_path, "round", x=x) == [round(value) for value in x]


@pytest.mark.parametrize("share", [0, 0.7])
def test_memory_is_pythons(tmp_path, share):
    keys, values = RNG.normal(size=(4, 8, 15)), RNG.normal(size=(4, 6, 15))
    query = RNG.normal(size=(8, 15))
    config = {"normalization": "mean", "first_share": share, "key_dim": 8, "value_dim": 6}
    numbers = {"keys": keys.reshape(4, -1).tolist(), "values": values.reshape(4, -1).tolist()}
    got = part(tmp_path, "memory", config=config, query=query, gone=2, **numbers)
    memory = GlobalContext("mean", share)
    written = [torch.tensor(x, dtype=torch.float32)[:, None, :, None] for x in (keys, values)]
    for key, value in zip(*written):
        memory.write(key, value)
    memory.remove(written[0][2], written[1][2])
    asked = torch.tensor(query, dtype=torch.float32)[None, :, :, None]
    np.testing.assert_allclose(got["read"], memory.read(asked).ravel(), atol=1e-5)
    assert got["bytes"] == memory.nbytes


def test_selectivity_and_cells_are_pythons(tmp_path):
    key = RNG.normal(size=(5, 4, 6)).round(1)  # rounded, so that some are alike
    mask = np.zeros((64, 96), np.uint8)
    mask[10:40, 20:70] = 1
    cells = mask_on_map(mask, (6, 4))
    job = {"soft": mask.astype(float), "work": [64, 96], "map": [4, 6], "stride": 16}
    assert part(tmp_path, "maskOnMap", **job) == cells.ravel().tolist()
    got = part(tmp_path, "selectivity", key=key, cells=cells.astype(float))
    np.testing.assert_allclose(got, selectivity(key.astype(np.float32), cells), atol=1e-6)


@pytest.mark.parametrize("share", [0, 0.7])
def test_what_a_pixel_reads_is_pythons(tmp_path, share):
    keys = RNG.normal(size=(3, 1, 8, 4, 5)).astype(np.float32)
    queries = RNG.normal(size=(4, 8, 4, 5)).astype(np.float32)
    frames = np.zeros((4, 1, 1, 3))
    record = Record(frames, frames, [1], np.concatenate([keys, keys[:1]]), None, queries,
                    "mean", share)  # fmt: skip
    y, x = 2, 3
    got = part(tmp_path, "reads", query=queries[3], keys=keys.reshape(3, -1).tolist(),
               cell=y * 5 + x, share=share, keyDim=8)  # fmt: skip
    implied = np.array(got["dot"]) * np.array(got["shares"])[:, None] / 20
    np.testing.assert_allclose(implied, record.implied_weights(3, y, x).reshape(3, -1), atol=1e-5)
    softmax = record.softmax_weights(3, y, x).reshape(3, -1)
    np.testing.assert_allclose(got["softmax"], softmax, atol=1e-6)


def test_masks_are_written_as_pythons_programs_read_them(tmp_path):
    ids = RNG.integers(0, 4, (9, 13)).astype(np.uint8)
    got = part(tmp_path, "png", ids=ids, shape=ids.shape)
    image = Image.open(io.BytesIO(bytes(got["png"])))
    assert image.mode == "P" and (np.array(image) == ids).all()
    with zipfile.ZipFile(io.BytesIO(bytes(got["zip"]))) as file:
        assert file.testzip() is None and file.namelist() == ["00000.png", "00001.png"]
        assert file.read("00001.png") == bytes(got["png"])


def test_a_polygon_is_filled(tmp_path):
    got = part(tmp_path, "polygon", shape=[8, 10], corners=[[1, 1], [8, 1], [8, 6], [1, 6]])
    filled = np.array(got).reshape(8, 10)
    assert (filled[2:6, 2:8] == 3).all() and filled[0].sum() == filled[:, 9].sum() == 0
