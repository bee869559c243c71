"""Download DAVIS into a folder in its own layout: DIR/DAVIS-SET-RESOLUTION.

    python data_scripts/download_davis.py --set 2016 --out data

A download that was stopped goes on when the command is run again; archives.toml has the URLs.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import fetch
import tyro

from gcvos_mini.commands import python, script
from gcvos_mini.errors import exit_on_bad_input

PARTS = ("JPEGImages", "Annotations", "ImageSets")


def archive_and_folder(chosen, resolution):
    """The archive of a set, and how the resolution is called in it."""
    if chosen == "2016":  # one archive holds both resolutions
        return "DAVIS-data.zip", {"480p": "480p", "full": "1080p"}[resolution]
    folder = {"480p": "480p", "full": "Full-Resolution"}[resolution]
    return f"DAVIS-{chosen}-{folder}.zip", folder


def place(path, folder):
    """DAVIS/JPEGImages/480p/bear/00000.jpg -> JPEGImages/480p/bear/00000.jpg; others -> None."""
    tops = [i for i, part in enumerate(path.parts) if part in PARTS]
    if not tops or fetch.is_litter(path):
        return None
    parts = path.parts[tops[0] :]
    if parts[0] != "ImageSets" and parts[1:2] != (folder,):
        return None  # the other resolution
    return PurePosixPath(*parts)


def next_steps(chosen, target, folder):
    """The commands that go on from here."""
    if chosen == "2017-test-dev":  # only first masks are public: nothing to score
        frames, masks = (sorted((target / part / folder).iterdir())[0] for part in PARTS[:2])
        out = Path("runs", target.name, frames.name)
        words = ["gcvos_mini.segment", "--frames", frames, "--masks", masks, "--out", out]
    else:
        words = ["gcvos_mini.evaluate", "--data", target, "--year", chosen[:4], "--split", "val",
                 "--checkpoint", "mini", "--out", Path("runs", target.name)]  # fmt: skip
    check = python(script("check_dataset.py"), target)
    return f"next: {check}\n      {python('-m', *words)}"


def download(
    chosen: Annotated[Literal["2016", "2017-trainval", "2017-test-dev"], tyro.conf.arg(name="set")],
    out: Path,
    resolution: Literal["480p", "full"] = "480p",
    offline: tuple[Path, ...] = (),
    dry_run: bool = False,
):
    """Download DAVIS and unpack it; a download that was stopped goes on.

    Args:
        chosen: which DAVIS.
        out: folder for the archive and for the data set, OUT/DAVIS-SET-RESOLUTION.
        resolution: 480p is what papers score; full is what was filmed.
        offline: the archive, if it is on disk already; it is checked like a download.
        dry_run: print URL, size and terms, and download nothing.
    """
    archive, folder = archive_and_folder(chosen, resolution)
    target = out / f"DAVIS-{chosen}-{resolution}"
    fetch.check_offline([archive], offline)
    fetch.install([archive], target, lambda path: place(path, folder), PARTS, offline, dry_run)
    if not dry_run:
        print(next_steps(chosen, target, folder))


def main():
    exit_on_bad_input(lambda: tyro.cli(download))


if __name__ == "__main__":
    main()
