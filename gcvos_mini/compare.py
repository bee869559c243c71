"""The same network trained several ways, side by side: memories, normalisations, losses.

    python -m gcvos_mini.compare --data DIR --out DIR
    python -m gcvos_mini.compare --data DAVIS STILLS --stage videos --validate held-out --out DIR \
        --init WEIGHTS --memory pam gcvos_mini.memories.delta:Delta

Every variant differs from `gc` in what its row of VARIANTS says and in nothing else: the same
start, clips, order and number of steps, for each seed. It is then scored with the DAVIS protocol,
on the embedded split `val` or on sequences of the data kept out of training. What is done is not
done again; two processes with other --variants or --seeds may fill one folder. Notebook 09 shows
the results.
"""

import csv
import json
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from gcvos_mini.clips import held_out
from gcvos_mini.complexity import MIB
from gcvos_mini.config import MINI, Config, sequences_of
from gcvos_mini.davis import Sequence, load_split
from gcvos_mini.device import pick_device
from gcvos_mini.errors import LARGEST_SEED, BadInput, at_least, exit_on_bad_input, written_whole
from gcvos_mini.evaluate import score_sequence, segment_sequence
from gcvos_mini.memory import make_memory
from gcvos_mini.network import load_model
from gcvos_mini.results import average, interval
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.tables import markdown
from gcvos_mini.train import Run, fit


@dataclass(frozen=True)
class Variant:
    """What it is, and how it differs from `gc`: in the memory, the Config or the Stage."""

    text: str
    memory: str = "gc"
    config: dict = field(default_factory=dict)
    stage: dict = field(default_factory=dict)


FEWEST = 5  # sequences of which an interval is given
# All that it knows is its memory; the lines are those that its training crops stand for.
BASE = replace(MINI, previous_mask=False, height=144)
VARIANTS = {
    "gc": Variant("global context, eqs. 1 to 3, mean over the positions"),
    "stm": Variant("space-time memory, with its softmax", memory="stm"),
    "gc-sum": Variant("eq. 1 as printed, no normalisation", config={"normalization": "none"}),
    "gc-softmax": Variant("efficient attention", config={"normalization": "softmax"}),
    "gc-first": Variant("0.7 first frame, 0.3 mean of all", config={"first_share": 0.7}),
    "no-region": Variant("cross-entropy alone, no region term", stage={"region": 0.0}),
    "hard-masks": Variant("masks thresholded before they are written", stage={"soft_masks": False}),
    "light": Variant("SwiftNet's light memory encoder", config={"light": True}),
    "previous-mask": Variant("the decoder sees the last mask", config={"previous_mask": True}),
}


def variant_of(name: str) -> Variant:
    """The row of VARIANTS of this name, or the base with the memory of this name."""
    return VARIANTS.get(name) or Variant(f"memory {name}", memory=name)


@dataclass(kw_only=True)
class Comparison:
    """What all variants have in common.

    Args:
        data: folders to train on; without --validate, one of the embedded clips
            (python -m gcvos_mini.toy --out DIR), whose split val is scored.
        out: folder for weights, masks, logs and results.
        steps: of each run.
        stage: of MINI, in config.py.
        init: weights that every run starts from, whatever memory they were trained for; the
            ImageNet backbone and fresh heads if not given.
        validate: names of sequences to keep out of training, and to score; held-out: the eight on
            which this project makes its choices (config.py).
        device: cuda, mps or cpu; the best there is if not given.
    """

    data: tuple[Path, ...]
    out: Path
    steps: int = 600
    stage: str = "embedded"
    init: Path | None = None
    validate: tuple[str, ...] = ()
    device: str | None = None


def scored(asked: Comparison) -> list[tuple[Sequence, int]]:
    """[(Sequence, year)] that every variant is scored on.

    Raises BadInput on one that is not there, or has nothing to score.
    """
    if asked.validate:
        found = held_out(asked.data, sequences_of(asked.validate))
    else:
        found = [(sequence, 2017) for sequence in load_split(asked.data[0], 2017, "val")]
    for sequence, _ in found:
        if len(sequence.masks) <= 2:
            first = next(iter(sequence.masks.values()))
            raise BadInput(
                f"{first.parent}: has {len(sequence.masks)} masks, of which the first and the last "
                "do not count; give it a third, or --validate on other sequences"
            )
    return found


