"""The memories against plain float64 loops, on random shapes, and what may be given as a memory.

That both linear reads and their gradients equal the loops is in test_equality.py.
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import features, loops, written

from gcvos_mini.config import MINI
from gcvos_mini.errors import BadInput
from gcvos_mini.memory import GlobalContext, PixelAdaptive, SpaceTime, make_memory, name_of

LIMITS = {torch.float64: 1e-12, torch.float32: 1e-5}

# T, B, C_key, C_value, H, W
shapes = st.tuples(*(st.integers(1, high) for high in (5, 3, 8, 8, 4, 4)))
seeds = st.integers(0, 2**31 - 1)
dtypes = st.sampled_from(list(LIMITS))
normalizations = st.sampled_from(["none", "mean"])
on_random_shapes = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def softmax(scores):
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


@on_random_shapes
@given(shapes, seeds, dtypes, normalizations, st.floats(0, 1))
def test_a_share_of_the_first_frame(shape, seed, dtype, normalization, share):
    """Both linear reads: that share of the first frame's own read, the rest of the mean's."""
    keys, values, query, upstream = features(shape, seed, dtype)

    def reads(of=lambda x: x):
        """Of the mean and of the first frame alone."""
        k, v, q, u = map(of, (keys, values, query, upstream))
        return [loops(k[:n], v[:n], q, u, normalization)["read"] for n in (None, 1)]

    mean, first = reads()
    expected = share * first + (1 - share) * mean
    size = sum(read.norm() for read in reads(torch.abs))
    for memory in GlobalContext(normalization, share), SpaceTime(False, normalization, share):
        read = written(memory, keys, values).read(query)
        assert (read - expected).norm() < LIMITS[dtype] * size


def test_the_first_frame_stays_when_it_is_taken_out_of_the_mean():
    keys, values, query, _ = features((3, 1, 4, 5, 2, 3))
    memory = written(GlobalContext("mean", 0.25), keys, values)
    assert memory.nbytes == 2 * written(GlobalContext("mean"), keys, values).nbytes
    memory.remove(keys[0], values[0])
    rest = written(GlobalContext("mean"), keys[1:], values[1:]).read(query)
    first = written(GlobalContext("mean"), keys[:1], values[:1]).read(query)
    torch.testing.assert_close(memory.read(query), 0.25 * first + 0.75 * rest)


@pytest.mark.parametrize("name", ["gc", "stm", "stm-linear"])
def test_gradients_equal_finite_differences(name):
    frames = [x.requires_grad_() for x in features((2, 2, 3, 2, 2, 2))[:3]]
    read = lambda k, v, q: written(make_memory(name), k, v).read(q)  # noqa: E731
    assert torch.autograd.gradcheck(read, frames)


@on_random_shapes
@given(shapes, seeds)
def test_softmax_read_equals_the_loops(shape, seed):
    keys, values, query, _ = features(shape, seed)
    T, B, C_key, C_value, H, W = shape
    read = written(SpaceTime(softmax=True), keys, values).read(query).flatten(2)
    k, v, q = (x.flatten(-2) for x in (keys, values, query))
    for b in range(B):
        for i in range(H * W):
            stored = [(t, p) for t in range(T) for p in range(H * W)]
            scores = [float((k[t, b, :, p] * q[b, :, i]).sum()) / C_key**0.5 for t, p in stored]
            terms = zip(softmax(scores), stored, strict=True)
            expected = sum(w * v[t, b, :, p] for w, (t, p) in terms)
            assert torch.allclose(read[b, :, i], expected, rtol=1e-12, atol=1e-12)


def test_softmax_read_is_another_operator():
    """It returns a constant value unchanged; the linear read does not, and is far away."""
    keys, values, query, _ = features((3, 2, 16, 4, 5, 6))
    soft, linear = SpaceTime(softmax=True), SpaceTime(softmax=False)
    ones = torch.ones_like(values)
    assert torch.allclose(written(soft, keys, ones).read(query), ones[0])
    assert written(linear, keys, ones).read(query).std() > 1
    soft, linear = written(SpaceTime(), keys, values).read(query), GlobalContext()
    linear = written(linear, keys, values).read(query)
    best_scale = (soft * linear).sum() / (linear * linear).sum()
    assert (best_scale * linear - soft).norm() > 0.5 * soft.norm()


@on_random_shapes
@given(shapes, seeds)
def test_key_softmax_equals_efficient_attention_in_loops(shape, seed):
    """Each key channel softmaxed over the positions of its frame, each query over its channels."""
    keys, values, query, _ = features(shape, seed)
    T, B, C_key, C_value, H, W = shape
    memory = written(GlobalContext("softmax"), keys, values)
    k, v, q = (x.flatten(-2) for x in (keys, values, query))
    read = memory.read(query).flatten(2)
    for b in range(B):
        context = torch.zeros(C_key, C_value, dtype=torch.float64)
        for t in range(T):
            for a in range(C_key):
                for p, weight in enumerate(softmax(k[t, b, a].tolist())):
                    context[a] += weight * v[t, b, :, p] / T
        assert torch.allclose(memory.context[b], context, rtol=1e-12, atol=1e-12)
        for i in range(H * W):
            weights = softmax(q[b, :, i].tolist())
            expected = sum(w * row for w, row in zip(weights, context, strict=True))
            assert torch.allclose(read[b, :, i], expected, rtol=1e-12, atol=1e-12)


def test_mean_does_not_depend_on_the_resolution_and_none_does():
    (key,), (value,), query, _ = features((1, 2, 4, 5, 3, 4))
    tiled = key.repeat(1, 1, 2, 3), value.repeat(1, 1, 2, 3)  # the frame, six times over
    reads = {}
    for normalization in ("mean", "softmax", "none"):
        once, often = GlobalContext(normalization), GlobalContext(normalization)
        once.write(key, value)
        often.write(*tiled)
        reads[normalization] = once.read(query), often.read(query)
    for normalization, factor in {"mean": 1, "softmax": 1, "none": 6}.items():
        once, often = reads[normalization]
        assert torch.allclose(often, factor * once, rtol=1e-12, atol=1e-12)


# ---- eq. 2: the running mean -------------------------------------------------------------------


def eq_2(keys, values):
    """The global context by eqs. 1 and 2 as printed, in float64."""
    G = 0
    for t in range(1, len(keys) + 1):
        k, v = keys[t - 1].double(), values[t - 1].double()
        C = torch.einsum("bkhw,bvhw->bkv", k, v)  # eq. 1
        G = (t - 1) / t * G + 1 / t * C  # eq. 2
    return G


@on_random_shapes
@given(shapes, seeds)
def test_context_is_eq_2_and_the_mean_in_any_order(shape, seed):
    keys, values, *_ = features(shape, seed)
    context = written(GlobalContext(), keys, values).context
    assert torch.allclose(context, eq_2(keys, values), rtol=1e-12, atol=1e-12)
    backwards = written(GlobalContext(), keys.flip(0), values.flip(0)).context
    assert torch.allclose(context, backwards, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gone", [0, 300, 999])
def test_remove_in_float32_after_1000_frames(gone):
    """The mean of the other 999 to 1e-5; with another frame's value the same bound refuses it."""
    keys, values, *_ = features((1000, 1, 4, 5, 2, 2), dtype=torch.float32)
    contexts = torch.einsum("tbkhw,tbvhw->tbkv", keys.double(), values.double())
    expected = contexts[torch.arange(1000) != gone].mean(0)

    def error_after_removing(value):
        memory = written(GlobalContext(), keys, values)
        memory.remove(keys[gone], value)
        return (memory.context - expected).norm() / expected.norm()

    assert error_after_removing(values[gone]) < 1e-5
    assert error_after_removing(values[gone - 1]) > 1e-3


