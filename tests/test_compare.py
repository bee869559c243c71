"""compare.py: variants differ in what they say, runs are scored by evaluate and not done twice."""

import csv
import dataclasses
import json

import pytest

from gcvos_mini import compare, toy
from gcvos_mini.config import SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.evaluate import score_masks
from gcvos_mini.network import read_weights

BASE = dataclasses.replace(SMOKE, trunk="resnet18")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    names = ["train-000", "train-001", "crossing"]
    return toy.render(tmp_path_factory.mktemp("toy") / "set", 0, 64, names, 4, progress=False)


def run(name, data, out, seed=0, steps=2):
    return compare.train_and_score(name, seed, data, out, steps, BASE)


def test_variants_name_settings_that_exist():
    """A slip in a name would raise; one in a value would train the same network twice."""
    seen = set()
    for variant in compare.VARIANTS.values():
        config = dataclasses.replace(compare.BASE, **variant.config)
        stage = dataclasses.replace(config.stages["embedded"], **variant.stage)
        seen.add((variant.memory, config.normalization, config.first_share, str(stage)))
    assert len(seen) == len(compare.VARIANTS)
    assert compare.BASE.first_share == 0 and compare.BASE.normalization == "mean"


def test_every_variant_trains_to_other_weights(data, tmp_path):
    """From the same start; steps of three frames each, or soft masks would not matter."""
    ends = []
    for name in compare.VARIANTS:
        result = run(name, data, tmp_path)
        assert (result["variant"], result["seed"], result["steps"]) == (name, 0, 2)
        weights = read_weights(tmp_path / f"{name}-0/last.safetensors")[0]
        ends.append(weights["decoder.predict.bias"])
    assert len({tuple(end.tolist()) for end in ends}) == len(ends)


def test_scores_are_evaluates_own(data, tmp_path):
    result = run("stm", data, tmp_path)
    assert set(result["scores"]) == {"1", "5"}
    for every in result["scores"]:
        masks = tmp_path / f"stm-0/masks-{every}"
        wanted = score_masks(data, 2017, "val", masks)["mean"]["JF_mean"]
        assert result["scores"][every]["JF_mean"] == pytest.approx(wanted, abs=1e-12)
    # four frames written, or the first one only
    ratio = result["scores"]["1"]["state_MiB"] / result["scores"]["5"]["state_MiB"]
    assert ratio == pytest.approx(4)
    with (tmp_path / "stm-0/log.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_what_is_done_is_not_done_again(data, tmp_path, monkeypatch):
    first = run("gc", data, tmp_path)
    monkeypatch.setattr(compare, "fit", None)
    assert run("gc", data, tmp_path) == first
    with pytest.raises(BadInput, match="gc-0: holds a run with other settings"):
        run("gc", data, tmp_path, steps=3)


def test_table_and_bad_names(data, tmp_path, monkeypatch, capsys):
    def result(variant, seed, JF):
        score = {"JF_mean": JF, "J_mean": JF - 0.1, "F_mean": JF + 0.1, "state_MiB": 0.5}
        return {"variant": variant, "seed": seed, "scores": {"1": score}}

    table = compare.table([result("gc", 0, 0.5), result("gc", 1, 0.7), result("stm", 0, 0.4)])
    assert "| 0.600 | 0.500, 0.700 | 0.500 | 0.700 | 0.500 |" in table
    assert "| 0.400 | 0.400 | 0.300 |" in table

    with pytest.raises(BadInput, match="--variants nope: choose from gc, stm"):
        compare.compare(data, tmp_path, variants=("nope",))
    monkeypatch.setattr(
        compare, "train_and_score",
        lambda name, seed, data, out, steps: (out / f"{name}-{seed}").mkdir(parents=True)
        or (out / f"{name}-{seed}/result.json").write_text(json.dumps(result(name, seed, 0.3))),
    )  # fmt: skip
    compare.compare(data, tmp_path / "out", variants=("stm", "gc"), seeds=(1, 0))
    order = [
        (r["variant"], r["seed"]) for r in json.loads((tmp_path / "out/results.json").read_text())
    ]
    assert order == [("gc", 0), ("gc", 1), ("stm", 0), ("stm", 1)]
    assert "global context" in capsys.readouterr().out
