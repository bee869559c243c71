"""One HTML page about a run: scores, loss, masks and key maps, everything inside the one file.

    python -m gcvos_mini.show.report --run DIR --data DIR --out FILE.html

Reads what the other commands leave in a run's folder:

    log.csv, last.safetensors       from train
    eval/results.json, eval/<sequence>/<frame>.png     from evaluate --out DIR/eval
    copy/results.json               scores of copying the first mask through the video, if present
"""

import base64
import csv
import io
import json
from html import escape
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from matplotlib.figure import Figure

from gcvos_mini.commands import HOW_TO_TRAIN, python
from gcvos_mini.davis import load_split, read_start
from gcvos_mini.errors import BadInput, exit_on_bad_input, written_whole
from gcvos_mini.keymaps import mean_selectivity
from gcvos_mini.masks import read_sequence_mask
from gcvos_mini.network import load_model
from gcvos_mini.pictures import read_frame
from gcvos_mini.segment import VideoSegmenter, follow
from gcvos_mini.show import render

THUMB = 230  # pixels across, for each frame in a strip
SHOWN = 6  # frames in a strip

NOTEBOOKS = [
    ("01", "the task", "what is given, what is asked, how J and F score it"),
    ("02", "space-time memory", "the memory that keeps every frame, and what that costs"),
    ("03", "the global context", "the memory that keeps one matrix (eqs. 1 to 3)"),
    ("04", "what is equal and what is not", "the two memories compared by assert"),
    ("05", "the network", "encoders, heads and decoder, with every shape"),
    ("06", "training", "the clips and the loop behind the loss curve above"),
    ("07", "evaluation on DAVIS", "the protocol behind the scores above"),
    ("08", "key maps", "Fig. 6, and an explorer for the maps above"),
    ("09", "limits and rivals", "look-alikes, long videos and SwiftNet's memory"),
    ("10", "your own video", "paint a mask, run, export"),
]

STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #667; --line: #d8d8de; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6ea; --soft: #9a9aa6; --line: #3a3a42; --page: #17171a; }
}
body { max-width: 72rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; color: var(--ink);
  background: var(--page); font: 17px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; margin: 2.8rem 0 .4rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
p { max-width: 46rem; margin: .4rem 0 .8rem; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2.6rem; margin: 1.4rem 0; padding: 0; }
.facts div { display: flex; flex-direction: column-reverse; }
.facts dt { color: var(--soft); font-size: .9rem; }
.facts dd { margin: 0; font-size: 1.7rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; font-size: .9rem; }
tr.mean td { font-weight: 600; border-top: 2px solid var(--ink); border-bottom: 0; }
figure { margin: .4rem 0 1rem; }
img { max-width: 100%; height: auto; display: block; border-radius: 3px; }
code { font-size: .92em; }
li { margin: .2rem 0; }
"""


def read_json(path, fix):
    """A JSON file; BadInput, with the fix, if it is missing or is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; {fix}") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error}); remove it, then {fix}") from None


def read_log(path):
    """log.csv of train as {column: float array}. Raises BadInput if there is nothing to plot."""
    fix = f"how to train a run that has one: {HOW_TO_TRAIN}"
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        names = ("step", "loss", "J", "seconds")
        log = {name: np.array([float(row[name]) for row in rows]) for name in names}
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; {fix}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not a training log ({error}); {fix}") from None
    if not rows:
        raise BadInput(f"{path}: no training step in it; {fix}")
    return log


def image_tag(data, kind, alt):
    """An <img> that carries its own bytes. kind: "jpeg" or "png"."""
    inlined = base64.b64encode(data).decode()
    return f'<img src="data:image/{kind};base64,{inlined}" alt="{escape(alt)}">'


