"""The memories of constant size beyond the mean: each against plain loops in float64."""

import math

import numpy as np
import pytest
import torch

from gcvos_mini.memories.delta import Delta
from gcvos_mini.memories.forgetting import Forgetting
from gcvos_mini.memories.gated import Gated
from gcvos_mini.memories.normalised import Normalised
from gcvos_mini.memories.random_features import RandomFeatures
from gcvos_mini.memory import GlobalContext, SpaceTime, make_memory

ALL = (Forgetting, Gated, Delta, Normalised, RandomFeatures)
C_KEY, C_VALUE, H, W = 4, 3, 2, 5


def frames(count, seed=0, batch=2, scale=1.0, dtype=torch.float64):
    """Keys, values, and a query: lists of (B, C, H, W)."""
    draw = torch.Generator().manual_seed(seed)

    def normal(channels):
        return torch.randn(batch, channels, H, W, generator=draw, dtype=dtype)

    keys = [scale * normal(C_KEY) for _ in range(count)]
    return keys, [normal(C_VALUE) for _ in range(count)], scale * normal(C_KEY)


def written(memory, keys, values):
    for key, value in zip(keys, values, strict=True):
        memory.write(key, value)
    return memory


def rows(x, b):
    """One object's map as a list of its positions' vectors, NumPy (HW, C)."""
    return x[b].flatten(1).T.numpy()


# What each memory must read, by loops: keys and values [(HW, C)] of one object, query (HW, C_key).


def forgetting(keys, values, query, half_life=20.0):
    ages = reversed(range(len(keys)))
    weights = [0.5 ** (age / half_life) for age in ages]
    out = np.zeros((len(query), C_VALUE))
    for n, q in enumerate(query):
        for weight, K, V in zip(weights, keys, values, strict=True):
            for k, v in zip(K, V, strict=True):
                out[n] += weight / sum(weights) / len(K) * (q @ k) * v
    return out


def gated(keys, values, query):
    worth = [1 / (1 + math.exp(-(K[:, 0].mean() - 2))) for K in keys]
    out = np.zeros((len(query), C_VALUE))
    for t, (K, V) in enumerate(zip(keys, values, strict=True)):
        share = worth[t] if t else 1.0
        for later in worth[t + 1 :]:
            share *= 1 - later
        for n, q in enumerate(query):
            for k, v in zip(K, V, strict=True):
                out[n] += share / len(K) * (q[1:] @ k[1:]) * v
    return out


def delta(keys, values, query, ridge=1.0):
    G = np.zeros((C_KEY, C_VALUE))
    for K, V in zip(keys, values, strict=True):
        A = sum(np.outer(k, k) for k in K) / len(K)
        wrong = [v - k @ G for k, v in zip(K, V, strict=True)]
        B = sum(np.outer(k, e) for k, e in zip(K, wrong, strict=True)) / len(K)
        size = np.trace(A) / C_KEY + 1e-6
        G = G + np.linalg.inv(A + (ridge + 1e-4) * size * np.eye(C_KEY)) @ B
    return query @ G


def normalised(keys, values, query):
    phi = lambda x: np.where(x > 0, x, np.expm1(x)) + 1  # noqa: E731
    out = np.zeros((len(query), C_VALUE))
    for n, q in enumerate(query):
        weights = np.array([phi(q) @ phi(k) for K in keys for k in K])
        out[n] = weights @ np.concatenate(values) / weights.sum()
    return out


def random_features(keys, values, query, features=256):
    W = torch.randn(features, C_KEY, generator=torch.Generator().manual_seed(0)).double().numpy()
    phi = lambda x: np.exp(W @ x / C_KEY**0.25 - x @ x / 2 / C_KEY**0.5)  # noqa: E731
    out = np.zeros((len(query), C_VALUE))
    for n, q in enumerate(query):
        weights = np.array([phi(q) @ phi(k) for K in keys for k in K])
        out[n] = weights @ np.concatenate(values) / weights.sum()
    return out


LOOPS = dict(zip(ALL, (forgetting, gated, delta, normalised, random_features), strict=True))


@pytest.mark.parametrize("kind", ALL)
def test_reads_what_loops_read(kind):
    keys, values, query = frames(4)
    read = written(kind(), keys, values).read(query)
    assert read.shape == (2, C_VALUE, H, W)
    for b in range(2):
        loop = LOOPS[kind]([rows(k, b) for k in keys], [rows(v, b) for v in values], rows(query, b))
        np.testing.assert_allclose(rows(read, b), loop, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ALL)
