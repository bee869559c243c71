"""The one builder of data sets for tests: small folders in DAVIS layout, and folders of stills."""

from pathlib import Path

from PIL import Image

from gcvos_mini.masks import write_mask
from gcvos_mini.toy import clip_frames


def write_davis(root, sequences, year=2017, split="val", resolution="480p", suffix=".jpg"):
    """Write sequences {name: (frames, masks)} and add their names to a split; return the root.

    frames: uint8 (T, H, W, 3), or None for masks alone. masks: a list of uint8 (H, W), one for each
    frame, or {frame number: mask}. suffix: ".jpg" as DAVIS has it, ".png" where pixels must stay.
    """
    root = Path(root)
    for name, (frames, masks) in sequences.items():
        folder = root / "JPEGImages" / resolution / name
        for t, frame in enumerate([] if frames is None else frames):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(folder / f"{t:05d}{suffix}")
        write_masks(root / "Annotations" / resolution / name, masks)
    listed = root / "ImageSets" / str(year) / f"{split}.txt"
    listed.parent.mkdir(parents=True, exist_ok=True)
    with listed.open("a") as file:
        file.writelines(f"{name}\n" for name in sequences)
    return root


def write_masks(folder, masks):
    """Write masks, a list or {frame number: uint8 (H, W)}, as folder/00000.png and so on."""
    for t, mask in masks.items() if isinstance(masks, dict) else enumerate(masks):
        write_mask(Path(folder) / f"{t:05d}.png", mask)


def write_stills(root, stills):
    """Write stills {name: (image uint8 (H, W, 3), mask uint8 (H, W))}; return the root."""
    root = Path(root)
    for name, (image, mask) in stills.items():
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "images" / f"{name}.png")
        write_mask(root / "masks" / f"{name}.png", mask)
    return root


def write_friends(root, lines):
    """Six frames of an embedded clip under root: their folder, and the first one's true mask."""
    frames, masks = zip(*clip_frames("two-friends", lines, frames=6))
    write_davis(root, {"clip": (frames, masks)}, suffix=".png")
    return root / "JPEGImages/480p/clip", masks[0]


def numbers(folder):
    """The names in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())
