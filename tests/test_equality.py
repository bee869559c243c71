"""GC is STM without softmax: reads and gradients against plain loops, and one network with both.

Features come in four dtypes on every device there is. Limits hold for each element, relative to the
same sum of absolute values: what is summed may cancel, and then has no relative error of its own.
Where features are drawn positive, nothing cancels and the limit is on the plain relative error.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracle import RESULTS, features, loops, written
from torch.utils.flop_counter import FlopCounterMode

from gcvos_mini import equality
from gcvos_mini.complexity import counted_bytes, counted_operations
from gcvos_mini.equality import Setting, equivalence, live_swap, time_bracketings
from gcvos_mini.errors import BadInput
from gcvos_mini.memory import GlobalContext, SpaceTime
from gcvos_mini.network import load_model
from gcvos_mini.toy import clip_frames

LIMIT = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-5, torch.float16: 1e-5}
ROUNDOFF = {torch.bfloat16: 2**-8, torch.float16: 2**-11}  # of one number, once
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
MEMORIES = {"q (K^T V)": GlobalContext, "(q K^T) V": lambda n: SpaceTime(False, n)}

videos = st.fixed_dictionaries({
    "shape": st.tuples(*(st.integers(1, high) for high in (4, 3, 6, 6, 3, 4))),  # T B C_k C_v H W
    "seed": st.integers(0, 2**31 - 1),
    "dtype": st.sampled_from(list(LIMIT)),
    "device": st.sampled_from(DEVICES),
    "positive": st.booleans(),
})  # fmt: skip
bracketings = pytest.mark.parametrize("name", MEMORIES)
normalizations = pytest.mark.parametrize("normalization", ["none", "mean"])
drawn = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],  # the loops are slow: a failure is not explained
    report_multiple_bugs=False,
)


def package(make, keys, values, query, upstream):
    """The same four from a memory, by autograd, and the memory."""
    leaves = [x.clone().requires_grad_() for x in (keys, values, query)]
    memory = written(make(), *leaves[:2])
    read = memory.read(leaves[2])
    gradients = torch.autograd.grad(read, leaves, upstream)
    return dict(zip(RESULTS, (read.detach(), *gradients), strict=True)), memory


def excess(ours, reference, size, dtype):
    """Largest error over its limit: at most 1 where every element is as near as it should be."""
    limit = LIMIT[dtype] * size + ROUNDOFF.get(dtype, 0) * reference.abs()
    return ((ours.double().cpu() - reference).abs() / limit).max().item()


def check(make, video, normalization):
    given_features = features(**video)
    reference = loops(*given_features, normalization)
    sizes = loops(*(x.abs() for x in given_features), normalization)
    results, memory = package(make, *given_features)
    for name, result in results.items():
        assert result.dtype == video["dtype"] and result.device.type == video["device"], name
        assert excess(result, reference[name], sizes[name], video["dtype"]) <= 1, name
    return memory


@bracketings
@normalizations
@drawn
@given(video=videos)
def test_read_and_gradients_equal_the_loops(name, normalization, video):
    memory = check(lambda: MEMORIES[name](normalization), video, normalization)
    state = memory.context if name == "q (K^T V)" else memory.keys
    assert state.dtype == torch.promote_types(video["dtype"], torch.float32)


@drawn
@given(video=videos)
def test_the_state_of_half_precision_features_is_not_rounded(video):
    """Only the read is rounded to the features' dtype; the context agrees to float32."""
    keys, values, query, _ = features(**video)
    memory = written(GlobalContext(), keys, values)
    k, v = (x.double().cpu().flatten(3) for x in (keys, values))  # (T, B, C, N)
    terms = torch.einsum("tbkn,tbvn->tbkvn", k, v)
    error = (memory.context.double().cpu() - terms.sum((0, 4)) / len(k)).abs()
    assert (error <= LIMIT[video["dtype"]] * terms.abs().sum((0, 4)) / len(k)).all()


# ---- controls: what the check must refuse -------------------------------------------------------

VIDEO = {"shape": (4, 2, 6, 5, 3, 4), "seed": 0, "positive": False, "device": "cpu"}


class NotDivided(GlobalContext):
    def read(self, query):
        return self.frames * super().read(query)


class MovingAverage(GlobalContext):
    """Eq. 2 with a fixed weight: a moving average, which forgets."""

    def write(self, key, value):
        old, new = self.context, self.frame_context(key, value)
        self.context = new if old is None else 0.75 * old + 0.25 * new
        self.frames += 1


