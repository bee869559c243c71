"""The embedded data set: the same bytes from the same seed, and in each clip what its name says."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gcvos_mini import toy
from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput
from gcvos_mini.masks import PALETTE, read_mask
from gcvos_mini.metrics import region_similarity
from gcvos_mini.pictures import read_frame
from gcvos_mini.toy import render

HEIGHT = 60
CLIPS = ["crossing", "train-003"]


def files(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def small(root, clips=CLIPS, seed=0, frames=3):
    return toy.render_clips(root, seed, HEIGHT, clips, frames, progress=False)


def mask_track(name, seed=0, height=HEIGHT):
    """Every mask of a clip at its own length, without the frames: uint8 (T, H, W)."""
    clip = toy.find_clip(name, seed)
    scene = clip.scene()
    return np.stack([render.label_frame(scene, t, height) for t in range(toy.FRAMES[clip.split])])


def clip_of(name, height=HEIGHT, frames=None):
    pairs = list(toy.clip_frames(name, height, frames))
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small(tmp_path_factory.mktemp("toy") / "seed0")


@pytest.fixture(scope="module")
def tracks():
    return {name: mask_track(name) for name in toy.VAL}


def test_same_seed_same_bytes_and_another_seed_others(data, tmp_path):
    assert files(small(tmp_path / "again")) == files(data)
    other = files(small(tmp_path / "other", seed=1))
    pictures = [name for name in files(data) if name.endswith((".jpg", ".png"))]
    assert len(pictures) == 12
    assert all(other[name] != files(data)[name] for name in pictures)


def test_a_clip_rendered_alone_is_the_one_of_the_set(data, tmp_path):
    alone = files(small(tmp_path / "alone", ["train-003"]))  # second in the set
    render.render_clip(tmp_path / "bare", "train-003", HEIGHT, 3)
    same = {name: content for name, content in files(data).items() if "/train-003/" in name}
    assert len(same) == 6
    assert {name: alone[name] for name in same} == same
    assert files(tmp_path / "bare") == same


def test_a_longer_clip_starts_with_the_shorter_one(data):
    _, masks = clip_of("crossing", frames=5)
    for t in range(3):
        stored = read_mask(data / f"Annotations/{HEIGHT}p/crossing/{t:05d}.png")
        np.testing.assert_array_equal(masks[t], stored)


def test_layout_is_davis_2017(data):
    for split, name in (("val", "crossing"), ("train", "train-003")):
        (sequence,) = load_split(data, 2017, split)
        assert sequence.name == name
        assert [p.name for p in sequence.frames] == ["00000.jpg", "00001.jpg", "00002.jpg"]
        assert set(sequence.masks) == {"00000", "00001", "00002"}
        assert read_frame(sequence.frames[0]).shape == (HEIGHT, 107, 3)
        with Image.open(sequence.masks["00000"]) as image:
            assert image.mode == "P" and image.size == (107, HEIGHT)
            assert image.getpalette()[:12] == PALETTE[:12]


def test_the_default_set_has_160_and_8_clips_of_6_and_40_frames():
    assert (len(toy.TRAIN), len(toy.VAL)) == (160, 8)
    assert toy.FRAMES == {"train": 6, "val": 40}
    assert {toy.find_clip(n).split for n in toy.VAL} == {"val"}
    assert {toy.find_clip(n).split for n in toy.TRAIN} == {"train"}
    assert len(list(toy.clip_frames("approach", 24))) == 40


@pytest.mark.parametrize("seed", [0, 1])
def test_every_object_is_well_visible_in_frame_0(seed):
    counts = set()
    for name in [*toy.TRAIN, *toy.VAL]:
        scene = toy.Clip(name, seed).scene()
        first = render.label_frame(scene, 0, 120)
        assert scene.ids == list(range(1, len(scene.ids) + 1))
        assert set(np.unique(first)) == {0, *scene.ids}, name
        assert min((first == i).mean() for i in scene.ids) >= 0.008, name
        counts.add(len(scene.ids))
    assert counts == {1, 2, 3}


def test_one_leaves_for_some_frames_and_comes_back(tracks):
    area = (tracks["leaves-and-returns"] == 2).sum((1, 2))
    gone = np.flatnonzero(area == 0)
    assert len(gone) >= 5
    np.testing.assert_array_equal(gone, np.arange(gone[0], gone[-1] + 1))
    assert area[-1] > 0.5 * area[0]


def test_look_alikes_have_two_ids_and_one_coat():
    frames, masks = clip_of("look-alikes", 120, 1)
    one, two = (frames[0][masks[0] == i].mean(0) for i in (1, 2))
    world = frames[0][masks[0] == 0].mean(0)
    first, second = toy.Clip("look-alikes").scene().things
    assert (first.shape, first.texture) == (second.shape, second.texture)
    assert np.abs(one - two).max() < np.abs(one - world).max()


def test_sunset_grows_dark_and_red():
    frames, _ = clip_of("sunset", frames=40)
    first, last = frames[0].mean((0, 1)), frames[-1].mean((0, 1))
    assert last.mean() < 0.65 * first.mean()
    assert last[0] / last[2] > 1.3 * first[0] / first[2]


def test_approach_grows_and_the_fence_hides_and_shapes_shift(tracks):
    area = (tracks["approach"] == 1).sum((1, 2))
    assert area.max() > 4 * area[0]
    scene = toy.Clip("behind-the-fence").scene()
    bare = render.label_frame(replace(scene, things=scene.things[:1]), 5, HEIGHT)
    hidden = (bare == 1) & (tracks["behind-the-fence"][5] == 0)
    assert 0.15 < hidden.sum() / (bare == 1).sum() < 0.7
    solid = [solidity(mask == 1) for mask in tracks["shape-shifter"]]
    assert min(solid) < 0.85 and max(solid) > 0.98  # now a star, now an oval


def solidity(mask):
    """The share of its convex hull that a shape fills."""
    points = np.argwhere(mask)[:, ::-1].astype(np.int32)
    return mask.sum() / cv2.contourArea(cv2.convexHull(points))


def test_three_objects_pass_before_each_other():
    scene = toy.Clip("crossing").scene()
    alone = {thing.id: replace(scene, things=(thing,)) for thing in scene.things}
    for far, near in ((1, 3), (2, 3)):
        met = [
            np.all([render.label_frame(alone[i], t, HEIGHT) == i for i in (far, near)], 0)
            for t in range(40)
        ]
        t = int(np.argmax([m.sum() for m in met]))
        assert met[t].sum() > 50
        assert (render.label_frame(scene, t, HEIGHT)[met[t]] == near).all()


def test_240p_and_480p_show_the_same_scene():
    low, low_masks = clip_of("two-friends", 120, 3)
    high, high_masks = clip_of("two-friends", 240, 3)
    large = low_masks.repeat(2, 1).repeat(2, 2)[:, :, : high_masks.shape[2]]
    for i in (1, 2):
        assert region_similarity(large == i, high_masks[..., : large.shape[2]] == i).min() > 0.9
    halved = high[:, :, :426].reshape(3, 120, 2, 213, 2, 3).mean((2, 4))
    assert np.abs(halved - low[:, :, :213]).mean() < 12


def test_motion_is_large_yet_continuous(tracks):
    copied, followed = [], []
    for masks in tracks.values():
        for i in range(1, masks.max() + 1):
            copied.append(
                region_similarity(
                    np.broadcast_to(masks[0] == i, masks[1:].shape), masks[1:] == i
                ).mean()
            )
            followed.append(region_similarity(masks[1:] == i, masks[:-1] == i).mean())
    assert 0.02 < np.mean(copied) <= 0.40
    assert np.mean(followed) > 0.65


def test_the_background_moves_and_is_not_flat():
    scene = toy.Clip("crossing").scene()
    world = render.backdrop(scene, HEIGHT)
    y, x = (np.mgrid[0:HEIGHT, 0:107] / HEIGHT).astype(np.float32)
    first, later = (render.seen_through(scene.camera, world, x, y, t, HEIGHT) for t in (0, 15))
    assert np.abs(later - first).mean() > 8  # no light, no noise: only the camera
    assert first.std() > 15


def test_the_same_set_is_not_rendered_twice_and_another_replaces_it(tmp_path, capsys):
    root = small(tmp_path / "toy", ["approach"], frames=1)
    picture = root / f"JPEGImages/{HEIGHT}p/approach/00000.jpg"
    before = picture.stat().st_ino
    small(root, ["approach"], frames=1)
    assert picture.stat().st_ino == before
    assert "already rendered" in capsys.readouterr().out
    small(root, ["approach"], seed=5, frames=1)
    assert json.loads((root / "toy.json").read_text())["seed"] == 5
    assert list(tmp_path.iterdir()) == [root]


def test_a_stopped_run_leaves_nothing(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(render, "write_lists", stop)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path / "toy", ["approach"], frames=1)
    assert list(tmp_path.iterdir()) == []


def test_foreign_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="other files"):
        small(tmp_path)
    assert files(tmp_path) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize(
    "name",
    [
        f"JPEGImages/{HEIGHT}p/mine/00000.jpg",
        f"Annotations/{HEIGHT}p/approach/00001.png",
        "ImageSets/2017/mine.txt",
        "ImageSets/2017/train.txt",
        "Annotations_fixed/00000.png",
    ],
)
def test_a_file_put_into_a_set_is_not_lost(tmp_path, name):
    """A set of one clip of one frame, of the validation split: the same again, then another."""
    root = small(tmp_path / "toy", ["approach"], frames=1)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(b"mine")
    before = files(root)
    small(root, ["approach"], frames=1)
    with pytest.raises(BadInput, match=f"holds other files .*{Path(name).parent}.*--out"):
        small(root, ["approach"], seed=5, frames=1)
    assert files(root) == before


@pytest.mark.parametrize("content", ["", "[]", '{"clips": ["approach"]}', "\xff"])
def test_a_set_whose_note_is_damaged_is_left_alone(tmp_path, content):
    root = small(tmp_path / "toy", ["approach"], frames=1)
    (root / "toy.json").write_text(content, encoding="latin-1")
    before = files(root)
    with pytest.raises(BadInput, match="holds other files"):
        small(root, ["approach"], frames=1)
    assert files(root) == before


@pytest.mark.parametrize("script", [["-m", "gcvos_mini.toy"], ["data_scripts/make_toy_davis.py"]])
def test_command_line(script, tmp_path):
    root = Path(__file__).parents[1]
    run = [sys.executable, *script, "--out", str(tmp_path / "toy"), "--clips", "nobody"]
    done = subprocess.run(
        run, check=False, cwd=root, capture_output=True, text=True, env=path_to(root)
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: nobody: no such clip") and done.stderr.count("\n") == 1
    assert not (tmp_path / "toy").exists()


def path_to(root):
    return {**os.environ, "PYTHONPATH": str(root)}


def test_a_split_without_clips_has_no_list(tmp_path):
    toy.render_clips(tmp_path / "one", clips=["sunset"], frames=3, height=48, progress=False)
    lists = tmp_path / "one/ImageSets/2017"
    assert [path.name for path in lists.iterdir()] == ["val.txt"]
    assert (lists / "val.txt").read_text() == "sunset\n"