def scores_table(results, copied):
    """Rows of J&F, J and F for each sequence, and the mean over objects. copied may be None."""
    head = ["Sequence", "Objects", "J&F", "J", "F"] + (["Copying", "Gain"] if copied else [])
    rows = [(name, scores, (copied or {}).get("sequences", {}).get(name))
            for name, scores in results["sequences"].items()]  # fmt: skip
    rows.append(("Mean over objects", results["mean"], (copied or {}).get("mean")))
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for name, scores, baseline in rows:
        cells = [name, str(len(scores["objects"])) if "objects" in scores else ""]
        cells += [f"{scores[key]:.3f}" for key in ("JF_mean", "J_mean", "F_mean")]
        if copied:
            gain = scores["JF_mean"] - baseline["JF_mean"] if baseline else None
            cells += [f"{baseline['JF_mean']:.3f}", f"{gain:+.3f}"] if baseline else ["", ""]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr{' class=mean' if scores is results['mean'] else ''}>{row}</tr>")
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def running_mean(values, width):
    """Mean over the last `width` values, fewer at the start."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - width, 0)
    return (total[end] - total[start]) / (end - start)


def loss_curve(log):
    """Loss and training J over the steps as PNG bytes, on no background: for light and dark."""
    grey = "#888890"
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, colour in zip(panels, ("loss", "J"), ("#d9822b", "#3b82c4"), strict=True):
        smooth = running_mean(log[name], max(1, len(log[name]) // 40))
        axes.plot(log["step"], log[name], color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(log["step"], smooth, color=colour, linewidth=2)
        axes.set_title(f"{name} of the training clips", color=grey, loc="left", fontsize=11)
        axes.set_xlabel("step", color=grey)
        axes.tick_params(colors=grey)
        axes.spines[:].set_color(grey)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(0, 1)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, transparent=True)
    return buffer.getvalue()


def thumbnail(image):
    """The image at THUMB pixels across."""
    height = round(image.shape[0] * THUMB / image.shape[1])
    return cv2.resize(image, (THUMB, height), interpolation=cv2.INTER_AREA)


def read_mask_of(sequence, frame, folder, year, fix):
    """Predicted mask of a frame file; BadInput, with the fix, if evaluate did not write it."""
    path = folder / sequence.name / f"{frame.stem}.png"
    if not path.is_file():
        raise BadInput(f"{path}: no such mask; {fix}")
    return read_sequence_mask(path, year)


def mask_strip(sequence, predictions, year, fix):
    """Truth above, prediction below, SHOWN frames spread over the video, as one RGB image.

    A frame without truth (a challenge's test data) is shown bare.
    """
    at = render.spread(len(sequence.frames), SHOWN)
    truths, guesses = [], []
    for t in at:
        path = sequence.frames[t]
        frame = read_frame(path)
        truth = sequence.masks.get(path.stem)
        truth = frame if truth is None else render.overlay(frame, read_sequence_mask(truth, year))
        guess = render.overlay(frame, read_mask_of(sequence, path, predictions, year, fix))
        truths.append(thumbnail(truth))
        guesses.append(thumbnail(guess))
    labels = [f"frame {t}" for t in at] + [f"frame {t}, predicted" for t in at]
    return render.contact_sheet(truths + guesses, len(at), labels)


def collect_keys(sequence, network, year):
    """Run the network over a sequence; frames, masks and keys of its first object, SHOWN of each.

    The masks are those written to memory with the keys, 1 on the object.
    """
    segmenter = VideoSegmenter(network)
    _, first_mask = read_start(sequence, year)
    shown = render.spread(len(sequence.frames), SHOWN)
    frames, masks, keys = [], [], []
    followed = follow(segmenter, map(read_frame, sequence.frames), first_mask)
    for t, (frame, mask) in enumerate(followed):
        if t in shown:
            frames.append(frame)
            masks.append((mask == segmenter.ids[0]).astype(np.uint8))
            keys.append(segmenter.key[0].float().cpu().numpy())  # (C_key, h, w)
    return frames, masks, np.stack(keys)


def key_figure(sequence, network, year):
    """The most object-like and the most background-like key channel of a sequence.

    Returns (RGB image, object channel, its selectivity, background channel, its selectivity).
    """
    frames, masks, keys = collect_keys(sequence, network, year)
    scores = mean_selectivity(keys, masks)
    best, worst = int(scores.argmax()), int(scores.argmin())
    outlined = [render.outline(f, m) for f, m in zip(frames, masks, strict=True)]
    outlined = [thumbnail(image) for image in outlined]
    numbers = render.spread(len(sequence.frames), SHOWN)
    sheet = render.key_sheet(outlined, keys, [best, worst], numbers=numbers)
    return sheet, best, scores[best], worst, scores[worst]


def key_section(sequences, results, network, year):
    """Key maps of the best and of the middle sequence by J&F."""
    scored = [s for s in sequences if s.name in results["sequences"]]
    scored.sort(key=lambda s: -results["sequences"][s.name]["JF_mean"])
    parts = []
    for rank in sorted({0, len(scored) // 2}):
        sequence = scored[rank]
        sheet, best, high, worst, low = key_figure(sequence, network, year)
        name = escape(sequence.name)
        alt = (
            f"{sequence.name}: frames with the first object outlined; key channel {best}, strongest"
            f" on the object; key channel {worst}, strongest on the background"
        )
        parts.append(
            f"<h3>{name}</h3><figure>{image_tag(render.to_jpeg(sheet), 'jpeg', alt)}<figcaption>"
            f"Middle row: channel {best} tells the object from the background best, selectivity "
            f"{high:.2f}. Bottom row: channel {worst} keeps to the background, {low:.2f}."
            "</figcaption></figure>"
        )
    return "\n".join(parts)


def facts(pairs):
    """A row of large numbers with their names under them."""
    cells = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in pairs)
    return f'<dl class="facts">{cells}</dl>'


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
<p>The network is given the first mask of a video and finds the objects in every later frame. What
it remembers is one matrix per object, the same size after any number of frames.</p>
{facts}

<h2>Scores</h2>
<p>DAVIS {year} protocol on the sequences of the split "{split}".
J is overlap, F is the match of the outlines, both from 0 to 1.{copying}</p>
{scores}

<h2>Training</h2>
<figure>{curve}
<figcaption>Each step is one batch; the strong line is a running mean.</figcaption></figure>

<h2>Masks</h2>
<p>True masks above, predicted masks below. Frame 0 is given.</p>
{strips}

<h2>Key maps</h2>
<p>What the network writes of a frame is a weighted sum for each key channel (eq. 1), and these are
the weights, as in Fig. 6 of the paper: blue is negative, white is zero, red is positive, one scale
along each row. The object is outlined in the top row. Selectivity is the chance that a random
place on the object has a stronger weight, of either sign, than a random place off it: 1 keeps to
the object, 0 to the background, 0.5 tells nothing.</p>
{keys}

<h2>Where to look next</h2>
<p><code>make lab</code> opens the course in JupyterLab.</p>
<ul>
{notebooks}
</ul>
</html>
"""

COPYING = (
    " Copying keeps the first mask in place through the whole video; the gain is what the network"
    " adds to that."
)


def numbers(results, copied, log, network):
    """The row of large numbers at the top: [(name, value)]."""
    mean = results["mean"]
    pairs = [(name, f"{mean[f'{key}_mean']:.3f}")
             for name, key in (("J&F", "JF"), ("J", "J"), ("F", "F"))]  # fmt: skip
    if copied:
        pairs.append(("J&F of copying the first mask", f"{copied['mean']['JF_mean']:.3f}"))
    parameters = sum(p.numel() for p in network.parameters())
    return [
        *pairs,
        ("training steps", f"{len(log['step']):,}"),
        ("minutes of training", f"{log['seconds'][-1] / 60:.1f}"),
        ("parameters", f"{parameters / 1e6:.1f} M"),
    ]


def mask_section(sequences, results, folder, year, fix):
    """A strip of true and predicted masks for each sequence, with its score."""
    strips = []
    for sequence in sequences:
        sheet = mask_strip(sequence, folder, year, fix)
        alt = f"{sequence.name}: true masks above, predicted masks below, over time"
        score = results["sequences"].get(sequence.name, {}).get("JF_mean")
        score = "" if score is None else f' <span class="soft">J&amp;F {score:.3f}</span>'
        tag = image_tag(render.to_jpeg(sheet, 80), "jpeg", alt)
        strips.append(f"<h3>{escape(sequence.name)}{score}</h3><figure>{tag}</figure>")
    return "".join(strips)


def read_results(run, fix):
    """(results.json of eval, that of copy or None) of a run. Raises BadInput as read_json does."""
    results = read_json(run / "eval" / "results.json", fix)
    copied = None
    if (run / "copy" / "results.json").is_file():
        copied = read_json(run / "copy" / "results.json", "score the copied masks again")
    return results, copied


def build(run, data, year=2017, split="val"):
    """The page, as a string. Raises BadInput on a run or data that lack a needed file."""
    run = Path(run)
    if not run.is_dir():
        raise BadInput(f"{run}: no such folder; give the --out folder of gcvos_mini.train")
    again = python(
        "-m", "gcvos_mini.evaluate", "--data", Path(data), "--year", str(year), "--split", split,
        "--checkpoint", run / "last.safetensors", "--out", run / "eval", "--overwrite",
    )  # fmt: skip
    results, copied = read_results(run, f"run: {again}")
    log = read_log(run / "log.csv")
    sequences = load_split(data, year, split)
    if not {sequence.name for sequence in sequences} & set(results["sequences"]):
        raise BadInput(f"{data}: no sequence of split {split} was evaluated in {run}; check --data")
    network = load_model(run / "last.safetensors")
    title = f"Global context: the {network.config.name} network on {Path(data).name}"
    curve = image_tag(loss_curve(log), "png", "Loss and training J over the training steps")
    return PAGE.format(
        title=escape(title),
        style=STYLE,
        facts=facts(numbers(results, copied, log, network)),
        year=year,
        split=escape(split),
        copying=COPYING if copied else "",
        scores=scores_table(results, copied),
        curve=curve,
        strips=mask_section(sequences, results, run / "eval", year, f"run: {again}"),
        keys=key_section(sequences, results, network, year),
        notebooks="\n".join(
            f"<li><strong>{number} {name}</strong>: {about}</li>"
            for number, name, about in NOTEBOOKS
        ),
    )


def report(
    run: Path, data: Path, out: Path, year: Literal[2016, 2017] = 2017, split: str = "val"
) -> None:
    """Write one self-contained HTML page about a run: scores, loss, masks, key maps.

    Args:
        run: folder with log.csv and last.safetensors, and eval/ from evaluate --out.
        data: the data set that was evaluated, in DAVIS layout.
        out: the HTML file to write.
        year: 2016, one object (any non-zero value), or 2017, several.
        split: name of the list of sequences that was evaluated.
    """
    page = build(run, data, year, split)
    with written_whole(out) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    print(f"open {out}")


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(report))
