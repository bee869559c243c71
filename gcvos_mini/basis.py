"""The key channels in another basis: the same network, other key maps (notebook 08).

    python -m gcvos_mini.basis --data DIR... --checkpoint NAME|FILE --out FILE

A memory meets keys and queries only in q . k. Rotate both alike, and (Rq) . (Rk) is q . k: the
masks stay as they are, while every channel of Fig. 6 shows something else. So which maps the single
channels hold is an accident of training; what a trained network can own is a *direction* of its
keys that is strong on the object. This looks for it, and for one that is strong everywhere but on
the object, and rotates the keys so that they are the first and the last channel.
"""

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from gcvos_mini.clips import year_of
from gcvos_mini.davis import load_split
from gcvos_mini.device import pick_device
from gcvos_mini.errors import BadInput, at_least, exit_on_bad_input
from gcvos_mini.keymaps import selectivity, written_keys
from gcvos_mini.network import Network, load_model, save_model
from gcvos_mini.tables import markdown

FLOOR = 0.1  # strength, as a share of the mean, below which dark is dark enough: log 0 has no end
STEPS = 200  # of L-BFGS, which needs fewer


def rotate(network: Network, rotation: np.ndarray | Tensor) -> Network:
    """A copy of the network with keys and queries R k and R q; its masks are the same, to rounding.

    rotation: R, (C_key, C_key), orthogonal, so that lengths and angles of keys stay too and every
    memory reads as before. Raises ValueError on another matrix, or with normalization "softmax",
    which treats each channel by itself and so does depend on the basis.
    """
    if network.config.normalization == "softmax":
        raise ValueError("normalization 'softmax': its masks depend on the basis of the keys")
    rotation = torch.as_tensor(rotation).cpu().double()  # mps has no float64
    size = network.config.key_dim
    if rotation.shape != (size, size):
        raise ValueError(f"rotation {tuple(rotation.shape)}: want ({size}, {size})")
    if not torch.allclose(rotation @ rotation.T, torch.eye(size).double(), atol=1e-5):
        raise ValueError("rotation: not orthogonal")
    rotated = copy.deepcopy(network)
    with torch.no_grad():
        for head in (rotated.key, rotated.query):
            weight = torch.einsum("ij,jcyx->icyx", rotation, head.weight.cpu().double())
            head.weight.copy_(weight)  # (C_key, C, 3, 3)
            head.bias.copy_(rotation @ head.bias.cpu().double())
    return rotated


def strongest_direction(cells: Tensor, inside: Tensor, weight: Tensor) -> Tensor:
    """The unit vector a (C,) whose strength |a . k| best tells the cells inside from the others.

    A logistic regression on one feature, the logarithm of (a . k)^2, in which a is learned too.

    Args:
        cells: keys k, (n, C).
        inside: bool (n,), which of them are inside.
        weight: (n,), how much each counts; the sum is 1.
    """
    values, vectors = torch.linalg.eigh((weight[:, None] * cells).T @ cells)
    whiten = vectors / values.clamp(min=1e-6 * values[-1]).sqrt()  # (C, C)
    cells = cells @ whiten  # now (a . k)^2 is |a|^2 on average, for any a
    start = torch.linalg.eigh((weight * inside)[:, None].mul(cells).T @ cells)[1][:, -1]
    a = start.clone().requires_grad_()
    line = torch.tensor([1.0, 0.0], dtype=cells.dtype, requires_grad=True)  # slope and offset
    sign = torch.where(inside, 1.0, -1.0)
    optimizer = torch.optim.LBFGS([a, line], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        strength = (cells @ a) ** 2 / (a @ a)  # 1 on average
        evidence = line[0] * torch.log(strength + FLOOR) + line[1]
        error = (weight * F.softplus(-sign * evidence)).sum()
        error.backward()
        return error

    optimizer.step(loss)
    return F.normalize(whiten @ a.detach(), dim=0)


def complement(directions: Tensor) -> Tensor:
    """An orthonormal basis (C - m, C) of what is orthogonal to m independent directions (m, C)."""
    return torch.linalg.svd(directions, full_matrices=True)[2][len(directions) :]


def object_rotation(cells: Tensor, inside: Tensor, weight: Tensor) -> Tensor:
    """A rotation (C, C) that makes the first channel the object's and the last one the rest's.

    Between them are the principal axes of what is left, the most varied first. Arguments as of
    `strongest_direction`.
    """
    on = strongest_direction(cells, inside, weight)[None]  # (1, C)
    rest = complement(on)  # (C - 1, C)
    off = strongest_direction(cells @ rest.T, ~inside, weight)[None] @ rest  # (1, C)
    others = complement(torch.cat([on, off]))  # (C - 2, C)
    left = cells @ others.T
    axes = torch.linalg.eigh((weight[:, None] * left).T @ left)[1].T.flip(0)  # (C - 2, C - 2)
    return torch.cat([on, axes @ others, off])


def stack_cells(keys: list[tuple[np.ndarray, np.ndarray]]) -> list[Tensor]:
    """[cells (n, C), inside (n,), weight (n,)] of [(key (C, h, w), cells bool (h, w))].

    Every map counts the same, half of it the object, however small. Maps that are all object or
    all background are left out. Raises BadInput where none is left.
    """
    keys = [(key, cells) for key, cells in keys if cells.any() and not cells.all()]
    if not keys:
        raise BadInput("no frame shows both an object and background")
    cells = np.concatenate([key.reshape(len(key), -1).T for key, _ in keys])
    inside = np.concatenate([cells.ravel() for _, cells in keys])
    weight = np.concatenate([
        np.where(cells, 0.5 / cells.sum(), 0.5 / (~cells).sum()).ravel() / len(keys)
        for _, cells in keys
    ])  # fmt: skip
    return [torch.from_numpy(x) for x in (cells, inside, weight.astype(cells.dtype))]


def basis(
    data: list[Path],
    out: Path,
    checkpoint: str = "mini",
    frames: int = 24,
    device: str | None = None,
) -> None:
    """Rotate a network's keys so that channel 0 is the object's and the last one the rest's.

    Writes the weights of the same network, and prints how well single channels tell object from
    background before and after (AUC of |key|, on the frames used).

    Args:
        data: folders in DAVIS layout; their training split is used, every video alike.
        out: safetensors file to write.
        checkpoint: a shipped network's name, or a safetensors file.
        frames: how many of each video.
        device: cuda, mps or cpu; the best there is if not given.
    """
    at_least(2, frames=frames)
    network = load_model(checkpoint, device=pick_device(device))
    videos = [(video, year_of(d)) for d in data for video in load_split(d, year_of(d), "train")]
    found = []
    for video, year in tqdm(videos, "keys", unit="video", disable=None):
        written = written_keys(network, video, year, frames=frames)
        found += [(key, cells) for _, key, cells in written]
    rotation = object_rotation(*stack_cells(found))
    save_model(rotate(network, rotation), out)
    turned = [(np.einsum("ij,jhw->ihw", rotation.numpy(), key), cells) for key, cells in found]
    rows = []
    for what, keys in (("as it was", found), ("rotated", turned)):
        score = np.nanmean([selectivity(key, cells) for key, cells in keys], axis=0)
        rows.append((what, score.argmax(), f"{score.max():.3f}", score.argmin(),
                     f"{score.min():.3f}"))  # fmt: skip
    print(markdown(("keys", "best channel", "AUC", "lowest channel", "AUC"), rows))


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(basis))
