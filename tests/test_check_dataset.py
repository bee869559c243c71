"""data_scripts/check_dataset.py: each kind of damage is named with its repair, and mended masks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from davis_folder import write_davis
from PIL import Image

from gcvos_mini.errors import exit_on_bad_input
from gcvos_mini.masks import PALETTE, read_sequence_mask, write_mask

SCRIPT = Path(__file__).parents[1] / "data_scripts" / "check_dataset.py"
sys.path.insert(0, str(SCRIPT.parent))
from check_dataset import check  # noqa: E402

HEIGHT, WIDTH = 60, 80


def labels(t=0):
    """Two discs that move, of ids 1 and 2."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[(y - 20) ** 2 + (x - 20 - t) ** 2 < 144] = 1
    mask[(y - 40) ** 2 + (x - 55) ** 2 < 150] = 2
    return mask


def one_object(t):
    return (labels(t) == 1).astype(np.uint8)


def soften(mask):
    """The anti-aliased picture of a mask (H, W): drawn four times as large, made small again."""
    large = Image.fromarray(mask).resize((4 * WIDTH, 4 * HEIGHT), Image.BICUBIC)
    return np.array(large.rotate(1).rotate(-1).resize((WIDTH, HEIGHT), Image.BOX))


def sequence():
    """Five frames of one grey each, and their masks."""
    frames = [np.full((HEIGHT, WIDTH, 3), 9 * t, np.uint8) for t in range(5)]
    return frames, [labels(t) for t in range(5)]


def write_split(root, *names, year="2017"):
    file = root / "ImageSets" / year / "val.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(names))


@pytest.fixture
def data(tmp_path):
    return write_davis(tmp_path / "set", {"ant": sequence(), "bear": sequence()})


@pytest.fixture
def run(capsys):
    """Check a folder in this process: (exit status, lines of stdout, stderr)."""

    def call(root, **options):
        try:
            exit_on_bad_input(lambda: check(root, **options))
            status = 0
        except SystemExit as stop:
            status = stop.code
        text = capsys.readouterr()
        return status, text.out.splitlines(), text.err

    return call


