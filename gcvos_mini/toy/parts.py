"""What the clips of render.py are made of: textures, and shapes whose outlines move."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

TILE = 512  # pixels on a side of a texture
TAU = 2 * np.pi


# ---- textures: a periodic field in [0, 1], then two or three colours -------------------------

Y, X = (np.mgrid[0:TILE, 0:TILE] / TILE).astype(np.float32)  # (TILE, TILE) each, in [0, 1)


@lru_cache
def spectrum(slope, stretch):
    """The amplitudes 1/f^slope of fractal noise, (TILE, TILE // 2 + 1); `stretch` along y, x."""
    frequency = np.hypot(
        np.fft.fftfreq(TILE)[:, None] * stretch[0], np.fft.rfftfreq(TILE)[None] * stretch[1]
    )
    frequency[0, 0] = np.inf
    return (frequency**-slope).astype(np.float32)


def fractal(rng, slope=1.7, stretch=(1.0, 1.0)):
    """Multi-octave noise in [0, 1], float32 (TILE, TILE): white noise given that spectrum."""
    white = rng.standard_normal((TILE, TILE), dtype=np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white) * spectrum(slope, stretch))
    return np.clip(0.5 + noise / (4 * noise.std()), 0, 1)


def cells(rng, n):
    """n x n jittered points, periodic: distance to the nearest one in cells, and its tone."""
    i, j = np.mgrid[0:n, 0:n]
    points = (np.stack([i, j], -1) + rng.uniform(0.15, 0.85, (n, n, 2))) / n * TILE
    canvas = np.ones((TILE, TILE), np.uint8)
    rows, columns = points.reshape(-1, 2).astype(int).T
    canvas[rows, columns] = 0
    half = TILE // 2
    distance, label = cv2.distanceTransformWithLabels(
        np.pad(canvas, half, mode="wrap"), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    tones = rng.uniform(0, 1, label.max() + 1)
    return distance[half:-half, half:-half] * n / TILE, tones[label[half:-half, half:-half]]


def sharpen(wave, edge=4.0):
    """A wave in [-1, 1] to [0, 1], its flanks made steep."""
    return 0.5 + 0.5 * np.tanh(edge * wave)


def stripes(rng, n):
    return sharpen(np.sin(TAU * (n * X + 1.2 * fractal(rng, 2.0))))


def zigzag(rng, n):
    return sharpen(np.sin(TAU * (n * Y + 0.7 * np.abs(2 * (n * X % 1) - 1))))


def checks(rng, n):
    return sharpen(2 * np.sin(TAU * n * X) * np.sin(TAU * n * Y))


def rings(rng, n):
    return sharpen(np.sin(TAU * (1.4 * n * np.hypot(X - 0.5, Y - 0.5) + fractal(rng, 2.0))))


def spots(rng, n):
    return sharpen(3 * (cells(rng, n)[0] - 0.3))


def clouds(rng, n):
    return fractal(rng, 1.6)


def marble(rng, n):
    return np.abs(2 * fractal(rng, 1.9) - 1) ** 0.6


def gradient(rng, n):
    return np.clip(Y + 0.5 * (fractal(rng) - 0.5), 0, 1)


def bricks(rng, n):
    rows, columns = n // 2 * 2, n // 2
    i, v = np.divmod(rows * Y, 1)
    j, u = np.divmod(columns * X + 0.5 * (i % 2), 1)
    tone = rng.uniform(0.35, 1, (rows, columns))[i.astype(int), j.astype(int) % columns]
    joint = np.minimum(np.minimum(u, 1 - u) * 2, np.minimum(v, 1 - v)) < 0.07
    return np.where(joint, 0, np.clip(tone + 0.3 * (fractal(rng, 1.0) - 0.5), 0, 1))


def wood(rng, n):
    plank, u = np.divmod(n // 2 * X, 1)
    rings = sharpen(np.sin(TAU * 3 * fractal(rng, 1.5, (0.2, 1.0))), 1.0)
    tone = rng.uniform(0, 0.35, n // 2)[plank.astype(int)]
    return np.clip(tone + 0.65 * rings, 0, 1) * (u > 0.03)


def grass(rng, n):
    return np.clip(0.65 * fractal(rng, 0.9, (0.35, 1.0)) + 0.35 * fractal(rng, 2.0), 0, 1)


def waves(rng, n):
    return 0.5 + 0.5 * np.sin(TAU * (n * Y + 2.5 * fractal(rng, 1.8, (1.0, 2.5))))


def pebbles(rng, n):
    distance, tone = cells(rng, n)
    return np.clip(tone * 0.8 + 0.4 - 0.9 * distance**2, 0, 1)


def sand(rng, n):
    return 0.6 * fractal(rng, 0.6) + 0.4 * fractal(rng, 1.8)


COATS = [stripes, zigzag, checks, rings, spots, clouds, marble, gradient]
GROUNDS = [grass, sand, pebbles, waves, bricks]
WALLS = [bricks, wood, pebbles, marble, waves, grass, stripes, checks]


@dataclass(frozen=True)
class Texture:
    pattern: Callable  # (rng, n) -> field in [0, 1] (TILE, TILE)
    colours: tuple  # two or three RGB triples in [0, 255], for field 0 .. 1
    repeats: int
    seed: int


@lru_cache
def grain():
    """The fine unevenness that every texture has: a gain float32 (TILE, TILE, 1)."""
    return 0.82 + 0.36 * fractal(np.random.default_rng(0), 1.1)[..., None]


def paint_tile(texture):
    """Texture -> RGB float32 (TILE, TILE, 3)."""
    rng = np.random.default_rng(texture.seed)
    field = texture.pattern(rng, texture.repeats)
    stops = np.linspace(0, 255, len(texture.colours))
    table = np.stack(
        [np.interp(np.arange(256), stops, channel) for channel in np.transpose(texture.colours)], -1
    )
    tile = table.astype(np.float32)[(field * 255).astype(np.uint8)]
    return tile * np.roll(grain(), rng.integers(TILE, size=2), (0, 1))


def random_texture(rng, patterns, saturation=(0.45, 0.95), repeats=(3, 7)):
    """A texture of one of `patterns` with a hue, a related or opposite one, and a light one."""
    hue = rng.uniform()
    hues = [hue, hue + rng.choice([0.08, 0.33, 0.5]), hue + rng.uniform(-0.1, 0.1)]
    values = [rng.uniform(0.3, 0.6), rng.uniform(0.65, 1.0), rng.uniform(0.75, 1.0)]
    colours = [
        tuple(255 * c for c in colorsys.hsv_to_rgb(h % 1, rng.uniform(*saturation), v))
        for h, v in zip(hues, values, strict=True)
    ][: rng.integers(2, 4)]
    return Texture(
        patterns[rng.integers(len(patterns))],
        tuple(colours),
        int(rng.integers(*repeats)),
        int(rng.integers(2**31)),
    )


# ---- shapes: closed outlines in a box of about [-1, 1], heading to +x --------------------------
# Each takes `build`, eight numbers in [0, 1] that set its proportions, and `phase` in radians,
# and returns the outlines whose union it is, [(n, 2)], and its eyes, [(x, y)].

AROUND = np.linspace(0, TAU, 72, endpoint=False)


def polar(radius, angle=AROUND):
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def ellipse(x, y, a, b, tilt=0.0):
    cos, sin = np.cos(tilt), np.sin(tilt)
    return polar(1.0) * (a, b) @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def tube(points, thick, thin):
    """A limb: the outline around a centre line (n, 2), from `thick` to `thin`, ends rounded."""
    points = np.asarray(points, float)
    along = np.gradient(points, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], -1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    s = np.linspace(0, 1, len(points))[:, None]
    width = (thick + (thin - thick) * s) * np.sqrt(np.maximum(1 - (2 * s - 1) ** 8, 0))
    return np.concatenate([points + width * normal, (points - width * normal)[::-1]])


def limb(x, y, length, swing, thick, bend=0.0):
    """A leg from (x, y) downwards, turned by `swing` and bent by `bend` radians along the way."""
    angle = swing + bend * np.linspace(0, 1, 12)
    steps = length / 12 * np.stack([np.sin(angle), np.cos(angle)], -1)
    return tube((x, y) + np.cumsum(steps, 0) - steps[0], thick, 0.6 * thick)


def blob(build, phase):
    radius = 0.85 + sum(
        0.13 * (0.5 + build[k]) * np.cos((k + 2) * AROUND + TAU * build[k] + phase * (-1) ** k)
        for k in range(3)
    )
    return [polar(radius)], [(0.28, -0.2), (-0.12, -0.2)]


def star(build, phase):
    arms = 4 + int(4 * build[0])
    radius = 0.75 + (0.18 + 0.15 * build[1]) * np.cos(arms * AROUND) + 0.08 * np.sin(phase)
    return [polar(radius, AROUND + 0.45 * radius * np.sin(phase))], []


def crystal(build, phase):
    side = TAU / (3 + int(4 * build[0]))
    radius = np.cos(side / 2) / np.cos(AROUND % side - side / 2)
    return [
        polar(radius + 0.05 * np.cos(2 * AROUND + phase))
        * (1 + 0.18 * np.sin(phase), 1 - 0.18 * np.sin(phase))
    ], []


def morph(build, phase):
    """Star, then bean, then bar: the outline changes kind altogether."""
    mix = 0.5 - 0.5 * np.cos(phase)
    arms = 3 + int(3 * build[0])
    radius = 0.8 + 0.3 * (1 - mix) * np.cos(arms * AROUND) + 0.16 * mix * np.cos(2 * AROUND + phase)
    return [polar(radius) * (1 + 0.45 * mix, 1 - 0.5 * mix)], [(0.1, -0.12), (-0.2, -0.12)]


def fish(build, phase):
    def sway(p):
        return p + np.stack([0 * p[:, 0], 0.1 * (1.2 - p[:, 0]) * np.sin(phase + 2 * p[:, 0])], -1)

    deep = 0.38 + 0.2 * build[0]
    body = polar(1.0) * (0.8, deep) * np.stack([0 * AROUND + 1, 0.75 + 0.25 * np.cos(AROUND)], -1)
    spread = 0.3 + 0.25 * build[1]
    tail = np.array(
        [
            (-0.55, 0.0),
            (-0.8, -spread * 0.7),
            (-1.15, -spread),
            (-1.0, 0.0),
            (-1.15, spread),
            (-0.8, spread * 0.7),
        ]
    )
    fin = np.array(
        [
            (0.25, -deep * 0.8),
            (-0.1, -deep - 0.15 - 0.2 * build[2]),
            (-0.45, -deep - 0.1),
            (-0.4, -deep * 0.5),
        ]
    )
    return [sway(body + (0.15, 0)), sway(tail), sway(fin)], [(0.62, -0.1)]


def beast(build, phase):
    """Four legs, a neck, a tail: from dachshund to giraffe by `build`."""
    leg, neck, deep = 0.45 + 0.25 * build[0], 0.2 + 0.4 * build[1], 0.22 + 0.14 * build[2]
    swing, back = 0.55 * np.sin(phase), 0.1
    head = (0.72 + 0.12 * build[3], back - deep - neck + 0.04 * np.sin(2 * phase))
    legs = [
        limb(x, back + 0.4 * deep, leg, s * swing, 0.1 + 0.03 * build[4], -0.3 * abs(swing))
        for x, s in ((0.42, 1), (0.3, -1), (-0.38, 1), (-0.5, -1))
    ]
    tail = limb(
        -0.62,
        back - 0.5 * deep,
        0.5,
        -0.7 + 0.4 * np.sin(phase),
        0.06 + 0.03 * build[5],
        -1.0 * build[6],
    )
    ear = ellipse(head[0] - 0.14, head[1] - 0.17, 0.07, 0.1 + 0.1 * build[7], -0.4)
    throat = tube(np.linspace((0.4, back - 0.3 * deep), head, 10), 0.24, 0.14)
    return legs + [
        tail,
        ellipse(-0.05, back, 0.66, deep),
        throat,
        ear,
        ellipse(head[0] + 0.06, head[1], 0.25, 0.15, 0.25),
    ], [(head[0] + 0.1, head[1])]


def bird(build, phase):
    flap, span = np.sin(phase), 0.75 + 0.3 * build[0]
    wing = np.array(
        [
            (0.3, 0.0),
            (0.2, -span * flap * 0.6),
            (-0.15, -span * flap),
            (-0.45, -span * flap * 0.8),
            (-0.4, 0.0),
        ]
    )
    far = wing * (1, 0.75) + (0.15, -0.04)
    beak = np.array([(0.85, -0.22), (1.1 + 0.1 * build[1], -0.1), (0.85, -0.08)])
    tail = np.array([(-0.5, -0.05), (-1.05, -0.18), (-1.1, 0.12), (-0.5, 0.12)])
    return [
        ellipse(0, 0, 0.66, 0.25 + 0.1 * build[2], 0.1),
        ellipse(0.68, -0.16, 0.22, 0.2),
        beak,
        tail,
        wing,
        far,
    ], [(0.74, -0.2)]


def person(build, phase):
    swing = 0.6 * np.sin(phase)
    wide = 0.17 + 0.1 * build[0]
    legs = [
        limb(s * 0.07, 0.2, 0.8, s * swing, 0.14, -0.35 * (1 + s * np.sin(phase)) / 2)
        for s in (1, -1)
    ]
    arms = [limb(s * wide * 0.5, -0.4, 0.62, -1.1 * s * swing, 0.09, 0.7) for s in (1, -1)]
    torso = tube(np.linspace((0.03, -0.58), (0, 0.36), 12), wide + 0.08, wide)
    return legs + arms + [torso, ellipse(0.05, -0.78, 0.2, 0.23)], [(0.16, -0.8)]


def octopus(build, phase):
    s = np.linspace(0, 1, 16)
    arms = [
        tube(
            np.stack(
                [
                    x * (1 + 0.5 * s) + 0.16 * s * np.sin(phase + 4 * s + 7 * x),
                    0.05 + (0.75 + 0.2 * build[1]) * s,
                ],
                -1,
            ),
            0.13,
            0.05,
        )
        for x in np.linspace(-0.5, 0.5, 5)
    ]
    dome = ellipse(0, -0.25, 0.62 + 0.05 * np.sin(phase), 0.5 + 0.1 * build[2])
    return [dome] + arms, [(0.22, -0.25), (-0.14, -0.25)]


def snake(build, phase):
    x = np.linspace(1.1, -1.1, 40)
    line = np.stack([x, 0.3 * np.sin((3 + build[0]) * x + phase) * (1.3 - x) / 2], -1)
    head = ellipse(line[0, 0], line[0, 1], 0.26, 0.2)
    return [tube(line, 0.24, 0.1), head], [(line[0, 0] + 0.08, line[0, 1] - 0.05)]


def bush(build, phase):
    radius = (
        0.9
        + 0.1 * np.abs(np.sin(4.5 * AROUND + TAU * build[0]))
        + 0.02 * np.sin(9 * AROUND + phase)
    )
    return [polar(radius) * (1 + 0.3 * build[1], 0.9), ellipse(0.5, 0.4, 0.7, 0.6)], []


def post(build, phase):
    half = 0.09 + 0.05 * build[0]
    return [np.array([(-half, -1.0), (half, -1.0), (half, 1.0), (-half, 1.0)])], []


def fence(build, phase):
    posts = [
        np.array(
            [(x - 0.045, -0.42), (x, -0.52), (x + 0.045, -0.42), (x + 0.045, 0.6), (x - 0.045, 0.6)]
        )
        for x in np.arange(-1.8, 1.9, 0.3 + 0.1 * build[0])
    ]
    rails = [
        np.array([(-1.9, y), (1.9, y), (1.9, y + 0.07), (-1.9, y + 0.07)]) for y in (-0.22, 0.22)
    ]
    return posts + rails, []


# shape -> how far it leans into its path; None: it has no front, and turns about itself
LEAN = {
    fish: 0.7,
    bird: 0.5,
    snake: 0.8,
    beast: 0.15,
    person: 0.1,
    blob: None,
    star: None,
    crystal: None,
    morph: None,
    octopus: None,
}
SHAPES = list(LEAN)
