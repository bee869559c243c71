"""Check a data set before training or evaluating on it, and mend its masks.

    python data_scripts/check_dataset.py DIR
    python data_scripts/check_dataset.py DIR --fix-masks

DIR is in DAVIS layout, or holds stills (images/ and masks/). Decodes every frame and mask, prints
one table row per sequence and below it every problem as a line of its own: the file, what is wrong,
the repair. Exit status 2 when something is missing or broken, 0 when there are notes only.

--fix-masks writes mended masks beside the originals (Annotations_fixed/, masks_fixed/), whole
sequences at a time; odd_masks.py has the list of what it can mend.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tyro
from checks import KINDS, Finding, Video, check_video
from odd_masks import mend
from tqdm import tqdm

from gcvos_mini import davis
from gcvos_mini.errors import BadInput, exit_on_bad_input
from gcvos_mini.pictures import FRAME_SUFFIXES, list_files
from gcvos_mini.tables import markdown

HEAD = ("sequence", "year", "frames", "masks", "objects", "size", "missing", "broken", "notes")


def find_videos(root):
    """(videos, findings) of a folder in DAVIS layout or of stills."""
    if (root / "images").is_dir() and (root / "masks").is_dir():
        still = Video(root.name, 2016, root / "images", root / "masks", root / "masks_fixed", False)
        return [still], []
    davis_folders = [root / "JPEGImages", root / "Annotations"]
    for folder in [root, *davis_folders]:
        if not folder.is_dir():
            raise BadInput(
                f"{folder}: no such folder; give stills (images/ and masks/) or a data set in "
                "DAVIS layout (JPEGImages/, Annotations/ and ImageSets/)"
            )
    images, masks = (subfolders(folder) for folder in davis_folders)
    if images and list_files(davis_folders[0] / images[0], FRAME_SUFFIXES):
        images = masks = ["."]  # the sequences lie there themselves, as in YouTube-VOS
    common = [name for name in images if name in masks]
    kind = "note" if common else "missing"
    findings = [
        Finding(kind, f"{root}: resolution {name} is not in both JPEGImages and Annotations, so "
                "not checked; rename or add the folder")
        for name in sorted(set(images) ^ set(masks))
    ]  # fmt: skip
    if len(common) > 1:
        read = "480p" if "480p" in common else "none"
        text = f"{root}: several resolutions ({', '.join(common)}); read is {read}"
        findings.append(Finding("note", f"{text} unless another is given with --resolution"))
    videos = []
    for resolution in common:
        years, found = split_years(root, resolution)
        findings += [one for one in found if one not in findings]
        label = f"{resolution}/" if len(common) > 1 else ""
        videos += videos_of(root, resolution, years, label)
        findings += unlisted(root, resolution, years)
    return videos, findings


def subfolders(folder):
    """Names of the folders in a folder, without hidden ones."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def split_years(root, resolution):
    """({sequence: year whose rules its masks follow}, findings) of all splits."""
    years, findings = {}, []
    for year, folder in [(2017, "2017"), (2016, "2016"), (2016, resolution)]:
        for file in list_files(root / "ImageSets" / folder, (".txt",)):
            try:
                for name in davis.read_split(file):
                    years.setdefault(name, year)
            except BadInput as error:
                findings.append(Finding("broken", str(error)))
    if not years and not findings:
        text = f"{root / 'ImageSets'}: no split; put names in 2016/val.txt or 2017/val.txt"
        findings.append(Finding("missing", text))
    return years, findings


def unlisted(root, resolution, years):
    """Notes on sequences that no split names."""
    there = {
        n for kind in ("JPEGImages", "Annotations") for n in subfolders(root / kind / resolution)
    }
    return [
        Finding("note", f"{root / 'JPEGImages' / resolution / name}: in no split, so never read; "
                "name it in one, ImageSets/<year>/<split>.txt")
        for name in sorted(there - years.keys())
    ]  # fmt: skip


def videos_of(root, resolution, years, label):
    """The Videos of a resolution: those that splits name, then the others."""
    default = 2017 if (root / "ImageSets" / "2017").is_dir() else 2016
    folders = [root / "JPEGImages" / resolution, root / "Annotations" / resolution]
    names = [*years, *sorted({n for f in folders for n in subfolders(f)} - years.keys())]
    fixed = root / "Annotations_fixed" / resolution
    return [
        Video(label + name, years.get(name, default), *(f / name for f in folders), fixed / name)
        for name in names
    ]


# The command


def check(root: tyro.conf.Positional[Path], fix_masks: bool = False):
    """Check every sequence of a data set in DAVIS layout, or every image of a folder of stills.

    Args:
        root: folder that holds JPEGImages, Annotations and ImageSets, or images and masks.
        fix_masks: write mended masks beside the originals, into Annotations_fixed or masks_fixed.
    """
    videos, findings = find_videos(root)
    rows, mended = [], []
    folders = [folder for v in videos for folder in (v.frames_folder, v.masks_folder)]
    total = sum(len(list_files(folder, FRAME_SUFFIXES)) for folder in folders)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=total, unit="file", disable=None) as progress,
    ):
        for video in videos:
            progress.set_description(video.name)
            row, found, masks = check_video(video, pool, progress)
            rows.append(row)
            findings += found
            mended += mend(video, masks) if fix_masks else []
    print(markdown(HEAD, rows), end="\n\n")
    for kind in KINDS:
        for finding in findings:
            if finding.kind == kind:
                print(f"{kind}: {finding.text}")
    for line in mended:
        print(line)
    bad = sum(finding.kind != "note" for finding in findings)
    if bad:
        raise BadInput(f"{root}: {bad} problems, each on a line of its own above; repair them")


if __name__ == "__main__":
    exit_on_bad_input(lambda: tyro.cli(check))
