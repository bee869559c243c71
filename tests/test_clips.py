"""Training clips: what is drawn, and that image and mask never part."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from davis_folder import write_davis, write_stills
from PIL import Image
from scipy.interpolate import RBFInterpolator

from gcvos_mini.clips import TrainingClips, find_data, held_out, read_pair, year_of
from gcvos_mini.config import SMOKE
from gcvos_mini.errors import BadInput
from gcvos_mini.warps import (
    center,
    crop_matrix,
    jitter,
    move,
    random_growth,
    random_motion,
    sample,
    thin_plate_spline,
    tint,
)

STILLS = dataclasses.replace(SMOKE.stages["stills"], crop=48, paste=0.0, jitter=0.0, objects=1)
VIDEOS = dataclasses.replace(STILLS, stills=(0.0, 0.0), interval=(1, 4))
HEIGHT, WIDTH = 60, 80
RED, GREEN, BLUE, GREY = (220, 20, 20), (20, 220, 20), (20, 20, 220), (120, 120, 120)


def box(top=20, left=25, height=20, width=30):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def paint(mask, colour, background):
    return np.where(mask[..., None], np.uint8(colour), np.uint8(background))


def save_still(root, name, image, mask):
    write_stills(root, {name: (image, np.uint8(mask))})


def save_video(root, name, pairs):
    """pairs: (frame uint8 (H, W, 3), ids uint8 (H, W)) in time order; pixels stay as they are."""
    frames, masks = zip(*pairs)
    write_davis(root, {name: (frames, masks)}, split="train", suffix=".png")


@pytest.fixture
def stills(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        mask = box(top=10 + 5 * i)
        save_still(tmp_path / "stills", f"{i}", rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
                   255 * mask)  # fmt: skip
    return tmp_path / "stills"


@pytest.fixture
def video(tmp_path):
    """Frame t is grey 10 t all over; object 1 stays where it is, but is away in frames 2 and 3."""
    pairs = [
        (np.full((HEIGHT, WIDTH, 3), 10 * t, np.uint8), np.uint8(box()) * (t not in (2, 3)))
        for t in range(12)
    ]
    save_video(tmp_path / "video", "grey", pairs)
    return tmp_path / "video"


# ---- every clip ---------------------------------------------------------------------------------


def test_a_clip_depends_on_seed_and_index_only(stills, video):
    stage = dataclasses.replace(VIDEOS, stills=(0.5, 0.5), paste=0.5, jitter=0.1)
    one, two = (TrainingClips(stage, [stills, video], total=20, seed=4) for _ in range(2))
    forward = [one[i] for i in range(6)]
    for i in (5, 0, 3):  # resumed, and out of order
        for a, b in zip(forward[i], two[i], strict=True):
            assert np.array_equal(a, b)
    other = TrainingClips(stage, [stills, video], total=20, seed=5)
    assert not np.array_equal(forward[0][0], other[0][0])
    assert not np.array_equal(forward[0][0], forward[1][0])


def test_shapes_ranges_and_a_first_mask_that_is_never_empty(stills, video):
    for stage, folder in ((STILLS, stills), (VIDEOS, video)):
        clips = TrainingClips(stage, [folder], total=25)
        for frames, masks in (clips[i] for i in range(25)):
            assert frames.shape == (3, 3, 48, 48) and masks.shape == (3, 1, 48, 48)
            assert str(frames.dtype) == str(masks.dtype) == "torch.float32"
            assert frames.min() >= 0 and frames.max() <= 1
            assert set(masks.unique().tolist()) <= {0.0, 1.0}
            assert masks[0].mean() >= 0.01


def test_an_object_of_a_few_pixels_is_found(tmp_path):
    image = np.zeros((200, 200, 3), np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    mask[98:102, 98:102] = 1  # under Stage.smallest at any zoom, a pixel or so in the crop
    save_still(tmp_path, "tiny", image, mask)
    clips = TrainingClips(STILLS, [tmp_path], total=4)
    assert all(clips[i][1][0].any() for i in range(4))


def test_empty_masks_everywhere_are_refused(tmp_path):
    save_still(tmp_path, "empty", np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH)))
    with pytest.raises(BadInput, match=f"{tmp_path}: 100 clips without an object"):
        TrainingClips(STILLS, [tmp_path], total=1)[0]


def test_both_sides_and_both_kinds_come_up(stills, video):
    """Half of the clips are mirrored; the share of stills moves from the start to the end."""
    stage = dataclasses.replace(VIDEOS, stills=(1.0, 0.0), rotation=0.0, spline=0.0)
    clips = TrainingClips(stage, [stills, video], total=100)
    made = []
    clips.from_still, clips.from_video = (
        lambda rng, progress, make=make, name=name: made.append(name) or make(rng, progress)
        for name, make in (("still", clips.from_still), ("video", clips.from_video))
    )
    for i in range(0, 10):
        clips[i]
    early = made.count("still") / len(made)
    made.clear()
    for i in range(90, 100):
        clips[i]
    assert early > 0.7 and made.count("still") / len(made) < 0.3


# ---- geometry -----------------------------------------------------------------------------------


def test_motion_stays_in_its_ranges():
    rng = np.random.default_rng(0)
    motion = np.concatenate([random_motion(rng, STILLS) for _ in range(100)])
    for column, low, high in ((0, 0.75, 1.25), (1, -30, 30), (2, -0.25, 0.25), (3, -0.25, 0.25)):
        least, most = motion[:, column].min(), motion[:, column].max()
        edge = 0.05 * (high - low)
        assert low <= least < low + edge and high - edge < most <= high


def test_crop_matrix_puts_the_object_where_it_is_told():
    rng = np.random.default_rng(0)
    for _ in range(20):
        zoom, angle = rng.uniform(0.2, 5), rng.uniform(-90, 90)
        about, at = rng.uniform(0, 50, (2, 2))
        matrix = crop_matrix(48, zoom, angle, about, at)
        np.testing.assert_allclose(matrix @ [*at, 1], about, atol=1e-9)
        rotation = zoom * matrix[:, :2]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-9)  # no shear
        turned = np.degrees(np.arctan2(rotation[0, 1], rotation[0, 0]))
        assert turned == pytest.approx(angle)


def test_growth_is_even_and_goes_both_ways():
    rng = np.random.default_rng(0)
    stage = dataclasses.replace(STILLS, zoom=4.0)
    growth = np.stack([random_growth(rng, stage) for _ in range(400)])
    ratio = growth[:, -1] / growth[:, 0]
    assert 1 / 4 <= ratio.min() < 1 / 3 and 3 < ratio.max() <= 4
    assert 0.4 < (ratio > 1).mean() < 0.6
    np.testing.assert_allclose(growth[:, 1] ** 2, growth[:, 0] * growth[:, 2])
    assert np.array_equal(random_growth(rng, STILLS), np.ones(3))


def test_calm_clips_keep_a_part_of_what_changes():
    """The same draws, a tenth of the differences: in the pose, and in what the spline bends."""
    image = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 6)
    at = np.full(2, STILLS.crop / 2)

    def differences(rng, **changes):
        stage = dataclasses.replace(STILLS, **changes)
        mask = np.uint8(box())
        views = [v.astype(float) for v, _ in move(rng, stage, image, mask, 1, center(mask), at)]
        return np.abs(views[1] - views[0]).mean()

    for only in ({"spline": 0.0}, {"rotation": 0.0, "scale": (1.0, 1.0)}):
        wild = [differences(np.random.default_rng(i), **only) for i in range(20)]
        calm = [differences(Calm(i, 0.1), **only, calm=0.1) for i in range(20)]
        assert np.mean(calm) < 0.5 * np.mean(wild)


class Calm(np.random.Generator):
    """Draws the least `change` that a stage allows, and all else as any other generator."""

    def __init__(self, seed, change):
        super().__init__(np.random.PCG64(seed))
        self.change = change

    def uniform(self, low=0.0, high=1.0, size=None):
        drawn = super().uniform(low, high, size)
        return low if (low, high, size) == (self.change, 1, None) else drawn


def test_thin_plate_spline_is_scipys():
    for seed in range(3):
        shift = np.random.default_rng(seed).uniform(-0.1, 0.1, (16, 2))
        control = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, 4)]), -1).reshape(-1, 2)
        reference = RBFInterpolator(control, shift, kernel="thin_plate_spline", degree=1)
        at = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, 24)]), -1).reshape(-1, 2)
        field = thin_plate_spline(np.random.default_rng(seed), 24, 0.1)  # drawn at 24 x 24
        expected = 24 * reference(at).reshape(24, 24, 2)
        np.testing.assert_allclose(field, expected, atol=1e-4)
        # corners are control points: there the spline is what was drawn
        np.testing.assert_allclose(field[0, 0], 24 * shift[0], atol=1e-4)
        np.testing.assert_allclose(field[0, -1], 24 * shift[3], atol=1e-4)
        # a larger field is the same one, enlarged: no point moves by another share
        large = thin_plate_spline(np.random.default_rng(seed), 96, 0.1)
        small = cv2.resize(large, (24, 24), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(small / 96, field / 24, atol=0.01)


def test_thin_plate_spline_of_affine_shifts_is_affine():
    """Nothing bends if the control points are shifted by an affine map."""

    class Affine:
        def uniform(self, low, high, shape):
            axis = np.linspace(0, 1, 4)
            x, y = (a.ravel() for a in np.meshgrid(axis, axis))
            return np.stack([0.1 + 0.2 * x - 0.3 * y, 0.05 * x + 0.1 * y], axis=-1)

    field = thin_plate_spline(Affine(), 24, 1.0) / 24
    x, y = np.meshgrid(*2 * [np.linspace(0, 1, 24)])
    np.testing.assert_allclose(field[..., 0], 0.1 + 0.2 * x - 0.3 * y, atol=1e-6)
    np.testing.assert_allclose(field[..., 1], 0.05 * x + 0.1 * y, atol=1e-6)


def test_image_and_mask_move_together(tmp_path):
    """The mask painted into the image: after every warp and flip it is still the mask."""
    mask = box(22, 30, 16, 24)
    save_still(tmp_path, "a", paint(mask, (255, 255, 255), (0, 0, 0)), 255 * mask)
    # zoomed in, so that the frame's reflected border stays out of the crop
    stage = dataclasses.replace(STILLS, scale=(2.0, 2.5))
    clips = TrainingClips(stage, [tmp_path], total=20)
    places = []
    for frames, masks in (clips[i] for i in range(20)):
        painted = frames.mean(dim=1, keepdim=True) > 0.5
        assert (painted != masks.bool()).float().mean() < 0.005
        places += [np.argwhere(m[0].numpy()).mean(axis=0) for m in masks]
    assert np.ptp(places, axis=0).min() > 8  # and it does move, also within a clip
    assert np.ptp(places[:3], axis=0).max() > 1


# ---- from stills --------------------------------------------------------------------------------


def test_pasting_changes_the_background_only(tmp_path):
    save_still(tmp_path, "red", paint(box(), RED, BLUE), 255 * box())
    save_still(tmp_path, "green", paint(box(), GREEN, GREY), 255 * box())
    own = {RED: BLUE, GREEN: GREY}
    foreign = {0.0: 0, 1.0: 0}
    around, edge = np.ones((5, 5), np.uint8), {"borderType": cv2.BORDER_CONSTANT}
    for paste in foreign:
        stage = dataclasses.replace(STILLS, paste=paste, cutout=(0.2, 0.4))
        clips = TrainingClips(stage, [tmp_path], total=12)
        for frames, masks in (clips[i] for i in range(12)):
            for frame, mask in zip(frames.numpy(), masks[:, 0].numpy(), strict=True):
                pixels = 255 * frame.transpose(1, 2, 0)
                inside = pixels[cv2.erode(mask, around, borderValue=0, **edge) > 0]
                outside = pixels[cv2.dilate(mask, around) == 0]
                colour = min(own, key=lambda c: np.abs(np.median(inside, axis=0) - c).sum())
                assert np.abs(inside - colour).max() < 9  # the object is the still's own
                foreign[paste] += np.abs(outside - own[colour]).sum(axis=1).min() > 20
    assert foreign[0.0] == 0 and foreign[1.0] > 3


def test_jitter_keeps_type_and_bounds():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(jitter(rng, frame, 0.0), frame)
    for _ in range(50):
        changed = jitter(rng, frame, 0.1)
        assert changed.dtype == np.uint8 and changed.shape == frame.shape
        # white stays bright: a value past 255 would wrap round to black
        assert np.abs(changed.astype(int) - frame).max() <= 2 * 0.1 * 255 + 1


def test_tint_keeps_greys_and_turns_hues_and_saturation():
    rng = np.random.default_rng(0)
    assert np.allclose(tint(rng, 0.0), np.eye(3))
    colour = np.array([200.0, 60.0, 100.0])
    for _ in range(50):
        matrix = tint(rng, 0.3)
        assert np.allclose(matrix @ np.full(3, 128.0), 128)
        changed = matrix @ colour
        assert changed.mean() == pytest.approx(colour.mean())
        before, after = colour - colour.mean(), changed - changed.mean()
        gain = np.linalg.norm(after) / np.linalg.norm(before)
        turned = np.arccos(after @ before / np.linalg.norm(after) / np.linalg.norm(before))
        assert 0.7 <= gain <= 1.3 and turned <= 0.3 * np.pi + 1e-6


def test_tint_is_one_for_all_frames_of_a_clip(tmp_path):
    """Two pixels of one colour in different frames keep one colour; clips get different ones."""
    frame = np.full((HEIGHT, WIDTH, 3), (180, 60, 90), np.uint8)
    save_video(tmp_path, "red", [(frame, np.uint8(box()))] * 12)
    clips = TrainingClips(dataclasses.replace(VIDEOS, tint=0.3), [tmp_path], total=8)
    colours = [{tuple(c) for c in clips[i][0].flatten(2).transpose(1, 2).flatten(0, 1).tolist()}
               for i in range(8)]  # fmt: skip
    assert all(len({tuple(round(x, 1) for x in c) for c in found}) == 1 for found in colours)
    assert len({tuple(round(x, 1) for x in min(found)) for found in colours}) > 4


def test_beyond_the_source_image_and_mask_are_mirrored():
    """Seen past the left edge of the source: what shows the object is marked as the object."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[5:15, :10] = 250
    labels = np.uint8(image[..., 0] > 0)
    x, y = np.meshgrid(np.arange(-15, 25), np.arange(20))
    frame, ids = sample(image, labels, np.stack([x, y], axis=-1).astype(np.float32))
    assert ids[10, 14] == 1 and ids[10, 6] == 1 and ids[10, 3] == 0  # 15 columns left of the source
    assert np.array_equal(frame[..., 0] > 0, ids == 1)


