"""Picture files: upright as a person sees them, in the order of time, and named when unreadable."""

import shlex
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from davis_folder import write_davis, write_stills
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from gcvos_mini import clips, davis, stream
from gcvos_mini.errors import BadInput
from gcvos_mini.outputs import claim
from gcvos_mini.pictures import (
    FRAME_SUFFIXES,
    check_same_size,
    list_in_time_order,
    read_frame,
    read_image,
)
from gcvos_mini.segment import VideoSegmenter, segment
from gcvos_mini.sources import decode_animation, video_frames

# EXIF 2.3, tag 0x0112: which side of what is seen row 0 and column 0 of what is stored lie on
SIDES = {
    1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
    5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
}  # fmt: skip


def seen(stored, orientation):
    """What a person sees of stored pixels (H, W, ...), written from the table of the standard."""
    row, column = SIDES[orientation]
    picture = stored if row in ("top", "bottom") else stored.swapaxes(0, 1)
    if "bottom" in (row, column):
        picture = picture[::-1]
    return picture[:, ::-1] if "right" in (row, column) else picture


def save_turned(path, stored, orientation):
    """Write pixels as they are stored, and the EXIF tag that says how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(path, exif=exif)
    return path


def picture(seed=0, height=20, width=12):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# ---- upright ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FRAME_SUFFIXES)
@pytest.mark.parametrize("orientation", SIDES)
def test_all_eight_orientations(tmp_path, orientation, suffix):
    Image.fromarray(picture()).save(tmp_path / f"plain{suffix}")
    path = save_turned(tmp_path / f"turned{suffix}", picture(), orientation)
    upright = seen(np.array(Image.open(tmp_path / f"plain{suffix}")), orientation)
    np.testing.assert_array_equal(read_frame(path), upright)
    assert "exif" not in read_image(path).info or read_image(path).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", SIDES)
def test_frames_stills_and_videos_are_upright_alike(tmp_path, orientation):
    """A data set, a folder of stills and a folder of frames, one mask drawn on what one sees."""
    upright = seen(picture(), orientation)
    mask = np.zeros(upright.shape[:2], np.uint8)
    mask[2:6, 1:5] = 1
    write_davis(tmp_path / "set", {"a": (np.stack([upright]), [mask])}, suffix=".png")
    write_stills(tmp_path / "stills", {"a": (upright, mask)})
    frame = tmp_path / "set/JPEGImages/480p/a/00000.png"
    still = tmp_path / "stills/images/a.png"
    for path in (frame, still):
        save_turned(path, picture(), orientation)
    (sequence,) = davis.load_split(tmp_path / "set")
    found = [
        davis.read_start(sequence, 2017),
        clips.read_pair(clips.find_stills(tmp_path / "stills")[0]),
        (next(video_frames(frame.parent))[1], mask),
    ]
    for pixels, ids in found:
        np.testing.assert_array_equal(pixels, upright)
        np.testing.assert_array_equal(ids, mask)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_that_fits_only_the_unturned_frame_is_told_so(tmp_path, orientation):
    """By a data set, by stills, and by the command, which writes nothing."""
    mask = np.ones((20, 12), np.uint8)  # of the frame as it is stored
    write_davis(tmp_path, {"a": (np.stack([picture()]), [mask])})
    write_stills(tmp_path / "stills", {"a": (picture(), mask)})
    frame = save_turned(tmp_path / "JPEGImages/480p/a/00000.jpg", picture(), orientation)
    save_turned(tmp_path / "stills/images/a.png", picture(), orientation)
    mask_path, out = tmp_path / "Annotations/480p/a/00000.png", tmp_path / "out"
    (sequence,) = davis.load_split(tmp_path)
    (still,) = clips.find_stills(tmp_path / "stills")
    for attempt in (
        lambda: davis.read_start(sequence, 2017),
        lambda: clips.read_pair(still),
        lambda: segment(frames=frame.parent, mask=mask_path, out=out),
    ):
        with pytest.raises(BadInput, match=r"stored on its side \(EXIF.*turn the mask too"):
            attempt()
    assert not out.exists()


def test_a_mask_of_any_other_size_is_not_told_of_exif(tmp_path):
    write_davis(tmp_path, {"a": (np.stack([picture()]), [np.ones((12, 20), np.uint8)])})
    with pytest.raises(BadInput, match="both must have the same size"):
        davis.read_start(davis.load_split(tmp_path)[0], 2017)


# ---- in the order of time -----------------------------------------------------------------------

TEXT = st.text("abzAZ_- .()é犬", max_size=6)


@given(
    prefix=TEXT,
    suffix=TEXT,
    numbers=st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True),
    width=st.integers(0, 6),
)
def test_files_come_in_the_order_of_their_numbers(tmp_path_factory, prefix, suffix, numbers, width):
    """Padded or not, whatever stands around the number."""
    assume(not prefix.startswith("."))
    folder = tmp_path_factory.mktemp("names")
    names = {n: f"{prefix}{n:0{width}d}{suffix}.jpg" for n in numbers}
    for name in names.values():
        (folder / name).touch()
    found = [path.name for path in list_in_time_order(folder, FRAME_SUFFIXES)]
    assert found == [names[n] for n in sorted(numbers)]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 200)), min_size=2, unique=True))
def test_two_numbers_count_one_after_the_other(tmp_path_factory, takes):
    folder = tmp_path_factory.mktemp("takes")
    for scene, frame in takes:
        (folder / f"s{scene}-f{frame}.png").touch()
    found = [path.name for path in list_in_time_order(folder, FRAME_SUFFIXES)]
    assert found == [f"s{scene}-f{frame}.png" for scene, frame in sorted(takes)]


NUMBERS = [1, 2, 9, 10, 11, 100]


def numbered(root, pattern="frame{}"):
    """A data set whose frames are as bright as their number; nothing is padded."""
    frames = np.stack([np.full((32, 48, 3), n, np.uint8) for n in NUMBERS])
    mask = np.zeros((32, 48), np.uint8)
    mask[8:20, 8:30] = 1
    write_davis(root, {"a": (frames, [mask] * len(NUMBERS))}, suffix=".png")
    for kind in ("JPEGImages", "Annotations"):
        for t, n in reversed(list(enumerate(NUMBERS))):
            path = root / kind / "480p" / "a" / f"{t:05d}.png"
            path.rename(path.with_name(f"{pattern.format(n)}.png"))
    return root / "JPEGImages/480p/a", root / "Annotations/480p/a"


def test_every_reader_keeps_the_order_of_time(tmp_path, model):
    """frame2 before frame10: data sets, commands, the runner, and the training's videos."""
    frames, masks = numbered(tmp_path)
    (sequence,) = davis.load_split(tmp_path)
    assert [path.stem for path in sequence.frames] == [f"frame{n}" for n in NUMBERS]
    assert list(sequence.masks) == [f"frame{n}" for n in NUMBERS]
    assert [int(frame[0, 0, 0]) for _, frame in video_frames(frames)] == NUMBERS
    first = np.array(Image.open(masks / "frame1.png"))
    steps = stream.stream(VideoSegmenter(model), frames, first, tmp_path / "out")
    assert [int(step.frame[0, 0, 0]) for step in steps] == NUMBERS
    shutil.copy(tmp_path / "ImageSets/2017/val.txt", tmp_path / "ImageSets/2017/train.txt")
    (video,) = clips.find_data([tmp_path])[1]
    assert [still.image.stem for still in video] == [f"frame{n}" for n in NUMBERS]


