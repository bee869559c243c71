"""What a training run leaves behind: log, progress bar, validation, checkpoints to resume from.

train.py holds the loop; here is what the main process does beside it.
"""

import csv
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from gcvos_mini import fast
from gcvos_mini.davis import Sequence, check_later_mask, read_start
from gcvos_mini.errors import BadInput, written_whole
from gcvos_mini.masks import read_sequence_mask
from gcvos_mini.metrics import region_similarity
from gcvos_mini.network import Network, fill, read_note, read_weights, save_model
from gcvos_mini.pictures import read_frame
from gcvos_mini.segment import VideoSegmenter, follow

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # tensorboard is no requirement; log.csv holds the same
    SummaryWriter = None

SAVE_EVERY = 60  # seconds between checkpoints
VALIDATIONS = 10  # in a run
VALIDATION_FRAMES = 40  # of a sequence, at most
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"  # time left: see below


class Progress:
    """How far a run has come: by its steps, or by its minutes where they end it sooner."""

    def __init__(
        self, steps: int, minutes: float, step: int = 0, seconds: float = 0.0, best: float = 0.0
    ):
        self.steps, self.minutes = steps, minutes
        self.step = step
        self.spent = seconds  # before it was stopped and resumed
        self.best = best  # highest validation J
        self.start = time.monotonic()
        self.since = self.share()
        self.validated = int(VALIDATIONS * self.since)

    def seconds(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self.spent + time.monotonic() - self.start

    def share(self) -> float:
        """How much is done, 0 to 1."""
        return max(self.step / self.steps, self.seconds() / (60 * self.minutes))

    def left(self) -> float:
        """Seconds that the rest will take at the pace since the start or resume."""
        done = self.share()
        return max(0, 1 - done) * (self.seconds() - self.spent) / (done - self.since)

    def position(self) -> dict:
        """What --resume needs of it."""
        return {"step": self.step, "seconds": self.seconds(), "best": self.best}


class Logbook:
    """What the main process does beside training: log, progress bar, validation, checkpoints."""

    def __init__(
        self,
        out: Path,
        network: Network,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        settings: dict,
        sequences: list[tuple[Sequence, int]],
    ):
        self.out, self.network, self.optimizer = out, network, optimizer
        self.progress, self.settings, self.sequences = progress, settings, sequences
        if not progress.step:  # what is there from now on is of this run, not of one before it
            for name in ("state", "best"):
                (out / f"{name}.safetensors").unlink(missing_ok=True)
        self.log = Log(out, progress.step)
        self.bar = tqdm(total=progress.steps, initial=progress.step, unit="step", bar_format=BAR)
        self.saved = time.monotonic()

    def step(self, **numbers: float) -> None:
        """Log one step, its numbers named as in Log.formats; validate and save where it is time."""
        progress = self.progress
        row = {"step": progress.step} | numbers | self.validate()
        shown = self.log.write(row | {"seconds": progress.seconds()})
        self.bar.set_postfix(shown | {"left": tqdm.format_interval(progress.left())})
        self.bar.update()
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def validate(self) -> dict[str, float]:
        """{"validation_J": J} ten times in a run, else {}; best.safetensors keeps the highest."""
        due = int(VALIDATIONS * self.progress.share())
        if not self.sequences or due <= self.progress.validated:
            return {}
        self.progress.validated = due
        J = validation_J(self.network, self.sequences)
        if J > self.progress.best:
            self.progress.best = J
            save_model(self.network, self.out / "best.safetensors")
        return {"validation_J": J}

    def save(self) -> None:
        """Write last.safetensors and state.safetensors."""
        self.saved = time.monotonic()
        save_state(self.out, self.network, self.optimizer, self.progress.position(), self.settings)

    def close(self) -> None:
        """Save, close the log and say where the weights are."""
        self.bar.close()
        self.log.close()
        self.save()
        minutes = self.progress.seconds() / 60
        print(
            f"trained {self.progress.step} steps in {minutes:.1f} min; "
            f"weights: {self.out}/last.safetensors"
        )


def check_validation(sequences: list[tuple[Sequence, int]]) -> None:
    """Raise BadInput where `validation_J` would find no mask to judge by in a sequence."""
    for sequence, _ in sequences:
        check_later_mask(sequence, VALIDATION_FRAMES)


def validation_J(network: Network, sequences: list[tuple[Sequence, int]]) -> float:
    """Mean J over the objects of [(Sequence, year)], on their first frames but the given one."""
    on = next(network.parameters()).device
    segmenter = VideoSegmenter(fast.prepare(network, fast.pick_precision(None, on)))
    scores = []
    for sequence, year in sequences:
        paths = sequence.frames[:VALIDATION_FRAMES]
        _, first_mask = read_start(sequence, year)
        J = []  # of every object on each frame that has a mask
        for path, (_, mask) in zip(paths, follow(segmenter, map(read_frame, paths), first_mask)):
            if path.stem in sequence.masks and path != paths[0]:
                truth = read_sequence_mask(sequence.masks[path.stem], year)
                J.append([region_similarity(mask == i, truth == i) for i in segmenter.ids])
        scores += np.mean(J, axis=0).tolist()
    return float(np.mean(scores))


def save_state(
    out: Path,
    network: Network,
    optimizer: torch.optim.Optimizer,
    position: dict,
    run: dict,
) -> None:
    """Write the weights, then what --resume needs; each file whole or not at all.

    position: of `Progress.position`; run: its settings. Raises BadInput where it cannot be written.
    """
    save_model(network, out / "last.safetensors")
    tensors = {f"model.{n}": t.contiguous() for n, t in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{n}": t.contiguous().clone() for n, t in moments.items()}
    metadata = {"run": json.dumps(run), "position": json.dumps(position)}
    with written_whole(out / "state.safetensors") as unfinished:
        save_file(tensors, unfinished, metadata=metadata)


def load_state(path: Path, network: Network, optimizer: torch.optim.Optimizer, run: dict) -> dict:
    """Fill network and optimizer from a saved state; returns the position.

    Raises BadInput where it is no state, or one of a run with other settings than `run`.
    """
    tensors, metadata = read_weights(path)
    saved, position = read_note(metadata, "run", path), read_note(metadata, "position", path)
    if not isinstance(saved, dict) or not isinstance(position, dict):
        raise BadInput(f"{path}: not the state of a run; give the --out of one to --resume")
    if saved != run:
        changed = sorted(k for k in run.keys() | saved.keys() if run.get(k) != saved.get(k))
        raise BadInput(
            f"{path}: that run had other settings ({', '.join(changed)}); "
            "resume with the same ones, or choose another --out"
        )
    model = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    fill(network, model, path)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".")
            like = parameters[int(index)]
            if tensor.shape == like.shape:  # the fused Adam wants the parameter's memory layout
                tensor = torch.empty_like(like).copy_(tensor)
            state.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return position


class Log:
    """log.csv and TensorBoard, one row a step, and running means for the progress bar."""

    formats = {
        "step": "d", "loss": ".5f", "J": ".4f", "validation_J": ".4f", "learning_rate": ".3e",
        "clips_per_second": ".2f", "seconds": ".1f",
    }  # fmt: skip

    def __init__(self, out: Path, first: int):
        path, kept = out / "log.csv", []
        if first and path.is_file():  # resumed: what came after the checkpoint comes again
            with path.open() as file:  # a row that was cut short has no seconds
                rows = [row for row in csv.DictReader(file) if row["seconds"]]
            kept = [row for row in rows if int(row["step"]) <= first]
        with written_whole(path) as unfinished, unfinished.open("w", newline="") as file:
            table = csv.DictWriter(file, self.formats)
            table.writeheader()
            table.writerows(kept)
        self.file = path.open("a", newline="", buffering=1)
        self.table = csv.DictWriter(self.file, self.formats)
        self.board = SummaryWriter and SummaryWriter(out / "tensorboard", purge_step=first + 1)
        self.shown = {}

    def write(self, row: dict[str, float]) -> dict[str, str]:
        """Log a row and return what the bar shows: loss and J smoothed, the rest as it is."""
        written = {name: format(value, self.formats[name]) for name, value in row.items()}
        self.table.writerow(written)
        for name in row.keys() - {"step"} if self.board else ():
            self.board.add_scalar(name, row[name], row["step"])
        for name in ("loss", "J"):
            self.shown[name] = 0.95 * self.shown.get(name, row[name]) + 0.05 * row[name]
        if "validation_J" in row:
            self.shown["validation_J"] = row["validation_J"]
        shown = {name: f"{value:.3f}" for name, value in self.shown.items()}
        return shown | {"lr": f"{row['learning_rate']:.1e}"}

    def close(self) -> None:
        """Close log.csv and TensorBoard."""
        self.file.close()
        if self.board:
            self.board.close()