# ---- from videos --------------------------------------------------------------------------------


def times(frames):
    return [round(float(np.median(frame)) / 10) for frame in frames]


@pytest.mark.parametrize(("progress", "longest"), [(0.0, 1), (0.25, 2), (0.5, 4), (1.0, 4)])
def test_video_clips_keep_time_order_and_interval(video, progress, longest):
    clips = TrainingClips(VIDEOS, [video], total=10)
    rng = np.random.default_rng(0)
    steps = set()
    firsts = set()
    for _ in range(60):
        frames, masks = clips.from_video(rng, progress)
        t = times(frames)
        firsts.add(t[0])
        steps |= set(np.diff(t).tolist())
        # one view for the whole clip: what does not move stays, and is away when it is away
        seen = [m for m, when in zip(masks, t, strict=True) if when not in (2, 3)]
        assert all(np.array_equal(m, seen[0]) for m in seen)
        assert all(not m.any() for m, when in zip(masks, t, strict=True) if when in (2, 3))
    # the interval grows with the clips: 1 to 1, then to 2 (1 + 3 / 2, rounded to even), then to 4
    assert steps == set(range(1, longest + 1))
    assert min(firsts) == 0 and max(firsts) >= 8


def test_short_videos_are_used_to_their_end(tmp_path):
    pairs = [(np.full((HEIGHT, WIDTH, 3), 10 * t, np.uint8), np.uint8(box())) for t in range(3)]
    save_video(tmp_path, "short", pairs)
    save_video(tmp_path, "too-short", pairs[:2])
    clips = TrainingClips(VIDEOS, [tmp_path], total=10)
    assert len(clips.videos) == 1 and len(clips.videos[0]) == 1
    for _ in range(5):
        assert times(clips.from_video(np.random.default_rng(0), 1.0)[0]) == [0, 1, 2]


