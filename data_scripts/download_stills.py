"""Download data sets of stills with a mask each, for the first stage of training (section 3.3).

    python data_scripts/download_stills.py MSRA10K ECSSD --out data

makes DIR/MSRA10K/images/NAME.jpg with DIR/MSRA10K/masks/NAME.png and so on. A download that was
stopped goes on when the command is run again; archives.toml has the URLs.
"""

from pathlib import Path, PurePosixPath
from typing import Literal

import fetch
import tyro

from gcvos_mini.commands import python
from gcvos_mini.errors import BadInput, exit_on_bad_input

PARTS = ("images", "masks")
STAGE = Path("runs/paper-stills")  # as `make paper` calls it


def by_suffix(path):
    """Images are JPEG, masks PNG, whatever folders they are in."""
    part = {".jpg": "images", ".png": "masks"}.get(path.suffix.lower())
    return PurePosixPath(part, path.name) if part and not fetch.is_litter(path) else None


def by_folder(path):
    """Images and masks are both PNG, in imgs/ and gt/."""
    part = {"imgs": "images", "gt": "masks"}.get(path.parent.name)
    return PurePosixPath(part, path.name) if part and not fetch.is_litter(path) else None


STILLS = {
    "MSRA10K": (["MSRA10K_Imgs_GT.zip"], by_suffix),
    "ECSSD": (["ECSSD-images.zip", "ECSSD-ground_truth_mask.zip"], by_suffix),
    "HKU-IS": (["HKU-IS.zip"], by_folder),
}


def download(
    names: tyro.conf.Positional[tuple[Literal["MSRA10K", "ECSSD", "HKU-IS"], ...]],
    out: Path,
    offline: tuple[Path, ...] = (),
    dry_run: bool = False,
):
    """Download stills with masks and unpack them; a download that was stopped goes on.

    Args:
        names: which data sets; HKU-IS has to be fetched by hand, the command says how.
        out: folder for the archives and for the data sets, OUT/NAME.
        offline: archives that are on disk already; they are checked like downloads.
        dry_run: print URL, size and terms, and download nothing.
    """
    if not names:
        raise BadInput(f"no data set named; choose from {', '.join(STILLS)}")
    fetch.check_offline([file for name in names for file in STILLS[name][0]], offline)
    for name in names:
        files, place = STILLS[name]
        fetch.install(files, out / name, place, PARTS, offline, dry_run)
    if not dry_run:
        from gcvos_mini.clips import find_stills  # brings torch, which takes seconds

        for name in names:
            print(f"{out / name}: {len(find_stills(out / name))} images with masks")
        folders = [out / name for name in names]
        words = ["--config", "paper", "--stage", "stills", "--backbone", "imagenet"]
        train = ["-m", "gcvos_mini.train", *words, "--data", *folders, "--out", STAGE]
        print(f"next: {python(*train)}\n      (make paper does that on several GPUs, and the rest)")


def main():
    exit_on_bad_input(lambda: tyro.cli(download))


if __name__ == "__main__":
    main()
