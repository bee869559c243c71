"""The page of browser/, built once for all tests, and what its tests share.

Each part may be missing on a machine, and its tests are then skipped with the reason: the packages
of the extra `browser`, npm's archive of onnxruntime-web, Node, Chromium.
"""

import functools
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gcvos_mini.config import SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.network import Network, load_model, save_model
from gcvos_mini.segment import VideoSegmenter

ROOT = Path(__file__).parents[2]
BROWSER = ROOT / "browser"
ARCHIVES = ROOT / "runs" / "browser" / "npm"  # ignored by git: fetched once, not for each run
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ALLOWED = 1e-4  # share of the pixels that may differ from Python's


@functools.cache
def modules():
    """(build, export) of browser/; skips without the packages they need."""
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"no {name}: pip install -e '.[browser]'")
    import build
    import export

    return build, export


@functools.cache
def archive():
    """npm's archive of onnxruntime-web; skips where it cannot be fetched."""
    build, _ = modules()
    try:
        return build.fetch(ARCHIVES)
    except BadInput as error:
        pytest.skip(str(error))


def exported(tmp_path_factory, previous=None):
    """A folder of graphs, made once in a run: of the shipped network, or of a small fresh one that
    looks at the previous mask, or does not."""
    _, export = modules()
    base = tmp_path_factory.getbasetemp()
    folder = base / f"browser-model-{previous}"
    if not folder.exists():
        checkpoint = "mini" if previous is None else str(small(base, previous_mask=previous))
        export.export(checkpoint, folder)
    return folder


def small(folder, **config):
    """A checkpoint of a fresh small network, whose masks are not all background."""
    torch.manual_seed(0)
    network = Network(replace(SMOKE, **config)).eval()
    with torch.no_grad():
        network.decoder.predict.weight *= 20
        network.decoder.predict.bias.zero_()
    save_model(network, folder / "small.safetensors")
    return folder / "small.safetensors"


def runtime(folder):
    """The runtime's files, unpacked in a folder; its bundle."""
    build, _ = modules()
    build.unpack(archive(), folder)
    return folder / build.TAKEN["runtime"]


def node(script, job, folder):
    """What a script of this folder prints, as JSON, for a job, written to a file; skips without
    Node."""
    if not shutil.which("node"):
        pytest.skip("no Node: install Debian's package nodejs, 18 or newer")
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    command = ["node", Path(__file__).parent / script, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def python_masks(weights, frames, given, height, first=0, share=None):
    """Masks of Python's segmenter, {frame: uint8 (H, W)}. given: {frame: mask}, of `first` too."""
    model = load_model(weights)
    if share is not None:
        model.config = replace(model.config, first_share=share)
    segmenter = VideoSegmenter(model, "gc", height=height)
    segmenter.start(frames[first], given[first])
    masks = {first: given[first]}
    for t in range(first + 1, len(frames)):
        masks[t] = segmenter.step(frames[t], given.get(t))
    return masks


def assert_same(found, right, allowed=ALLOWED):
    """At least 99.99 % of all pixels of two stacks of masks are the same, and not all are 0."""
    found, right = np.asarray(found), np.asarray(right)
    assert found.shape == right.shape and right.any()
    differ = (found != right).mean()
    assert differ <= allowed, f"{differ:.5%} of the pixels differ"