# ---- several objects ----------------------------------------------------------------------------


def colour_of(frame, mask):
    """Median colour of frame (3, S, S) inside mask (S, S), well away from its edge; or None."""
    inside = cv2.erode(mask.numpy(), np.ones((5, 5), np.uint8), borderValue=0)
    pixels = 255 * frame.numpy()[:, inside > 0]
    return tuple(np.median(pixels, axis=1).round().astype(int).tolist()) if pixels.size else None


def test_every_object_keeps_its_number_through_a_clip(tmp_path):
    """Three coloured boxes, of which the blue one comes later; 255 is void and never an object."""
    pairs = []
    for t in range(8):
        a, b = box(left=5 + 5 * t, width=20, top=5), box(left=55 - 5 * t, width=20, top=35)
        later = box(left=60, width=15, top=45, height=15) & (t > 0)
        frame = np.where(a[..., None], np.uint8(RED), paint(b, GREEN, GREY))
        ids = np.where(later & ~b, 9, 3 * np.uint8(a) + 7 * np.uint8(b)).astype(np.uint8)
        ids[28:32] = 255
        pairs.append((np.where((ids == 9)[..., None], np.uint8(BLUE), frame), ids))
    save_video(tmp_path, "two", pairs)
    stage = dataclasses.replace(VIDEOS, objects=4, interval=(1, 1), rotation=0.0)
    clips = TrainingClips(stage, [tmp_path], total=40)
    firsts, both, late = set(), 0, False
    for frames, masks in (clips[i] for i in range(40)):
        assert masks.shape == (3, 4, 48, 48) and masks.sum(dim=1).max() <= 1
        assert masks[0, 0].mean() >= 0.01 and not masks[:, 3].any()
        colours = [
            {colour_of(f, m[o]) for f, m in zip(frames, masks, strict=True)} - {None}
            for o in range(3)
        ]
        assert all(len(seen) <= 1 for seen in colours)
        assert len(set.union(*colours)) == sum(map(len, colours))  # no colour in two numbers
        late |= BLUE in set.union(*colours)
        firsts |= colours[0]
        both += bool(colours[1])
    assert both > 10 and len(firsts) >= 2 and late


