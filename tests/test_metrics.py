import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from gcvos_mini.metrics import boundary, boundary_accuracy, region_similarity, statistics

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "mask_pairs.json").read_text())["cases"]


@pytest.fixture(scope="module")
def packed():
    return np.load(GOLDEN / "mask_pairs.npz")


def unpack(bits, shape):
    height, width = shape
    return np.unpackbits(bits)[: height * width].reshape(height, width).astype(bool)


def pair(packed, case):
    keys = f"{case['case']:02d}_pred", f"{case['case']:02d}_gt"
    return [unpack(packed[key], case["shape"]) for key in keys]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['case']:02d}-{c['kind']}")
def test_golden_pair(packed, case):
    """48 pairs scored by the official evaluator."""
    prediction, truth = pair(packed, case)
    assert region_similarity(prediction, truth) == pytest.approx(case["J"], abs=1e-9)
    assert boundary_accuracy(prediction, truth) == pytest.approx(case["F"], abs=1e-9)


def test_golden_has_what_it_should():
    assert len(CASES) == 48
    assert {"both_empty", "empty_pred", "empty_gt", "full"} < {c["kind"] for c in CASES}


def blobs(rng, shape):
    """Random blocky masks, bool (..., H, W)."""
    coarse = rng.random((*shape[:-2], -(-shape[-2] // 4), -(-shape[-1] // 4))) < 0.4
    return coarse.repeat(4, axis=-2).repeat(4, axis=-1)[..., : shape[-2], : shape[-1]]


masks = st.builds(
    lambda seed, h, w: blobs(np.random.default_rng(seed), (2, h, w)),
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 40),
)


def f_by_distances(prediction, truth, radius):
    """F from the distances between all outline pixels: no dilation, no cropping."""
    p, t = (np.argwhere(boundary(m)) for m in (prediction, truth))
    if not len(p) or not len(t):
        return float(len(p) == len(t))
    near = cdist(p, t) <= radius
    precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
    return 2 * precision * recall / (precision + recall) if precision else 0.0


@settings(max_examples=40, deadline=None)
@given(masks, st.sampled_from([0.008, 0.05, 0.2]))
def test_f_equals_pairwise_distances(pair, tolerance):
    prediction, truth = pair
    radius = int(np.ceil(tolerance * np.hypot(*truth.shape)))
    expected = f_by_distances(prediction, truth, radius)
    assert boundary_accuracy(prediction, truth, tolerance) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(masks)
def test_bounds_and_symmetry(pair):
    a, b = pair
    for measure in (region_similarity, boundary_accuracy):
        assert 0 <= measure(a, b) <= 1
        assert measure(a, b) == pytest.approx(measure(b, a), abs=1e-12)
        assert measure(a, a) == 1


def test_leading_dimensions_are_pairs():
    rng = np.random.default_rng(0)
    predictions, truths = blobs(rng, (2, 3, 30, 41)), blobs(rng, (2, 3, 30, 41))
    predictions[0, 0] = truths[0, 0] = False
    for measure in (region_similarity, boundary_accuracy):
        scores = measure(predictions, truths)
        one_by_one = [[measure(p, t) for p, t in zip(*rows)] for rows in zip(predictions, truths)]
        assert scores.shape == (2, 3)
        np.testing.assert_array_equal(scores, one_by_one)
        assert isinstance(measure(predictions[0, 0], truths[0, 0]), float)


def test_no_objects_at_all():
    nothing = np.zeros((0, 5, 7), bool)
    assert region_similarity(nothing, nothing).shape == (0,)
    assert boundary_accuracy(nothing, nothing).shape == (0,)


def test_labels_in_place_of_masks_are_refused():
    labels = np.full((4, 4), 2, np.uint8)
    with pytest.raises(TypeError, match="bool"):
        region_similarity(labels, labels == 2)
    with pytest.raises(ValueError, match="H, W"):
        boundary_accuracy(np.ones((4, 4), bool), np.ones((4, 5), bool))


def test_statistics_by_hand():
    """Seven frames: edges at 1, 2.5, 4, 5.5, 7, halves go up; each quarter takes its end edge."""
    values = [1.0, 0.9, 0.8, 0.5, 0.5, 0.4, 0.1]
    found = statistics(values)
    assert found["mean"] == pytest.approx(0.6)
    assert found["recall"] == pytest.approx(3 / 7)  # 0.5 itself is not above 0.5
    assert found["decay"] == pytest.approx(np.mean([1.0, 0.9, 0.8]) - np.mean([0.4, 0.1]))


def test_statistics_of_a_long_sequence():
    """Bin edges past 255 stay what they are (in eight bits they would wrap around)."""
    found = statistics(np.arange(1000.0)[::-1])
    assert found["decay"] == pytest.approx(749, abs=1)


def test_official_decay_wraps_above_256_frames():
    """By the official evaluator's own lines, for 400 frames: its last quarter is 43 ... 143."""
    values = np.random.default_rng(0).random(400)
    wanted = values[:101].mean() - values[43:144].mean()
    assert statistics(values, official=True)["decay"] == pytest.approx(wanted)
    assert np.isnan(statistics(values[:300], official=True)["decay"])  # from 224 to 43
    assert statistics(values[:256], official=True) == statistics(values[:256])


def test_statistics_of_one_frame():
    assert statistics([0.7]) == {"mean": 0.7, "recall": 1.0, "decay": 0.0}
