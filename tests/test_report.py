"""The report: one file, no requests, the right numbers and pictures, one line on bad input."""

import base64
import io
import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import tyro
from davis_folder import write_davis, write_masks
from PIL import Image

from gcvos_mini.config import SMOKE
from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput
from gcvos_mini.evaluate import score_masks
from gcvos_mini.network import Network, load_model, save_model
from gcvos_mini.pictures import read_frame
from gcvos_mini.segment import pad_to_stride, to_tensor
from gcvos_mini.show import render, report

NAMES = ("one", "R&D")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set of two clips and a finished run: predictions shifted by 2, copies of frame 0."""
    root = tmp_path_factory.mktemp("report")
    data, run = root / "clips", root / "run"
    rng = np.random.default_rng(0)
    for s, name in enumerate(NAMES):
        masks = np.zeros((7, 40, 72), np.uint8)
        for t, mask in enumerate(masks):
            mask[8:28, 6 * t + 4 : 6 * t + 24] = 1 + s
        write_davis(data, {name: (rng.integers(0, 256, (7, 40, 72, 3), np.uint8), list(masks))})
        write_masks(run / "eval" / name, list(np.roll(masks, 2, axis=2)))
        write_masks(run / "copied" / name, [masks[0]] * 7)
    for masks, to in [("eval", "eval"), ("copied", "copy")]:
        (run / to).mkdir(exist_ok=True)
        scores = score_masks(data, 2017, "val", run / masks)
        (run / to / "results.json").write_text(json.dumps(scores))
    rows = ["step,loss,J,learning_rate,clips_per_second,seconds"]
    rows += [f"{t},{2 / (t + 1):.5f},{t / 100:.4f},1e-4,2.0,{t * 3.0}" for t in range(100)]
    (run / "log.csv").write_text("\n".join(rows) + "\n")
    torch.manual_seed(0)
    save_model(Network(SMOKE), run / "last.safetensors")
    return data, run


@pytest.fixture(scope="module")
def page(made):
    data, run = made
    return report.build(run, data)


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])

    def handle_data(self, data):
        self.text.append(data)
        if self.tags and self.tags[-1][0] in ("td", "th") and data.strip():
            self.cells[-1].append(data)


def test_page_is_self_contained_and_every_picture_has_a_description(page):
    tags = Reader(page).tags
    images = [attrs for tag, attrs in tags if tag == "img"]
    assert len(images) == 1 + 2 + 2  # loss, a strip per clip, key maps of two clips
    for attrs in images:
        head, data = attrs["src"].split(",", 1)
        kind = head.removeprefix("data:image/").removesuffix(";base64")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.format.lower() == kind
        assert len(attrs["alt"]) > 20
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object"}
    assert "http" not in page and "url(" not in page and "@import" not in page
    assert len(page) < 4e6


def test_page_shows_the_scores_and_the_gain_over_copying(made, page):
    _, run = made
    ours, copied = (json.loads((run / k / "results.json").read_text()) for k in ("eval", "copy"))
    cells = {row[0]: row[1:] for row in Reader(page).cells}
    assert cells["Sequence"] == ["Objects", "J&F", "J", "F", "Copying", "Gain"]
    for name in NAMES:
        a, b = ours["sequences"][name], copied["sequences"][name]
        assert cells[name] == ["1", f"{a['JF_mean']:.3f}", f"{a['J_mean']:.3f}",
                               f"{a['F_mean']:.3f}", f"{b['JF_mean']:.3f}",
                               f"{a['JF_mean'] - b['JF_mean']:+.3f}"]  # fmt: skip
    assert cells["Mean over objects"][0] == f"{ours['mean']['JF_mean']:.3f}"
    assert cells["Mean over objects"][3] == f"{copied['mean']['JF_mean']:.3f}"
    assert ours["mean"]["JF_mean"] > copied["mean"]["JF_mean"]
    text = "".join(Reader(page).text)
    assert "100training steps" in text.replace("\n", "") or "training steps100" in text


def test_without_copied_masks_there_is_no_comparison(made):
    _, run = made
    results = json.loads((run / "eval" / "results.json").read_text())
    table = report.scores_table(results, None)
    assert "Copying" not in table and "Gain" not in table
    assert len(Reader(table).cells) == 1 + len(NAMES) + 1


def test_sequence_names_are_escaped(made, page):
    assert "R&D" not in page and page.count("R&amp;D") >= 3


def test_strip_shows_truth_above_and_prediction_below(made):
    data, run = made
    sequence = load_split(data)[0]
    sheet = report.mask_strip(sequence, run / "eval", 2017, "")
    height = round(40 * report.THUMB / 72)
    tall = height + 4 + 20
    rows = sheet[4 : 4 + height], sheet[4 + tall : 4 + tall + height]
    for row, shift in zip(rows, (0, 2), strict=True):
        last = row[:, -4 - report.THUMB : -4].astype(int)  # frame 6: object from column 40
        red = np.argwhere((last[:, :, 0] - last[:, :, 1]).mean(0) > 20)[:, 0]
        assert red.min() * 72 / report.THUMB == pytest.approx(40 + shift, abs=0.7)


def test_keys_are_those_the_segmenter_wrote(made):
    data, run = made
    sequence = load_split(data)[1]
    network = load_model(run / "last.safetensors")
    frames, masks, keys = report.collect_keys(sequence, network, 2017)
    assert len(frames) == len(masks) == len(keys) == report.SHOWN
    assert keys.shape[1:] == (SMOKE.key_dim, 3, 5)
    assert (frames[-1] == read_frame(sequence.frames[-1])).all()  # spread over all seven
    assert masks[0].sum() == 400 and set(np.unique(masks[0])) == {0, 1}  # object 2, drawn as 1
    with torch.inference_mode():
        object_mask = pad_to_stride(torch.from_numpy(masks[0])[None, None].float())
        key, _ = network.encode_memory(pad_to_stride(to_tensor(frames[0])), object_mask)
    assert np.allclose(keys[0], key[0].numpy(), atol=1e-5)
    assert not np.allclose(keys[0], keys[-1])


def test_key_figure_picks_the_object_and_the_background_channel(made, monkeypatch):
    mask = np.zeros((32, 48), np.uint8)
    mask[:16, 16:32] = 1
    keys = np.full((2, 4, 2, 3), 0.5, np.float32)
    keys[:, 3, 0, 1], keys[:, 1, 0, 1] = -9.0, 0.1
    frame = np.zeros((32, 48, 3), np.uint8)
    monkeypatch.setattr(report, "collect_keys", lambda *_: ([frame] * 2, [mask, 0 * mask], keys))
    sequence = type("S", (), {"frames": [None] * 2})
    sheet, *chosen = report.key_figure(sequence, None, 2017)
    assert chosen == [3, 1, 1, 0]
    height = round(32 * report.THUMB / 48)
    y, x = 4 + height + 4 + 20 + height // 4, 4 + report.THUMB // 2
    assert sheet[y, x, 2] > sheet[y, x, 0] + 40  # negative: blue, in the object's row


def test_key_figure_numbers_frames_as_in_the_video(monkeypatch):
    frame, mask = np.zeros((32, 48, 3), np.uint8), np.eye(32, 48, dtype=np.uint8)
    keys = np.random.default_rng(0).random((6, 4, 2, 3), np.float32)
    monkeypatch.setattr(report, "collect_keys", lambda *_: ([frame] * 6, [mask] * 6, keys))
    labels = []
    monkeypatch.setattr(render, "contact_sheet", lambda _, columns, names: labels.extend(names))
    report.key_figure(type("S", (), {"frames": [None] * 41}), None, 2017)
    assert labels[:6] == ["frame 0", "frame 8", "frame 16", "frame 24", "frame 32", "frame 40"]


def test_running_mean_and_loss_curve(made):
    values = np.random.default_rng(0).random(30)
    expected = [values[max(0, i - 6) : i + 1].mean() for i in range(30)]
    assert report.running_mean(values, 7) == pytest.approx(expected)
    log = report.read_log(made[1] / "log.csv")
    assert log["loss"][1] == 1.0 and log["seconds"][-1] == 297.0
    flat = log | {"loss": np.full(100, 2.0)}
    images = [np.asarray(Image.open(io.BytesIO(report.loss_curve(x)))) for x in (log, flat)]
    assert (images[0] != images[1]).any() and (images[0][0, 0, 3] == 0)  # transparent


def test_key_maps_are_of_the_best_and_the_middle_sequence(made, monkeypatch):
    sequences = [type("S", (), {"name": name})() for name in "abcde"]
    scores = {"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.6, "e": 0.1}
    results = {"sequences": {name: {"JF_mean": score} for name, score in scores.items()}}
    image = np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setattr(report, "key_figure", lambda *_: (image, 5, 0.9, 6, 0.1))
    section = report.key_section(sequences, results, None, 2017)
    assert [name for name in "abcde" if f"<h3>{name}</h3>" in section] == ["b", "c"]
    assert report.key_section(sequences[:1], results, None, 2017).count("<h3>") == 1


def test_command_writes_the_page_and_says_where(made, tmp_path, capsys):
    out = tmp_path / "new" / "index.html"
    run = ["--run", str(made[1]), "--data", str(made[0]), "--out", str(out)]
    tyro.cli(report.report, args=run)
    assert capsys.readouterr().out == f"open {out}\n"
    assert out.read_text().startswith("<!doctype html>") and len(list(out.parent.iterdir())) == 1


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda run: (run / "eval" / "results.json").unlink(), "results.json: no such file; run"),
        (lambda run: (run / "eval" / "results.json").write_text("{"), "results.json: not JSON"),
        (lambda run: (run / "log.csv").unlink(), "log.csv: no such file; how to"),
        (lambda run: (run / "log.csv").write_text("step,loss\n1,2\n"), "not a training log"),
        (lambda run: (run / "log.csv").write_text("step,loss,J,seconds\n"), "no training step"),
        (lambda run: (run / "last.safetensors").unlink(), "last.safetensors: no such file"),
        (lambda run: (run / "eval" / "one" / "00006.png").unlink(), "00006.png: no such mask"),
    ],
)
def test_an_unfinished_run_is_one_clear_line(made, tmp_path, harm, message):
    data, run = made
    harmed = tmp_path / "run"
    shutil.copytree(run, harmed)
    harm(harmed)
    with pytest.raises(BadInput, match=message) as raised:
        report.build(harmed, data)
    assert "\n" not in str(raised.value)


def test_missing_folders_are_one_clear_line(made, tmp_path):
    data, run = made
    with pytest.raises(BadInput, match="nowhere: no such folder"):
        report.build(tmp_path / "nowhere", data)
    with pytest.raises(BadInput, match="nothing: no such folder"):
        report.build(run, tmp_path / "nothing")


def test_scores_of_other_data_are_refused(made, tmp_path):
    data, run = made
    other = tmp_path / "run"
    shutil.copytree(run, other)
    results = (other / "eval" / "results.json").read_text().replace('"one"', '"x"')
    (other / "eval" / "results.json").write_text(results.replace('"R&D"', '"y"'))
    with pytest.raises(BadInput, match="no sequence of split val was evaluated"):
        report.build(other, data)
