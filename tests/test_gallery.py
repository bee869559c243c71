"""The gallery page: what is in the file, decoded again and compared with the network's own run."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from gcvos_mini import gallery, inside, toy
from gcvos_mini.errors import BadInput
from gcvos_mini.memory import make_memory
from gcvos_mini.network import load_model

HEIGHT, EVERY = 96, 8
NAMES = ("two-friends", "approach")


@pytest.fixture(scope="module")
def page():
    return gallery.build(NAMES, EVERY, HEIGHT)


@pytest.fixture(scope="module")
def data(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found.group(1))


@pytest.fixture(scope="module")
def record():
    """The network's run of the first clip, by itself."""
    frames, truth = map(np.stack, zip(*list(toy.clip_frames(NAMES[0], HEIGHT))[::EVERY]))
    return inside.watch(load_model("mini"), frames, truth[0], height=HEIGHT)


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


def test_keys_and_queries_come_back_within_half_a_step(data, record):
    keys, queries = decoded(data["clips"][0])
    for back, own in ((keys, record.keys), (queries, record.queries)):
        largest = np.abs(own).max(axis=(0, -2, -1), keepdims=True)
        assert (np.abs(back - own) <= largest / 254 * 1.001).all()
        assert np.abs(back - own).max() > 0


def test_masks_and_frames_come_back(data, record):
    clip = data["clips"][0]
    for runs, mask in zip(clip["masks"], record.masks, strict=True):
        ids, lengths = np.array(runs).reshape(-1, 2).T
        np.testing.assert_array_equal(np.repeat(ids, lengths).reshape(mask.shape), mask)
    assert clip["ids"] == record.ids == [1, 2] and clip["size"] == list(record.masks.shape[1:])
    assert all(base64.b64decode(frame).startswith(b"\xff\xd8") for frame in clip["frames"])


def test_the_weights_that_the_page_computes_rebuild_the_read_of_the_memory(data, record):
    clip, t = data["clips"][0], 4
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
    keys, queries = decoded(data["clips"][0])
    again = replace(record, keys=keys, queries=queries)
    implied, softmax = data["clips"][0]["errors"]
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


def test_the_page_asks_no_server_and_every_picture_has_a_text(page):
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
        keys, values, queries = (rng.normal(size=(*shape, *cells)).astype(np.float32)
                                 for shape in ((T, len(ids), 64), (T, len(ids), 1), (T, 64)))
        return inside.Record(frames, masks, list(map(int, ids)), keys, values, queries, "mean", 0.7)

    monkeypatch.setattr(inside, "watch", without_a_network)
    monkeypatch.setattr(gallery.render, "mean_selectivity", lambda keys, *_: np.zeros(64))
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
    (dict(every=40), "--every 40: leaves 1 frame of approach"),
    (dict(every=0), "--every"),
    (dict(checkpoint="none.safetensors"), "none.safetensors: no such file"),
])  # fmt: skip
def test_bad_options_are_refused_before_anything_runs(options, message, monkeypatch):
    monkeypatch.setattr(inside, "watch", None)
    with pytest.raises(BadInput, match=message):
        gallery.build(**options)