def read_result(path: Path) -> dict:
    """What a result.json holds. Raises BadInput where it is damaged, or something else."""
    try:
        result = json.loads(path.read_text())
        if {"variant", "seed", "scores"} <= result.keys():
            return result
    except (ValueError, AttributeError):  # no JSON, or no object in it
        pass
    raise BadInput(f"{path}: damaged, or no result of this command; remove it, and run this again")


def train_and_score(name: str, seed: int, asked: Comparison, base: Config = BASE) -> dict:
    """Train one variant and score it; writes out/NAME-SEED/result.json, and returns what it holds.

    STM's memory is scored twice: with every frame written, and with every fifth. Scores are in
    [0, 1]; "state_MiB" is one object's memory at the end of the last sequence. Raises BadInput
    where the folder holds a run with other settings.
    """
    variant, folder = variant_of(name), asked.out / f"{name.replace(':', '.')}-{seed}"
    common = json.loads(json.dumps(asdict(asked), default=str))
    identity = {"variant": name, "seed": seed} | common
    del identity["out"], identity["device"]  # no matter for the scores
    if (folder / "result.json").is_file():
        result = read_result(folder / "result.json")
        if {key: result.get(key) for key in identity} != identity:
            raise BadInput(f"{folder}: holds a run with other settings; choose another --out")
        return result
    config = replace(base, memory=variant.memory, **variant.config)
    settings = replace(base.stages[asked.stage], height=None, **variant.stage)
    run = Run(
        data=list(asked.data), out=folder, init=asked.init,
        backbone=None if asked.init else "imagenet", clips=asked.steps * settings.batch,
        validate=sequences_of(asked.validate), seed=seed, device=asked.device,
    )  # fmt: skip
    fit(config, settings, run)
    network = load_model(folder / "last.safetensors", device=pick_device(asked.device))
    scores = {}
    for every in (1, 5) if variant.memory == "stm" else (1,):
        segmenter = VideoSegmenter(network, write_every=every)
        scores[every] = score(segmenter, scored(asked), folder / f"masks-{every}")
    with (folder / "log.csv").open() as file:
        speed = [float(row["clips_per_second"]) for row in csv.DictReader(file)]
    result = identity | {"clips_per_second": statistics.median(speed), "scores": scores}
    with written_whole(folder / "result.json") as path:
        path.write_text(json.dumps(result, indent=1) + "\n")
    return json.loads(json.dumps(result))


def score(segmenter: VideoSegmenter, sequences: list[tuple[Sequence, int]], masks: Path) -> dict:
    """Scores over all objects, and of each: {KEYS…, "objects": {sequence: [J&F, …]}}."""
    found = {}
    with tqdm(total=sum(len(s.frames) for s, _ in sequences), unit="frame", disable=None) as bar:
        for sequence, year in sequences:
            segment_sequence(sequence, year, segmenter, masks / sequence.name, bar)
            scores = score_sequence(sequence, masks / sequence.name, year)
            found[sequence.name] = list(scores["objects"].values())
    mean = average(scores for objects in found.values() for scores in objects)
    return {key: mean[key] for key in ("JF_mean", "J_mean", "F_mean")} | {
        "state_MiB": segmenter.memory.nbytes / MIB / len(segmenter.ids),
        "frames": len(sequences[-1][0].frames),
        "objects": {name: [o["JF_mean"] for o in objects] for name, objects in found.items()},
    }


def of_all_seeds(scores: list[dict]) -> dict[str, dict]:
    """Scores of several seeds as results.interval takes them: by sequence, with all their objects.

    So sequences are drawn again, which is where the uncertainty lies, and not seeds.
    """
    return {
        name: {"objects": {(i, o): {"JF_mean": JF} for i, s in enumerate(scores)
                           for o, JF in enumerate(s["objects"][name])}}
        for name in scores[0]["objects"]
    }  # fmt: skip