@pytest.mark.parametrize(
    "names", [("1.jpg", "1.png"), ("1.jpg", "01.jpg"), ("a7b.png", "a007b.jpeg")]
)
def test_the_same_number_twice_is_refused(tmp_path, names):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in (*names, "2.jpg"):
        (folder / name).touch()
    for attempt in (
        lambda: list_in_time_order(folder, FRAME_SUFFIXES),
        lambda: next(video_frames(folder)),
    ):
        with pytest.raises(BadInput, match=f"({names[0]}|{names[1]}).*same number; keep one"):
            attempt()


# ---- uploads ------------------------------------------------------------------------------------


def upload(*names):
    """What a widgets.FileUpload holds: each file's content is its place in the list."""
    return [{"name": name, "content": memoryview(b"%d" % i)} for i, name in enumerate(names)]


@pytest.mark.parametrize("count", [3, 12])
def test_pictures_of_one_name_are_all_kept_in_order(tmp_path, count):
    folder = stream.save_uploads(upload(*["image.jpg"] * count), tmp_path)
    files = list_in_time_order(folder, FRAME_SUFFIXES)
    assert [int(path.read_bytes()) for path in files] == list(range(count))


def test_uploads_do_not_mix(tmp_path):
    first = stream.save_uploads(upload("image.jpg", "image.jpg"), tmp_path)
    second = stream.save_uploads(upload("image.jpg"), tmp_path)
    video = stream.save_uploads(upload("clip.mp4"), tmp_path)
    assert len({first, second, video.parent}) == 3
    assert [len(list(folder.iterdir())) for folder in (first, second, video.parent)] == [2, 1, 1]