def test_the_state_is_as_large_after_one_frame_as_after_many(kind):
    keys, values, query = frames(60, dtype=torch.float32)
    memory = written(kind(), keys[:1], values[:1])
    size = memory.nbytes
    assert size > 0 and memory.frames == 1
    written(memory, keys[1:], values[1:])
    assert (memory.nbytes, memory.frames) == (size, 60)
    assert memory.read(query).isfinite().all()


@pytest.mark.parametrize("kind", ALL)
def test_it_can_be_trained(kind):
    """The gradient reaches every key, value and query, by difference quotients."""
    keys, values, query = frames(3, batch=1)
    inputs = [x.requires_grad_() for x in (*keys, *values, query)]

    def read(*inputs):
        return written(kind(), inputs[:3], inputs[3:6]).read(inputs[6])

    assert torch.autograd.gradcheck(read, inputs)


@pytest.mark.parametrize("kind", ALL)
def test_it_is_made_by_its_name(kind):
    memory = make_memory(f"{kind.__module__}:{kind.__qualname__}")
    assert type(memory) is kind and memory.nbytes == memory.frames == 0
    with pytest.raises(ValueError, match="differ in size"):
        memory.write(torch.zeros(1, 4, 2, 2), torch.zeros(1, 3, 2, 3))


def test_forgetting_with_an_endless_half_life_is_eq_2():
    keys, values, query = frames(5)
    mean = written(GlobalContext("mean"), keys, values).read(query)
    torch.testing.assert_close(written(Forgetting(math.inf), keys, values).read(query), mean)
    assert (written(Forgetting(2.0), keys, values).read(query) - mean).abs().max() > 0.01


def test_a_gate_far_open_keeps_the_newest_frame_and_one_far_shut_the_first():
    keys, values, query = frames(3)
    for gate, kept in ((50.0, 2), (-50.0, 0)):
        for key in keys:
            key[:, 0] = gate
        alone = written(Gated(), keys[kept : kept + 1], values[kept : kept + 1])
        torch.testing.assert_close(
            written(Gated(), keys, values).read(query), alone.read(query), rtol=1e-9, atol=1e-9
        )


def test_delta_replaces_what_its_keys_held():
    """Other values under the same keys: the mean answers half way between, the delta rule anew."""
    keys, values, _ = frames(2)
    old, new = values
    for value in (old, new):  # answers that a matrix can give at all
        value.copy_(torch.einsum("bkhw,kv->bvhw", keys[0], torch.randn(C_KEY, C_VALUE).double()))
    memory = written(Delta(ridge=0.0), [keys[0], keys[0]], [old, new])
    torch.testing.assert_close(memory.read(keys[0]), new, rtol=1e-2, atol=1e-2)
    slow = written(Delta(ridge=1e6), [keys[0]], [old]).read(keys[0])
    assert slow.norm() < 1e-4 * old.norm()  # a large ridge: small steps


def test_normalised_weights_sum_to_one():
    keys, values, query = frames(3)
    constant = [torch.full_like(value, 7.0) for value in values]
    read = written(Normalised(), keys, constant).read(query)
    torch.testing.assert_close(read, torch.full_like(read, 7.0))
    plain = written(GlobalContext("mean"), keys, constant).read(query)
    assert (plain - 7).abs().max() > 1


def test_more_random_features_come_closer_to_stms_softmax():
    keys, values, query = frames(4, scale=0.7)
    softmax = written(SpaceTime(), keys, values).read(query)
    errors = {
        m: np.mean([
            (written(RandomFeatures(m, seed), keys, values).read(query) - softmax).norm().item()
            for seed in range(6)
        ])
        for m in (16, 256, 4096)
    }  # fmt: skip
    assert errors[256] < errors[16] / 2 and errors[4096] < errors[256] / 2


def test_random_features_of_long_keys_stay_finite():
    """exp(w . k) of keys of length 60 is past float32: only differences of exponents are used."""
    keys, values, query = frames(4, scale=30.0, dtype=torch.float32)
    memory = written(RandomFeatures(), keys, values)
    assert memory.sums.isfinite().all() and memory.read(query).isfinite().all()