def row(lines, name):
    [line] = [line for line in lines if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def mask_path(root, t=2, name="bear"):
    return root / f"Annotations/480p/{name}/{t:05d}.png"


def frame_path(root, t=2, name="bear"):
    return root / f"JPEGImages/480p/{name}/{t:05d}.jpg"


def test_good_data(data, run):
    status, lines, errors = run(data)
    assert (status, errors) == (0, "")
    assert lines[0].startswith("| sequence | year | frames | masks | objects | size | missing")
    assert lines[2:4] == [
        f"| {n} | 2017 | 5 | 5 | 2 | 80x60 | 0 | 0 | 0 |" for n in ("ant", "bear")
    ]
    assert lines[4:] == [""]  # no problem below the table


def test_as_a_person_calls_it(data):
    """In a process of its own: one line on stderr and status 2, the rest on stdout."""
    frame_path(data).unlink()
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
    command = [sys.executable, SCRIPT, data]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {data}: 1 problems")


def redraw(t, change):
    """A damage: mask t of the bear becomes change(labels at t), an array or a picture."""

    def damage(root):
        image = change(labels(t))
        image = image if isinstance(image, Image.Image) else Image.fromarray(np.uint8(image))
        image.save(mask_path(root, t), "PNG")

    return damage


def colour(mask):
    image = Image.fromarray(mask)
    image.putpalette(PALETTE)
    return image.convert("RGBA")


def noisy(mask):
    return 60 * mask + np.random.default_rng(0).integers(0, 20, (HEIGHT, WIDTH), np.uint8)


def truncate_frame(root):
    frame_path(root).write_bytes(frame_path(root).read_bytes()[:-100])


def unpad(root):
    for t in range(5):
        frame_path(root, t).rename(frame_path(root, t).with_name(f"{t + 8}.jpg"))


def lose_splits(root):
    for file in root.glob("ImageSets/*/*.txt"):
        file.unlink()


BROKEN = {  # one kind of damage each: what is done, what is said of it
    "cut frame": (
        truncate_frame, "broken: .*JPEGImages/480p/bear/00002.jpg: cannot be read.*; copy it ag",
    ),
    "frame of another size": (
        lambda root: Image.new("RGB", (HEIGHT, WIDTH)).save(frame_path(root)),
        "broken: .*00002.jpg: 60x80, but .*00000.jpg is 80x60; export it again",
    ),
    "mask of another size": (
        redraw(2, lambda mask: mask.T),
        "broken: .*00002.png: 60x80, but .*00000.jpg is 80x60; export it again",
    ),
    "colours": (
        redraw(2, colour),
        "broken: .*00002.png: a colour image, not 8-bit object ids; mend .*--fix-masks",
    ),
    "unknown colours": (
        redraw(2, lambda mask: Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3))),
        "broken: .*00002.png: mask in colours that are not the DAVIS.*; export",
    ),
    "JPEG": (
        lambda root: Image.fromarray(labels()).save(mask_path(root), "JPEG"),
        "broken: .*00002.png: mask is a JPEG file, not a PNG; export",
    ),
    "soft edges": (
        redraw(2, lambda mask: soften(255 * np.uint8(mask == 1))),
        "broken: .*00002.png: soft edges; each of their .* object; mend it with --fix",
    ),
    "noise": (redraw(2, noisy), "broken: .*00002.png: soft edges or noise, no clear lev.*; export"),
    "close levels": (
        redraw(2, lambda mask: soften(np.array([0, 100, 105], np.uint8)[mask])),
        "broken: .*00002.png: soft edges or noise, no clear levels .*; export",
    ),
    "16 bits": (
        redraw(2, lambda mask: Image.fromarray(mask.astype(np.uint16))),
        "broken: .*00002.png: a 16-bit image, not 8-bit object ids; mend it with --fix-masks",
    ),
    "ids above 255": (
        redraw(2, lambda mask: Image.fromarray(mask.astype(np.uint16) * 700)),
        "broken: .*00002.png: 16-bit mask with ids up to 1400; renumber",
    ),
    "no object": (
        redraw(0, lambda mask: 0 * mask),
        "broken: .*00000.png: first mask is empty; mark at least one",
    ),
    "void alone": (
        redraw(0, lambda mask: 255 * (mask == 1)),
        "broken: .*00000.png: first mask holds only 255.*; use year 2016",
    ),
    "no first mask": (
        lambda root: mask_path(root, 0).unlink(),
        "missing: .*00000.png: no mask for the first frame; add it",
    ),
    "mask without frame": (
        lambda root: frame_path(root, 4).unlink(),
        "missing: .*00004.png: a mask without a frame; remove it or add",
    ),
    "no frames": (
        lambda root: write_split(root, "bear", "wolf"),
        "missing: .*JPEGImages/480p/wolf: no frames; put them there",
    ),
    "no masks": (
        lambda root: write_split(root, "bear", "wolf"),
        "missing: .*Annotations/480p/wolf: no masks; put at least the first",
    ),
    "empty split": (
        lambda root: write_split(root, "\n", year="2016"),
        "broken: .*2016/val.txt: names no sequence; write",
    ),
    "path in a split": (
        lambda root: write_split(root, "bear", "../bear", year="2016"),
        r"broken: .*2016/val.txt, line 2: '../bear' is no sequence name; write",
    ),
    "other numbers": (unpad, "missing: .*480p/bear/8.png: no mask for the first frame; add it"),
    "another resolution": (
        lambda root: (root / "Annotations/480p").rename(root / "Annotations/1080p"),
        "missing: .*resolution 1080p is not in both.*; rename or add",
    ),
    "no split": (lose_splits, "missing: .*ImageSets: no split; put names in"),
}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize("damage, said", BROKEN.values(), ids=BROKEN)
def test_broken(data, run, damage, said):
    damage(data)
    status, lines, errors = run(data)
    assert status == 2
    assert errors.startswith("error: ") and len(errors.splitlines()) == 1
    assert any(re.match(said, line) for line in lines), "\n".join(lines)


def leave_gaps(root):
    for t in range(5):
        redraw(t, lambda mask: 3 * (mask == 1))(root)


def lose_a_moment(root):
    frame_path(root, 3).unlink()
    mask_path(root, 3).unlink()


def copied(name, other):
    """A change: a folder below JPEGImages and Annotations is copied to another."""

    def change(root):
        for kind in ("JPEGImages", "Annotations"):
            shutil.copytree(root / kind / name, root / kind / other)

    return change


