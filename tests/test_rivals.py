"""show/rivals.py: what is drawn is what was measured."""

import pytest

from gcvos_mini.costs import Cost
from gcvos_mini.show.rivals import accuracy_against_cost


def run(variant, seed, JF):
    return {"variant": variant, "seed": seed, "scores": {"1": {"JF_mean": JF}}}


def test_each_memory_is_a_path_at_the_height_of_its_mean():
    """One that was not timed, and one that was not trained, are not there; a path ends where a
    memory no longer fits."""
    runs = [run("gc", 0, 0.5), run("gc", 1, 0.7), run("a.b:Own", 0, 0.4), run("gc-first", 0, 0.9)]
    costs = [Cost("gc", 1, 1000, 0.002, 5), Cost("gc", 10, 1000, 0.003, 5),
             Cost("a.b:Own", 1, 2000, 0.004, 5), Cost("a.b:Own", 10, 20_000, None, None),
             Cost("stm", 1, 3000, 0.005, 5)]  # fmt: skip
    figure = accuracy_against_cost(runs, costs)
    left, right = ([(line.get_label(), *map(list, line.get_data())) for line in ax.lines]
                   for ax in figure.axes)  # fmt: skip
    assert left == [("gc", [0.001, 0.001], [pytest.approx(0.6)] * 2),
                    ("Own", [0.002, 0.02], [0.4] * 2)]  # fmt: skip
    assert right == [("gc", [2.0, 3.0], [pytest.approx(0.6)] * 2), ("Own", [4.0], [0.4])]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["gc", "Own"]
