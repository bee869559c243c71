"""Masks: which files become ids, which ones, and what is refused with the repair or said aloud."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from davis_folder import write_davis
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gcvos_mini import bunny, davis
from gcvos_mini.errors import BadInput
from gcvos_mini.masks import (
    PALETTE,
    check_ids,
    object_ids,
    read_first_mask,
    read_later_mask,
    read_mask,
    read_sequence_mask,
    write_mask,
)
from gcvos_mini.toy.render import find_clip, label_frame
from gcvos_mini.toy.scenes import VAL

GOLDEN = Path(__file__).parent / "golden"
COLOURS = np.array(PALETTE, np.uint8).reshape(256, 3)
FINE = 16  # subpixels along a pixel's side, where soft edges are drawn


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


# ---- soft edges ---------------------------------------------------------------------------------


def covered(shape, kind="ellipse", size=(40, 60), at=(20, 30), radius=(11, 17), angle=30):
    """Which share of each pixel (H, W) a shape covers, drawn at FINE x FINE subpixels."""
    height, width = size
    fine = np.zeros((height * FINE, width * FINE), np.uint8)
    y, x = at[0] * FINE, at[1] * FINE
    axes = radius[1] * FINE, radius[0] * FINE
    corners = cv2.ellipse2Poly((x, y), axes, angle, 0, 360, 60 if shape == "polygon" else 1)
    cv2.fillPoly(fine, [corners], 1)
    return fine.reshape(height, FINE, width, FINE).mean(axis=(1, 3))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from(["ellipse", "polygon"]),
    radius=st.tuples(st.integers(6, 12), st.integers(6, 18)),
    angle=st.integers(0, 179),
    peak=st.integers(40, 255),
)
def test_one_soft_object_ends_half_way(tmp_path_factory, shape, radius, angle, peak):
    """The object is where more than half of a pixel is covered, whatever its level."""
    share = covered(shape, radius=radius, angle=angle)
    path = save(tmp_path_factory.mktemp("soft") / "m.png", np.round(share * peak).astype(np.uint8))
    clear = np.abs(share - 0.5) > 1 / peak
    for mask in (read_first_mask(path), read_sequence_mask(path, 2016)):
        np.testing.assert_array_equal(mask[clear], share[clear] > 0.5)
        assert set(np.unique(mask)) == {0, 1}
    with pytest.raises(BadInput, match=r"m\.png: soft edges.*save it without smoothing"):
        read_sequence_mask(path, 2017)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
@pytest.mark.parametrize("how", ["blurred", "linear", "cubic", "area"])
def test_smoothed_or_resized_masks_end_half_way(tmp_path, how, sigma):
    """What programs do to a mask: the object stays to within a pixel of where it was."""
    hard = (covered("ellipse") > 0.5).astype(np.uint8)
    if how == "blurred":
        soft = cv2.GaussianBlur(255 * hard, (0, 0), sigma)
    else:
        to = (round(60 * (1 + sigma)), round(40 * (1 + sigma)))
        to = (43, 29) if how == "area" else to
        kind = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}[how]
        soft = cv2.resize(255 * hard, to, interpolation=kind)
        hard = cv2.resize(hard, to, interpolation=cv2.INTER_NEAREST)
    found = read_first_mask(save(tmp_path / "m.png", soft))
    square = np.ones((3, 3), np.uint8)
    assert (found >= cv2.erode(hard, square, borderValue=0)).all()
    assert (found <= cv2.dilate(hard, square)).all()


@pytest.mark.parametrize(
    "levels", [(128, 255), (85, 170, 255), (100, 200), (30, 255), (60, 120, 180, 240)]
)
def test_several_soft_objects_are_refused(tmp_path, levels):
    """Half way between two objects lies the third: which is meant would be a guess."""
    soft = np.zeros((40, 160))
    for n, level in enumerate(levels):
        share = covered("ellipse", size=(40, 40), at=(20, 20), radius=(11, 15))
        soft[:, 40 * n : 40 * n + 40] = share * level
    path = save(tmp_path / "m.png", np.round(soft).astype(np.uint8))
    for read in (read_first_mask, lambda path: read_sequence_mask(path, 2017)):
        with pytest.raises(BadInput, match=r"m\.png: soft edges; each of their \d+ levels"):
            read(path)


def test_a_data_set_of_soft_masks_is_refused_by_its_mask(tmp_path):
    soft = np.round(255 * covered("ellipse")).astype(np.uint8)
    write_davis(tmp_path, {"a": (np.zeros((1, 40, 60, 3), np.uint8), [soft])})
    with pytest.raises(BadInput, match=r"a/00000\.png: soft edges"):
        davis.read_start(davis.load_split(tmp_path)[0], 2017)
    assert davis.read_start(davis.load_split(tmp_path)[0], 2016)[1].max() == 1


# ---- no false alarm -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", VAL)
@pytest.mark.parametrize("height", [240, 96])
def test_no_embedded_clip_is_refused(name, height):
    scene = find_clip(name).scene()
    for t in range(0, 40, 3):
        check_ids(label_frame(scene, t, height), name)


def test_no_painted_or_golden_mask_is_refused():
    masks = [*bunny.FOLDER.glob("Annotations/*/*/*.png"), *GOLDEN.glob("davis2017_multi/**/*.png")]
    assert len(masks) > 50
    for path in masks:
        read_sequence_mask(path, 2017)


@st.composite
def hard_blobs(draw):
    """Ids (H, W) of one to twelve ellipses and boxes over one another, none smoothed."""
    height, width = draw(st.integers(40, 120)), draw(st.integers(40, 160))
    labels = np.zeros((height, width), np.uint8)
    for i in draw(st.lists(st.integers(1, 254), min_size=1, max_size=12, unique=True)):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        a, b = draw(st.integers(4, 40)), draw(st.integers(4, 40))
        if draw(st.booleans()):
            cv2.ellipse(labels, (x, y), (a, b), draw(st.integers(0, 179)), 0, 360, i, -1)
        else:
            labels[y : y + a, x : x + b] = i
    return labels


@settings(max_examples=100, deadline=None)
@given(labels=hard_blobs())
def test_hard_edged_masks_come_back_as_they_are(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("hard") / "m.png"
    write_mask(path, labels)
    np.testing.assert_array_equal(read_first_mask(path), labels)
    np.testing.assert_array_equal(read_sequence_mask(path, 2017), labels)


def test_thin_and_tiny_objects_are_no_dithering(tmp_path):
    labels = np.zeros((60, 80), np.uint8)
    labels[5:7, 5:70], labels[20, 5:70], labels[40:42, 8:10] = 1, 2, 3
    np.testing.assert_array_equal(read_first_mask(save(tmp_path / "m.png", labels)), labels)


# ---- palettes -----------------------------------------------------------------------------------


def some_objects(ids, shape=(60, 80)):
    """Boxes of ids on 0, some of them side by side."""
    labels = np.zeros(shape, np.uint8)
    for n, i in enumerate(ids):
        y, x = 14 * (n % 4), 13 * (n // 4)
        labels[y : y + 14, x : x + 12] = i
    return labels


GREY = {i for i, colour in enumerate(COLOURS.tolist()) if len(set(colour)) == 1}
COLOURED = st.sampled_from(sorted(set(range(256)) - GREY))


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(COLOURED, min_size=1, max_size=20, unique=True),
    order=st.permutations(range(256)),
    options=st.sampled_from([{}, {"optimize": True}, {"compress_level": 0}]),
)
def test_a_permuted_davis_palette_keeps_the_ids(tmp_path_factory, ids, order, options):
    """Index k has the colour of id order[k]: the colour tells."""
    labels = some_objects(ids)
    image = Image.fromarray(np.argsort(order).astype(np.uint8)[labels])
    image.putpalette(COLOURS[order].flatten().tolist())
    path = tmp_path_factory.mktemp("palette") / "m.png"
    image.save(path, **options)
    np.testing.assert_array_equal(read_mask(path), labels)


EXPORTS = {
    "quantize": lambda rgb, n: rgb.quantize(n),
    "median cut, no dithering": lambda rgb, n: rgb.quantize(n, dither=Image.Dither.NONE),
    "most covered": lambda rgb, n: rgb.quantize(n, method=Image.Quantize.MAXCOVERAGE),
    "octree": lambda rgb, n: rgb.quantize(n, method=Image.Quantize.FASTOCTREE),
    "adaptive": lambda rgb, n: rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=n),
}


@pytest.mark.parametrize(
    ("ids", "bits"),
    [(ids, bits) for bits, most in ((1, 1), (2, 3), (4, 9), (8, 9), (None, 9))
     for ids in ((1,), (2, 1), (5, 3, 4), (1, 2, 3, 4, 5, 6, 9, 10, 20)) if len(ids) <= most],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("how", EXPORTS)
def test_exports_that_renumber_the_palette_keep_the_ids(tmp_path, how, bits, ids):
    """A mask opened as colours and saved as a palette again, with one to eight bits an index."""
    labels, colours = some_objects(ids), len(ids) + 1
    write_mask(tmp_path / "a.png", labels)
    with Image.open(tmp_path / "a.png") as image:
        rgb = image.convert("RGB")
    new = EXPORTS[how](rgb, colours)
    new.save(tmp_path / "b.png", **({} if bits is None else {"bits": bits}))
    with Image.open(tmp_path / "b.png") as image:
        np.testing.assert_array_equal(np.array(image.convert("RGB")), np.array(rgb))
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png"), labels)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_indices_of_few_bits(tmp_path, bits):
    """A palette PNG of 1, 2, 4 or 8 bits written by hand: rows packed from the left."""
    ids = np.arange(2 ** min(bits, 4), dtype=np.uint8)
    labels = np.repeat(np.repeat(ids[None], 4, axis=0), 4, axis=1)
    rows = np.unpackbits(labels[..., None], axis=2)[..., 8 - bits :].reshape(len(labels), -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 3, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"PLTE", bytes(PALETTE[: 3 * 2**bits]))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), labels)


def with_palette(path, indices, colours):
    image = Image.fromarray(indices)
    image.putpalette([c for colour in colours for c in colour])
    image.save(path)
    return path


@pytest.mark.parametrize(
    "colours",
    [
        [(i, i, i) for i in range(256)],  # grey, stored as a palette
        [(0, 0, 0), (255, 255, 255), (255, 0, 0), (9, 9, 9)],
        [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)],
        [(0, 0, 0), (128, 0, 0), (1, 2, 3), (0, 128, 0)],  # DAVIS's in part only
    ],
    ids=["grey ramp", "mixed", "bright", "partly DAVIS"],
)
def test_palettes_whose_index_0_is_black_keep_their_indices(tmp_path, colours):
    labels = some_objects((1, 2, 3))
    path = with_palette(tmp_path / "m.png", labels, colours)
    np.testing.assert_array_equal(read_mask(path), labels)


def test_greys_of_a_ramp_that_davis_has_too_are_no_davis_colours(tmp_path):
    """(128, 128, 128) is DAVIS's id 7; in a grey ramp it is the level 128, which is the id."""
    labels = some_objects((64, 128, 192))
    path = with_palette(tmp_path / "m.png", labels, [(i, i, i) for i in range(256)])
    np.testing.assert_array_equal(read_mask(path), labels)