class GradientOfTheNewestOnly(GlobalContext):
    """The right read; the gradient does not reach the frames before the last."""

    def write(self, key, value):
        self.context = None if self.context is None else self.context.detach()
        super().write(key, value)


class HalfState(GlobalContext):
    """Eq. 2 in the features' own precision."""

    def write(self, key, value):
        super().write(key, value)
        self.context = self.context.to(key.dtype).float()


@pytest.mark.parametrize("broken", [
    NotDivided, MovingAverage, GradientOfTheNewestOnly, lambda: GlobalContext("softmax"),
    lambda: SpaceTime(softmax=True),
])  # fmt: skip
@pytest.mark.parametrize("dtype", LIMIT)
def test_the_check_refuses_other_operators(broken, dtype):
    with pytest.raises(AssertionError):
        check(broken, VIDEO | {"dtype": dtype}, "none")


@pytest.mark.parametrize("dtype", ROUNDOFF)
def test_the_check_refuses_a_state_in_half_precision(dtype):
    check(GlobalContext, VIDEO | {"dtype": dtype}, "none")
    with pytest.raises(AssertionError):
        check(HalfState, VIDEO | {"dtype": dtype}, "none")


def test_the_loops_are_right_on_numbers_worked_by_hand():
    """Two frames of one position, one key channel: read = (2*3*5 + 2*7*11) / 2 = 92."""
    number = lambda *x: torch.tensor(x, dtype=torch.float64)[..., None, None, None]  # noqa: E731
    keys, values = number(3.0, 7.0)[:, None], number(5.0, 11.0)[:, None]  # (2, 1, 1, 1, 1)
    query, upstream = number(2.0), number(10.0)  # (1, 1, 1, 1)
    expected = {"read": [92.0], "key": [50.0, 110.0], "value": [30.0, 70.0], "query": [460.0]}
    results = loops(keys, values, query, upstream, "none")
    assert {name: x.flatten().tolist() for name, x in results.items()} == expected


# ---- equality.py: the two bracketings ----------------------------------------------------------

LIMITS = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}
lab_settings = st.builds(
    Setting,
    frames=st.integers(1, 5),
    height=st.integers(1, 5),
    width=st.integers(2, 5),
    key_dim=st.integers(4, 12),
    value_dim=st.integers(4, 12),
    dtype=st.sampled_from(list(LIMITS)),
)
BRACKETINGS = {"context": equality.context_first, "similarity": equality.similarity_first}


@drawn
@given(setting=lab_settings, seed=st.integers(0, 100))
def test_both_bracketings_are_the_linear_read(setting, seed):
    """Against one sum over everything; their own errors stay below the dtype's limit."""
    keys, values, query = (x.double() for x in equality.features(setting, seed))
    expected = np.einsum("tnc,tnv,mc->mv", keys, values, query) / setting.frames
    for bracketing in BRACKETINGS.values():
        np.testing.assert_allclose(bracketing(keys, values, query), expected, atol=1e-9)
    result = equivalence(setting, seed)
    errors = result.context_error, result.similarity_error
    assert max(errors) < LIMITS[setting.dtype]
    assert result.difference <= sum(errors) * 1.001  # the triangle's inequality


def test_errors_grow_as_the_dtype_loses_digits():
    results = [equivalence(Setting(dtype=dtype)) for dtype in LIMITS]
    for name in ("context_error", "similarity_error", "difference"):
        errors = [getattr(result, name) for result in results]
        assert errors == sorted(errors) and errors[0] < errors[1] / 1e6


def test_a_wrong_bracketing_is_seen(monkeypatch):
    """The control: without its 1/T one side is far off, and the other is not blamed."""
    right = equality.similarity_first
    monkeypatch.setattr(equality, "similarity_first", lambda k, v, q: len(k) * right(k, v, q))
    result = equivalence(Setting(frames=3))
    assert result.similarity_error == pytest.approx(2, rel=1e-3)
    assert result.difference == pytest.approx(2, rel=1e-3) and result.context_error < 1e-5