def sure(scores: list[dict], sign: str = "") -> str:
    """The 95 % interval of scores of several seeds; of very few sequences it would say nothing."""
    if len(scores[0].get("objects", ())) < FEWEST:
        return "too few"
    low, high = interval(of_all_seeds(scores))
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def differences(runs: list[dict], others: list[dict], every: str = "1") -> list[dict]:
    """How far runs are above others of the same seeds, object by object; scores as `sure` takes.

    Sequences differ more than memories do: of such pairs an interval says more than of either.
    """
    base = {run["seed"]: run["scores"]["1"] for run in others}
    pairs = [(run["scores"][every], base[run["seed"]]) for run in runs if run["seed"] in base]
    return [
        {"JF_mean": ours["JF_mean"] - theirs["JF_mean"],
         "objects": {name: [x - y for x, y in zip(JF, theirs["objects"][name])]
                     for name, JF in ours.get("objects", {}).items()}}
        for ours, theirs in pairs
    ]  # fmt: skip


def table(results: list[dict], base: str | None = None) -> str:
    """Results of all seeds as a Markdown table, one row for each variant and way of writing.

    base: the variant, with every frame written, that differences are to; the first if not given.
    """
    rows, base = [], base or results[0]["variant"]
    for name in dict.fromkeys(result["variant"] for result in results):
        runs = [result for result in results if result["variant"] == name]
        for every in runs[0]["scores"]:
            scores = [run["scores"][every] for run in runs]
            JF = [score["JF_mean"] for score in scores]
            ahead = differences(runs, [r for r in results if r["variant"] == base], every)
            more = "", ""
            if ahead and (name, every) != (base, "1"):
                more = f"{statistics.mean(a['JF_mean'] for a in ahead):+.3f}", sure(ahead, "+")
            text = variant_of(name).text + ("" if every == "1" else f", every {every}th frame kept")
            rows.append((
                name.rpartition(":")[2], text, f"{statistics.mean(JF):.3f}", sure(scores), *more,
                ", ".join(f"{x:.3f}" for x in JF), f"{scores[0]['state_MiB']:.3f}",
            ))  # fmt: skip
    header = ("variant", "what", "J&F", "95 %", f"minus {base}", "95 %", "of each seed",
              "state, MiB an object")  # fmt: skip
    return markdown(header, rows, texts=2)


def compare(
    asked: Annotated[Comparison, tyro.conf.OmitArgPrefixes],
    variants: tuple[str, ...] = tuple(VARIANTS),
    memory: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1),
) -> None:
    """Train and score variants of MINI; print a table, write results.json.

    Args:
        asked: what all of them have in common.
        variants: which ones; all if none.
        memory: more rows, each the same network with one of these memories: gc, stm, stm-linear,
            pam, or module:Class of your own.
        seeds: of clips, and of weights that start fresh.
    """
    at_least(1, steps=asked.steps)
    if not asked.data:
        raise BadInput("--data: missing; give at least one folder to train on")
    if not seeds:
        raise BadInput("--seeds: missing; give at least one")
    for seed in seeds:
        at_least(0, LARGEST_SEED, seeds=seed)
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise BadInput(f"--variants {unknown[0]}: choose from {', '.join(VARIANTS)}")
    if asked.stage not in MINI.stages:
        raise BadInput(f"--stage {asked.stage}: choose from {', '.join(MINI.stages)}")
    names = list(dict.fromkeys((*(variants or VARIANTS), *memory)))
    for name in memory:
        make_memory(name, BASE)  # a name that is none is found now
    base = replace(BASE, height=MINI.height if asked.validate else BASE.height)
    scored(asked)  # sequences that are not there are named now, not after an hour
    for path in asked.out.glob("*/result.json"):
        read_result(path)
    for seed in seeds:
        for name in names:
            train_and_score(name, seed, asked, base)
    results = [read_result(path) for path in sorted(asked.out.glob("*/result.json"))]
    order = list(VARIANTS) + [r["variant"] for r in results if r["variant"] not in VARIANTS]
    results.sort(key=lambda result: (order.index(result["variant"]), result["seed"]))
    with written_whole(asked.out / "results.json") as path:
        path.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    exit_on_bad_input(lambda: tyro.cli(compare))
