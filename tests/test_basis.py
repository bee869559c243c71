"""basis.py: rotated keys leave the masks alone, and a planted direction is found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gcvos_mini import basis
from gcvos_mini.clips import held_out
from gcvos_mini.config import SMOKE
from gcvos_mini.keymaps import selectivity, written_keys
from gcvos_mini.memory import MEMORIES
from gcvos_mini.network import Network, load_model, save_model
from gcvos_mini.segment import VideoSegmenter, follow
from gcvos_mini.toy import TRAIN, clip_frames, render_clips


def random_rotation(size, seed=0):
    torch.manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size).double())[0]


@pytest.fixture(scope="module")
def clip():
    return list(clip_frames("two-friends", 64, 5))


def probabilities(network, memory, clip):
    """(T - 1, O + 1, H, W) of a clip."""
    segmenter = VideoSegmenter(network, memory)
    run = follow(segmenter, (frame for frame, _ in clip), clip[0][1])
    return torch.stack([segmenter.probabilities.clone() for _ in run][1:])


@pytest.mark.parametrize("memory", MEMORIES)
def test_rotated_keys_find_the_same_masks(model, clip, memory):
    rotated = basis.rotate(model, random_rotation(SMOKE.key_dim))
    before, after = (probabilities(network, memory, clip) for network in (model, rotated))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    assert before.std() > 0.01  # masks that could differ
    assert not torch.allclose(rotated.key.weight, model.key.weight, atol=1e-3)


def test_rotated_keys_are_the_rotation_times_the_keys(model, clip):
    rotation = random_rotation(SMOKE.key_dim)
    frame = torch.from_numpy(clip[0][0]).permute(2, 0, 1)[None] / 255
    mask = torch.from_numpy(clip[0][1] == 1)[None, None].float()
    rotated = basis.rotate(model, rotation)
    for find in (lambda n: n.encode_memory(frame, mask)[0], lambda n: n.encode_query(frame).key):
        with torch.no_grad():
            old, new = find(model)[0].flatten(1).double(), find(rotated)[0].flatten(1).double()
        torch.testing.assert_close(new, rotation @ old, rtol=0, atol=1e-5)


def test_efficient_attention_does_depend_on_the_basis(model, clip):
    """The control: where rotate refuses, the masks would not be the same."""
    softmax = Network(replace(SMOKE, normalization="softmax")).eval()
    softmax.load_state_dict(model.state_dict())
    rotation = random_rotation(SMOKE.key_dim)
    with pytest.raises(ValueError, match="depend on the basis"):
        basis.rotate(softmax, rotation)
    forced = Network(softmax.config).eval()
    forced.load_state_dict(basis.rotate(model, rotation).state_dict())
    before, after = (probabilities(network, "gc", clip) for network in (softmax, forced))
    assert (before - after).abs().max() > 1e-3


@pytest.mark.parametrize("matrix, complaint", [
    (np.eye(3), r"\(3, 3\): want \(8, 8\)"), (2 * np.eye(8), "not orthogonal")])  # fmt: skip
def test_other_matrices_are_refused(model, matrix, complaint):
    with pytest.raises(ValueError, match=complaint):
        basis.rotate(model, matrix)


def planted_keys(seed, maps=12, size=(6, 8), channels=10):
    """Maps of random keys in which one hidden direction is strong on the object, another off it."""
    rng = np.random.default_rng(seed)
    hidden = np.linalg.qr(rng.normal(size=(channels, channels)))[0]
    spread = np.geomspace(0.3, 5, channels)[:, None, None]  # of the others; the hidden two are weak
    keys = []
    for _ in range(maps):
        cells = rng.random(size) < rng.uniform(0.1, 0.5)
        own = rng.normal(size=(channels, *size)) * spread
        own[0] = rng.normal(size=size) * np.where(cells, 1, 0.1) * rng.uniform(0.5, 2)
        own[1] = rng.normal(size=size) * np.where(cells, 0.1, 1) * rng.uniform(0.5, 2)
        keys.append((np.einsum("cd,dhw->chw", hidden, own), cells))
    return keys, hidden


@pytest.mark.parametrize("seed", range(5))
def test_planted_directions_are_found(seed):
    keys, hidden = planted_keys(seed)
    rotation = basis.object_rotation(*basis.stack_cells(keys)).numpy()
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(10), atol=1e-9)
    assert abs(rotation[0] @ hidden[:, 0]) > 0.99 and abs(rotation[-1] @ hidden[:, 1]) > 0.98
    single = np.mean([selectivity(key, cells) for key, cells in keys], axis=0)
    rotated = [selectivity(np.einsum("ij,jhw->ihw", rotation, k), cells) for k, cells in keys]
    first, *_, last = np.mean(rotated, axis=0)
    assert single.max() < 0.8 and single.min() > 0.2  # no channel by itself showed it
    assert first > 0.9 and last < 0.1


def test_what_is_strong_on_one_map_alone_does_not_win():
    """The second moments, from which the search starts, would take it for the object's."""
    keys, hidden = planted_keys(0)
    rare = hidden[:, 5]
    keys = [
        (key + rare[:, None, None] * (300 * cells * (number == 0)), cells)
        for number, (key, cells) in enumerate(keys)
    ]
    cells, inside, weight = basis.stack_cells(keys)
    found = basis.strongest_direction(cells, inside, weight).numpy()
    assert abs(found @ hidden[:, 0]) > 0.95 and abs(found @ rare) < 0.2


