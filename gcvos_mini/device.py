"""Which device to compute on: one rule for every command and notebook."""

import torch

from gcvos_mini.errors import BadInput


def there(name: str) -> bool:
    """Whether this machine and this build of torch have the device.

    Raises RuntimeError on a name that torch does not know.
    """
    kind = torch.device(name).type
    if kind == "cuda":
        return (torch.device(name).index or 0) < torch.cuda.device_count()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def pick_device(name: str | None = None) -> torch.device:
    """The device of this name, or the best there is: cuda, else mps, else cpu.

    Raises BadInput where this machine does not have it.
    """
    have = [kind for kind in ("cuda", "mps", "cpu") if there(kind)]
    if name is None:
        return torch.device(have[0])
    try:
        found = there(name)
    except RuntimeError:  # torch's word on a name that is none
        found = False
    if not found:
        raise BadInput(f"--device {name}: not on this machine; it has {', '.join(have)}")
    return torch.device(name)
