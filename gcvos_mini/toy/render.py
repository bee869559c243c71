"""The embedded data set: rendered clips in the DAVIS 2017 layout, from a seed, with no download.

Animals, blobs and stars, each with its own outline that wobbles and its own texture, move over
textured backgrounds that pan and zoom. They pass before each other and behind posts and bushes,
leave and return, grow, meet their doubles, and the light changes. Still patches in the background
wear the same kinds of texture, so "the colourful thing" is not the answer.

What there is to draw is in textures.py and parts.py (shapes), what happens in scenes.py; here it
becomes pixels and files. Lengths are fractions of the frame height, so 240p and 480p show the same
scene. One seed gives the same bytes every time, on one machine with one set of library versions.
"""

import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from gcvos_mini.errors import BadInput
from gcvos_mini.masks import write_mask
from gcvos_mini.toy.folder import FRAMES, already_there, split_of, write_lists
from gcvos_mini.toy.scenes import ASPECT, MARGIN, TRAIN, VAL, Camera, Light, Scene, Thing
from gcvos_mini.toy.textures import TAU, TILE, fractal, paint_tile, scaled, sharpen, wrapped

VERSION = 5  # raise it whenever the same seed would give other bytes


# ---- clips -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clip:
    """A name and a seed, all that a clip is drawn from; `clip_frames` makes the pixels."""

    name: str
    seed: int = 0

    @property
    def split(self) -> str:
        """Which split it belongs to, "val" or "train"."""
        return split_of(self.name)

    def scene(self) -> Scene:
        """The first draw with at least 1.2 % of frame 0 for every object. RuntimeError if none."""
        recipe = (VAL | TRAIN)[self.name]
        for attempt in range(200):
            rng = np.random.default_rng([self.seed, zlib.crc32(self.name.encode()), attempt])
            scene = recipe(rng)
            labels = label_frame(scene, 0, 90)
            if all((labels == i).mean() >= 0.012 for i in scene.ids):
                return scene
        raise RuntimeError(f"{self.name}: no draw shows every object in frame 0")


def find_clip(name: str, seed: int = 0) -> Clip:
    """The Clip of this name. Raises BadInput for an unknown one, or a seed below 0."""
    if seed < 0:
        raise BadInput(f"seed {seed}: must be 0 or more")
    if name not in VAL and name not in TRAIN:
        raise BadInput(
            f"{name}: no such clip; choose from {', '.join(VAL)}, train-000 to "
            f"train-{len(TRAIN) - 1:03d}"
        )
    return Clip(name, seed)


# ---- pixels ------------------------------------------------------------------------------------
# t is a frame's number, height that of the frame in pixels, an affine map of points 2x3 or 3x3.


def to_pixels(matrix: np.ndarray, height: int, x0: int = 0, y0: int = 0) -> np.ndarray:
    """`matrix` (3, 3), which takes scene coordinates, made to take a window's pixels instead."""
    scale = np.array(
        [[1 / height, 0, (x0 + 0.5) / height], [0, 1 / height, (y0 + 0.5) / height], [0, 0, 1]]
    )
    return matrix @ scale


def rgb(gain: np.ndarray) -> np.ndarray:
    """float32 (h, w) -> (h, w, 3), the same in each colour: faster than broadcasting."""
    return cv2.merge([gain.astype(np.float32)] * 3)


def square(matrix: np.ndarray) -> np.ndarray:
    """An affine map (2, 3) as (3, 3), so that it can be inverted and multiplied."""
    return np.vstack([matrix, [0, 0, 1]])


