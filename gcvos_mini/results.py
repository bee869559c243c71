"""The results of an evaluation on disk: scores and settings in results.json, masks beside it.

Written as each sequence ends, so that a run that was stopped goes on; refused where the folder
holds anything else.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gcvos_mini.commands import HOW_TO_TRAIN
from gcvos_mini.davis import Sequence
from gcvos_mini.errors import BadInput, sweep, written_whole
from gcvos_mini.network import find_weights
from gcvos_mini.outputs import run_of
from gcvos_mini.tables import markdown

RESAMPLES = 10_000  # of the bootstrap
KEYS = ("JF_mean", "J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")


def average(objects: Iterable[dict]) -> dict[str, float]:
    """Mean of each statistic over objects, at least one: {KEYS}."""
    objects = list(objects)
    return {key: float(np.mean([scores[key] for scores in objects])) for key in KEYS}


def interval(sequences: dict[str, dict]) -> list[float]:
    """[low, high] within which the mean J&F of a data set lies with 95 %, as far as its sequences
    tell: {name: scores} of them.

    A bootstrap: as many sequences are drawn again from these, with replacement, and averaged.
    """
    totals = [[o["JF_mean"] for o in s["objects"].values()] for s in sequences.values()]
    sums, counts = np.array([(sum(total), len(total)) for total in totals]).T  # (S,) each
    drawn = np.random.default_rng(0).integers(len(totals), size=(RESAMPLES, len(totals)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(x) for x in np.percentile(means, (2.5, 97.5))]


def summary(sequences: list[Sequence], scores: dict[str, dict]) -> dict:
    """Results as score_masks gives them, of {name: scores}; sequences not in it are not scored."""
    objects = [o for s in scores.values() for o in s["objects"].values()]
    names = [s.name for s in sequences]
    return {
        "mean": average(objects) if objects else None,
        "interval": interval(scores) if objects else None,
        "quarters": np.mean([o["quarters"] for o in objects], axis=0).tolist() if objects else None,
        "sequences": {name: scores[name] for name in names if name in scores},
        "not_scored": [name for name in names if name not in scores],
    }


def markdown_table(results: dict) -> str:
    """Results as a Markdown table: one row per sequence, then the mean over all objects."""
    rows = [(name, len(s["objects"]), s["frames"], s) for name, s in results["sequences"].items()]
    totals = sum(row[1] for row in rows), sum(row[2] for row in rows)
    rows.append(("**mean**", *totals, results["mean"]))
    numbers = [(*row[:3], *(f"{row[3][key]:.3f}" for key in KEYS)) for row in rows]
    return markdown(("sequence", "objects", "frames", *KEYS), numbers)


def in_words(results: dict) -> str:
    """A line on results: their mean, how sure it is, and how it changes through the videos."""
    low, high = results["interval"]
    parts = ", ".join(f"{part:.3f}" for part in results["quarters"])
    count = len(results["sequences"])
    return (
        f"J&F {results['mean']['JF_mean']:.3f}, 95 % interval {low:.3f} to {high:.3f} "
        f"({count} sequences drawn again); by quarters of the videos {parts}"
    )


def fingerprint(checkpoint: str) -> str | None:
    """SHA-256 of a checkpoint's file, None for "first-mask". Raises BadInput if there is none."""
    if checkpoint == "first-mask":
        return None
    path = find_weights(checkpoint)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path, or train one: {HOW_TO_TRAIN}")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def results_of(sequences: list[Sequence], done: dict[str, dict | None]) -> dict:
    """Results of finished sequences, {name: scores or None}, and the names of the unfinished."""
    finished = [s for s in sequences if s.name in done]
    results = summary(finished, {name: scores for name, scores in done.items() if scores})
    unfinished = [s.name for s in sequences if s.name not in done]
    return results | ({"unfinished": unfinished} if unfinished else {})


def write_results(out: Path, settings: dict, results: dict) -> None:
    """Write out/results.json: the settings, then the results."""
    with written_whole(Path(out) / "results.json") as path:
        path.write_text(json.dumps({"run": settings} | results, indent=1) + "\n")


def read_finished(out: Path, settings: dict, sequences: list[Sequence]) -> dict[str, dict | None]:
    """{name: scores or None} of the sequences that a run of these settings finished in `out`.

    A sequence whose masks are not all there any more is not finished. Raises BadInput where `out`
    holds results or masks of anything else.
    """
    path = Path(out) / "results.json"
    if not path.is_file():
        for sequence in sequences:
            if (Path(out) / sequence.name).exists():
                raise BadInput(
                    f"{Path(out) / sequence.name}: made by something else; choose another --out"
                )
        return {}
    check_same_run(path, settings)
    results = json.loads(path.read_text())
    done = results["sequences"] | dict.fromkeys(results["not_scored"])
    return {
        s.name: done[s.name]
        for s in sequences
        if s.name in done
        and all((Path(out) / s.name / f"{frame.stem}.png").is_file() for frame in s.frames)
    }


def check_same_run(path: Path, settings: dict, overwrite: bool = False) -> None:
    """Raise BadInput where the results.json at `path` is there and of other settings.

    overwrite: only where this command did not write it.
    """
    if not path.is_file():
        return
    saved = read_settings(path)
    changed = [name for name in settings | saved if settings.get(name) != saved.get(name)]
    if changed and not overwrite:
        raise BadInput(
            f"{path}: results of another run ({', '.join(changed)} differ); "
            "choose another --out, or start over with --overwrite"
        )


def read_settings(path: Path) -> dict:
    """The settings of a results.json. Raises BadInput where this command did not write it."""
    try:
        return json.loads(path.read_text())["run"] | {}
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path}: not results of this command; choose another --out") from None


def start_over(out: Path, sequences: list[Sequence]) -> None:
    """Remove the results and masks of an earlier run from a folder: what this program wrote there.

    Raises BadInput where a mask or results.json is of anything else; then nothing is removed.
    """
    results = out / "results.json"
    earlier = read_settings(results).get("frames", {}) if results.is_file() else {}
    names = [Path(name).name for name in earlier] + [s.name for s in sequences]
    folders = [out / name for name in dict.fromkeys(names) if (out / name).is_dir()]
    for folder in folders:
        sweep(folder)
    masks = [mask for folder in folders for mask in sorted(folder.iterdir())]
    foreign = [mask for mask in masks if run_of(mask) is None]
    if foreign:
        raise BadInput(f"{foreign[0]}: was not made by this program; choose another --out")
    for mask in masks:
        mask.unlink()
    for folder in folders:
        folder.rmdir()
    results.unlink(missing_ok=True)  # last: it names the folders, should this be stopped