NOTES = {
    "macOS": (
        lambda root: frame_path(root).with_name("._00000.jpg").write_bytes(b"macOS"),
        "note: .*bear/._00000.jpg: macOS's, 1 in the folder; not read, remove",
    ),
    "alpha": (
        redraw(2, lambda mask: Image.merge("LA", [Image.fromarray(mask)] * 2)),
        "note: .*00002.png: grey with an alpha channel, of which only one is read; mend",
    ),
    "gaps": (leave_gaps, r"note: .*00000.png: ids \[3\] leave gaps"),
    "late object": (
        redraw(3, lambda mask: np.where(mask == 2, 9, mask)),
        r"note: .*00000.png: ids \[9\] come first in 00003.png; they are not followed",
    ),
    "void": (
        redraw(0, lambda mask: np.where(mask == 2, 255, mask)), "note: .*00000.png: holds 255, void"
    ),
    "hole": (
        lose_a_moment, "note: .*00004.jpg: comes right after 00002.jpg, 1 such holes; copy lost"
    ),
    "frame without mask": (
        lambda root: mask_path(root, 3).unlink(),
        "note: .*00003.jpg: first of 1 frames without a mask; they are not scored",
    ),
    "in no split": (
        copied("480p/bear", "480p/cat"),
        "note: .*JPEGImages/480p/cat: in no split, so never read; name it in one",
    ),
    "half a resolution": (
        lambda root: (root / "JPEGImages/1080p").mkdir(),
        "note: .*resolution 1080p is not in both .* so not checked; rename",
    ),
    "two resolutions": (
        copied("480p", "240p"), "note: .*several resolutions .240p, 480p.; read is 480p"
    ),
}  # fmt: skip


@pytest.mark.parametrize("change, said", NOTES.values(), ids=NOTES)
def test_notes(data, run, change, said):
    change(data)
    status, lines, errors = run(data)
    assert (status, errors) == (0, "")
    assert any(re.match(said, line) for line in lines), "\n".join(lines)


def test_every_problem_has_a_line(data, run):
    for t in (1, 2, 3):
        redraw(t, colour)(data)
    truncate_frame(data)
    frame_path(data, 4, "ant").unlink()
    status, lines, errors = run(data)
    assert sum("a colour image" in line for line in lines) == 3
    assert row(lines, "bear") == ["bear", "2017", "5", "5", "2", "80x60", "0", "4", "0"]
    assert row(lines, "ant") == ["ant", "2017", "4", "5", "2", "80x60", "1", "0", "0"]
    assert status == 2 and ": 5 problems" in errors


def test_soft_edges_in_2016_are_a_note(data, run):
    (data / "ImageSets/2017").rename(data / "ImageSets/2016")
    BROKEN["soft edges"][0](data)
    status, lines, _ = run(data)
    assert status == 0
    assert any("soft edges; in a 2016 set the object ends half way" in line for line in lines)


def test_missing_folders(tmp_path, run):
    for folder in (tmp_path / "absent", tmp_path):
        status, lines, errors = run(folder)
        assert status == 2 and lines == [] and "no such folder; give stills" in errors


def test_no_resolution_folder(data, run):
    """As YouTube-VOS has it; what is wrong is found there, and mended, too."""
    for kind in ("JPEGImages", "Annotations"):
        for folder in (data / kind / "480p").iterdir():
            folder.rename(data / kind / folder.name)
        (data / kind / "480p").rmdir()
    status, lines, _ = run(data)
    assert status == 0 and row(lines, "bear")[1:4] == ["2017", "5", "5"], "\n".join(lines)
    path = data / "Annotations/bear/00002.png"
    colour(read_sequence_mask(path, 2017)).save(path)
    status, lines, _ = run(data, fix_masks=True)
    assert status == 2 and any(f"broken: {path}: a colour image" in line for line in lines)
    use(lines)
    assert run(data)[0] == 0


# Stills


