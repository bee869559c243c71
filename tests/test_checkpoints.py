"""A checkpoint says what it is, and what is loaded is that; damaged ones are refused by name."""

import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gcvos_mini import network as module
from gcvos_mini.config import CONFIGS, MINI, SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.memory import GlobalContext, SpaceTime
from gcvos_mini.network import Network, load_model, save_model
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.train import Run, fit


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def save(model, path, **changes):
    """A checkpoint of the model's weights whose notes are changed."""
    config = json.dumps(model.config.stored() | changes)
    save_file(model.state_dict(), path, metadata={"config": config})


# ---- what is stored ----------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_saved_weights_are_loaded(model, path, half):
    save_model(model, path, half=half)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no unfinished file left
    loaded = load_model(path)
    assert not loaded.training and loaded.config == SMOKE
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert path.stat().st_size == pytest.approx(size / (2 if half else 1), rel=0.02)
    tolerance = {"rtol": 1e-3, "atol": 1e-6} if half else {"rtol": 0, "atol": 0}
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == model.state_dict()[name].dtype
        torch.testing.assert_close(tensor, model.state_dict()[name], **tolerance, msg=name)


def test_everything_but_the_stages_is_stored():
    assert SMOKE.stored().keys() == {f.name for f in fields(SMOKE)} - {"stages"}
    assert len({json.dumps(config.stored()) for config in CONFIGS.values()}) == len(CONFIGS)


def test_memory_share_height_and_normalization_come_back(path):
    """None of them is what the network of these sizes has by default."""
    own = {"first_share": 0.0, "height": 144, "memory": "stm", "normalization": "none"}
    own["previous_mask"] = not MINI.previous_mask
    save_model(Network(replace(MINI, **own)), path)
    config = load_model(path).config
    assert {name: getattr(config, name) for name in own} == own
    assert config == replace(MINI, **own)
    segmenter = VideoSegmenter(load_model(path))
    frame = np.zeros((160, 200, 3), np.uint8)
    segmenter.start(frame, np.uint8(frame[..., 0] == 0))
    assert isinstance(segmenter.memory, SpaceTime) and segmenter.memory.softmax
    assert segmenter.key.shape[2:] == (9, 12)  # 144 of 160 lines, 180 of 200 columns padded to 192


def test_training_stores_its_memory_and_its_stages_height(toy_data, tmp_path):
    stage = replace(SMOKE.stages["embedded"], height=48)
    fit(replace(SMOKE, memory="pam"), stage, Run(data=[toy_data], out=tmp_path, clips=2, workers=0))
    config = load_model(tmp_path / "last.safetensors").config
    assert config == replace(SMOKE, memory="pam", height=48)


def test_older_checkpoints_have_no_word_on_the_previous_mask(model, path):
    notes = model.config.stored()
    del notes["previous_mask"]
    save_file(model.state_dict(), path, metadata={"config": json.dumps(notes)})
    assert load_model(path).config == replace(SMOKE, previous_mask=False)


def test_the_twin_is_mini_trained_with_stms_memory():
    """Of the same sizes and settings, on other weights; by name it runs with its own memory."""
    mini, twin = load_model("mini"), load_model("mini-stm")
    assert twin.config == replace(mini.config, memory="stm")
    assert all(x.shape == y.shape for x, y in zip(mini.parameters(), twin.parameters()))
    assert not torch.equal(mini.key.weight, twin.key.weight)
    own, minis = (VideoSegmenter(network).memory for network in (twin, mini))
    assert type(own) is SpaceTime and own.softmax and type(minis) is GlobalContext


def test_by_name(path, model, monkeypatch):
    fresh = load_model("smoke", pretrained=False)
    assert fresh.config is SMOKE and not fresh.training
    with pytest.raises(BadInput, match="paper: no trained weights.*--config paper"):
        load_model("paper")
    with pytest.raises(BadInput, match="no-such-network: no such file"):
        load_model("no-such-network")
    save_model(model, path.with_name("smoke.safetensors"))
    monkeypatch.setattr(module, "WEIGHTS", path.parent)
    torch.testing.assert_close(load_model("smoke").key.weight, model.key.weight)


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"key_dim": 9}, "made for other network sizes"),
        ({"name": "huge"}, "made for other network sizes"),
        ({"colour": "red"}, "made for other network sizes"),
        ({"normalization": "sum"}, "its normalization cannot be 'sum'"),
        ({"normalization": ["none"]}, "its normalization cannot be"),
        ({"first_share": 1.5}, r"its first_share cannot be 1\.5"),
        ({"first_share": -0.1}, "its first_share cannot be"),
        ({"first_share": float("nan")}, "its first_share cannot be nan"),
        ({"first_share": True}, "its first_share cannot be True"),
        ({"previous_mask": 1}, "its previous_mask cannot be 1"),
        ({"previous_mask": True}, "its tensors do not fit"),
        ({"height": 15}, "its height cannot be 15"),
        ({"height": 144.5}, "its height cannot be"),
        ({"height": "144"}, "its height cannot be '144'"),
        ({"memory": 3}, "its memory cannot be 3"),
        ({"memory": None}, "its memory cannot be None"),
    ],
)
def test_impossible_notes_are_refused(model, path, changes, complaint):
    save(model, path)
    load_model(path)
    save(model, path, **changes)
    with pytest.raises(BadInput, match=f"net.safetensors: {complaint}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "metadata, complaint",
    [
        ({}, "none given"),
        ({"config": "[]"}, "none given"),
        ({"config": "{"}, r"its metadata are damaged \(config\)"),
        ({"config": json.dumps(SMOKE.stored())}, "its tensors do not fit the smoke network"),
    ],
)
def test_tensors_and_notes_of_something_else_are_refused(path, metadata, complaint):
    save_file({"key.bias": torch.zeros(8)}, path, metadata=metadata)
    with pytest.raises(BadInput, match=f"net.safetensors: .*{complaint}"):
        load_model(path)


def test_full_disk_is_one_line_and_keeps_the_old_file(path):
    """In a process whose files may not grow beyond 1,000 bytes."""
    path.write_bytes(b"old")
    lines = f"""
import resource
from gcvos_mini.config import SMOKE
from gcvos_mini.errors import exit_on_bad_input
from gcvos_mini.network import Network, save_model
network = Network(SMOKE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
exit_on_bad_input(lambda: save_model(network, {str(path)!r}))
"""
    result = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {path}: cannot be written")
    assert result.stderr.count("\n") == 1
    assert list(path.parent.iterdir()) == [path] and path.read_bytes() == b"old"
