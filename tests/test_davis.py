"""The DAVIS layout: what is read and written bit for bit, and what is refused by name."""

import os
from pathlib import Path

import numpy as np
import pytest
from davis_folder import write_davis
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from gcvos_mini.davis import load_split, read_start
from gcvos_mini.errors import BadInput
from gcvos_mini.masks import (
    PALETTE,
    object_ids,
    read_first_mask,
    read_mask,
    read_sequence_mask,
    write_mask,
)
from gcvos_mini.pictures import read_frame

HEIGHT, WIDTH = 30, 41


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def two_objects():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:15, 5:20], mask[12:25, 25:35] = 1, 2
    return mask


def sequence(frames=3, masks=3):
    return [picture(t) for t in range(frames)], [two_objects()] * masks


def write_split(root, text, folder="2017", split="val"):
    path = root / "ImageSets" / folder / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def data(tmp_path):
    return write_davis(tmp_path, {"bear": sequence(), "ant": sequence()})


# Masks


def test_palette_is_the_davis_palette():
    """Black, dark red, dark green, ... as the VOC tables print them, and 255 for void."""
    colours = np.array(PALETTE).reshape(256, 3).tolist()
    assert colours[:5] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert colours[8] == [64, 0, 0]
    assert colours[20] == [0, 64, 128]
    assert colours[255] == [224, 224, 192]
    assert len({tuple(c) for c in colours}) == 256


@settings(max_examples=25, deadline=None)
@given(labels=hnp.arrays(np.uint8, st.tuples(st.integers(1, 33), st.integers(1, 33))))
def test_written_mask_reads_back(labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("mask") / "new" / "00000.png"
    write_mask(path, labels)
    np.testing.assert_array_equal(read_mask(path), labels)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.getpalette() == PALETTE


def test_failed_write_leaves_the_old_mask(tmp_path, monkeypatch):
    path = tmp_path / "00000.png"
    write_mask(path, two_objects())

    def stopped(image, file, **options):
        Path(file).write_bytes(b"half a mask")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_mask(path, np.zeros_like(two_objects()))
    np.testing.assert_array_equal(read_mask(path), two_objects())
    assert os.listdir(tmp_path) == ["00000.png"]


def test_rewritten_mask_is_a_new_file(tmp_path):
    """A reader that holds the old mask open keeps all of it while a new one takes its place."""
    path = tmp_path / "00000.png"
    write_mask(path, two_objects())
    old = path.read_bytes()
    with open(path, "rb") as reader:
        write_mask(path, np.zeros_like(two_objects()))
        assert reader.read() == old
    assert path.read_bytes() != old


@pytest.mark.parametrize("labels", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8)])
def test_only_uint8_planes_are_written(tmp_path, labels):
    with pytest.raises(ValueError, match="uint8"):
        write_mask(tmp_path / "x.png", labels)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "1"])
