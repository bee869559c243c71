"""The gallery page: what is in the file, decoded again and compared with the network's own run."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from gcvos_mini.bunny import CREDIT, FOLDER
from gcvos_mini.errors import BadInput
from gcvos_mini.masks import read_mask
from gcvos_mini.memory import make_memory
from gcvos_mini.network import load_model
from gcvos_mini.pictures import read_frame
from gcvos_mini.record import Record, watch
from gcvos_mini.show import gallery
from gcvos_mini.toy import clip_frames

HEIGHT, EVERY = 96, 7  # of the bunny, each 7th frame has a true mask
NAMES = ("bunny", "two-friends", "approach")


@pytest.fixture(scope="module")
def page():
    return gallery.build(NAMES, EVERY, HEIGHT)


@pytest.fixture(scope="module")
def data(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found.group(1))


@pytest.fixture(scope="module")
def record():
    """The network's run of two-friends, by itself."""
    frames, truth = map(np.stack, zip(*list(clip_frames("two-friends", HEIGHT))[::EVERY]))
    return watch(load_model("mini"), frames, truth[0], height=HEIGHT)


def decoded(clip):
    """(keys (T, O, C, h, w), queries (T, C, h, w)) of a clip's JSON."""
    frames, objects, channels = (len(clip[name]) for name in ("frames", "ids", "queryScale"))
    keys, queries = (
        np.frombuffer(base64.b64decode(clip[name]), np.int8) for name in ("keys", "queries")
    )
    keys = keys.reshape(frames, objects, channels, *clip["map"])
    queries = queries.reshape(frames, channels, *clip["map"])
    key_scale = np.array(clip["keyScale"], np.float32).reshape(objects, channels, 1, 1)
    return keys * key_scale, queries * np.array(clip["queryScale"], np.float32)[:, None, None]


def clip_of(data, name):
    [clip] = [clip for clip in data["clips"] if clip["name"] == name]
    return clip


def masks_of(clip):
    """A clip's masks, uint8 (T, H, W)."""
    runs = [np.array(runs).reshape(-1, 2).T for runs in clip["masks"]]
    return np.stack([np.repeat(*run).reshape(clip["size"]) for run in runs]).astype(np.uint8)


def picture(jpeg):
    return np.array(Image.open(io.BytesIO(base64.b64decode(jpeg))).convert("RGB"))


def test_keys_and_queries_come_back_within_half_a_step(data, record):
    keys, queries = decoded(clip_of(data, "two-friends"))
    for back, own in ((keys, record.keys), (queries, record.queries)):
        largest = np.abs(own).max(axis=(0, -2, -1), keepdims=True)
        assert (np.abs(back - own) <= largest / 254 * 1.001).all()
        assert np.abs(back - own).max() > 0


def test_masks_and_frames_come_back(data, record):
    clip = clip_of(data, "two-friends")
    np.testing.assert_array_equal(masks_of(clip), record.masks)
    assert clip["ids"] == record.ids == [1, 2] and clip["size"] == list(record.masks.shape[1:])
    for jpeg, frame in zip(clip["frames"], record.frames, strict=True):
        assert np.abs(picture(jpeg).astype(int) - frame).mean() < 6


def test_the_bunny_stands_first_with_its_own_frames_J_and_credit(page, data):
    """Against the files in the box, each 7th frame by its number, made small by block means."""
    clip = data["clips"][0]
    found, (H, W) = masks_of(clip), clip["size"]
    assert (clip["name"], H, W, len(found)) == ("bunny", 96, 171, 10)
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in ((H, 240), (W, 427)))
    overlaps = []
    for t, mask in enumerate(found):
        stem = f"240p/bunny/{7 * t:05d}"
        frame = read_frame(FOLDER / "JPEGImages" / f"{stem}.jpg")
        near = frame[rows.astype(int)][:, columns.astype(int)]
        assert np.abs(picture(clip["frames"][t]).astype(int) - near).mean() < 20
        truth = read_mask(FOLDER / "Annotations" / f"{stem}.png")
        truth = truth[rows.astype(int)][:, columns.astype(int)]
        overlaps.append((mask & truth).sum() / (mask | truth).sum())
    assert overlaps[0] > 0.97  # frame 0 is given, so it does not count
    assert clip["judged"] == 9 and clip["J"] == pytest.approx(np.mean(overlaps[1:]), abs=0.01)
    assert [c["credit"] != "" for c in data["clips"]] == [True, False, False]
    script, paper = page.split('id="data">')[1], page.split("<noscript>")[1].split("</noscript>")[0]
    assert CREDIT in script and CREDIT in paper


