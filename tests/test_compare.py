"""compare.py: variants differ in what they say, runs are scored by evaluate and not done twice."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from gcvos_mini import compare
from gcvos_mini.config import SMOKE
from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput
from gcvos_mini.evaluate import score_masks
from gcvos_mini.network import load_model


@pytest.fixture
def run(toy_data, tmp_path):
    """Train a variant of the smallest network for two steps, and score it."""

    def call(name, steps=2):
        asked = compare.Comparison(data=(toy_data,), out=tmp_path, steps=steps)
        return compare.train_and_score(name, 0, asked, SMOKE)

    return call


def test_variants_name_settings_that_exist():
    """A slip in a name would raise; one in a value would train the same network twice."""
    seen = set()
    for variant in compare.VARIANTS.values():
        config = dataclasses.replace(compare.BASE, **variant.config)
        stage = dataclasses.replace(config.stages["embedded"], **variant.stage)
        seen.add((variant.memory, str(config.stored()), str(stage)))
    assert len(seen) == len(compare.VARIANTS)
    assert compare.BASE.first_share == 0 and not compare.BASE.previous_mask


def test_every_variant_trains_to_other_weights(run, tmp_path):
    """From the same start; steps of three frames each, or soft masks would not matter."""
    ends = set()
    for name in (*compare.VARIANTS, "pam"):  # a memory's name makes a row of its own
        result = run(name)
        assert (result["variant"], result["seed"], result["steps"]) == (name, 0, 2)
        network = load_model(tmp_path / f"{name}-0/last.safetensors")
        assert network.config.memory == (name if name in ("stm", "pam") else "gc")
        ends.add(network.decoder.predict.weight.detach().numpy().tobytes())
    assert len(ends) == len(compare.VARIANTS) + 1


def test_scores_are_evaluates_own(run, toy_data, tmp_path):
    result = run("stm")
    assert set(result["scores"]) == {"1", "5"}
    for every in result["scores"]:
        masks = tmp_path / f"stm-0/masks-{every}"
        wanted = score_masks(toy_data, 2017, "val", masks)["mean"]["JF_mean"]
        assert result["scores"][every]["JF_mean"] == pytest.approx(wanted, abs=1e-12)
    # six frames written, or the first and the sixth only
    ratio = result["scores"]["1"]["state_MiB"] / result["scores"]["5"]["state_MiB"]
    assert ratio == pytest.approx(3)
    assert len((tmp_path / "stm-0/log.csv").read_text().split()) == 1 + 2


def test_what_is_done_is_not_done_again(run, monkeypatch):
    first = run("gc")
    monkeypatch.setattr(compare, "fit", None)
    assert run("gc") == first
    with pytest.raises(BadInput, match="gc-0: holds a run with other settings"):
        run("gc", steps=3)


def test_sequences_kept_out_are_scored_by_their_own_protocol(toy_data, tmp_path):
    """One sequence of two, given by name: not trained on, and what evaluate says of its masks."""
    names = [s.name for s in load_split(toy_data, 2017, "train")]
    asked = compare.Comparison(
        data=(toy_data,), out=tmp_path, steps=1, stage="videos", validate=(names[0],)
    )
    scores = compare.train_and_score("gc", 0, asked, SMOKE)["scores"]["1"]
    assert list(scores["objects"]) == [names[0]]
    masks = tmp_path / "gc-0/masks-1"
    wanted = score_masks(toy_data, 2017, "train", masks, only=names[:1])["mean"]["JF_mean"]
    assert scores["JF_mean"] == pytest.approx(wanted, abs=1e-12)
    with safe_open(tmp_path / "gc-0/state.safetensors", "pt") as state:
        assert names[0] in str(state.metadata())  # a run that saw it would not say so


def result(variant, seed, JF, sequences="abcde"):
    score = {"JF_mean": JF, "J_mean": JF - 0.1, "F_mean": JF + 0.1, "state_MiB": 0.5}
    score["objects"] = dict.fromkeys(sequences, [JF])
    return {"variant": variant, "seed": seed, "scores": {"1": score}}


def test_table_has_the_mean_of_all_seeds():
    """Differences are between runs of the same seed: 0.5 and 0.7 to 0.4, for its one seed 1."""
    runs = [result("gc", 0, 0.5), result("gc", 1, 0.7), result("a.b:C", 1, 0.4, "abcde")]
    text = "global context, eqs. 1 to 3, mean over the positions"
    scores = "0.600 | 0.600 to 0.600 |  |  | 0.500, 0.700 | 0.500"  # not 0.5 to 0.7
    table = compare.table(runs)
    assert f"| gc | {text} | {scores} |" in table
    more = "-0.300 | -0.300 to -0.300"
    assert f"| C | memory a.b:C | 0.400 | 0.400 to 0.400 | {more} | 0.400 | 0.500 |" in table
    assert "| +0.300 | +0.300 to +0.300 | 0.500, 0.700 |" in compare.table(runs, base="a.b:C")
    few = compare.table([*runs[:2], result("pam", 0, 0.4, "ab")])
    assert "| pam | memory pam | 0.400 | too few | -0.100 | too few | 0.400 |" in few


def test_differences_are_object_by_object():
    """One that is above by 0.2 in each sequence is surely above, however they differ."""
    others, runs = result("gc", 3, 0.5), result("stm", 3, 0.7)
    for run, more in ((others, 0), (runs, 0.2)):
        run["scores"]["1"]["objects"] = {n: [x + more] for n, x in zip("abcde", (0, 1, 2, 3, 4))}
    assert compare.sure(compare.differences([runs], [others]), "+") == "+0.200 to +0.200"
    assert compare.sure([runs["scores"]["1"]]) != "2.200 to 2.200"


def test_interval_is_over_sequences_with_all_their_objects():
    """A sequence of two objects that fails, beside four that do not: drawn k times of five, it
    leaves a mean of 1 - 2k / (5 + k). k is 3 or more in 6 % of draws, 4 or more in 0.7 %: 0.25."""
    score = {"objects": {"a": [0.0, 0.0]} | dict.fromkeys("bcde", [1.0])}
    assert compare.sure([score, score]) == "0.250 to 1.000"


def test_rows_stand_in_the_order_of_the_table(toy_data, tmp_path, monkeypatch, capsys):
    def made(name, seed, asked, base):
        (asked.out / f"{name}-{seed}").mkdir(parents=True)
        (asked.out / f"{name}-{seed}/result.json").write_text(json.dumps(result(name, seed, 0.3)))

    monkeypatch.setattr(compare, "train_and_score", made)
    asked = compare.Comparison(data=(toy_data,), out=tmp_path)
    compare.compare(asked, variants=("stm", "gc"), memory=("pam", "gc"), seeds=(1, 0))
    written = json.loads((tmp_path / "results.json").read_text())
    order = [(r["variant"], r["seed"]) for r in written]
    assert order == [(name, seed) for name in ("gc", "stm", "pam") for seed in (0, 1)]
    assert "global context" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["result.json", "results.json"])
def test_results_are_there_whole_or_not_at_all(toy_data, tmp_path, monkeypatch, name):
    """Stopped while one of the two is written."""
    write = Path.write_text

    def stops(path, text):
        write(path, text[:20] if path.name == name else text)
        if path.name == name:
            raise KeyboardInterrupt

    monkeypatch.setattr(compare, "BASE", SMOKE)
    monkeypatch.setattr(Path, "write_text", stops)
    asked = compare.Comparison(data=(toy_data,), out=tmp_path, steps=1)
    with pytest.raises(KeyboardInterrupt):
        compare.compare(asked, variants=("gc",), seeds=(0,))
    there = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("result*.json")]
    assert there == (["gc-0/result.json"] if name == "results.json" else [])


@pytest.mark.parametrize("content", ["", '{"variant": "stm", ', "[]", '{"seed": 0}', "\xff"])
def test_a_damaged_result_is_named_before_anything_is_trained(
    toy_data, tmp_path, monkeypatch, content
):
    (tmp_path / "stm-0").mkdir()
    (tmp_path / "stm-0/result.json").write_text(content, encoding="latin-1")
    monkeypatch.setattr(compare, "train_and_score", None)
    with pytest.raises(BadInput, match="stm-0/result.json: damaged, or no result"):
        compare.compare(compare.Comparison(data=(toy_data,), out=tmp_path), variants=("gc",))


@pytest.mark.parametrize("validate", [(), ("crossing",)])
@pytest.mark.parametrize("kept", [1, 2])
def test_too_few_masks_are_named_before_anything_is_trained(
    toy_data, tmp_path, monkeypatch, kept, validate
):
    data = shutil.copytree(toy_data, tmp_path / "data")
    for mask in sorted(data.glob("Annotations/*/crossing/*"))[kept:]:
        mask.unlink()
    monkeypatch.setattr(compare, "train_and_score", None)
    asked = compare.Comparison(data=(data,), out=tmp_path / "out", validate=validate)
    with pytest.raises(BadInput, match="crossing.* has (1|2|no second) mask"):
        compare.compare(asked)


def test_empty_lists(toy_data, tmp_path, monkeypatch):
    """--variants alone means all of them; --data and --seeds are asked for."""
    asked = compare.Comparison(data=(toy_data,), out=tmp_path)
    with pytest.raises(BadInput, match="--seeds: missing"):
        compare.compare(asked, seeds=())
    with pytest.raises(BadInput, match="--data: missing"):
        compare.compare(dataclasses.replace(asked, data=()))
    trained = []
    monkeypatch.setattr(compare, "train_and_score", lambda name, *_: trained.append(name))
    monkeypatch.setattr(compare, "table", lambda _: "")
    compare.compare(asked, variants=(), seeds=(0,))
    assert trained == list(compare.VARIANTS)


def test_unknown_names_are_refused(toy_data, tmp_path):
    with pytest.raises(BadInput, match="--variants nope: choose from gc, stm"):
        compare.compare(compare.Comparison(data=(toy_data,), out=tmp_path), variants=("nope",))
