"""Check a data set in DAVIS layout before training or evaluating on it.

    python data_scripts/check_dataset.py DIR

Decodes every frame and mask of every split, prints one table row per sequence with its first
problem, and exits with status 2 when there is one.
"""

from pathlib import Path

import tyro

from gcvos_mini import davis
from gcvos_mini.errors import BadInput, exit_on_bad_input


def sequence_years(root, resolution):
    """Sequence names in all splits, each with the year whose rules its masks follow."""
    years = {}
    for year, folder in [(2017, "2017"), (2016, "2016"), (2016, resolution)]:
        for file in sorted((root / "ImageSets" / folder).glob("*.txt")):
            for name in davis.read_split(file):
                years.setdefault(name, year)
    if not years:
        raise BadInput(f"{root / 'ImageSets'}: no split; put names in 2016/val.txt or 2017/val.txt")
    return years


def check_sequence(root, name, resolution, year):
    """One table row: name, frames, masks, objects, size. Raises BadInput on the first problem."""
    sequence = davis.load_sequence(root, name, resolution)
    first_frame, first_mask = davis.read_start(sequence, year)
    for path in sequence.frames:
        frame = davis.read_frame(path)
        davis.check_same_size(frame, path, first_frame, sequence.frames[0])
    stems = {path.stem for path in sequence.frames}
    for stem, path in sequence.masks.items():
        if stem not in stems:
            raise BadInput(f"{path}: a mask without a frame; remove it or add the frame")
        mask = davis.read_sequence_mask(path, year)
        davis.check_same_size(mask, path, first_frame, sequence.frames[0])
    height, width = first_frame.shape[:2]
    objects = len(davis.object_ids(first_mask))
    return name, len(sequence.frames), len(sequence.masks), objects, f"{width}x{height}"


def check(root: tyro.conf.Positional[Path]):
    """Check every sequence of a data set in DAVIS layout.

    Args:
        root: folder that holds JPEGImages, Annotations and ImageSets.
    """
    resolution = davis.find_resolution(root)
    years = sequence_years(root, resolution)
    print("| sequence | frames | masks | objects | size | problem |")
    print("|---|---:|---:|---:|---|---|")
    broken = 0
    for name, year in years.items():
        try:
            row, problem = check_sequence(root, name, resolution, year), ""
        except BadInput as error:
            row, problem = (name, "", "", "", ""), str(error)
            broken += 1
        print("| " + " | ".join(map(str, [*row, problem])) + " |", flush=True)
    if broken:
        raise BadInput(f"{root}: {broken} of {len(years)} sequences are broken; see the table")


if __name__ == "__main__":
    exit_on_bad_input(lambda: tyro.cli(check))