@pytest.mark.parametrize(
    ("colours", "told"),
    [
        ([(255, 0, 0), (0, 0, 0), (0, 255, 0)], r"index 0 is \(255, 0, 0\), black is 1"),
        ([(255, 255, 255), (255, 0, 0), (0, 0, 255)], "black is not used"),
        ([(9, 9, 9), (255, 0, 0), (0, 0, 0)], "black is 2"),
    ],
)
def test_black_elsewhere_is_refused_with_the_repair(tmp_path, colours, told):
    path = with_palette(tmp_path / "m.png", some_objects((1, 2)), colours)
    with pytest.raises(BadInput, match=f"m.png: its background.*{told}.*black as index 0"):
        read_mask(path)


def test_a_dithered_mask_is_refused(tmp_path):
    """Pillow's own convert("P"): colours of the web, mixed dot by dot."""
    write_mask(tmp_path / "a.png", some_objects((1, 2)))
    with Image.open(tmp_path / "a.png") as image:
        image.convert("RGB").convert("P").save(tmp_path / "web.png")
    for read in (read_first_mask, lambda path: read_sequence_mask(path, 2017)):
        with pytest.raises(BadInput, match=r"web\.png: its colours are mixed dot by dot"):
            read(tmp_path / "web.png")


# ---- alpha --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("level", [0, 255])
def test_a_mask_in_the_alpha_channel_is_read_from_there(tmp_path, mode, level):
    alpha = Image.fromarray(255 * np.uint8(some_objects((1, 2)) > 0))
    image = Image.new(mode, alpha.size, (level,) * (len(mode) - 1) + (0,))
    image.putalpha(alpha)
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_first_mask(tmp_path / "m.png"), some_objects((1, 2)) > 0)