def test_mask_modes(tmp_path, mode):
    path, labels = tmp_path / "m.png", two_objects()
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette([0, 0, 0, 9, 99, 200, 255, 255, 0])  # not DAVIS's: ids count, not colours
    elif mode == "LA":
        image = Image.merge("LA", [image, Image.fromarray(255 - labels)])
    elif mode == "1":
        labels = (labels > 0).astype(np.uint8)
        image = Image.fromarray(labels > 0)
    image.save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
    mask = read_mask(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16"])
def test_mask_without_ids_is_refused(tmp_path, mode):
    path = tmp_path / "colour.png"
    image = Image.fromarray(two_objects())
    if mode == "I;16":
        Image.fromarray(two_objects().astype(np.uint16)).save(path)
    else:
        image.convert(mode).save(path)
    with pytest.raises(BadInput, match=r"colour\.png: mask is a .* save it as an 8-bit"):
        read_mask(path)


def test_years(tmp_path):
    path = tmp_path / "m.png"
    ids = np.repeat([[0, 1, 7, 255]] * 4, 4, axis=1)
    Image.fromarray(ids.astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_sequence_mask(path, 2016), ids > 0)
    np.testing.assert_array_equal(read_sequence_mask(path, 2017), ids)


# Frames


def test_frame_is_rgb(tmp_path):
    path = tmp_path / "f.png"
    Image.fromarray(picture()).save(path)
    np.testing.assert_array_equal(read_frame(path), picture())
    grey = tmp_path / "grey.jpg"
    Image.fromarray(np.full((5, 7), 90, np.uint8)).save(grey)
    assert read_frame(grey).shape == (5, 7, 3)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated_frame(tmp_path, share, ending):
    path = tmp_path / f"cut.{ending}"
    Image.fromarray(picture().repeat(8, axis=0).repeat(8, axis=1)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput, match=rf"cut\.{ending}: cannot be read"):
        read_frame(path)


def test_sixteen_bit_frame_is_refused(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((5, 7), 40000, np.uint16)).save(path)
    with pytest.raises(BadInput, match=r"deep\.png: more than 8 bits"):
        read_frame(path)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_animation_is_refused(tmp_path, ending):
    """APNG, and a GIF that is called .jpg: which of its pictures is meant would be a guess."""
    path = tmp_path / f"moving.{ending}"
    first, *others = [Image.fromarray(picture(t)) for t in range(3)]
    first.save(path, {"png": "PNG", "jpg": "GIF"}[ending], save_all=True, append_images=others)
    with pytest.raises(BadInput, match=rf"moving\.{ending}: an animation of 3 pictures"):
        read_frame(path)


def test_camera_jpeg_with_a_preview_is_read(tmp_path):
    path = tmp_path / "camera.jpg"
    first, second = Image.fromarray(picture(0)), Image.fromarray(picture(1))
    first.save(path, "MPO", save_all=True, append_images=[second])
    assert read_frame(path).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("level", [0, 6])
def test_changed_bit_in_a_mask_is_seen(tmp_path, level):
    """Whichever bit changes, anywhere in the file: the mask is refused, or it is the same."""
    path, labels = tmp_path / "m.png", two_objects()
    Image.fromarray(labels).save(path, compress_level=level)
    content = path.read_bytes()
    for place in range(0, len(content), 1 if level else 37):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(BadInput, match=r"m\.png: "):
            read_mask(path)


def test_mask_in_another_format_is_refused(tmp_path):
    path = tmp_path / "blurred.png"
    Image.fromarray(two_objects()).save(path, "JPEG")
    with pytest.raises(BadInput, match=r"blurred\.png: mask is a JPEG file"):
        read_mask(path)


def test_missing_file_is_named(tmp_path):
    for read in (read_frame, read_mask):
        with pytest.raises(BadInput, match="absent.png: no such file"):
            read(tmp_path / "absent.png")


# Splits


def test_split(data, monkeypatch):
    def last_first(folder):
        return (folder / name for name in sorted(os.listdir(folder), reverse=True))

    monkeypatch.setattr(Path, "iterdir", last_first)  # a file system may list in any order
    (data / "JPEGImages/480p/bear/._00000.jpg").write_bytes(b"macOS")
    (data / "JPEGImages/480p/bear/notes.txt").write_text("not a frame")
    bear, ant = load_split(data, 2017, "val")
    assert (bear.name, ant.name) == ("bear", "ant")  # the order of the file
    assert [p.name for p in bear.frames] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert list(bear.masks) == ["00000", "00001", "00002"]
    assert bear.masks["00001"] == data / "Annotations/480p/bear/00001.png"


def test_original_2016_split(data):
    lines = [f"/JPEGImages/480p/{name}/{t:05d}.jpg /Annotations/480p/{name}/{t:05d}.png"
             for name in ("bear", "ant") for t in range(3)]  # fmt: skip
    write_split(data, "\n".join(lines), folder="480p")
    assert [s.name for s in load_split(data, 2016, "val")] == ["bear", "ant"]
    assert all(len(s.frames) == 3 for s in load_split(data, 2016, "val"))
    write_split(data, "ant\n", folder="2016")
    assert [s.name for s in load_split(data, 2016, "val")] == ["ant"]  # the year's folder first


def test_original_2016_split_is_not_taken_for_2017(data):
    write_split(data, "/JPEGImages/480p/bear/00000.jpg x\n", folder="480p", split="train")
    with pytest.raises(BadInput, match="there is: 2017/val, 480p/train"):
        load_split(data, 2017, "train")


def test_split_from_an_editor_on_another_system(data):
    path = data / "ImageSets/2017/val.txt"
    path.write_bytes("\ufeffbear\r\n\r\nant  \r\nbear\r\n".encode())
    assert [s.name for s in load_split(data)] == ["bear", "ant"]


@pytest.mark.parametrize("name", ["my dog", "hündin", "-rf", ".hidden", "$HOME"])
def test_unusual_names(data, name):
    write_davis(data, {name: sequence()}, split="odd")
    assert [s.name for s in load_split(data, split="odd")] == [name]
    write_split(data, f"/JPEGImages/480p/{name}/00000.jpg /Annotations/x\n", folder="480p")
    assert [s.name for s in load_split(data, 2016)] == [name]


@pytest.mark.parametrize(
    "line", ["..", ".", "../bear", "/etc/x", "a/b", "..\\bear", "/JPEGImages/480p/../0.jpg", "\0"]
)
def test_paths_are_no_names(data, line):
    write_split(data, f"bear\n{line}\n")
    with pytest.raises(BadInput, match="val.txt, line [0-9]+: .* is no sequence name"):
        load_split(data)


def test_order_of_frames_is_sure(data):
    folder = data / "JPEGImages/480p/bear"
    (folder / "00001.jpg").rename(folder / "2.jpg")
    (folder / "00002.jpg").rename(folder / "10.jpg")
    assert [path.name for path in load_split(data)[0].frames] == ["00000.jpg", "2.jpg", "10.jpg"]
    (folder / "2.jpg").rename(folder / "10.jpeg")
    with pytest.raises(BadInput, match="10.jpg: 10.jpeg has the same number; keep one"):
        load_split(data)


def test_resolution(data):
    write_davis(data, {"bear": sequence(frames=1)}, resolution="240p")
    write_split(data, "bear\n")
    assert len(load_split(data)[0].frames) == 3  # 480p where there is a choice
    assert len(load_split(data, resolution="240p")[0].frames) == 1
    with pytest.raises(BadInput, match="no resolution 1080p; it has: 240p, 480p"):
        load_split(data, resolution="1080p")
    for kind in ("JPEGImages", "Annotations"):
        (data / kind / "480p").rename(data / kind / "320p")
    with pytest.raises(BadInput, match="choose a resolution; it has: 240p, 320p"):
        load_split(data)


def test_only_resolution_is_taken(tmp_path):
    write_davis(tmp_path, {"bear": sequence()}, resolution="320p")
    assert load_split(tmp_path)[0].frames[0].parts[-3] == "320p"


def test_first_mask_is_enough(tmp_path):
    write_davis(tmp_path, {"fish": sequence(frames=4, masks=1)})
    [fish] = load_split(tmp_path)
    assert (len(fish.frames), list(fish.masks)) == (4, ["00000"])


def test_annotations_alone_are_enough_for_scoring(data):
    (data / "JPEGImages").rename(data / "elsewhere")
    assert load_split(data, need_frames=False)[0].frames == ()
    with pytest.raises(BadInput, match="JPEGImages: no such folder"):
        load_split(data)


def remove(*parts):
    def change(root):
        path = root.joinpath(*parts)
        path.unlink() if path.is_file() else path.rename(root / "moved")

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (remove("Annotations", "480p", "bear"), "val.txt, line 1: no sequence 'bear' in .*480p"),
        (remove("JPEGImages", "480p", "bear"), "JPEGImages/480p/bear: no frames"),
        (
            remove("Annotations", "480p", "bear", "00000.png"),
            "bear/00000.png: no mask for the first",
        ),
        (remove("ImageSets", "2017", "val.txt"), "2017/val.txt: no such split; there is: none"),
        (lambda root: write_split(root, "\n"), "val.txt: names no sequence"),
        (lambda root: write_split(root, "wolf\n"), "val.txt, line 1: no sequence 'wolf' in .*480p"),
    ],
)
def test_broken_split(data, change, message):
    change(data)
    with pytest.raises(BadInput, match=message):
        load_split(data)


