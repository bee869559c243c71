"""The same network trained several ways, side by side: memories, normalisations, losses.

    python -m gcvos_mini.compare --data DIR --out DIR

Every variant differs from `gc` in what its row of VARIANTS says and in nothing else: the same fresh
weights, clips, order and number of steps, for each seed. It is then scored on the split `val` with
the DAVIS protocol. What is done is not done again; two processes with other --variants or --seeds
may fill one folder. Notebook 09 shows the result.
"""

import csv
import json
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path

from gcvos_mini.complexity import MIB
from gcvos_mini.config import MINI, Config
from gcvos_mini.davis import load_split
from gcvos_mini.device import pick_device
from gcvos_mini.errors import LARGEST_SEED, BadInput, at_least, exit_on_bad_input
from gcvos_mini.evaluate import score_masks, segment_split
from gcvos_mini.memory import make_memory
from gcvos_mini.network import load_model
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
}


def variant_of(name: str) -> Variant:
    """The row of VARIANTS of this name, or the base with the memory of this name."""
    return VARIANTS.get(name) or Variant(f"memory {name}", memory=name)


def train_and_score(
    name: str,
    seed: int,
    data: Path,
    out: Path,
    steps: int,
    base: Config = BASE,
    stage: str = "embedded",
    on: str | None = None,
) -> dict:
    """Train one variant and score it; writes out/NAME-SEED/result.json, and returns what it holds.

    stage: of base.stages; on: the device. STM's memory is scored twice: with every frame written,
    and with every fifth. Scores are in [0, 1]; "state_MiB" is one object's memory at the end.
    Raises BadInput where the folder holds a run with other settings.
    """
    variant, folder = variant_of(name), out / f"{name.replace(':', '.')}-{seed}"
    config = replace(base, memory=variant.memory, **variant.config)
    settings = replace(base.stages[stage], height=None, **variant.stage)
    asked = {"variant": name, "seed": seed, "steps": steps, "data": str(data)}
    if (folder / "result.json").is_file():
        result = json.loads((folder / "result.json").read_text())
        if {key: result[key] for key in asked} != asked:
            raise BadInput(f"{folder}: holds a run with other settings; choose another --out")
        return result
    clips = steps * settings.batch
    run = Run(data=[data], out=folder, backbone="imagenet", clips=clips, seed=seed, device=on)
    fit(config, settings, run)
    network = load_model(folder / "last.safetensors", device=pick_device(on))
    sequences = load_split(data, 2017, "val")
    scores = {}
    for every in (1, 5) if variant.memory == "stm" else (1,):
        segmenter = VideoSegmenter(network, write_every=every)
        segment_split(sequences, 2017, segmenter, folder / f"masks-{every}")
        mean = score_masks(data, 2017, "val", folder / f"masks-{every}")["mean"]
        state = segmenter.memory.nbytes / MIB / len(segmenter.ids)  # of one object, at the end
        scores[every] = {key: mean[key] for key in ("JF_mean", "J_mean", "F_mean")}
        scores[every] |= {"state_MiB": state, "frames": len(sequences[-1].frames)}
    with (folder / "log.csv").open() as file:
        speed = [float(row["clips_per_second"]) for row in csv.DictReader(file)]
    result = asked | {"clips_per_second": statistics.median(speed), "scores": scores}
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    return json.loads(json.dumps(result))


def table(results: list[dict]) -> str:
    """Results of all seeds as a Markdown table, one row for each variant and way of writing."""
    rows = []
    for name in dict.fromkeys(result["variant"] for result in results):
        runs = [result for result in results if result["variant"] == name]
        for every in runs[0]["scores"]:
            scores = [run["scores"][every] for run in runs]
            JF = [score["JF_mean"] for score in scores]
            J, F = (statistics.mean(score[key] for score in scores) for key in ("J_mean", "F_mean"))
            text = variant_of(name).text + ("" if every == "1" else f", every {every}th frame kept")
            rows.append((
                name, text, f"{statistics.mean(JF):.3f}", ", ".join(f"{x:.3f}" for x in JF),
                f"{J:.3f}", f"{F:.3f}", f"{scores[0]['state_MiB']:.3f}",
            ))  # fmt: skip
    header = ("variant", "what", "J&F", "of each seed", "J", "F", "state, MiB an object")
    return markdown(header, rows)


def compare(
    data: Path,
    out: Path,
    steps: int = 600,
    variants: tuple[str, ...] = tuple(VARIANTS),
    memory: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1),
    device: str | None = None,
) -> None:
    """Train and score variants of MINI on the embedded clips; print a table, write results.json.

    Args:
        data: the embedded clips (python -m gcvos_mini.toy --out DIR).
        out: folder for weights, masks, logs and results.
        steps: of each run.
        variants: which ones; all if none.
        memory: more rows, each the same network with one of these memories: gc, stm, stm-linear,
            pam, or module:Class of your own.
        seeds: of fresh weights and clips.
        device: cuda, mps or cpu; the best there is if not given.
    """
    at_least(1, steps=steps)
    for seed in seeds:
        at_least(0, LARGEST_SEED, seeds=seed)
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise BadInput(f"--variants {unknown[0]}: choose from {', '.join(VARIANTS)}")
    names = list(dict.fromkeys((*variants, *memory)))
    for name in memory:
        make_memory(name, BASE)  # a name that is none is found now
    for seed in seeds:
        for name in names:
            train_and_score(name, seed, data, out, steps, on=device)
    results = [json.loads(path.read_text()) for path in sorted(out.glob("*/result.json"))]
    order = list(VARIANTS) + [r["variant"] for r in results if r["variant"] not in VARIANTS]
    results.sort(key=lambda result: (order.index(result["variant"]), result["seed"]))
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(compare))
