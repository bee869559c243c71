"""One HTML page in which key maps, frames and clicks work without Python.

    python -m gcvos_mini.show.gallery --out runs/gallery.html

The network runs here, once; the page holds what it wrote and asked (Record): frames as
JPEG, masks as run lengths, keys and queries as int8. A click is then a dot product, which the
page's own script does. The page, gallery.html beside this file, is one file and loads no other.
"""

import base64
import hashlib
import itertools
import json
from dataclasses import replace
from html import escape
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from gcvos_mini.bunny import CREDIT, load_bunny
from gcvos_mini.commands import command
from gcvos_mini.config import CONFIGS, STRIDE
from gcvos_mini.device import pick_device
from gcvos_mini.errors import BadInput, exit_on_bad_input, written_whole
from gcvos_mini.keymaps import REGIONS, mask_on_map, mean_selectivity, middle
from gcvos_mini.metrics import region_similarity
from gcvos_mini.network import find_weights, load_model
from gcvos_mini.record import watch
from gcvos_mini.show import labs, render
from gcvos_mini.show.report import STYLE, image_tag
from gcvos_mini.toy import clip_frames

CLIPS = ("bunny", "approach", "shape-shifter", "two-friends", "look-alikes")
MOST_BYTES = 8_000_000  # what people still send each other by mail
TEMPLATE = resources.files("gcvos_mini.show") / "gallery.html"


def quantise(values, axis):
    """int8 values and the float32 scale of each channel: values ~ scale * int8.

    values: float (..., C, h, w); axis: what shares a scale with the positions, such as the frames.
    A value moves by half a step at most, 1/254 of the largest one in its channel.
    """
    largest = np.abs(values).max(axis=(*axis, -2, -1), keepdims=True)
    scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    return np.round(values / scale).astype(np.int8), scale


def stored(record):
    """A record as the page has it: (keys, their scales, queries, their scales, the Record again).

    The last has the keys and queries that the page computes with.
    """
    keys, key_scale = quantise(record.keys, axis=(0,))  # (T, O, C, h, w), (1, O, C, 1, 1)
    queries, query_scale = quantise(record.queries, axis=(0,))  # (T, C, h, w), (1, C, 1, 1)
    again = replace(record, keys=keys * key_scale, queries=queries * query_scale)
    return keys, key_scale, queries, query_scale, again


def errors(record, again, clicks=40):
    """What the rounding does to the weights of `clicks` random cells: (implied, softmax).

    Of the implied weights, the largest error as a share of that click's largest weight; of the
    softmax, the largest share of the whole weight that lands elsewhere.
    """
    rng = np.random.default_rng(0)
    height, width = record.queries.shape[2:]
    implied, softmax = [], []
    for _ in range(clicks):
        click = (rng.integers(1, len(record.frames)), rng.integers(height), rng.integers(width),
                 rng.integers(len(record.ids)))  # fmt: skip
        exact, rounded = record.implied_weights(*click), again.implied_weights(*click)
        implied.append(np.abs(exact - rounded).max() / np.abs(exact).max())
        exact, rounded = record.softmax_weights(*click), again.softmax_weights(*click)
        softmax.append(np.abs(exact - rounded).sum() / 2)
    return float(max(implied)), float(max(softmax))


def run_lengths(mask):
    """Ids (H, W), row by row, as [id, how many, id, how many, ...]."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.nonzero(np.diff(flat))[0] + 1, [flat.size]])
    runs = np.stack([flat[starts[:-1]].astype(int), np.diff(starts)], axis=1)
    return runs.ravel().tolist()


def text(array):
    """The bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def load_clip(name, every, height):
    """Frames (T, H, W, 3) of a clip and its true masks, {frame number: uint8 (H, W) of ids}.

    Raises BadInput on a name that there is not, or if fewer than two frames are left.
    """
    if name == "bunny":
        frames, truth = load_bunny(every)
        size = round(frames.shape[2] * height / frames.shape[1]), height
        frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
        truth = {
            t: cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
            for t, mask in truth.items()
        }
    else:
        frames, masks = zip(*itertools.islice(clip_frames(name, height), 0, None, every))
        truth = dict(enumerate(masks))
    if len(frames) < 2:
        raise BadInput(f"--every {every}: leaves {len(frames)} frame of {name}; 2 are needed")
    return np.stack(frames), truth


def credit_of(name):
    """Whom a clip's pictures must name, "" for those that the course draws itself."""
    return f"{CREDIT}." if name == "bunny" else ""


def mean_J(record, truth):
    """J, the mean over objects and over the frames that have a true mask, but the first."""
    scores = [
        region_similarity(record.masks[t] == n, mask == n)
        for t, mask in truth.items()
        for n in record.ids
        if t
    ]
    return float(np.mean(scores))


