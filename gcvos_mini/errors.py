"""Bad input ends in one clear line and exit status 2, never in a traceback.

Files appear whole, and under a free name where they must not replace another.
"""

import functools
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError

UNFINISHED = ".unfinished-"  # then the number of the process: a folder of what it is writing


class BadInput(ValueError):
    """Input a person can mend. The message is one line: the file, what is wrong, the fix."""


def exit_on_bad_input(main: Callable[[], object]) -> None:
    """Call ``main()``; where input, file system or memory refuse, print one line and exit with 2.

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
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            "error: too little memory; give a smaller --height, or --memory gc, whose memory does "
            "not grow with the video",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is full: Python's, NumPy's, or torch's by its words."""
    words = "out of memory|can't allocate memory|not enough memory"  # a GPU, Linux, Windows
    return isinstance(error, MemoryError) or bool(re.search(words, str(error)))


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Yield a path of the same name to write to, which replaces `path` once all is written.

    A run that is killed leaves no half-written file: what it was writing lies in a hidden folder
    beside `path`, which the next run that writes there removes. Raises BadInput where `path` cannot
    be written: the disk is full, the folder read-only, a file in the place of a folder.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_once(path.parent.resolve())
        with TemporaryDirectory(prefix=f"{UNFINISHED}{os.getpid()}-", dir=path.parent) as folder:
            yield Path(folder) / path.name
            os.replace(Path(folder) / path.name, path)
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


def sweep(folder: Path) -> None:
    """Remove what runs that were killed had not finished writing in a folder.

    Of a process that still runs it stays: two may write to one folder. One of this process's own
    number was left by an earlier one, as long as this one writes nothing there.
    """
    for unfinished in folder.glob(f"{UNFINISHED}*/"):
        ours = re.fullmatch(rf"{UNFINISHED}(\d+)-\w+", unfinished.name)
        if ours and (ours[1] == str(os.getpid()) or not is_running(int(ours[1]))):
            shutil.rmtree(unfinished, ignore_errors=True)


sweep_once = functools.cache(sweep)  # a folder of many masks is not listed for each of them


def is_running(process: int) -> bool:
    """Whether there is a process of this number."""
    if sys.platform == "win32":
        return True  # where signal 0 is no question, but Ctrl+C
    try:
        os.kill(process, 0)  # which asks, and kills nothing
    except PermissionError:  # another user's
        return True
    except OSError:
        return False
    return True


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