def test_operations_and_bytes_are_those_of_the_counts():
    setting = Setting(frames=3, height=4, width=5, key_dim=6, value_dim=7, dtype="bfloat16")
    tensors, result = equality.features(setting), equivalence(setting, queries=1)
    size = 4, 5, 3, 6, 7
    operations = result.context_operations, result.similarity_operations
    assert operations == counted_operations(*size)
    assert (result.context_bytes, result.similarity_bytes) == counted_bytes(*size, dtype_bytes=2)
    for bracketing, counted in zip(BRACKETINGS.values(), operations):
        with FlopCounterMode(display=False) as counter:
            bracketing(*tensors)
        assert counter.get_total_flops() == 2 * counted  # two to a multiply-accumulate


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"value_dim": -1}, {"dtype": "int8"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1, dtype one of"):
        Setting(**wrong)


def test_bracketings_are_timed_in_turns_without_the_warm_up(monkeypatch):
    """First calls take 50 s and 60 s, all others 1 s and 3 s, by a clock of the test's own."""
    now, order = [0.0], []
    monkeypatch.setattr(equality, "clock", lambda: now[0])

    def pretend(name, first, later):
        def bracketing(*tensors):
            now[0] += later if name in order else first
            order.append(name)

        monkeypatch.setattr(equality, name, bracketing)

    pretend("context_first", 50, 1)
    pretend("similarity_first", 60, 3)
    assert time_bracketings(Setting(), runs=1, limit=1e9) == (1, 3)
    assert order == ["context_first", "similarity_first"] * 2
    order.clear()
    assert time_bracketings(Setting(), runs=5, limit=100) == (50, 60)
    assert len(order) == 2  # too slow for a second turn: the warm-up is what there is


# ---- equality.py: one network, several memories ------------------------------------------------


@pytest.fixture(scope="module")
def clip():
    """200 frames at 64 lines, two objects: frames, true masks."""
    return tuple(zip(*clip_frames("two-friends", 64, frames=200)))


def state_bytes(objects, positions, frames, config):
    """Bytes of the float32 state of gc and stm-linear after `frames` writes, from shapes alone."""
    matrices = 2 if config.first_share else 1  # the first frame's context is kept apart
    return {
        "gc": 4 * objects * config.key_dim * config.value_dim * matrices,
        "stm-linear": 4 * objects * positions * frames * (config.key_dim + config.value_dim),
    }


def test_swapping_gc_for_linear_stm_changes_no_mask_in_200_frames(clip):
    """The signature result: at least 99.99 % of the pixels, each memory living with its own masks.

    The masks must be worth the name, or empty ones would agree. Bytes are those of the shapes.
    """
    frames, truth = clip
    network = load_model("mini")
    equal, overlap, difference = [], [], 0
    for swapped in live_swap(network, frames, truth[0], height=64):
        equal.append(swapped.equal["stm-linear"])
        difference = max(difference, swapped.difference["stm-linear"])
        true, found = truth[swapped.index] > 0, swapped.masks["gc"] > 0
        overlap.append((true & found).sum() / (true | found).sum())
        assert swapped.nbytes == state_bytes(2, 4 * 8, swapped.index + 1, network.config)
    assert len(equal) == 199
    assert np.mean(equal) >= 0.9999 and difference < 1e-3
    assert np.mean(overlap) > 0.4


def test_swapping_gc_for_softmax_stm_is_seen(clip):
    """The control: another operator, and the masks part within 40 frames."""
    frames, truth = clip
    swapped = list(live_swap(load_model("mini"), frames[:40], truth[0], ("gc", "stm"), 64))
    assert np.mean([s.equal["stm"] for s in swapped]) < 0.99
    assert max(s.difference["stm"] for s in swapped) > 0.1
    assert all(s.equal["gc"] == 1 and s.difference["gc"] == 0 for s in swapped)


def test_seconds_are_of_one_read_and_one_write_and_of_the_whole_step(model, clip, monkeypatch):
    """By a clock that goes on by one second each time it is asked; frames may be any iterable."""
    count = itertools.count()
    monkeypatch.setattr(equality, "clock", lambda device="cpu": float(next(count)))
    frames, truth = clip
    swapped = list(live_swap(model, iter(frames[:3]), truth[0], ("stm", "pam"), 32))
    assert [s.index for s in swapped] == [1, 2]
    for s in swapped:
        assert (s.frame == frames[s.index]).all() and s.masks["stm"].shape == truth[0].shape
        assert s.memory_seconds == {"stm": 2, "pam": 2}  # a tick for the read, one for the write
        assert s.step_seconds == {"stm": 5, "pam": 5}  # four calls of the clock inside


def test_swap_takes_classes_and_refuses_what_the_segmenter_refuses(model, clip):
    frames, truth = clip
    swapped = next(live_swap(model, frames, truth[0], ("stm", SpaceTime), 32))
    assert swapped.equal == {"stm": 1, "gcvos_mini.memory:SpaceTime": 1}
    with pytest.raises(BadInput, match="no object"):
        next(live_swap(model, frames, 0 * truth[0]))
    with pytest.raises(BadInput, match="memory 'lstm'"):
        next(live_swap(model, frames, truth[0], ("gc", "lstm")))
