"""Which device is taken: the best there is, or the one that is asked for."""

import pytest
import torch

from gcvos_mini.device import pick_device
from gcvos_mini.errors import BadInput


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many CUDA devices, and with or without Apple's."""

    def make(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return make


@pytest.mark.parametrize(
    "cuda, mps, best", [(2, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_the_best_there_is(machine, cuda, mps, best):
    machine(cuda, mps)
    assert pick_device() == torch.device(best)
    assert pick_device("cpu") == torch.device("cpu")  # what is asked for goes before


def test_one_of_several(machine):
    machine(cuda=2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(BadInput, match="--device cuda:2: not on this machine; it has cuda, cpu"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "tpu", "xpu", "meta", "", "cpu:x"])
def test_what_is_not_there_is_refused(machine, name):
    machine()
    with pytest.raises(BadInput, match=f"--device {name}: not on this machine; it has cpu$"):
        pick_device(name)
