"""GC is STM without softmax: reads and gradients against loops in Python's float64 numbers.

tests/test_memory.py checks the outputs and that both gradients agree. Here the gradients have a
reference of their own, and features come in four dtypes on every device there is.

Limits hold for each element, relative to the same sum of absolute values: what is summed may
cancel, and then has no relative error of its own. Where features are drawn positive, nothing
cancels and the limit is on the plain relative error.
"""

import itertools

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gcvos_mini.memory import GlobalContext, SpaceTime

LIMIT = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-5, torch.float16: 1e-5}
ROUNDOFF = {torch.bfloat16: 2**-8, torch.float16: 2**-11}  # of one number, once
RESULTS = "read", "key", "value", "query"  # the read and its three gradients
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


def features(shape, seed, dtype, positive, device="cpu"):
    """Keys (T, B, C_key, H, W), values, query and a gradient of the read (B, C_value, H, W)."""
    T, B, C_key, C_value, H, W = shape
    generator = torch.Generator().manual_seed(seed)
    sizes = (T, B, C_key, H, W), (T, B, C_value, H, W), (B, C_key, H, W), (B, C_value, H, W)
    made = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    return [(x.abs() if positive else x).to(device, dtype) for x in made]


def loops(keys, values, query, upstream, normalization):
    """The read and the gradients of sum(upstream * read), term by term, all in float64.

    read[b, c, i] is the sum over t, p, a of q[b, a, i] k[t, b, a, p] v[t, b, c, p] over the
    divisor, so each term gives the read, and each of its three factors, one summand.
    """
    T, B, C_key, H, W = keys.shape
    N, C_value = H * W, values.shape[2]
    divisor = T * N if normalization == "mean" else T
    tensors = [x.detach().double().cpu().flatten(-2) for x in (keys, values, query, upstream)]
    k, v, q, u = (x.tolist() for x in tensors)
    dk, dv, dq, read = (torch.zeros(x.shape).tolist() for x in tensors)
    for t, b, a, c in itertools.product(range(T), range(B), range(C_key), range(C_value)):
        for i in range(N):
            for p in range(N):
                key, value, ask, up = k[t][b][a][p], v[t][b][c][p], q[b][a][i], u[b][c][i]
                read[b][c][i] += ask * key * value / divisor
                dk[t][b][a][p] += ask * value * up / divisor
                dv[t][b][c][p] += ask * key * up / divisor
                dq[b][a][i] += key * value * up / divisor
    results = (torch.tensor(x, dtype=torch.float64) for x in (read, dk, dv, dq))
    return dict(zip(RESULTS, (x.unflatten(-1, (H, W)) for x in results), strict=True))


def package(make, keys, values, query, upstream):
    """The same four from a memory, by autograd, and the memory."""
    leaves = [x.clone().requires_grad_() for x in (keys, values, query)]
    memory = make()
    for key, value in zip(*leaves[:2], strict=True):
        memory.write(key, value)
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
    memory = GlobalContext()
    for key, value in zip(keys, values, strict=True):
        memory.write(key, value)
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