def clip_data(name, record, truth):
    """Everything the page's script needs of one clip, as a JSON object.

    truth: as of `load_clip`.
    """
    keys, key_scale, queries, query_scale, again = stored(record)
    per_object = [np.where(record.masks == n, 1, 0).astype(np.uint8) for n in record.ids]
    return {
        "name": name,
        "size": record.frames.shape[1:3],  # H, W
        "map": record.queries.shape[2:],  # h, w, in cells of STRIDE pixels
        "cell": STRIDE,
        "ids": record.ids,
        "frames": [base64.b64encode(render.to_jpeg(f, 80)).decode() for f in record.frames],
        "masks": [run_lengths(mask) for mask in record.masks],
        "keys": text(keys), "keyScale": key_scale.ravel().tolist(),
        "queries": text(queries), "queryScale": query_scale.ravel().tolist(),
        "shares": [record.shares(t).tolist() if t else [] for t in range(len(record.frames))],
        "positions": record.queries[0, 0].size if record.normalization == "mean" else 1,
        "selectivity": [
            {region: mean_selectivity(record.keys[:, o], masks, region).round(3).tolist()
             for region in REGIONS}
            for o, masks in enumerate(per_object)
        ],
        "J": mean_J(record, truth),
        "judged": len(truth) - 1,  # frames with a true mask, but the first
        "credit": credit_of(name),
        "errors": errors(record, again),
    }  # fmt: skip


def ramp(centred):
    """A colour table of render.py, uint8 (256, 3)."""
    return render.key_map(np.linspace(-1, 1, 256)[None], (256, 1), centred, (-1, 1))[0]


def printed(name, record):
    """The clip on paper: its best object channel, and what the object's middle reads."""
    masks = np.where(record.masks == record.ids[0], 1, 0).astype(np.uint8)
    best = int(mean_selectivity(record.keys[:, 0], masks).argmax())
    last, at = len(record.frames) - 1, render.spread(len(record.frames), 5)
    outlined = [render.outline(record.frames[t], record.masks[t]) for t in at]
    sheet = render.key_sheet(outlined, record.keys[at, 0], [best], numbers=at)
    cell = middle(mask_on_map(masks[last], record.queries.shape[:1:-1]))
    read = labs.render_read(record, last, cell)
    pictures = {
        f"{name}: frames with the masks found, and key channel {best} under them": sheet,
        f"{name}: what a pixel of frame {last} reads of the past, GC and STM": read,
    }
    tags = [image_tag(render.to_jpeg(image, 75), "jpeg", alt) for alt, image in pictures.items()]
    figures = "".join(f"<figure>{tag}</figure>" for tag in tags)
    return f"<h3>{escape(name)}</h3>{figures}<p class=soft>{escape(credit_of(name))}</p>"


def build(clips=CLIPS, every=3, height=192, checkpoint="mini", device=None, progress=iter):
    """The page, as a string. Arguments as of `gallery`; progress wraps the clips, such as tqdm.

    Raises BadInput on a clip that there is not, or if nothing is left to show.
    """
    if not clips or every < 1 or height < STRIDE:
        raise BadInput(f"--clips, --every and --height: want a clip, 1 or more, {STRIDE} or more")
    loaded = {name: load_clip(name, every, height) for name in clips}
    model = load_model(checkpoint, device=pick_device(device))
    weights = hashlib.sha256(find_weights(checkpoint).read_bytes()).hexdigest()
    data, prints = [], []
    for name, (frames, truth) in progress(loaded.items()):
        record = watch(model, frames, truth[0], height=height)
        data.append(clip_data(name, record, truth))
        prints.append(printed(name, record))
    words = {
        "command": command(  # for readers elsewhere: `python`, not where this one lies
            "python", "-m", "gcvos_mini.show.gallery", "--clips", *clips, "--every", str(every),
            "--height", str(height), "--checkpoint",
            checkpoint if checkpoint in CONFIGS else Path(checkpoint), "--out", "gallery.html"),
        "network": Path(checkpoint).stem,
        "weights": weights[:12],
        "lines": str(height),
        "every": "every frame" if every == 1 else f"one frame in {every}",
        "implied": f"{max(clip['errors'][0] for clip in data):.1%}",
        "softmax": f"{max(clip['errors'][1] for clip in data):.1%}",
    }  # fmt: skip
    return fill_page(words, prints, data)


def fill_page(words, prints, data):
    """The template with {name: word}, the printed clips and the script's data put in."""
    page = TEMPLATE.read_text(encoding="utf-8")
    for name, word in words.items():
        page = page.replace("{{" + name + "}}", escape(word))
    tables = {"diverging": text(ramp(True)), "sequential": text(ramp(False))}
    page = page.replace("{{style}}", STYLE).replace("{{printed}}", "".join(prints))
    return page.replace("{{data}}", json.dumps({"clips": data, "tables": tables}))


def gallery(
    out: Path,
    clips: tuple[str, ...] = CLIPS,
    every: int = 3,
    height: int = 192,
    checkpoint: str = "mini",
    device: str | None = None,
) -> None:
    """Write one self-contained HTML page: key maps, frames and clicks without Python.

    Args:
        out: the HTML file to write.
        clips: bunny, or embedded clips.
        every: take each n-th frame only; the network sees the clip so.
        height: lines of the frames, and at which the network works.
        checkpoint: a shipped network's name, or a safetensors file.
        device: cuda, mps or cpu; the best there is if not given.
    """
    page = build(clips, every, height, checkpoint, device, lambda c: tqdm(c, unit="clip"))
    size = len(page.encode())
    if size > MOST_BYTES:
        limit = f"{MOST_BYTES / 1e6:.0f}; give fewer --clips or a larger --every"
        raise BadInput(f"{out}: the page would have {size / 1e6:.1f} MB, over {limit}")
    with written_whole(out) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    print(f"open {out} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(gallery))