def coverage(
    thing: Thing, t: float, camera: Camera, height: int, canvas: tuple[int, int], margin: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """How much of each pixel the thing covers: alpha float32 (h, w) and its window's corner.

    The window is the thing's box plus `margin` pixels, cut to the canvas (H, W) plus `margin`;
    None when nothing of it is inside. Drawn at four times the size, so edges are soft.
    """
    pose = thing.pose(t, camera)
    outlines = [(p @ pose[:, :2].T + pose[:, 2]) * height for p in thing.outlines(t)[0]]
    corners = np.concatenate(outlines)
    low = np.maximum(np.floor(corners.min(0)) - margin, -margin).astype(int)
    high = np.minimum(
        np.ceil(corners.max(0)) + margin, (canvas[1] + margin, canvas[0] + margin)
    ).astype(int)
    w, h = high - low
    if w <= 2 * margin or h <= 2 * margin:
        return None
    fine = np.zeros((4 * h, 4 * w), np.uint8)
    for outline in outlines:
        points = np.round(((outline - low) * 4 - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [points], 255, shift=4)
    return cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) / 255, low


def width_of(height: int) -> int:
    """The width in pixels of frames of this height."""
    return round(height * ASPECT)


def overlap(low: np.ndarray, shape: tuple, canvas: tuple) -> tuple[tuple, tuple]:
    """Slices of the canvas, and of a window of `shape` at `low`, where the two overlap."""
    outer, inner = [], []
    for start, length, limit in zip(low[::-1], shape, canvas, strict=True):
        first, last = max(start, 0), min(start + length, limit)
        outer.append(slice(first, last))
        inner.append(slice(first - start, last - start))
    return tuple(outer), tuple(inner)


def label_frame(scene: Scene, t: float, height: int) -> np.ndarray:
    """The mask of frame t alone: object ids uint8 (H, W)."""
    labels = np.zeros((height, width_of(height)), np.uint8)
    for thing in scene.things:
        drawn = coverage(thing, t, scene.camera, height, labels.shape, 1)
        if drawn:
            outer, inner = overlap(drawn[1], drawn[0].shape, labels.shape)
            labels[outer][drawn[0][inner] >= 0.5] = thing.id
    return labels


def soften(alpha: np.ndarray, sigma: float) -> np.ndarray:
    """A wide blur of (h, w), sigma in pixels, computed at a quarter of the size."""
    h, w = alpha.shape
    small = cv2.resize(alpha, (max(w // 4, 1), max(h // 4, 1)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), max(sigma / 4, 0.3)), (w, h))


def draw(image: np.ndarray, labels: np.ndarray, thing: Thing, tile: np.ndarray, t: float,
         camera: Camera, height: int) -> None:  # fmt: skip
    """Paint one thing with its shadow onto image float32 (H, W, 3) and labels uint8 (H, W)."""
    margin = round(0.07 * height)
    drawn = coverage(thing, t, camera, height, labels.shape, margin)
    if drawn is None:
        return
    alpha, low = drawn
    outer, inner = overlap(low, alpha.shape, labels.shape)
    labels[outer][alpha[inner] >= 0.5] = thing.id  # hard, where the picture's edge is soft
    pose = square(thing.pose(t, camera))
    paint = shaded(alpha, tile, pose, low, height)
    for x, y in thing.outlines(t)[1]:
        draw_eye(paint, pose, (x, y), low, height)
    step = (thing.path.at(t + 0.25) - thing.path.at(t - 0.25))[:2] * height
    layer = motion_blur(cv2.merge([paint * rgb(alpha), alpha]), step)
    shift = np.float32([[1, 0, 0.02 * height], [0, 1, 0.035 * height]])
    shadow = soften(cv2.warpAffine(alpha, shift, alpha.shape[::-1]), 0.015 * height)
    shown = (1 - 0.45 * shadow) * (1 - layer[..., 3])
    image[outer] = image[outer] * rgb(shown[inner]) + layer[inner][..., :3]


def shaded(
    alpha: np.ndarray, tile: np.ndarray, pose: np.ndarray, low: np.ndarray, height: int
) -> np.ndarray:
    """The thing's texture in its window (h, w, 3), darker to the rim, lit from the upper left."""
    scale, middle = len(tile) / 2.4, len(tile) / 2 - 0.5
    to_tile = np.array([[scale, 0, middle], [0, scale, middle], [0, 0, 1]])
    matrix = (to_tile @ to_pixels(np.linalg.inv(pose), height, *low))[:2]
    paint = cv2.warpAffine(
        tile,
        matrix,
        alpha.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )
    reach = 0.16 * np.sqrt(abs(np.linalg.det(pose))) * height
    soft = soften(alpha, reach)
    down, right = np.gradient(soft)
    return paint * rgb(0.62 + 0.45 * soft + 0.5 * reach * (down + 0.6 * right))


def draw_eye(
    paint: np.ndarray, pose: np.ndarray, eye: tuple[float, float], low: np.ndarray, height: int
) -> None:
    """Paint an eye at (x, y) of the thing's own coordinates onto its window (h, w, 3)."""
    x, y = (pose[:2] @ (*eye, 1)) * height - low - 0.5
    radius = 0.065 * abs(pose[1, 1]) * height
    for r, colour in ((radius, (245, 245, 240)), (0.55 * radius, (15, 15, 20))):
        cv2.circle(paint, (round(x * 16), round(y * 16)), round(r * 16), colour, -1, cv2.LINE_AA, 4)


def motion_blur(layer: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Smear (h, w, 4) along `step` pixels, what the thing travels while the shutter is open."""
    reach = int(np.ceil(np.abs(step).max() / 2))
    if np.hypot(*step) < 1:
        return layer
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    ends = [tuple(int(v) for v in np.round((reach + s * step / 2) * 16)) for s in (-1, 1)]
    cv2.line(kernel, *ends, 255, 1, cv2.LINE_AA, 4)
    kernel = kernel.astype(np.float32)
    return cv2.filter2D(layer, -1, kernel / kernel.sum())


def backdrop(scene: Scene, height: int) -> np.ndarray:
    """The still world, frame plus MARGIN on each side: uint8 (H', W', 3)."""
    h, w = round((1 + 2 * MARGIN) * height), round((ASPECT + 2 * MARGIN) * height)
    y, x = ((np.mgrid[0:h, 0:w] + 0.5) / height - MARGIN).astype(np.float32)
    ground, sky = (scaled(paint_tile(t), min(height, TILE)) for t in (scene.ground, scene.sky))
    if scene.kind == "wall":
        world = wrapped(ground, x, y) * (1.1 - 0.25 * y)[..., None]
    else:
        world = landscape(scene, ground, sky, x, y)
    scratch = np.zeros((h, w), np.uint8)
    for patch in scene.patches:
        draw(world, scratch, patch, tile_for(patch, height), 0, scene.camera, height)
    return np.clip(world, 0, 255).astype(np.uint8)


def landscape(
    scene: Scene, ground: np.ndarray, sky: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """A plane running to the horizon, hills before the sky; under water, haze and rays of light."""
    rng = np.random.default_rng(scene.seed)
    horizon = rng.uniform(0.25, 0.45) if scene.kind == "field" else rng.uniform(0.55, 0.75)
    below = np.maximum(y - horizon, 0)
    depth = 0.5 / (below + 0.06)
    plane = wrapped(ground, (x - ASPECT / 2) * depth * 0.6, depth)
    air = wrapped(sky, x * 0.5, y)
    if scene.kind == "water":
        rays = 0.75 + 0.5 * wrapped(sky, 0.8 * (x - 0.4 * y), 0 * y)[..., :1] / 255
        air = air * (0.25, 0.75, 0.9) * rays * (1.1 - 0.5 * y)[..., None]
    hills = horizon - 0.02 - 0.16 * np.interp(x[0], np.linspace(-1, 3, 24), rng.uniform(size=24))
    far = np.where((y > hills)[..., None], 0.45 * air + 0.3 * plane.mean((0, 1)), air)
    haze = np.exp(-9 * below)[..., None]
    mixed = plane * (1 - haze) + haze * air.mean((0, 1))
    return np.where((y > horizon)[..., None], mixed, far).astype(np.float32)


def tile_for(thing: Thing, height: int) -> np.ndarray:
    """The thing's texture (n, n, 3), at about the resolution at which it will be seen."""
    size = 2.4 * thing.path.points[:, 2].max() * height
    return scaled(paint_tile(thing.texture), int(np.clip(size, 16, TILE)))


def seen_through(
    camera: Camera, world: np.ndarray, x: np.ndarray, y: np.ndarray, t: float, height: int
) -> np.ndarray:
    """The part of the backdrop that the camera sees: float32 (H, W, 3); x, y (H, W)."""
    (dx, dy), zoom = camera.at(t)
    u = (x - ASPECT / 2) / zoom + ASPECT / 2 + dx + MARGIN
    v = (y - 0.5) / zoom + 0.5 + dy + MARGIN
    if camera.ripple:
        u, v = (
            u + camera.ripple * np.sin(TAU * (5 * y + t / 17)),
            v + camera.ripple * np.sin(TAU * (4 * x + t / 23)),
        )
    u, v = ((a * height - 0.5).astype(np.float32) for a in (u, v))
    return cv2.remap(world, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(
        np.float32
    )


def drifting_shade(
    light: Light, field: np.ndarray, x: np.ndarray, y: np.ndarray, t: float
) -> np.ndarray:
    """Cloud shadows that cross the scene: a gain (H, W, 3), of a noise field (TILE, TILE)."""
    gloom = sharpen(wrapped(field, 0.35 * x + 0.006 * t % 1, 0.35 * y + 0.002 * t % 1) - 0.55, 6.0)
    return rgb(1 - light.shade * gloom)


def clip_frames(
    clip: Clip | str, height: int = 240, frames: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (frame uint8 (H, W, 3) RGB, mask uint8 (H, W) of object ids), one pair at a time.

    clip: a Clip, or the name of one of seed 0. frames: the length, FRAMES[split] by default;
    nothing is kept, so any length fits in memory. Raises BadInput on an unknown name.
    """
    clip = find_clip(clip) if isinstance(clip, str) else clip
    scene = clip.scene()
    world = backdrop(scene, height)
    tiles = [tile_for(thing, height) for thing in scene.things]
    y, x = ((np.mgrid[0:height, 0 : width_of(height)] + 0.5) / height).astype(np.float32)
    rng = np.random.default_rng(scene.seed)
    gloom = fractal(rng, 2.6).astype(np.float32)
    noise = rng.normal(0, 3.5, (height + 64, width_of(height) + 64, 3)).astype(np.float32)
    for t in range(FRAMES[clip.split] if frames is None else frames):
        image = seen_through(scene.camera, world, x, y, t, height)
        labels = np.zeros(x.shape, np.uint8)
        for thing, tile in zip(scene.things, tiles, strict=True):
            draw(image, labels, thing, tile, t, scene.camera, height)
        image *= scene.light.gain(t)
        if scene.light.shade:
            image *= drifting_shade(scene.light, gloom, x, y, t)
        i, j = rng.integers(0, 64, 2)
        image += noise[i : i + x.shape[0], j : j + x.shape[1]]
        yield np.clip(image, 0, 255).astype(np.uint8), labels


# ---- files -------------------------------------------------------------------------------------


def render_clip(
    root: Path | str, clip: Clip | str, height: int = 240, frames: int | None = None
) -> None:
    """Write one clip under `root` in the DAVIS layout (no split lists). Raises as clip_frames."""
    clip = find_clip(clip) if isinstance(clip, str) else clip
    images, masks = (
        Path(root) / part / f"{height}p" / clip.name for part in ("JPEGImages", "Annotations")
    )
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for t, (frame, labels) in enumerate(clip_frames(clip, height, frames)):
        Image.fromarray(frame).save(images / f"{t:05d}.jpg", quality=90)
        write_mask(masks / f"{t:05d}.png", labels)


def render_clips(
    root: Path | str,
    seed: int = 0,
    height: int = 240,
    clips: list[str] | None = None,
    frames: int | None = None,
    progress: bool = True,
) -> Path:
    """Write the data set under `root`: JPEGImages, Annotations, ImageSets/2017/{train,val}.txt.

    height: 240 or 480 on the command line, any works here. clips: names, all by default. frames:
    another length for every clip. The files appear all at once at the end, in place of another set
    that was there; a folder that already holds this very data set is left alone. Returns the Path
    of `root`; raises BadInput on an unknown name, or when what would go holds anything that this
    function did not write.
    """
    root = Path(root)
    chosen = [find_clip(name, seed) for name in (clips or [*TRAIN, *VAL])]
    about = {
        "version": VERSION,
        "seed": seed,
        "height": height,
        "frames": frames,
        "clips": [clip.name for clip in chosen],
    }
    if already_there(root, about):
        print(f"{root}: already rendered")
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        for clip in tqdm(chosen, "render", unit="clip", disable=not progress):
            render_clip(partial, clip, height, frames)
        write_lists(partial, about)
        partial.chmod(0o755)
        if root.exists():
            shutil.rmtree(root)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root