@pytest.fixture
def stills(tmp_path):
    for t in range(4):
        for folder, picture in (
            ("images", Image.new("RGB", (WIDTH, HEIGHT))),
            ("masks", Image.fromarray(255 * one_object(t))),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture.save(tmp_path / folder / f"{7 * t + 2}.png")  # 2, 9, 16, 23: any numbers
    return tmp_path


def test_good_stills(stills, run):
    status, lines, _ = run(stills)
    assert status == 0
    assert row(lines, stills.name)[1:] == ["2016", "4", "4", "", "80x60", "0", "0", "0"]


def test_broken_stills(stills, run):
    Image.new("RGB", (9, 9)).save(stills / "images/2.png")
    (stills / "images/9.png").write_text("<html>")
    (stills / "masks/16.png").unlink()
    status, lines, _ = run(stills)
    assert status == 2
    text = "\n".join(lines)
    assert "masks/2.png: 80x60, but" in text and "images/9.png: cannot be read" in text
    assert "images/16.png: first of 1 frames without a mask" in text


# Mending


def use(lines):
    """Do what the check says to use mended masks."""
    for line in lines:
        if "to use it: " in line:
            subprocess.run(line.split("to use it: ")[1], shell=True, check=True)


DAMAGED = {
    "soft": soften,
    "colour": colour,
    "grey colour": lambda mask: Image.fromarray(mask).convert("RGB"),
    "soft colour": lambda mask: Image.fromarray(soften(mask)).convert("RGB"),
    "16 bits": lambda mask: Image.fromarray(mask.astype(np.uint16)),
    "alpha": lambda mask: Image.merge("LA", [Image.fromarray(m) for m in (mask, 255 - mask)]),
}


@pytest.mark.parametrize(
    "kind, levels, ids, year",
    [
        ("colour", [0, 1, 2], [0, 1, 2], "2017"),
        ("grey colour", [0, 1, 2], [0, 1, 2], "2017"),
        ("16 bits", [0, 1, 2], [0, 1, 2], "2017"),
        ("alpha", [0, 1, 2], [0, 1, 2], "2017"),
        ("alpha", [0, 255, 255], [0, 1, 1], "2016"),
        ("soft", [0, 255, 255], [0, 1, 1], "2016"),
        ("soft", [0, 90, 255], [0, 1, 1], "2016"),  # the darker is an object too
        ("soft colour", [0, 255, 255], [0, 1, 1], "2016"),
        ("soft", [0, 255, 255], [0, 1, 1], "2017"),
        ("soft", [0, 60, 255], [0, 60, 1], "2017"),  # 255 is an object here, not void
        ("soft", [0, 80, 200], [0, 80, 200], "2017"),
    ],
)
@pytest.mark.parametrize("which", [[2], [0, 1, 2, 3, 4]])
def test_mended_masks_are_the_original_ones(data, run, kind, levels, ids, year, which):
    """Damage some or all masks of a sequence, mend, use: the check passes, ids are the same."""
    (data / "ImageSets/2017").rename(data / "ImageSets" / year)
    for t in range(5):
        mask = np.array(levels, np.uint8)[labels(t)]
        write_mask(mask_path(data, t), mask)
        if t in which:
            redraw(t, lambda _: DAMAGED[kind](mask))(data)  # noqa: B023
    use(run(data, fix_masks=True)[1])
    status, lines, _ = run(data)
    assert status == 0 and not any("mend it" in line for line in lines), "\n".join(lines)
    for t in range(5):
        after, before = read_sequence_mask(mask_path(data, t), year), np.array(ids)[labels(t)]
        assert set(np.unique(after)) == set(ids)
        assert (after != before).mean() < (0.01 if "soft" in kind else 1e-9)
        for i in ids:  # no outline of one object in another's id
            near = cv2.dilate((before == i).astype(np.uint8), np.ones((5, 5), np.uint8))
            assert not (after == i)[near == 0].any()


def files_of(root):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def test_mending_leaves_the_originals_and_twice_changes_nothing(data, run):
    redraw(2, colour)(data)
    before = files_of(data)
    run(data, fix_masks=True)
    once = files_of(data)
    assert before.items() <= once.items()
    new = {p.relative_to(data).as_posix() for p in once.keys() - before.keys()}
    assert new == {f"Annotations_fixed/480p/bear/{t:05d}.png" for t in range(5)}
    run(data, fix_masks=True)
    assert files_of(data) == once


@pytest.mark.parametrize("t", [1, 2])
def test_a_mask_corrected_by_hand_is_kept_and_named(data, run, t):
    """Of a mended one and of a copied one; a half one too. Once removed, it is made anew."""
    redraw(2, colour)(data)
    run(data, fix_masks=True)
    fixed = data / f"Annotations_fixed/480p/bear/{t:05d}.png"
    for content in (mask_path(data, 4).read_bytes(), b"half"):
        fixed.write_bytes(content)
        before = files_of(data)
        _, lines, _ = run(data, fix_masks=True)
        assert [str(fixed) in line for line in lines if line.startswith("kept")] == [True]
        assert files_of(data) == before
    fixed.unlink()
    _, lines, _ = run(data, fix_masks=True)
    assert not any(line.startswith("kept") for line in lines) and fixed.is_file()


def test_what_cannot_be_mended_is_named(data, run):
    redraw(2, colour)(data)
    mask_path(data, 1).write_bytes(b"")
    _, lines, _ = run(data, fix_masks=True)
    assert [line for line in lines if line.startswith("not mended")][0].endswith("bear/00001.png")
    assert not (data / "Annotations_fixed/480p/bear/00001.png").exists()


def test_mended_stills(stills, run):
    Image.fromarray(soften(255 * one_object(1))).save(stills / "masks/9.png")
    _, lines, _ = run(stills, fix_masks=True)
    use(lines)
    status, lines, _ = run(stills)
    assert status == 0 and row(lines, stills.name)[-1] == "0"
    assert (read_sequence_mask(stills / "masks/9.png", 2016) != one_object(1)).mean() < 0.01
