"""Bad input of many kinds: each ends in one line that names the file, or changes nothing.

One file at a time of a tiny data set is damaged, read through the package's own entry points, and
put back. A normal result is let pass only where the damage left the pixels as they were, or where
they are those of another valid JPEG frame, which nobody can tell from the right one.
"""

import io
import json
import os
import pickle
import random
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from davis_folder import write_davis, write_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from gcvos_mini import segment
from gcvos_mini.clips import TrainingClips
from gcvos_mini.config import SMOKE
from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.evaluate import Evaluation, run, score_masks
from gcvos_mini.masks import read_mask, write_mask
from gcvos_mini.network import fill, load_model, read_weights, save_model
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.train import batches

HEIGHT, WIDTH, FRAMES = 48, 64, 6
SPLIT = "ImageSets/2017/{}.txt"


def picture(t=0, mode="RGB"):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [127 + 120 * np.sin((x + 3 * t) / a + y / b) for a, b in ((5, 7), (9, 4), (6, 11))]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).convert(mode)


def labels(t=0):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[8:30, 5 + t : 30 + t], mask[25:40, 35:55] = 1, 2
    return mask


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sequences of six frames with all masks, good predictions for them, two splits."""
    root, times = tmp_path_factory.mktemp("data"), range(FRAMES)
    clip = [np.array(picture(t)) for t in times], [labels(t) for t in times]
    for split in ("val", "train"):
        write_davis(root, dict.fromkeys(("ant", "bear"), clip), split=split)
    for name in ("ant", "bear"):
        write_masks(root / "predictions" / name, [labels(t + 1) for t in times])
    return root


# What is done to a file: content, path, random numbers -> new content, or None where it is done


def changed(spoil):
    """A damage that changes a few bytes in place."""

    def damage(content, path, rng):
        content = bytearray(content)
        spoil(content, rng)
        return bytes(content)

    return damage


def flip(content, rng):
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def flip_inside(content, rng):
    """In the last two thirds, where the pixels are."""
    content[rng.randrange(len(content) // 3, len(content))] ^= 1 << rng.randrange(8)


def zero(content, rng):
    start = rng.randrange(len(content) - 16)
    content[start : start + 16] = bytes(16)


def swap(content, rng):
    start = rng.randrange(8, len(content) - 16)
    content[start : start + 16] = content[start : start + 16][::-1]


def cut(content, rng):
    del content[rng.randrange(len(content)) :]


def cut_end(content, rng):
    del content[-rng.randrange(1, 20) :]


def becomes(new):
    return lambda content, path, rng: new


def saved(format, make=picture, **options):
    """Another picture under the same name."""

    def damage(content, path, rng):
        file = io.BytesIO()
        made = make()
        made.save(file, format, **options)
        return file.getvalue()

    return damage


def mode(name):
    return lambda: Image.fromarray(labels(2)).convert(name)


def deep():
    return Image.fromarray(labels(2).astype(np.uint16) * 300)


def directory(content, path, rng):
    path.unlink()
    path.mkdir()


def link_to_itself(content, path, rng):
    path.unlink()
    path.symlink_to(path.name)


def link_to_nothing(content, path, rng):
    path.unlink()
    path.symlink_to("absent")


def chunk(kind, content):
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def png(width, height, pixels, depth=8):
    """A PNG whose checksums are right, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def huge_jpeg(content, path, rng):
    """A JPEG that declares 65,500 x 65,500 pixels."""
    file = io.BytesIO()
    picture().save(file, "JPEG")
    content = bytearray(file.getvalue())
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", 65500, 65500)
    return bytes(content)