def test_the_channels_between_are_principal_axes():
    keys, _ = planted_keys(0)
    cells, _, weight = stacked = basis.stack_cells(keys)
    turned = cells @ basis.object_rotation(*stacked)[1:-1].T
    moments = (weight[:, None] * turned).T @ turned
    energies = moments.diagonal()
    torch.testing.assert_close(moments, torch.diag(energies), rtol=0, atol=1e-8)
    assert (energies[:-1] >= energies[1:]).all()


def test_every_map_counts_the_same_and_so_do_object_and_background():
    small, large = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    small[0, 0], large[0, 0] = True, False
    key = np.arange(32.0).reshape(2, 4, 4)
    nothing = np.zeros((4, 4), bool)
    cells, inside, weight = basis.stack_cells([(key, small), (key, nothing), (-key, large)])
    assert cells.shape == (32, 2) and (cells[:16].numpy() == key.reshape(2, 16).T).all()
    assert inside.tolist() == [*small.ravel(), *large.ravel()]
    for part in (slice(0, 16), slice(16, 32)):
        halves = [weight[part][side[part]].sum().item() for side in (inside, ~inside)]
        assert halves == pytest.approx([0.25, 0.25])
    with pytest.raises(basis.BadInput, match="no frame shows both"):
        basis.stack_cells([(key, nothing)])


def test_command_writes_the_same_network(tmp_path, model, capsys):
    names = list(TRAIN)[:3]
    render_clips(tmp_path / "set", 0, 64, names, 4, progress=False)
    save_model(model, tmp_path / "in.safetensors")
    data, out = [tmp_path / "set"], tmp_path / "new" / "out.safetensors"
    basis.basis(data, out, str(tmp_path / "in.safetensors"), frames=4)
    before, after = load_model(tmp_path / "in.safetensors"), load_model(out)
    # C = R K for an orthogonal R: the keys' own lengths and angles are kept
    for head in ("key", "query"):
        old, new = (getattr(n, head).weight.detach().flatten(1) for n in (before, after))
        torch.testing.assert_close(new.T @ new, old.T @ old, rtol=0, atol=1e-4)
    was, now = capsys.readouterr().out.splitlines()[2:]
    name, channel, high, lowest, low = (cell.strip() for cell in now.split("|")[1:-1])
    assert (name, channel, lowest) == ("rotated", "0", str(SMOKE.key_dim - 1))
    assert float(high) > float(was.split("|")[3]) and float(low) < float(was.split("|")[5])
    videos = held_out(data, names)
    maps = [key for video in videos for key in written_keys(after, *video)]
    score = np.nanmean([selectivity(key, cells) for _, key, cells in maps], axis=0)
    assert [f"{score[0]:.3f}", f"{score[-1]:.3f}"] == [high, low]  # what was printed was written
