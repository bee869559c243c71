"""Numbers out of range in every command's options: one line that names the flag, exit status 2."""

import dataclasses
import typing

import pytest
import tyro

from gcvos_mini.basis import basis
from gcvos_mini.benchmark import (
    benchmark_evaluate,
    benchmark_keys,
    benchmark_length,
    benchmark_memory,
    benchmark_segment,
    benchmark_train,
)
from gcvos_mini.compare import compare
from gcvos_mini.errors import exit_on_bad_input
from gcvos_mini.evaluate import evaluate
from gcvos_mini.segment import segment
from gcvos_mini.show.gallery import gallery
from gcvos_mini.show.latency import latency
from gcvos_mini.toy.__main__ import toy
from gcvos_mini.train import train

# flags, and what is out of their range
HEIGHT = [-16, -1, 0, 1, 15]
SEED = [-1, -(2**40), 2**32]
NUMBERS = {
    train: {
        "minutes": [-1, 0, -0.5, "nan", "-inf"], "learning-rate": [-1e-3, 0, "nan", "-inf"],
        "clips": [-5, 0], "workers": [-1], "seed": SEED,
    },
    evaluate: {"height": HEIGHT, "write-every": [-1, 0]},
    segment: {"height": HEIGHT},
    benchmark_memory: {"frames": [-1, 0], "runs": [-1, 0]},
    benchmark_segment: {
        "frames": [-1, 0, 1, 3], "height": HEIGHT, "lines": HEIGHT, "objects": [-1, 0, 65],
    },
    benchmark_train: {"clips": [-1, 0, 31]},
    benchmark_evaluate: {"runs": [-1, 0]},
    benchmark_keys: {"height": HEIGHT},
    benchmark_length: {"frames": [-1, 0, 6], "head": [-1, 0, 1]},
    compare: {"steps": [-1, 0], "seeds": SEED},
    basis: {"frames": [-1, 0, 1]},
    toy: {"seed": [-1, -(2**40)], "frames": [-1, 0]},
    gallery: {"every": [-1, 0], "height": HEIGHT},
    latency: {"frames": [-1, 0, 1], "turns": [-1, 0]},
}  # fmt: skip
EVEN = {  # not a number at all: the parser of the command line refuses it, in a box of its own
    (command, flag, value)
    for command, flags in NUMBERS.items()
    for flag in flags
    for value in ("nan", "inf", "1e3", "ten", "0x10", "1,5", "")
    if (flag, value)
    not in [(f, v) for f in ("minutes", "learning-rate") for v in ("nan", "inf", "1e3")]
}
NEEDED = {
    train: ("--data", "{}", "--out", "{}/out"),
    evaluate: ("--data", "{}", "--checkpoint", "mini", "--out", "{}/out"),
    segment: ("--frames", "{}", "--mask", "{}/m.png", "--out", "{}/out"),
    benchmark_evaluate: ("--data", "{}", "--masks", "{}", "--official", "{}"),
    benchmark_keys: ("--data", "{}"),
    compare: ("--data", "{}", "--out", "{}/out"),
    basis: ("--data", "{}", "--out", "{}/out"),
    toy: ("--out", "{}/out"),
    gallery: ("--out", "{}/out"),
}


def call(command, arguments, folder, capsys):
    """Exit status, stdout, stderr of a command run in this process."""
    needed = [word.format(folder) for word in NEEDED.get(command, ())]
    with pytest.raises(SystemExit) as stop:
        exit_on_bad_input(lambda: tyro.cli(command, args=[*needed, *map(str, arguments)]))
    return stop.value.code, *capsys.readouterr()


CASES = [
    pytest.param(command, flag, value, id=f"{command.__name__} --{flag} {value}")
    for command, flags in NUMBERS.items()
    for flag, values in flags.items()
    for value in values
]


@pytest.mark.bad_input
@pytest.mark.parametrize("command, flag, value", CASES)
def test_out_of_range(tmp_path, capsys, command, flag, value):
    status, out, errors = call(command, [f"--{flag}", value], tmp_path, capsys)
    assert (status, out, len(errors.splitlines())) == (2, "", 1), errors
    assert errors.startswith("error: ") and flag in errors
    assert list(tmp_path.iterdir()) == []  # nothing was written


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "command, flag, value",
    [
        pytest.param(*case, id=f"{case[0].__name__} --{case[1]} '{case[2]}'")
        for case in sorted(EVEN, key=str)
    ],
)
def test_no_number(tmp_path, capsys, command, flag, value):
    status, out, errors = call(command, [f"--{flag}", value], tmp_path, capsys)
    assert (status, out) == (2, "") and flag in errors and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def numbers(function):
    """Names of the parameters that are numbers, those of a dataclass among them too."""
    for name, kind in typing.get_type_hints(function).items():
        if dataclasses.is_dataclass(kind):
            yield from numbers(kind)
        elif {int, float} & {kind, *typing.get_args(kind)}:
            yield name.replace("_", "-")


@pytest.mark.parametrize("command", NUMBERS, ids=lambda command: command.__name__)
def test_no_number_is_left_out(command):
    """A flag that takes a number and is not tried above, as a new one would be."""
    assert set(numbers(command)) == set(NUMBERS[command])
