"""What test_kill.py kills: the commands as they are, in a process that can be stopped at any call.

No test, and no pytest in here: every run imports this file anew.
"""

import asyncio
import contextlib
import itertools
import os
import resource
import runpy
import signal
import sys
from pathlib import Path


def command(module, *arguments):
    """`python -m gcvos_mini.<module> <arguments>`, from its last lines on."""
    name = f"gcvos_mini.{module}"
    sys.argv = [name, *map(str, arguments)]
    sys.modules.pop(name, None)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def train(*arguments):
    """The command, with a checkpoint after every step and not after a minute."""
    from gcvos_mini import logbook

    logbook.SAVE_EVERY = 0
    command("train", *arguments)


def own_video(checkpoint, source, mask, folder, overwrite):
    """What a person does in notebook 10: run to the end, save the video, save the GIF."""
    from gcvos_mini.masks import read_first_mask
    from gcvos_mini.network import load_model
    from gcvos_mini.show.own_video import VideoRunner

    first_mask = read_first_mask(mask)
    runner = VideoRunner(load_model(checkpoint), source, first_mask, folder, overwrite=overwrite)

    async def press():
        runner.run.value = True
        await runner.task

    asyncio.run(press())
    runner.save_video()
    runner.save_gif()


def cut_the_next_file():
    """From now on the process dies of the first file that grows beyond 100 bytes, which stay."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def at_call(number, folder, act):
    """`act()` at the so-manieth call, Python's or C's, since something below `folder` was touched.

    Returns the counter. Clocks seldom stop a process in the few microseconds of a small file.
    """
    calls = itertools.count(1)

    def count(frame, event, arg):
        if event in ("call", "c_call") and next(calls) == number:
            sys.setprofile(None)
            act()

    def touched(event, arguments):
        if event in ("open", "os.mkdir", "os.remove") and sys.getprofile() is None:
            if str(arguments[0]).startswith(str(folder)) and not begun:
                begun.append(True)
                sys.setprofile(count)

    begun = []
    sys.addaudithook(touched)
    return calls


def run(play, arguments, folder, said=os.devnull, number=None, how=None, counted=None):
    """Play a command. how: "cut" or a signal that comes at call `number` in `folder`.

    said: where its stdout and stderr go; counted: a file for how many calls there were.
    """
    import torch

    torch.set_num_threads(1)
    with open(said, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    act = cut_the_next_file if how == "cut" else lambda: os.kill(os.getpid(), how)
    calls = at_call(number, folder, act) if number or counted else None
    try:
        play(*arguments)
    except KeyboardInterrupt:  # before the command's own hands are on it
        sys.exit(130)
    finally:
        sys.setprofile(None)
        if counted:
            Path(counted).write_text(str(next(calls)))
        with contextlib.suppress(OSError):
            sys.stdout.flush()