def test_pasted_over_another_still_with_its_object(tmp_path):
    """The pasted object comes first and hides the other, which moves on its own."""
    save_still(tmp_path, "red", paint(box(), RED, BLUE), 255 * box())
    save_still(tmp_path, "green", paint(box(), GREEN, GREY), 255 * box())
    clips = TrainingClips(dataclasses.replace(STILLS, paste=1.0, objects=2), [tmp_path], total=30)
    pairs = set()
    for frames, masks in (clips[i] for i in range(30)):
        assert masks.sum(dim=1).max() <= 1
        for frame, (front, back) in zip(frames, masks, strict=True):
            colours = colour_of(frame, front), colour_of(frame, back)
            pairs |= {colours} if None not in colours else set()
    close = {tuple(min((RED, GREEN), key=lambda c: abs(c[0] - x[0])) for x in p) for p in pairs}
    assert close >= {(RED, GREEN), (GREEN, RED)}
    single = dataclasses.replace(STILLS, paste=1.0, objects=1)
    assert TrainingClips(single, [tmp_path], total=1)[0][1].shape == (3, 1, 48, 48)


def test_bystanders_are_seen_and_have_no_mask(tmp_path):
    """Unmarked in all frames, or in none of the control; more of them from the object's folder."""
    for folder, front, back in (("warm", RED, GREEN), ("cold", BLUE, GREY)):
        for name, colour in (("front", front), ("back", back)):
            save_still(tmp_path / folder, name, paint(box(), colour, (0, 0, 0)), 255 * box())
    folders = [tmp_path / "warm", tmp_path / "cold"]
    kinds = np.array([RED, GREEN, BLUE, GREY])

    def seen(bystanders):
        """Over many clips: (own colours, colours outside every mask, second objects marked)."""
        stage = dataclasses.replace(
            STILLS, paste=1.0, objects=2, bystanders=bystanders, folders_alike=True, spline=0.0
        )
        clips, pairs, second = TrainingClips(stage, folders, total=120), [], 0
        for frames, masks in (clips[i] for i in range(120)):
            second += bool(masks[:, 1].any())
            for frame, mask in zip(frames, masks, strict=True):
                outside = cv2.dilate(mask.amax(dim=0).numpy(), np.ones((5, 5))) == 0
                pixels = 255 * frame.numpy().transpose(1, 2, 0)
                own = np.abs(kinds - np.array(colour_of(frame, mask[0]) or 999)).sum(axis=1)
                unmarked = (np.abs(pixels[outside][:, None] - kinds).sum(axis=2) < 5).sum(axis=0)
                if own.min() < 5:
                    pairs += [(int(own.argmin()), int(k)) for k in np.flatnonzero(unmarked > 20)]
        return pairs, second

    pairs, second = seen(1.0)
    assert set(pairs) >= {(0, 1), (1, 0), (2, 3), (3, 2), (0, 2)} and second == 0
    alike = np.mean([own // 2 == other // 2 for own, other in pairs])
    assert 0.6 < alike < 0.9  # half of them, and half of those that are from any folder
    assert seen(0.0)[0] == [] and seen(0.0)[1] > 100
    assert 30 < seen(0.5)[1] < 90


def test_cutouts_come_in_go_out_and_hide_each_other(tmp_path):
    """Up to four of them, on a still of none: not always seen, not always in one depth order."""
    for name, colour in (("a", RED), ("b", GREEN), ("c", BLUE)):
        save_still(tmp_path / "cut", name, paint(box(), colour, GREY), 255 * box())
    stage = dataclasses.replace(STILLS, paste=1.0, objects=3, cutouts=4, cutout=(0.1, 0.4))
    clips = TrainingClips(stage, [tmp_path / "cut"], total=60)
    seen = torch.stack([clips[i][1].flatten(2).any(dim=2) for i in range(60)])  # (60, T, O)
    assert seen[:, 0, 0].all() and seen[:, 0].sum(dim=1).unique().tolist() == [2, 3]
    enters, leaves = ~seen[:, 0] & seen[:, 2], seen[:, 0] & ~seen[:, 2]
    assert enters[:, 1].any() and leaves[:, 1].any()
    firsts = torch.stack([clips[i][1][0].sum(dim=(1, 2)) for i in range(60)])  # pixels, (60, O)
    apart = dataclasses.replace(stage, cutouts=1)
    alone = TrainingClips(apart, [tmp_path / "cut"], total=60)
    assert firsts[:, 0].mean() < torch.stack([alone[i][1][0, 0].sum() for i in range(60)]).mean()


def test_small_first_objects_are_kept_where_the_stage_allows(tmp_path):
    save_still(tmp_path, "a", paint(box(), RED, GREY), 255 * box())

    def shares(**changes):
        stage = dataclasses.replace(STILLS, paste=1.0, crop=64, **changes)
        clips = TrainingClips(stage, [tmp_path], total=60)
        return np.array([clips[i][1][0, 0].mean() for i in range(60)])

    small = shares(cutout=(0.004, 0.008), smallest=0.003)
    assert 0.003 <= small.min() and small.max() < 0.02  # at scales up to 1.25
    assert shares(cutout=(0.1, 0.2)).min() >= 0.03


@pytest.mark.parametrize("growth", [(0.5, 1.0, 2.0), (2.0, 1.0, 0.5)])
def test_a_zooming_video_clip_follows_its_object(growth, tmp_path, monkeypatch):
    """An object that runs from left to right, four times as large at the end or at the start."""
    pairs = []
    for t in range(12):
        mask = box(left=16 + 3 * t, width=12, top=22, height=12)
        pairs.append((paint(mask, RED, GREY), np.uint8(mask)))
    save_video(tmp_path, "runs", pairs)
    monkeypatch.setattr("gcvos_mini.warps.random_growth", lambda rng, stage: np.array(growth))
    stage = dataclasses.replace(
        VIDEOS, interval=(4, 4), rotation=0.0, scale=(1.5, 1.5), smallest=0.002, crop=96
    )
    clips = TrainingClips(stage, [tmp_path], total=30)
    sizes = np.array([clips[i][1][:, 0].sum(dim=(1, 2)).numpy() for i in range(30)])
    assert (sizes > 0).all()
    whole = np.median(sizes, axis=0)  # those of clips in which no edge cuts the object
    np.testing.assert_allclose(whole / whole[1], np.square(growth), rtol=0.45)


def test_stills_with_ids_are_read_as_ids(tmp_path):
    """A palette of ids beside black and white masks, in one folder."""
    two = np.uint8(box(left=5, width=20)) + 2 * np.uint8(box(left=45, width=20))
    save_still(tmp_path, "ids", paint(two > 0, RED, GREY), two)
    save_still(tmp_path, "white", paint(box(), RED, GREY), 255 * box())
    found = {still.image.stem: read_pair(still)[1] for still in find_data([tmp_path])[0]}
    assert np.array_equal(found["ids"], two) and np.array_equal(found["white"], box())


# ---- what the clips are drawn from --------------------------------------------------------------


def test_folders_alike(tmp_path):
    """Nine videos in one folder, one in another: a tenth of the clips are its, or half."""
    folders = [tmp_path / "many", tmp_path / "one"]
    for number in range(10):
        pairs = [(np.full((HEIGHT, WIDTH, 3), 20 * number, np.uint8), np.uint8(box()))] * 3
        save_video(folders[number == 9], f"v{number}", pairs)

    def share(alike):
        stage = dataclasses.replace(VIDEOS, folders_alike=alike)
        clips, rng = TrainingClips(stage, folders, total=10), np.random.default_rng(0)
        return np.mean([clips.from_video(rng, 0)[0][0].max() == 180 for _ in range(200)])

    assert 0.03 < share(False) < 0.2 and 0.4 < share(True) < 0.6
    twice = dataclasses.replace(VIDEOS, folders_alike=True)
    assert len(TrainingClips(twice, folders[:1] * 2 + folders[1:], total=1).videos) == 3


@pytest.mark.parametrize(
    "lists, year",
    [
        (["2017/train.txt", "2017/val.txt"], 2017),
        (["2017/val.txt"], 2017),  # as a user's own held-out clips may have it
        (["2016/train.txt", "2017/train.txt"], 2017),
        (["2016/train.txt"], 2016),
        (["480p/train.txt"], 2016),
    ],
)
def test_year_of_a_folder(lists, year, tmp_path):
    """Read by the rules of 2016, the objects of a video would be one."""
    for name in lists:
        path = tmp_path / "ImageSets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert year_of(tmp_path) == year


def test_sequences_held_out(tmp_path):
    """They appear neither as videos nor as stills, and are found again by name, once."""
    for number, name in enumerate(("a", "b", "c")):
        pairs = [(np.full((HEIGHT, WIDTH, 3), 20 * number, np.uint8), np.uint8(box()))] * 3
        save_video(tmp_path, name, pairs)
    clips = TrainingClips(VIDEOS, [tmp_path], total=10, without=["b", "c"])
    assert {still.image.parent.name for still in clips.stills[0]} == {"a"}
    assert [len(group) for group in clips.videos] == [1]
    found = held_out([tmp_path, tmp_path], ["c", "b"])
    assert [(sequence.name, year) for sequence, year in found] == [("c", 2017), ("b", 2017)]
    assert held_out([tmp_path], []) == []
    for mask in list((tmp_path / "Annotations/480p/b").iterdir())[1:]:
        mask.rename(tmp_path / mask.name)
    first = next((tmp_path / "Annotations/480p/b").iterdir())
    first.rename(first.with_stem("00000"))
    with pytest.raises(BadInput, match=f"{tmp_path}: b has no second mask"):
        held_out([tmp_path], ["b"])
    with pytest.raises(BadInput, match=f"d: no such sequence in {tmp_path}"):
        held_out([tmp_path], ["d"])


# ---- bad input ----------------------------------------------------------------------------------


def test_folders_that_are_neither(tmp_path, stills):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput, match=f"{folder}: neither stills .* nor DAVIS"):
            find_data([folder])
    for mask in (stills / "masks").iterdir():
        mask.rename(mask.with_stem("x" + mask.stem))
    with pytest.raises(BadInput, match=f"{stills}: no image in images/ has a mask"):
        find_data([stills])


def test_images_without_a_mask_are_named(stills, capsys):
    everything = find_data([stills])[0]
    assert capsys.readouterr().err == ""
    gone = everything[0]
    gone.mask.unlink()
    assert find_data([stills])[0] == everything[1:]
    note = f"note: {stills}: 1 of {len(everything)} images have no mask and are left out"
    assert capsys.readouterr().err == f"{note}: {gone.image.name}\n"


def test_the_videos_stage_needs_videos(stills, video):
    with pytest.raises(BadInput, match=f"{stills}: no training video"):
        TrainingClips(VIDEOS, [stills], total=1)
    assert sum(map(len, TrainingClips(STILLS, [stills, video], total=1).stills)) == 3 + 12


def test_sizes_that_differ_are_refused(stills, video):
    """Warped alike, an image and a mask of other sizes would part without a word."""
    for folder, name, stage in (
        (stills, "images", STILLS),
        (video, "JPEGImages/480p/grey", VIDEOS),
    ):
        for file in (folder / name).iterdir():
            Image.new("RGB", (WIDTH - 1, HEIGHT)).save(file)
        clips = TrainingClips(stage, [folder], total=1)
        with pytest.raises(BadInput, match=f"{name}/.*png is 79x60 but .*png is 80x60"):
            clips[0]