@pytest.mark.parametrize("names", [("1.jpg", "clip.mp4"), ("a.mov", "b.mov"), ("x.webm", "2.PNG")])
def test_a_video_among_other_files_is_refused(tmp_path, names):
    with pytest.raises(BadInput, match="a video among 2 files"):
        stream.save_uploads(upload(*names), tmp_path)
    assert not any(tmp_path.iterdir())


# ---- what cannot be read ------------------------------------------------------------------------


def box(kind):
    """The start of an ISO media file: the size of its first box, "ftyp", and the brand."""
    return struct.pack(">I4s4sI", 24, b"ftyp", kind, 0) + b"mif1" + kind + bytes(300)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (box(b"heic"), "HEIC"),
        (box(b"heix"), "HEIC"),
        (box(b"mif1"), "HEIC"),
        (b"%PDF-1.7\n", "PDF"),
    ],
)
@pytest.mark.parametrize("name", ["photo.jpg", "my photo's.png"])
def test_a_file_by_another_name_is_named_and_the_command_given(tmp_path, content, kind, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=f"is {kind}, whatever its name says") as refused:
        read_frame(path)
    command = shlex.split(str(refused.value).split("convert it first: ")[1])
    assert command[:2] == ["magick", str(path)] and Path(command[2]).suffix == ".jpg"
    assert Path(command[2]).parent == tmp_path and len(command) == 3


def oversized(path, side):
    """A PNG of one bit a pixel, `side` x `side`, all black: small as a file, large in memory."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


def test_an_oversized_picture_is_refused_with_the_limit(tmp_path):
    path = oversized(tmp_path / "very large.png", 16000)
    with pytest.raises(BadInput, match="more than 179 million pixels; make it smaller") as refused:
        read_frame(path)
    command = shlex.split(str(refused.value).split("make it smaller: ")[1])
    assert command[1] == str(path) and command[2:4] == ["-resize", "50%"]


def test_an_oversized_picture_is_refused_where_one_only_looks_at_it(tmp_path):
    """Among masks to be written, as a video, beside a mask of another size."""
    path = oversized(tmp_path / "0.png", 16000)
    with pytest.raises(BadInput, match="0.png: was not made by this program"):
        claim(tmp_path, [], "run")
    with pytest.raises(BadInput, match="must have the same size"):
        check_same_size(np.zeros((3, 4)), path, np.zeros((4, 3)), path)
    with pytest.raises(BadInput, match="0.png: cannot be read to its end"):
        next(decode_animation(path))
    with pytest.raises(BadInput, match="0.mp4: is a huge picture"):
        next(video_frames(path.rename(tmp_path / "0.mp4")))


def test_hidden_files_and_other_endings_are_no_frames(tmp_path):
    for name in ("1.jpg", "._1.jpg", ".2.png", "notes.txt", "3.JPEG"):
        (tmp_path / name).touch()
    assert [p.name for p in list_in_time_order(tmp_path, FRAME_SUFFIXES)] == ["1.jpg", "3.JPEG"]