@pytest.mark.parametrize("normalization", ["none", "mean", "softmax"])
def test_writes_and_removes_in_any_order_leave_the_mean_of_what_is_in(normalization):
    """Two objects; W writes the next frame, a digit takes out that one of those still in."""
    keys, values, *_ = features((9, 2, 4, 5, 2, 3))
    memory, inside, frames = GlobalContext(normalization), [], iter(zip(keys, values, strict=True))
    for step in "WWW1WW02WWW2W0000":
        if step == "W":
            inside.append(next(frames))
            memory.write(*inside[-1])
        else:
            memory.remove(*inside.pop(int(step)))
        assert memory.frames == len(inside)
        alone = [written(GlobalContext(normalization), [k], [v]).context for k, v in inside]
        assert torch.allclose(memory.context, sum(alone) / len(alone), rtol=1e-11, atol=1e-11)
    with pytest.raises(ValueError, match="1 frames in the context: cannot take one out"):
        memory.remove(*inside[0])


def test_a_context_once_taken_is_not_changed_by_later_frames():
    """A caller may keep G_t, to draw it or to go back: writing must not reach into it."""
    keys, values, *_ = features((4, 1, 3, 2, 2, 2))
    memory, taken = GlobalContext(), []
    for key, value in zip(keys, values, strict=True):
        memory.write(key, value)
        taken.append((memory.context, memory.context.clone()))
    memory.remove(keys[1], values[1])
    for context, kept in taken:
        assert torch.equal(context, kept)


