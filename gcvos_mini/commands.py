"""Command lines in messages: they run as they are printed, whatever the files in them are called.

No other module puts one together (a test checks that).
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "data_scripts"  # beside the package in a checkout


def command(*words: str | Path) -> str:
    """One command line, each word quoted where this system's shell needs it.

    A relative path that would be taken for a flag, or its start for a protocol, gets ./ in front.
    """
    plain = [as_file(word) if isinstance(word, Path) else word for word in words]
    return subprocess.list2cmdline(plain) if sys.platform == "win32" else shlex.join(plain)


def as_file(path: Path) -> str:
    """A path as a word that every program takes for a file."""
    word = str(path)
    odd = word.startswith("-") or (":" in word and not path.is_absolute())
    return f".{'/' if sys.platform != 'win32' else chr(92)}{word}" if odd else word


def python(*words: str | Path) -> str:
    """A command line for the Python that runs now, also where `python` would start another."""
    found = shutil.which("python")
    here = found is not None and Path(found).absolute() == Path(sys.executable)
    return command("python" if here else sys.executable, *words)


def script(name: str) -> Path:
    """A file of data_scripts, as it is called from the current folder."""
    path, here = SCRIPTS / name, Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def move(old: Path, new: Path) -> str:
    """A command line that renames a file or a folder."""
    return command("move" if sys.platform == "win32" else "mv", old, new)


HOW_TO_TRAIN = python("-m", "gcvos_mini.train", "--help")