def test_grey_beside_alpha_is_the_mask(tmp_path):
    labels = some_objects((1, 2))
    alpha = Image.fromarray(255 * np.uint8(labels > 0))
    Image.merge("LA", [Image.fromarray(labels), alpha]).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), labels)


# ---- what is said -------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(void=st.integers(1, 300), ids=st.lists(st.integers(1, 254), min_size=1, max_size=5))
def test_void_beside_ids_is_counted(tmp_path_factory, void, ids):
    labels = some_objects(sorted(set(ids)))
    labels[-12:].flat[:void] = 255
    path = tmp_path_factory.mktemp("void") / "m.png"
    write_mask(path, labels)
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("builtins.print", lambda line, file: said.append(line))
        np.testing.assert_array_equal(read_first_mask(path), labels)
    assert said == [
        f"note: {path}: {void} pixels are 255 (void) beside ids {sorted(set(ids))}: they belong "
        "to nobody; if they are an object, give it an id from 1 to 254"
    ]


def grid_of(count):
    """`count` objects of 6x6 pixels."""
    labels = np.zeros((80, 80), np.uint8)
    for n in range(count):
        labels[8 * (n // 10) : 8 * (n // 10) + 6, 8 * (n % 10) : 8 * (n % 10) + 6] = n + 1
    return labels


@pytest.mark.parametrize("count", [1, 12, 13, 64, 65, 100])
def test_many_objects_are_noted_too_many_refused(tmp_path, capsys, count):
    path = tmp_path / "m.png"
    write_mask(path, grid_of(count))
    if count > 64:
        with pytest.raises(BadInput, match=rf"m\.png: .*{count} objects"):
            read_first_mask(path)
        return
    assert object_ids(read_first_mask(path)) == list(range(1, count + 1))
    said = f"note: {path}: {count} objects; time and memory grow with each of them\n"
    assert capsys.readouterr().err == (said if count > 12 else "")


def test_a_later_mask_may_be_empty_but_not_white(tmp_path, capsys):
    """White is an object in a first mask alone; later it would be dropped without a word."""
    labels = some_objects((1, 2))
    assert not read_later_mask(save(tmp_path / "a.png", 0 * labels)).any()
    with pytest.raises(BadInput, match=r"b\.png: holds no id but 255"):
        read_later_mask(save(tmp_path / "b.png", 255 * np.uint8(labels > 0)))
    labels[labels == 2] = 255
    assert object_ids(read_later_mask(save(tmp_path / "c.png", labels))) == [1]
    assert f"{(labels == 255).sum()} pixels are 255 (void)" in capsys.readouterr().err
