"""What lies in the folder of a rendered data set, and whether all that lies there was rendered."""

import json
from pathlib import Path

from gcvos_mini.errors import BadInput
from gcvos_mini.toy.scenes import VAL

FRAMES = {"train": 6, "val": 40}  # many scenes teach more than long ones


def split_of(name: str) -> str:
    """Which split a clip belongs to, "val" or "train"."""
    return "val" if name in VAL else "train"


def write_lists(root: Path, about: dict) -> None:
    """Write ImageSets/2017/<split>.txt, and toy.json, which says what was rendered."""
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    for split in FRAMES:
        names = [name + "\n" for name in about["clips"] if split_of(name) == split]
        if names:  # an empty list would be a broken one
            (lists / f"{split}.txt").write_text("".join(names))
    (root / "toy.json").write_text(json.dumps(about) + "\n")


def already_there(root: Path, about: dict) -> bool:
    """Whether `root` holds the data set `about` describes; False where it may be replaced.

    Raises BadInput where anything would be lost that was not rendered.
    """
    if not root.exists():
        return False
    if not root.is_dir():
        raise BadInput(f"{root}: is a file; give --out a folder")
    there = read_about(root)
    if there == about:
        return True
    ours = contents(there)
    for path in sorted(root.rglob("*")):
        if path.relative_to(root).as_posix() not in ours:
            raise BadInput(f"{root}: holds other files ({path}); give --out a new folder")
    return False


def read_about(root: Path) -> dict | None:
    """What toy.json says, as `write_lists` wrote it; None where there is no such file."""
    try:
        about = json.loads((root / "toy.json").read_text())
        contents(about)
        return about
    except (OSError, ValueError, KeyError, TypeError):
        return None


def contents(about: dict | None) -> set[str]:
    """All files and folders of a rendered data set, by their paths in it; none of None."""
    if about is None:
        return set()
    found = {"toy.json", "ImageSets", "ImageSets/2017"}
    found |= {f"ImageSets/2017/{split_of(name)}.txt" for name in about["clips"]}
    for part, ending in (("JPEGImages", "jpg"), ("Annotations", "png")):
        lines = f"{part}/{about['height']}p"
        found |= {part, lines, *(f"{lines}/{name}" for name in about["clips"])}
        for name in about["clips"]:
            count = FRAMES[split_of(name)] if about["frames"] is None else about["frames"]
            found |= {f"{lines}/{name}/{t:05d}.{ending}" for t in range(count)}
    return found