SHORT = png(WIDTH, HEIGHT, bytes((WIDTH + 1) * HEIGHT // 2))
MOVING = {"save_all": True, "append_images": [picture(1), picture(2)]}
RANDOM = {  # each with several seeds
    function.__name__: changed(function)
    for function in (flip, flip_inside, zero, swap, cut, cut_end)
}
FIXED = {
    "empty": becomes(b""),
    "text": becomes(b"not a picture\n" * 20),
    "html": becomes(b"<!DOCTYPE html>\n<html><h1>404</h1></html>\n"),
    "zeros": becomes(bytes(3000)),
    "noise": becomes(random.Random(0).randbytes(3000)),
    "PNG of 60000x60000": becomes(png(60000, 60000, b"\0" * 900)),
    "PNG of 0x0": becomes(png(0, 0, b"")),
    "PNG with half of its pixels": becomes(SHORT),
    "PNG without pixels": becomes(png(WIDTH, HEIGHT, b"")),
    "PNG of depth 7": becomes(png(WIDTH, HEIGHT, bytes(9000), depth=7)),
    "huge JPEG": huge_jpeg,
    "JPEG": saved("JPEG", mode("L")),
    "CMYK JPEG": saved("JPEG", mode("CMYK")),
    "BMP": saved("BMP"),
    "TIFF": saved("TIFF"),
    "CMYK TIFF": saved("TIFF", mode("CMYK")),
    "float TIFF": saved("TIFF", mode("F")),
    "WebP": saved("WEBP"),
    "GIF": saved("GIF"),
    "PPM": saved("PPM"),
    "animated GIF": saved("GIF", **MOVING),
    "animated PNG": saved("PNG", **MOVING),
    "animated WebP": saved("WEBP", **MOVING),
    "RGB": saved("PNG", mode("RGB")),
    "RGBA": saved("PNG", mode("RGBA")),
    "16 bits": saved("PNG", deep),
    "another size": saved("PNG", lambda: Image.new("L", (WIDTH, HEIGHT - 1), 1)),
    "one pixel": saved("PNG", lambda: Image.new("L", (1, 1), 1)),
    "turned": saved("PNG", lambda: Image.fromarray(labels().T.copy())),
    "directory": directory,
    "link to itself": link_to_itself,
    "link to nothing": link_to_nothing,
}
DAMAGES = [(name, 0) for name in FIXED] + [(name, seed) for name in RANDOM for seed in range(4)]


class Damaged:
    """Within it a file is damaged, after it the file is as before."""

    def __init__(self, path, name, seed):
        self.path, self.content = path, path.read_bytes()
        self.damage = (FIXED | RANDOM)[name]
        self.rng = random.Random(f"{path.name} {name} {seed}")

    def __enter__(self):
        new = self.damage(self.content, self.path, self.rng)
        if new is not None:
            self.path.write_bytes(new)

    def __exit__(self, *_):
        if self.path.is_dir():
            self.path.rmdir()
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(self.content)


def refusal(call, path):
    """The message of the BadInput that a call ends in, one line naming the file; None if none."""
    try:
        call()
    except BadInput as error:
        message = str(error)
        assert str(path) in message and len(message.splitlines()) == 1, message
        return message
    return None


# Files of a data set


def run_first_mask(data, out):
    return run(Evaluation(data=data, checkpoint="first-mask", out=out))


ENTRIES = {
    "frame": ("JPEGImages/480p/bear/00002.jpg", run_first_mask),
    "first frame": ("JPEGImages/480p/bear/00000.jpg", run_first_mask),
    "first mask": ("Annotations/480p/bear/00000.png", run_first_mask),
    "truth": (
        "Annotations/480p/bear/00002.png",
        lambda data, out: score_masks(data, 2017, "val", data / "predictions"),
    ),
    "prediction": (
        "predictions/bear/00002.png",
        lambda data, out: score_masks(data, 2017, "val", data / "predictions"),
    ),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("name, seed", DAMAGES)
def test_damaged_picture(data, tmp_path, kind, name, seed):
    """Refused in one line that names it; or the result is that of the undamaged data."""
    file, entry = ENTRIES[kind]
    before = read_mask(data / file) if file.endswith("png") else None
    with Damaged(data / file, name, seed):
        message = refusal(lambda: entry(data, tmp_path / "out"), data / file)
        if message is None and before is not None:
            np.testing.assert_array_equal(read_mask(data / file), before)
        if message is None:  # a frame: it has its size
            assert Image.open(data / file).size == (WIDTH, HEIGHT)


def test_enough_bad_inputs():
    pictures = len(DAMAGES) * (len(ENTRIES) + 1)  # and the training masks
    assert pictures + len(SPLITS) + len(HEADERS) + len(BYTES) + len(TENSORS) >= 350


@pytest.fixture(scope="module")
def clips(data):
    """Clips of videos of the whole length, so that each reads every frame of one."""
    stage = replace(SMOKE.stages["videos"], stills=(0.0, 0.0), clip_frames=FRAMES, interval=(1, 1))
    return TrainingClips(stage, [data], 30)


@pytest.mark.bad_input
@pytest.mark.parametrize("name, seed", DAMAGES)
def test_damaged_training_mask(data, clips, name, seed):
    path = data / "Annotations/480p/bear/00003.png"
    before = read_mask(path)
    with Damaged(path, name, seed):
        refused = refusal(lambda: [clips[i] for i in range(6)], path)  # both videos are drawn
        if refused is None:
            np.testing.assert_array_equal(read_mask(path), before)


def test_damage_seen_by_a_worker_is_one_line(data, clips):
    path = data / "Annotations/480p/bear/00003.png"
    with Damaged(path, "text", 0):
        loader = torch.utils.data.DataLoader(clips, 2, num_workers=1)
        message = refusal(lambda: list(batches(loader)), path)
    assert message.startswith(str(path))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["text", "huge JPEG", "animated GIF", "one pixel", "directory"])
@pytest.mark.parametrize(
    "file", ["JPEGImages/480p/bear/00002.jpg", "Annotations/480p/bear/00000.png"]
)
def test_segment_command(data, model, tmp_path, monkeypatch, file, name):
    monkeypatch.setattr(segment, "load_model", lambda name, device: model)
    frames, mask = data / "JPEGImages/480p/bear", data / "Annotations/480p/bear/00000.png"
    named = frames if name == "one pixel" else data / file  # sizes that differ: of the source
    with Damaged(data / file, name, 0):
        assert refusal(
            lambda: segment.segment(frames=frames, out=tmp_path / "out", mask=mask), named
        )


@pytest.mark.bad_input
@pytest.mark.parametrize("height", [-5, 0, 15])
def test_segment_command_refuses_heights(data, tmp_path, height):
    with pytest.raises(BadInput, match=f"--height {height}: too small"):
        segment.segment(frames=data, out=tmp_path / "out", mask=data / "x.png", height=height)
    assert not (tmp_path / "out").exists()


def test_segment_command_refuses_a_file_as_out(data, model, monkeypatch):
    monkeypatch.setattr(segment, "load_model", lambda name, device: model)
    frames, mask = data / "JPEGImages/480p/bear", data / "Annotations/480p/bear/00000.png"
    for out, said in [(mask, "which is read from"), (mask / "below", "cannot be made a folder")]:
        assert said in refusal(lambda: segment.segment(frames=frames, out=out, mask=mask), out)  # noqa: B023


@pytest.mark.bad_input
@pytest.mark.parametrize("blocked", ["out/bear", "out/bear/00003.png"])
def test_masks_that_cannot_be_written(tmp_path, blocked):
    """A file where a sequence's folder should be, a folder where a mask should be."""
    path = tmp_path / blocked
    if path.suffix:
        (path / "full").mkdir(parents=True)
    else:
        path.parent.mkdir()
        path.touch()
    mask = tmp_path / "out/bear/00003.png"
    assert "cannot be written" in refusal(lambda: write_mask(mask, np.ones((2, 2), np.uint8)), mask)


# Splits and names

OUTSIDE = ["..", "../ant", "../../secret", "/etc", "/", "ant/..", "ant/../../secret", "..\\ant",
           "/JPEGImages/480p/../00000.jpg /x", "JPEGImages/480p/./0.jpg", "./ant", "C:\\ant",
           "/JPEGImages/480p/..\\x/0.jpg", "~/ant", "ant/", "."]  # fmt: skip
SPLITS = {
    "empty": b"",
    "blank lines": b"\n \n\t\r\n",
    "a BOM alone": b"\xef\xbb\xbf",
    "UTF-16": "ant\nbear\n".encode("utf-16"),
    "UTF-16 without BOM": "ant\nbear\n".encode("utf-16-le"),
    "Latin-1": "h\u00fcndin\n".encode("latin-1"),
    "zeros": bytes(100),
    "noise": random.Random(1).randbytes(500),
    "a picture": png(2, 2, bytes(6)),
    "an escape sequence": b"ant\n\x1b[31mbear\n",
    "a long name": b"a" * 5000,
    "a long name in UTF-8": "\u00fc".encode() * 200,
    "an absent name": b"ant\nwolf\n",
    "a number behind the name": b"ant 1\n",
    "html": b"<!DOCTYPE html>\n<html><h1>404</h1></html>\n",
} | {f"the path {line}": f"ant\n{line}\n".encode() for line in OUTSIDE}


@pytest.mark.bad_input
@pytest.mark.parametrize("content", SPLITS.values(), ids=SPLITS)
def test_bad_split(data, tmp_path, content):
    """Refused by name before anything is read or written elsewhere."""
    path = data / SPLIT.format("val")
    before = path.read_bytes()
    secret = data.parent / "secret"
    shutil.copytree(data / "Annotations/480p/ant", secret, dirs_exist_ok=True)
    try:
        path.write_bytes(content)
        with pytest.raises(BadInput) as caught:
            run_first_mask(data, tmp_path / "deep" / "out")
        message = str(caught.value)
        assert len(message.splitlines()) == 1 and message.isprintable()
        assert str(path) in message or "480p/" in message  # the split, or the sequence it names
        assert list(tmp_path.iterdir()) == []
    finally:
        path.write_bytes(before)
        shutil.rmtree(secret)


@pytest.mark.parametrize(
    "content", [b"ant\r\nbear\r\n", b"\xef\xbb\xbfant\nbear", b"ant\n\nant\n bear"]
)
def test_split_that_only_looks_odd(data, content):
    path = data / SPLIT.format("odd")
    path.write_bytes(content)
    assert [s.name for s in load_split(data, 2017, "odd")] == ["ant", "bear"]


@pytest.mark.parametrize(
    "name", ["my dog", "h\u00fcndin", "\u72ac", "-rf", "--out", ".hidden", "a'b", "$HOME", "*"]
)
def test_names(data, tmp_path, name):
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(data / kind / "480p/ant", tmp_path / kind / "480p" / name)
    split = tmp_path / SPLIT.format("val")
    split.parent.mkdir(parents=True)
    split.write_text(name, encoding="utf-8")
    results = run_first_mask(tmp_path, tmp_path / "out")
    assert list(results["sequences"]) == [name]
    assert len(list((tmp_path / "out" / name).iterdir())) == FRAMES


# Sizes and ids


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), length=st.integers(1, 4),
    ids=st.lists(st.integers(0, 255), min_size=1, max_size=3),
    year=st.sampled_from([2016, 2017]), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_size_and_ids(tmp_path_factory, height, width, length, ids, year, seed):
    """A copied first mask scores what its objects' overlap is, and no size breaks anything."""
    root, rng = tmp_path_factory.mktemp("any"), np.random.default_rng(seed)
    cells = rng.choice(np.array(ids, np.uint8), (length, height, width))
    # of 3x3 pixels or more, where there is room: smaller dots are taken for dithering
    rows, columns = (np.minimum(np.arange(n) // 3, max(0, n // 3 - 1)) for n in (height, width))
    masks = cells[:, rows][:, :, columns]
    frames = np.zeros((*masks.shape, 3), np.uint8)
    write_davis(root, {"ant": (frames, list(masks))}, year=year, suffix=".png")
    if year == 2016:
        masks = (masks > 0).astype(np.uint8)
    objects = [i for i in np.unique(masks[0]) if i not in (0, 255)]
    try:
        results = run(Evaluation(data=root, year=year, checkpoint="first-mask", out=root / "out"))
    except BadInput as error:
        narrow = min(height, width) < 3 and "dithering" in str(error)
        assert narrow or (not objects and "first mask" in str(error))
        return
    assert objects
    if length < 3:
        assert (results["mean"], results["not_scored"]) == (None, ["ant"])
        return

    def overlap(a, b):
        return (a & b).sum() / (a | b).sum()

    expected = [
        np.mean([overlap(masks[0] == i, mask == i) for mask in masks[1:-1]]) for i in objects
    ]
    assert results["mean"]["J_mean"] == pytest.approx(np.mean(expected))
    assert 0 <= results["mean"]["F_mean"] <= 1


@settings(max_examples=8, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), working=st.sampled_from([None, 16, 23]),
    ids=st.sets(st.integers(1, 254), min_size=1, max_size=3),
)  # fmt: skip
def test_segmenter_takes_any_size(model, height, width, working, ids):
    rng = np.random.default_rng(height * width)
    frames = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    mask = rng.choice(np.array(sorted(ids), np.uint8), (height, width))
    segmenter = VideoSegmenter(model, height=working)
    segmenter.start(frames[0], mask)
    result = segmenter.step(frames[1])
    assert result.shape == (height, width) and set(np.unique(result)) <= ids | {0}
    assert segmenter.probabilities.isfinite().all()


def test_segmenter_takes_a_tall_frame(model):
    """One pixel wide and higher than twice the working height: there is still a column."""
    segmenter = VideoSegmenter(model, height=16)
    segmenter.start(np.zeros((100, 1, 3), np.uint8), np.ones((100, 1), np.uint8))
    assert segmenter.step(np.zeros((100, 1, 3), np.uint8)).shape == (100, 1)


# Weights

KEY = "key.weight"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """(header, tensors' bytes) of a small file that says which network it is of."""
    path = tmp_path_factory.mktemp("weights") / "good.safetensors"
    tensors = {KEY: torch.rand(4, 8), "more": torch.rand(6)}
    save_file(tensors, path, metadata={"config": json.dumps(SMOKE.stored())})
    content = path.read_bytes()
    assert read_weights(path)[0].keys() == tensors.keys()
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def pack(header, tensors):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def tells(name, part, value):
    return lambda header: header[name].__setitem__(part, value)


HEADERS = {
    f"dtype {dtype}": tells(KEY, "dtype", dtype)
    for dtype in ("F64", "F16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "none", 3, None)
}
HEADERS |= {
    f"shape {shape}": tells(KEY, "shape", shape)
    for shape in ([], [0], [-1], [1e9], ["a"], None, [2**63], [2**32, 2**32])
}
HEADERS |= {
    f"offsets {pair}": tells(KEY, "data_offsets", pair)
    for pair in ([0, 0], [0, 10**12], [-8, 8], [8, 0], None, "ab")
}
WORDS = ["", "{", "[1]", "null", "3", '{"name": ["a"]}', '{"name": "smoke"}', '"a\\nb"', "NaN"]
HEADERS |= {f"config {text}": tells("__metadata__", "config", text) for text in WORDS}
HEADERS |= {
    "config nested deeply": tells("__metadata__", "config", "[" * 100_000),
    "no metadata": lambda header: header.pop("__metadata__"),
    "a tensor less": lambda header: header.pop(KEY),
}


def refuse_weights(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    message = refusal(lambda: load_model(str(path)), path)
    assert message
    return message


@pytest.mark.bad_input
@pytest.mark.parametrize("lie", HEADERS.values(), ids=HEADERS)
def test_lying_header(weights, tmp_path, lie):
    header = json.loads(json.dumps(weights[0]))
    lie(header)
    refuse_weights(tmp_path, pack(header, weights[1]))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name, value",
    [("first_share", 1.5), ("height", 0), ("memory", None), ("normalization", "max")],
)
def test_impossible_config(weights, tmp_path, name, value):
    header = json.loads(json.dumps(weights[0]))
    header["__metadata__"]["config"] = json.dumps(SMOKE.stored() | {name: value})
    assert f"its {name} cannot be" in refuse_weights(tmp_path, pack(header, weights[1]))


BYTES = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "length alone": lambda content: content[:8],
    "half a header": lambda content: content[:99],
    "header alone": lambda content: content[:-152],
    "half of the tensors": lambda content: content[:-76],
    "one byte less": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "huge header": lambda content: b"\xff" * 8 + content[8:],
    "text": lambda content: b"not weights\n" * 100,
    "html": lambda content: b"<!DOCTYPE html><html></html>",
    "git lfs": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "json": lambda content: b"{}",
    "zeros": lambda content: bytes(1000),
    "a picture": lambda content: png(2, 2, bytes(6)),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("damage", BYTES.values(), ids=BYTES)
def test_damaged_weights(weights, tmp_path, damage):
    refuse_weights(tmp_path, damage(pack(*weights)))


TENSORS = {
    "NaN": lambda t: t.index_put((torch.tensor(0),), torch.tensor(torch.nan)),
    "infinite": lambda t: t * torch.inf,
    "another shape": lambda t: t[:-1].clone(),
    "transposed": lambda t: t.transpose(0, 1).contiguous(),
    "flat": lambda t: t.flatten(),
    "integers": lambda t: t.to(torch.int32),
    "complex": lambda t: t.to(torch.complex64),
    "booleans": lambda t: t > 0,
    "a scalar": lambda t: t.sum(),
    "empty": lambda t: t[:0].clone(),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_other_tensors(model, change):
    tensors = model.state_dict()
    tensors[KEY] = change(tensors[KEY])
    assert KEY in refusal(lambda: fill(model, tensors, "bad.safetensors"), "bad.safetensors")


def test_missing_and_unknown_tensors(model):
    tensors = model.state_dict()
    tensors["a\nb"] = tensors[KEY]
    assert r"a\nb" in refusal(lambda: fill(model, tensors, "bad.safetensors"), "bad.safetensors")
    del tensors["a\nb"], tensors[KEY]
    assert KEY in refusal(lambda: fill(model, tensors, "bad.safetensors"), "bad.safetensors")


def test_other_tensors_in_a_file(model, tmp_path):
    """A file as save_model writes it is taken, and refused with one NaN in it."""
    path = tmp_path / "bad.safetensors"
    save_model(model, path)
    assert load_model(str(path)).config == SMOKE
    tensors = model.state_dict()
    tensors[KEY] = TENSORS["NaN"](tensors[KEY])
    save_file(tensors, path, metadata={"config": json.dumps(SMOKE.stored())})
    assert KEY in refusal(lambda: load_model(str(path)), path)


class Harmful:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))]
)
def test_pickle_is_not_opened(tmp_path, save):
    trap, path = tmp_path / "trap", tmp_path / "bad.safetensors"
    save(Harmful(trap), path)
    for load in (read_weights, load_model):
        assert "not a readable safetensors file" in refusal(lambda: load(str(path)), path)  # noqa: B023
    assert not trap.exists()
    pickle.loads(pickle.dumps(Harmful(trap)))
    assert trap.exists()  # or the trap does not work and this test shows nothing


@pytest.mark.bad_input
@pytest.mark.parametrize("make", [directory, link_to_itself, link_to_nothing])
def test_weights_that_are_no_file(tmp_path, make):
    path = Path(tmp_path / "bad.safetensors")
    path.touch()
    make(b"", path, None)
    assert refusal(lambda: load_model(str(path)), path)


# ---- memory ------------------------------------------------------------------------------------


def full_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "ask",
    [lambda: bytes(1 << 60), lambda: np.empty(1 << 57), lambda: torch.empty(1 << 57), full_gpu],
)
def test_too_little_memory_is_one_line(ask, capsys):
    with pytest.raises(SystemExit) as stop:
        exit_on_bad_input(ask)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert error.startswith("error: too little memory; give a smaller --height, or --memory gc")


def test_any_other_error_of_torch_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="size"):
        exit_on_bad_input(lambda: torch.ones(2) + torch.ones(3))