def test_missing_folder(tmp_path):
    with pytest.raises(BadInput, match="absent: no such folder"):
        load_split(tmp_path / "absent")


# Starts


def test_start(data):
    frame, mask = read_start(load_split(data)[0], 2017)
    assert frame.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(mask, two_objects())


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.zeros((HEIGHT, WIDTH), np.uint8), "00000.png: first mask is empty"),
        (
            np.full((HEIGHT, WIDTH), 255, np.uint8),
            "00000.png: first mask holds only 255.*year 2016",
        ),
        (two_objects().T.copy(), "00000.jpg is 41x30 but .*00000.png is 30x41"),
    ],
)
def test_bad_start(data, mask, message):
    write_mask(data / "Annotations/480p/bear/00000.png", mask)
    with pytest.raises(BadInput, match=message):
        read_start(load_split(data)[0], 2017)


def test_first_mask_whose_object_is_white(tmp_path):
    """White alone is the object 1; beside an id, 255 is void and stays what it is."""
    path, object_1 = tmp_path / "m.png", two_objects() == 1
    for written, read in [
        (255 * object_1, object_1),
        (np.where(object_1, 255, two_objects()), np.where(object_1, 255, two_objects())),
        (two_objects(), two_objects()),
    ]:
        Image.fromarray(written.astype(np.uint8)).save(path)
        np.testing.assert_array_equal(read_first_mask(path), read)
    write_mask(path, 0 * two_objects())
    with pytest.raises(BadInput, match="m.png: first mask is empty"):
        read_first_mask(path)


def test_objects_leave_out_background_and_void():
    assert object_ids(np.array([[0, 3, 255, 1]], np.uint8)) == [1, 3]
