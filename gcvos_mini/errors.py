"""Bad input ends in one clear line and exit status 2, never in a traceback.

Files appear whole, and under a free name where they must not replace another.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


class BadInput(ValueError):
    """Input a person can mend. The message is one line: the file, what is wrong, the fix."""


def exit_on_bad_input(main: Callable[[], object]) -> None:
    """Call ``main()``; where input or file system refuse, print one line and exit with status 2.

    Ctrl-C exits with 130, as a shell reports it.
    """
    for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter of a file's name
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Yield a path to write to, beside `path`, which it replaces once all is written.

    A run that is killed leaves no half-written file. Raises BadInput where `path` cannot be
    written: the disk is full, the folder read-only, a file in the place of a folder.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise BadInput(
            f"{path}: cannot be written ({reason}); make room or choose another folder"
        ) from error


def free_name(path: Path) -> Path:
    """This path, or the next one that does not exist: clip.mp4, clip-2.mp4, clip-3.mp4, ..."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


LARGEST_SEED = 2**32 - 1  # NumPy's


def at_least(minimum: float, /, most: float = math.inf, **flags: float | None) -> None:
    """Raise BadInput, naming the flag, where a number is out of range, or is none (NaN).

    None, where a flag was not given, passes.
    """
    for flag, value in flags.items():
        name = flag.replace("_", "-")
        if value is not None and not value >= minimum:
            raise BadInput(f"--{name} {value}: too small; give at least {minimum}")
        if value is not None and value > most:
            raise BadInput(f"--{name} {value}: too large; give at most {most}")


def above_zero(**flags: float | None) -> None:
    """Raise BadInput as `at_least` does, on 0 too."""
    for flag, value in flags.items():
        if value is not None and not value > 0:
            raise BadInput(f"--{flag.replace('_', '-')} {value}: too small; give more than 0")