def test_bfloat16_frames_keep_a_float32_mean_that_does_not_lose_the_newest():
    """1,000 frames of one scene, then another: eq. 2 in bfloat16 would stand still from 512."""
    one, levels = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16), [1.0] * 1000 + [0.5] * 1000
    memory = GlobalContext()
    for t, level in enumerate(levels, start=1):
        before = memory.context
        memory.write(one, level * one)
        if t > 1000:
            assert memory.context < before  # every frame moves it
    assert memory.context.dtype == torch.float32
    assert memory.context.item() == pytest.approx(0.75, rel=1e-5)
    assert memory.read(one).dtype == torch.bfloat16


def test_the_state_stays_float32_under_autocast():
    """And what is taken out is what was written."""
    keys, values, query, _ = features((2, 1, 8, 8, 8, 8), dtype=torch.float32)
    for make in GlobalContext, lambda: SpaceTime(softmax=False):
        expected = written(make(), keys, values).read(query)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            read = written(make(), keys, values).read(query)
        assert read.dtype == torch.float32 and torch.equal(read, expected)
    memory = written(GlobalContext(), keys, values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        memory.remove(keys[0], values[0])
    assert memory.context.dtype == torch.float32
    assert torch.allclose(memory.context, eq_2(keys[1:], values[1:]).float(), rtol=1e-5, atol=1e-4)


# ---- what is kept ------------------------------------------------------------------------------


def test_bytes_of_the_global_context_do_not_grow_and_those_of_space_time_do():
    key, value = torch.ones(2, 8, 3, 4), torch.ones(2, 16, 3, 4)
    context, space_time = GlobalContext(), SpaceTime()
    assert context.nbytes == space_time.nbytes == 0
    for t in range(1, 1001):
        context.write(key, value)
        assert context.nbytes == 2 * 8 * 16 * 4
        if t <= 20:
            space_time.write(key, value)
            assert space_time.nbytes == t * 2 * (8 + 16) * 3 * 4 * 4
    assert context.frames == 1000 and space_time.frames == 20


def stored(memory):
    """Positions that a PixelAdaptive memory holds."""
    return memory.store.keys.shape[2]


def test_pixel_adaptive_keeps_the_first_frame_and_a_share_of_the_others():
    keys, values, query, _ = features((4, 2, 8, 5, 6, 5))
    memory, whole = PixelAdaptive(share=0.2), SpaceTime()
    memory.write(keys[0], values[0])
    whole.write(keys[0], values[0])
    assert stored(memory) == 30 and torch.equal(memory.read(query), whole.read(query))
    for t in (1, 2, 3):
        memory.write(keys[t], values[t])
        assert stored(memory) == 30 + 6 * t
    assert memory.frames == 4
    assert memory.nbytes == 2 * (8 + 5) * 48 * 8  # float64
    one = written(PixelAdaptive(share=0.01), keys[:2], values[:2])
    assert stored(one) == 31  # never nothing


def test_pixel_adaptive_adds_the_positions_least_like_the_memory():
    """By the best cosine similarity, against loops; keys' lengths and the mean must not count."""
    B, C_key, positions = 2, 3, 30
    lengths = torch.logspace(-1, 1, positions, dtype=torch.float64).view(5, 6)
    keys = features((2, B, C_key, 1, 5, 6), seed=3)[0] * lengths
    values = torch.arange(30.0).view(1, 1, 5, 6).expand(2, B, 1, 5, 6)
    memory = written(PixelAdaptive(share=0.2), keys, values)
    old, new = (key.flatten(2).transpose(1, 2).tolist() for key in keys)  # [b][position][channel]
    for b in range(B):
        best = [
            max(sum(x * y for x, y in zip(k, o)) / math.hypot(*k) / math.hypot(*o) for o in old[b])
            for k in new[b]
        ]
        added = memory.store.values[b, 0, 30:].long()
        assert sorted(added.tolist()) == sorted(sorted(range(positions), key=best.__getitem__)[:6])
        # keys and values of the same places
        assert torch.equal(memory.store.keys[b, :, 30:], keys[1, b].flatten(1)[:, added])


def test_pixel_adaptive_matches_a_query_to_what_it_keeps():
    """A softmax of dot products over the kept positions, against loops."""
    keys, values, query, _ = features((3, 1, 4, 2, 5, 3))
    memory = written(PixelAdaptive(share=0.2), keys, values)
    kept = memory.store.keys[0].T.tolist(), memory.store.values[0].T.tolist()
    assert len(kept[0]) == stored(memory)
    read = memory.read(query)[0].flatten(1).T.tolist()
    for q, found in zip(query[0].flatten(1).T.tolist(), read, strict=True):
        near = [math.exp(sum(x * y for x, y in zip(q, k)) / math.sqrt(4)) for k in kept[0]]
        for c, x in enumerate(found):
            expected = sum(w * v[c] for w, v in zip(near, kept[1])) / sum(near)
            assert math.isclose(x, expected, rel_tol=1e-9, abs_tol=1e-12)


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gc", "stm", "stm-linear", "pam"])
def test_errors(name):
    memory = make_memory(name)
    with pytest.raises(ValueError, match="nothing written yet"):
        memory.read(torch.zeros(1, 4, 2, 2))
    for key, value in [
        ((1, 4, 2, 2), (2, 4, 2, 2)),  # batch
        ((4, 2, 2), (4, 2, 2)),  # no batch
        ((1, 4, 2, 3), (1, 4, 3, 2)),  # size, with the same number of positions
    ]:
        with pytest.raises(ValueError, match=r"key \(.*\) and value \("):
            memory.write(torch.zeros(key), torch.zeros(value))
    assert memory.frames == 0 and memory.nbytes == 0


def test_impossible_settings_are_refused():
    for make, complaint in [
        (partial(GlobalContext, "sum"), "'sum'"),
        (partial(SpaceTime, normalization="softmax"), "SpaceTime has 'none' and 'mean'"),
        (partial(SpaceTime, first_share=0.5), r"first_share 0\.5: only without the softmax"),
        (partial(SpaceTime, False, "mean", 1.5), r"first_share 1\.5: want a share in \[0, 1\]"),
        (partial(GlobalContext, "mean", 1.5), r"first_share 1\.5: want a share in \[0, 1\]"),
        (partial(PixelAdaptive, share=0), "share 0"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            make()


# ---- what may be given as a memory -------------------------------------------------------------


class Mine(GlobalContext):
    """Made by `for_network`, as its parent is."""


class Deaf:
    nbytes = frames = 0

    def write(self, key, value):
        pass


def test_a_networks_settings_reach_the_linear_memories():
    config = replace(MINI, normalization="mean", first_share=0.3)
    for choice in ("gc", "stm-linear", Mine, f"{__name__}:Mine"):
        memory, plain = make_memory(choice, config), make_memory(choice)
        assert (memory.normalization, memory.first_share) == ("mean", 0.3)
        assert (plain.normalization, plain.first_share) == ("none", 0)
    assert type(memory) is Mine and name_of(Mine) == name_of(memory) == f"{__name__}:Mine"
    assert make_memory("stm", config).softmax and not make_memory("stm-linear", config).softmax
    assert make_memory(lambda: PixelAdaptive(0.5), config).share == 0.5


def test_a_memory_object_is_copied_and_must_be_fresh():
    keys, values, *_ = features((1, 1, 3, 2, 2, 2))
    mine = PixelAdaptive(share=0.5)
    made = written(make_memory(mine), keys, values)
    assert (made.frames, made.share, mine.frames, mine.nbytes) == (1, 0.5, 0, 0)
    with pytest.raises(BadInput, match="memory:PixelAdaptive: holds 1 frames; give a fresh one"):
        make_memory(made)


@pytest.mark.parametrize(
    "choice, complaint",
    [
        ("lstm", "'lstm': no such memory; choose from gc, stm, stm-linear, pam, or give your own"),
        ("nowhere:Mine", "'nowhere:Mine': cannot be imported .*No module named 'nowhere'"),
        (":Mine", "':Mine': cannot be imported"),
        ("math:Mine", "'math:Mine': cannot be imported .*no attribute 'Mine'"),
        (Deaf, f"memory {__name__}:Deaf: has no read"),
    ],
)
def test_what_is_no_memory_is_refused(choice, complaint):
    with pytest.raises(BadInput, match=complaint):
        make_memory(choice)