def test_J_is_of_the_frames_that_have_a_true_mask(record):
    """By hand: one pixel found right in frame 2, another one wrong; frame 0 does not count."""
    masks = np.zeros((3, 2, 2), np.uint8)
    masks[2, 0, 0] = masks[0, 1, 1] = 1
    truth = {0: 1 - masks[0], 2: np.array([[1, 1], [0, 0]], np.uint8)}
    assert gallery.mean_J(replace(record, masks=masks, ids=[1]), truth) == 0.5


def test_the_weights_that_the_page_computes_rebuild_the_read_of_the_memory(data, record):
    clip, t = clip_of(data, "two-friends"), 4
    keys, queries = decoded(clip)
    network = load_model("mini")
    memory = make_memory("gc", network.config)
    for i in range(t):
        memory.write(*(torch.from_numpy(x[i]) for x in (record.keys, record.values)))
    read = memory.read(torch.from_numpy(record.queries[t]).expand(2, -1, -1, -1)).numpy()
    for o, y, x in [(0, 2, 5), (1, 4, 1)]:
        dot = np.einsum("c,tchw->thw", queries[t, :, y, x], keys[:t, o])
        weights = dot * np.array(clip["shares"][t])[:, None, None] / clip["positions"]
        rebuilt = np.einsum("thw,tchw->c", weights, record.values[:t, o])
        error = np.linalg.norm(rebuilt - read[o, :, y, x]) / np.linalg.norm(read[o, :, y, x])
        assert error < 0.05, error


def test_the_error_that_the_page_states_is_that_of_its_own_numbers(page, data, record):
    keys, queries = decoded(clip_of(data, "two-friends"))
    again = replace(record, keys=keys, queries=queries)
    implied, softmax = clip_of(data, "two-friends")["errors"]
    for got, stated in zip(gallery.errors(record, again), (implied, softmax)):
        assert got == pytest.approx(stated, rel=1e-3)
    assert 0 < implied < 0.1 and 0 < softmax < 0.05
    worst = max(clip["errors"][0] for clip in data["clips"])
    assert f"{worst:.1%} of that click's largest" in " ".join(page.split())
    coarse = replace(again, keys=np.round(keys * 2) / 2)
    assert gallery.errors(record, coarse)[0] > 2 * implied


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.images = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.found += [attributes[name] for name in ("src", "href", "action") if name in attributes]
        if tag == "img":
            self.images.append(attributes)


def test_the_page_loads_nothing_else_and_every_picture_has_a_text(page):
    assert "http" not in page and "@import" not in page and "{{" not in page
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import)\b *\(", page)
    links = Links()
    links.feed(page)
    assert links.found and all(link.startswith("data:") for link in links.found)
    assert len(links.images) == 2 * len(NAMES) and all(image["alt"] for image in links.images)


def test_the_default_page_is_under_8_mb(monkeypatch):
    def without_a_network(model, frames, first_mask, height):
        T, cells = len(frames), (-(-height // 16), -(-frames.shape[2] // 16))
        ids = [i for i in np.unique(first_mask) if i]
        masks = np.stack([first_mask] * T)
        rng = np.random.default_rng(0)
        keys, values, queries = (
            rng.normal(size=(*shape, *cells)).astype(np.float32)
            for shape in ((T, len(ids), 64), (T, len(ids), 1), (T, 64))
        )
        return Record(frames, masks, list(map(int, ids)), keys, values, queries, "mean", 0.7)

    monkeypatch.setattr(gallery, "watch", without_a_network)
    monkeypatch.setattr(gallery, "mean_selectivity", lambda keys, *_: np.zeros(64))
    assert 4e6 < len(gallery.build().encode()) < 7.9e6


def test_a_page_too_large_is_refused_and_the_old_one_stays(page, tmp_path, monkeypatch):
    out = tmp_path / "page.html"
    out.write_text("old")
    monkeypatch.setattr(gallery, "build", lambda *_: page)
    monkeypatch.setattr(gallery, "MOST_BYTES", 1000)
    with pytest.raises(BadInput, match="fewer --clips or a larger --every"):
        gallery.gallery(out)
    assert out.read_text() == "old"


@pytest.mark.parametrize("options, message", [
    (dict(clips=["approach", "nobody"]), "nobody: no such clip"),
    (dict(clips=[]), "--clips"),
    (dict(clips=["approach"], every=40), "--every 40: leaves 1 frame of approach"),
    (dict(clips=["bunny"], every=64), "--every 64: leaves 1 frame of bunny"),
    (dict(every=0), "--every"),
    (dict(checkpoint="none.safetensors"), "none.safetensors: no such file"),
])  # fmt: skip
def test_bad_options_are_refused_before_anything_runs(options, message, monkeypatch):
    monkeypatch.setattr(gallery, "watch", None)
    with pytest.raises(BadInput, match=message):
        gallery.build(**options)
