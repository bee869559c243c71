"""What test_kill.py kills: the commands as they are, in a process that can be stopped at any call.

No test, and no pytest in here: every run imports this file anew.
"""

import asyncio
import contextlib
import json
import os
import resource
import runpy
import signal
import sys
from pathlib import Path

TOUCHES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")  # Python's audit events


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


class Calls:
    """Counts the calls, Python's and C's, since something in `folder` first changed.

    touches: the numbers of the calls at which something there did. At the call `number` act() is
    called. A clock seldom stops a process in the few microseconds that a small file takes.
    """

    def __init__(self, folder, number=None, act=None):
        self.folder, self.number, self.act = str(folder), number, act
        self.count, self.touches = 0, []
        sys.addaudithook(self.audit)

    def audit(self, event, arguments):
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return  # only looks
        if event in TOUCHES and str(arguments[0]).startswith(self.folder):
            if not self.touches:
                sys.setprofile(self.profile)
            self.touches.append(self.count)

    def profile(self, frame, event, argument):
        if event in ("call", "c_call"):
            self.count += 1
            if self.count == self.number:
                sys.setprofile(None)
                self.act()


def run(play, arguments, folder, said=os.devnull, number=None, how=None, touches=None):
    """Play a command. how: "cut" or a signal, which comes at call `number` in `folder`.

    said: where its stdout and stderr go; touches: a file to write Calls.touches to.
    """
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
    with open(said, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    act = cut_the_next_file if how == "cut" else lambda: os.kill(os.getpid(), how)
    calls = Calls(folder, number, act) if number or touches else None
    try:
        play(*arguments)
    except KeyboardInterrupt:  # before the command's own hands are on it
        sys.exit(130)
    finally:
        sys.setprofile(None)
        if touches:
            Path(touches).write_text(json.dumps(calls.touches))
        with contextlib.suppress(OSError):
            sys.stdout.flush()
