"""The embedded data set: rendered clips in the DAVIS 2017 layout, from a seed, with no download.

Animals, blobs and stars, each with its own outline that wobbles and its own texture, move over
textured backgrounds that pan and zoom. They pass before each other and behind posts and bushes,
leave and return, grow, meet their doubles, and the light changes. Still patches in the background
wear the same kinds of texture, so "the colourful thing" is not the answer.

Lengths are fractions of the frame height (x from 0 to 1.78, y from 0 to 1, downwards) and times
are frames, so 240p and 480p show the same scene. Every path is a closed loop: a clip can be
rendered at any length. One seed gives the same bytes every time with the same library versions.
"""

import colorsys
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from gcvos_mini.davis import write_mask
from gcvos_mini.errors import BadInput, exit_on_bad_input

VERSION = 1          # raise it whenever the same seed would give other bytes
ASPECT = 854 / 480   # 427x240 and 854x480 alike
TILE = 512           # pixels on a side of a texture
MARGIN = 0.35        # background beyond each side of the frame, for the camera to pan over
TAU = 2 * np.pi


# ---- textures: a periodic field in [0, 1], then two or three colours -------------------------

Y, X = np.mgrid[0:TILE, 0:TILE] / TILE   # (TILE, TILE) each, in [0, 1)


def fractal(rng, slope=1.7, stretch=(1.0, 1.0)):
    """Multi-octave noise in [0, 1] (TILE, TILE): white noise with a 1/f^slope spectrum."""
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None] * stretch[0],
                         np.fft.rfftfreq(TILE)[None] * stretch[1])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((TILE, TILE))) / frequency**slope)
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
        np.pad(canvas, half, mode="wrap"), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
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
    row = np.floor(n * Y)
    u, v = (n / 2 * X + 0.5 * (row % 2)) % 1, n * Y % 1
    tone = rng.uniform(0.35, 1, (n, n))[row.astype(int) % n,
                                        np.floor(n / 2 * X + 0.5 * (row % 2)).astype(int) % (n // 2)]
    joint = np.minimum(np.minimum(u, 1 - u) * 2, np.minimum(v, 1 - v)) < 0.07
    return np.where(joint, 0, np.clip(tone + 0.3 * (fractal(rng, 1.0) - 0.5), 0, 1))


def wood(rng, n):
    plank = np.floor(n / 2 * X).astype(int)
    grain = fractal(rng, 1.5, (6.0, 1.0))
    tone = rng.uniform(0, 0.35, n)[plank]
    return np.clip(tone + 0.65 * sharpen(np.sin(TAU * 3 * grain), 1.0), 0, 1) * (
        (n / 2 * X % 1) > 0.03)


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
    pattern: Callable       # (rng, n) -> field in [0, 1] (TILE, TILE)
    colours: tuple          # two or three RGB triples in [0, 255], for field 0 .. 1
    repeats: int
    seed: int


def paint_tile(texture):
    """Texture -> RGB float32 (TILE, TILE, 3)."""
    rng = np.random.default_rng(texture.seed)
    field = texture.pattern(rng, texture.repeats)
    stops = np.linspace(0, 1, len(texture.colours))
    tile = np.stack([np.interp(field, stops, c) for c in zip(*texture.colours)], -1)
    return (tile * (0.82 + 0.36 * fractal(rng, 1.1))[..., None]).astype(np.float32)


def random_texture(rng, patterns, saturation=(0.45, 0.95), repeats=(3, 7)):
    """A texture of one of `patterns` with a hue, a related or opposite one, and a light one."""
    hue = rng.uniform()
    hues = [hue, hue + rng.choice([0.08, 0.33, 0.5]), hue + rng.uniform(-0.1, 0.1)]
    values = [rng.uniform(0.3, 0.6), rng.uniform(0.65, 1.0), rng.uniform(0.75, 1.0)]
    colours = [tuple(255 * c for c in colorsys.hsv_to_rgb(h % 1, rng.uniform(*saturation), v))
               for h, v in zip(hues, values)][:rng.integers(2, 4)]
    return Texture(patterns[rng.integers(len(patterns))], tuple(colours),
                   int(rng.integers(*repeats)), int(rng.integers(2**31)))


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
    radius = 0.85 + sum(0.13 * (0.5 + build[k]) * np.cos(
        (k + 2) * AROUND + TAU * build[k] + phase * (-1) ** k) for k in range(3))
    return [polar(radius)], [(0.28, -0.2), (-0.12, -0.2)]


def star(build, phase):
    arms = 4 + int(4 * build[0])
    radius = 0.75 + (0.18 + 0.15 * build[1]) * np.cos(arms * AROUND) + 0.08 * np.sin(phase)
    return [polar(radius, AROUND + 0.45 * radius * np.sin(phase))], []


def crystal(build, phase):
    side = TAU / (3 + int(4 * build[0]))
    radius = np.cos(side / 2) / np.cos(AROUND % side - side / 2)
    return [polar(radius + 0.05 * np.cos(2 * AROUND + phase))
            * (1 + 0.18 * np.sin(phase), 1 - 0.18 * np.sin(phase))], []


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
    tail = np.array([(-0.55, 0.0), (-0.8, -spread * 0.7), (-1.15, -spread), (-1.0, 0.0),
                     (-1.15, spread), (-0.8, spread * 0.7)])
    fin = np.array([(0.25, -deep * 0.8), (-0.1, -deep - 0.15 - 0.2 * build[2]),
                    (-0.45, -deep - 0.1), (-0.4, -deep * 0.5)])
    return [sway(body + (0.15, 0)), sway(tail), sway(fin)], [(0.62, -0.1)]


def beast(build, phase):
    """Four legs, a neck, a tail: from dachshund to giraffe by `build`."""
    leg, neck, deep = 0.45 + 0.25 * build[0], 0.2 + 0.4 * build[1], 0.22 + 0.14 * build[2]
    swing, back = 0.55 * np.sin(phase), 0.1
    head = (0.72 + 0.12 * build[3], back - deep - neck + 0.04 * np.sin(2 * phase))
    legs = [limb(x, back + 0.4 * deep, leg, s * swing, 0.1 + 0.03 * build[4], -0.3 * abs(swing))
            for x, s in ((0.42, 1), (0.3, -1), (-0.38, 1), (-0.5, -1))]
    tail = limb(-0.62, back - 0.5 * deep, 0.5, -0.7 + 0.4 * np.sin(phase), 0.06 + 0.03 * build[5],
                -1.0 * build[6])
    ear = ellipse(head[0] - 0.14, head[1] - 0.17, 0.07, 0.1 + 0.1 * build[7], -0.4)
    throat = tube(np.linspace((0.4, back - 0.3 * deep), head, 10), 0.24, 0.14)
    return legs + [tail, ellipse(-0.05, back, 0.66, deep), throat, ear,
                   ellipse(head[0] + 0.06, head[1], 0.25, 0.15, 0.25)], [(head[0] + 0.1, head[1])]


def bird(build, phase):
    flap, span = np.sin(phase), 0.75 + 0.3 * build[0]
    wing = np.array([(0.3, 0.0), (0.2, -span * flap * 0.6), (-0.15, -span * flap),
                     (-0.45, -span * flap * 0.8), (-0.4, 0.0)])
    far = wing * (1, 0.75) + (0.15, -0.04)
    beak = np.array([(0.85, -0.22), (1.1 + 0.1 * build[1], -0.1), (0.85, -0.08)])
    tail = np.array([(-0.5, -0.05), (-1.05, -0.18), (-1.1, 0.12), (-0.5, 0.12)])
    return [ellipse(0, 0, 0.66, 0.25 + 0.1 * build[2], 0.1), ellipse(0.68, -0.16, 0.22, 0.2), beak,
            tail, wing, far], [(0.74, -0.2)]


def person(build, phase):
    swing = 0.6 * np.sin(phase)
    wide = 0.17 + 0.1 * build[0]
    legs = [limb(s * 0.07, 0.2, 0.8, s * swing, 0.14, -0.35 * (1 + s * np.sin(phase)) / 2)
            for s in (1, -1)]
    arms = [limb(s * wide * 0.5, -0.4, 0.62, -1.1 * s * swing, 0.09, 0.7) for s in (1, -1)]
    torso = tube(np.linspace((0.03, -0.58), (0, 0.36), 12), wide + 0.08, wide)
    return legs + arms + [torso, ellipse(0.05, -0.78, 0.2, 0.23)], [(0.16, -0.8)]


def octopus(build, phase):
    s = np.linspace(0, 1, 16)
    arms = [tube(np.stack([x * (1 + 0.5 * s) + 0.16 * s * np.sin(phase + 4 * s + 7 * x),
                           0.05 + (0.75 + 0.2 * build[1]) * s], -1), 0.13, 0.05)
            for x in np.linspace(-0.5, 0.5, 5)]
    dome = ellipse(0, -0.25, 0.62 + 0.05 * np.sin(phase), 0.5 + 0.1 * build[2])
    return [dome] + arms, [(0.22, -0.25), (-0.14, -0.25)]


def snake(build, phase):
    x = np.linspace(1.1, -1.1, 40)
    line = np.stack([x, 0.3 * np.sin((3 + build[0]) * x + phase) * (1.3 - x) / 2], -1)
    head = ellipse(line[0, 0], line[0, 1], 0.26, 0.2)
    return [tube(line, 0.24, 0.1), head], [(line[0, 0] + 0.08, line[0, 1] - 0.05)]


def bush(build, phase):
    radius = 0.9 + 0.1 * np.abs(np.sin(4.5 * AROUND + TAU * build[0])) + 0.02 * np.sin(
        9 * AROUND + phase)
    return [polar(radius) * (1 + 0.3 * build[1], 0.9), ellipse(0.5, 0.4, 0.7, 0.6)], []


def post(build, phase):
    half = 0.09 + 0.05 * build[0]
    return [np.array([(-half, -1.0), (half, -1.0), (half, 1.0), (-half, 1.0)])], []


def fence(build, phase):
    posts = [np.array([(x - 0.045, -0.42), (x, -0.52), (x + 0.045, -0.42), (x + 0.045, 0.6),
                       (x - 0.045, 0.6)]) for x in np.arange(-1.8, 1.9, 0.3 + 0.1 * build[0])]
    rails = [np.array([(-1.9, y), (1.9, y), (1.9, y + 0.07), (-1.9, y + 0.07)])
             for y in (-0.22, 0.22)]
    return posts + rails, []


# shape -> how far it leans into its path; None: it has no front, and turns about itself
LEAN = {fish: 0.7, bird: 0.5, snake: 0.8, beast: 0.15, person: 0.1,
        blob: None, star: None, crystal: None, morph: None, octopus: None}
SHAPES = list(LEAN)


# ---- scenes ------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Loop:
    """A smooth closed path through points (n, 3) of x, y and size (a radius)."""
    points: np.ndarray
    period: float
    start: float = 0.0      # where on the loop frame 0 is, in points

    def at(self, t):
        """Position and size (3,) at time t: a periodic Catmull-Rom spline."""
        n = len(self.points)
        i, u = divmod(t / self.period * n + self.start, 1.0)
        p0, p1, p2, p3 = (self.points[(int(i) + k) % n] for k in (-1, 0, 1, 2))
        return p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3
                                              + u * (3 * (p1 - p2) + p3 - p0)))


def loop(points, speed, start=0.0):
    """The Loop through `points` whose fastest step is `speed` (heights per frame)."""
    unit = Loop(np.asarray(points, float), 1.0)
    track = np.array([unit.at(t)[:2] for t in np.linspace(0, 1, 200)])
    fastest = np.linalg.norm(np.diff(track, axis=0), axis=1).max() * 199
    return Loop(unit.points, max(fastest / speed, 24.0), start)


@dataclass(frozen=True)
class Thing:
    """Something that moves: an object (id 1, 2, ...), or an occluder of the background (id 0)."""
    id: int
    shape: Callable
    build: tuple
    texture: Texture
    path: Loop
    beat: float = 16.0      # frames per cycle of limbs or outline
    spin: float = 0.0       # radians to which it turns to and fro
    fixed: bool = False     # stands in the world: the camera moves it

    def pose(self, t, camera):
        """The affine map (2, 3) from its own coordinates to the frame's."""
        x, y, size = self.path.at(t)
        vx, vy, _ = self.path.at(t + 0.5) - self.path.at(t - 0.5)
        lean, facing, angle = LEAN.get(self.shape), 1.0, self.spin * np.sin(TAU * t / 60)
        if lean is not None and len(self.path.points) > 1:
            facing = np.tanh(250 * vx)   # a turn, as a card is turned, never thinner than 0.3
            facing = np.copysign(max(abs(facing), 0.3), vx)
            angle = lean * vy / (np.hypot(vx, vy) + 0.01) * np.sign(vx)
        if self.fixed:
            x, y, size = camera.to_frame(x, y, size, t)
        cos, sin = size * np.cos(angle), size * np.sin(angle)
        return np.array([[cos * facing, -sin, x], [sin * facing, cos, y]])

    def outlines(self, t):
        return self.shape(self.build, TAU * (t / self.beat + self.build[-1]))


@dataclass(frozen=True)
class Camera:
    pan: tuple = (0.0, 0.0)
    zoom: float = 0.0
    period: float = 90.0
    ripple: float = 0.0     # the background seen through moving water

    def at(self, t):
        """Shift (2,) and magnification at time t."""
        wave = np.sin(TAU * t / self.period)
        return np.array(self.pan) * wave, 1 + self.zoom * (1 - np.cos(TAU * t / self.period)) / 2

    def to_frame(self, x, y, size, t):
        (dx, dy), zoom = self.at(t)
        return ((x - dx - ASPECT / 2) * zoom + ASPECT / 2, (y - dy - 0.5) * zoom + 0.5, size * zoom)


@dataclass(frozen=True)
class Light:
    end: tuple = (1.0, 1.0, 1.0)   # RGB gain half a period later
    period: float = 80.0
    shade: float = 0.0             # depth of the cloud shadows that drift over the scene

    def gain(self, t):
        mix = (1 - np.cos(TAU * t / self.period)) / 2
        return (1 - mix + mix * np.array(self.end)).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    kind: str               # "wall", "field" or "water"
    ground: Texture
    sky: Texture
    patches: tuple          # of Thing, in the backdrop's coordinates: part of it
    things: tuple           # of Thing, far to near
    camera: Camera
    light: Light
    seed: int

    @property
    def ids(self):
        return sorted(thing.id for thing in self.things if thing.id)


def random_thing(rng, id, points, speed, shape=None, texture=None, start=0.0, **more):
    shape = shape or SHAPES[rng.integers(len(SHAPES))]
    texture = texture or random_texture(rng, COATS)
    spin = rng.uniform(-0.6, 0.6) if LEAN.get(shape, 0) is None else 0.0
    return Thing(id, shape, tuple(rng.uniform(size=8)), texture, loop(points, speed, start),
                 more.pop("beat", rng.uniform(11, 22)), spin, **more)


def still(rng, shape, x, y, size, texture=None, fixed=True):
    """A Thing that stands in the world: an occluder, or a patch of the background."""
    return random_thing(rng, 0, [(x, y, size)], 1.0, shape, texture, beat=40.0, fixed=fixed)


def random_world(rng, things, kind=None, camera=None, light=None):
    """A Scene around `things`: background, still patches, camera and light drawn from rng."""
    kind = kind or ["wall", "field", "water"][rng.integers(3)]
    dull = {"saturation": (0.1, 0.6), "repeats": (8, 14)}
    ground = random_texture(rng, WALLS if kind == "wall" else GROUNDS, **dull)
    sky = Texture(clouds, ((90 + 60 * rng.uniform(), 150, 215), (225, 225, 235)), 1,
                  int(rng.integers(2**31)))
    patches = tuple(still(rng, SHAPES[rng.integers(len(SHAPES))], rng.uniform(0, ASPECT + 2 * MARGIN),
                          rng.uniform(0.3, 1.6), rng.uniform(0.07, 0.2), fixed=False)
                    for _ in range(rng.integers(3, 7)))
    camera = camera or Camera(tuple(rng.uniform(-0.2, 0.2, 2) * (1, 0.5)), rng.uniform(0, 0.15),
                              rng.uniform(70, 130), 0.006 * (kind == "water"))
    light = light or Light(tuple(rng.uniform(0.75, 1.15) * rng.uniform(0.94, 1.06, 3)), 80.0,
                           rng.choice([0.0, 0.4]))
    return Scene(kind, ground, sky, patches, tuple(things), camera, light, int(rng.integers(2**31)))


# ---- what happens in a clip --------------------------------------------------------------------

def about(rng, x, y, size, reach):
    """Four points around a home, for a path that wanders."""
    angles = rng.uniform(0, TAU) + rng.choice([-1, 1]) * np.arange(4) * TAU / 4
    radii = reach * rng.uniform(0.6, 1.2, (4, 1))
    sizes = size * rng.uniform(0.85, 1.15, (4, 1))
    places = (x, y) + radii * np.stack([np.cos(angles), 0.45 * np.sin(angles)], -1)
    return np.hstack([np.clip(places, (0.15, 0.2), (ASPECT - 0.15, 0.8)), sizes])


def across(rng, x, y, size, reach):
    """From side to side, slightly up and down."""
    far = ASPECT - x
    return [(x, y, size), (far, y + rng.uniform(-0.15, 0.15), size * rng.uniform(0.8, 1.2))]


def away(rng, x, y, size, reach):
    """Out of the nearer side of the frame, and back in."""
    out = ASPECT + 1.5 * size if x > ASPECT / 2 else -1.5 * size
    return [(x, y, size), (out, y, size), (x, y + rng.uniform(-0.2, 0.2), size),
            (ASPECT / 2, y, size)]


def nearer(rng, x, y, size, reach):
    """Towards the camera: small, then large."""
    return [(x, y, 0.75 * size), (ASPECT / 2, 0.5, 1.7 * size), (ASPECT - x, 0.6, 1.2 * size)]


def varied(rng):
    """A training scene: one to three objects, each on a kind of path of its own."""
    number = rng.choice([1, 2, 3], p=[0.25, 0.4, 0.35])
    homes = rng.permutation([0.35, 0.9, 1.45])[:number]
    things, twin = [], rng.uniform() < 0.3
    for i, x in enumerate(homes):
        route = [about, about, across, across, away, nearer][rng.integers(6)]
        points = route(rng, x, rng.uniform(0.35, 0.65), rng.uniform(0.16, 0.27), 0.4)
        double = {"shape": things[0].shape, "texture": things[0].texture} if twin and i else {}
        things.append(random_thing(rng, i + 1, points, rng.uniform(0.025, 0.045),
                                   start=rng.uniform(0.1, 0.4), **double))
    if rng.uniform() < 0.4:
        x = rng.uniform(0.3, ASPECT - 0.3)
        shape, y, size = [(post, 0.4, 0.8), (bush, 0.85, 0.25)][rng.integers(2)]
        things.append(still(rng, shape, x, y, size, random_texture(rng, [wood, grass, bricks])))
    return random_world(rng, things)


def two_friends(rng):
    small = [(0.5, 0.62, 0.2), (1.3, 0.58, 0.22), (0.9, 0.66, 0.2)]
    tall = [(0.95, 0.5, 0.32), (1.5, 0.5, 0.3), (0.5, 0.52, 0.32)]
    return random_world(rng, [random_thing(rng, 1, tall, 0.03, person, start=0.2),
                              random_thing(rng, 2, small, 0.036, beast, start=0.2)], "field")


def leaves_and_returns(rng):
    out = [(1.3, 0.4, 0.24), (2.2, 0.45, 0.24), (1.35, 0.6, 0.24), (0.8, 0.5, 0.24)]
    stays = about(rng, 0.6, 0.5, 0.26, 0.4)
    return random_world(rng, [random_thing(rng, 1, stays, 0.03, octopus),
                              random_thing(rng, 2, out, 0.055, fish, start=0.1)], "water")


def look_alikes(rng):
    coat = random_texture(rng, [stripes, spots, checks])
    one = [(0.45, 0.4, 0.25), (1.35, 0.45, 0.25)]
    two = [(1.35, 0.62, 0.25), (0.45, 0.55, 0.25)]
    return random_world(rng, [random_thing(rng, 1, one, 0.042, fish, coat, 0.15),
                              random_thing(rng, 2, two, 0.042, fish, coat, 0.15)], "water")


def behind_the_fence(rng):
    walk = [(0.4, 0.5, 0.3), (1.4, 0.5, 0.3)]
    planks = random_texture(rng, [wood], (0.2, 0.6))
    return random_world(rng, [random_thing(rng, 1, walk, 0.04, beast, start=0.15),
                              still(rng, fence, ASPECT / 2, 0.55, 0.6, planks)], "field",
                        Camera((0.08, 0.02), 0.05))


def sunset(rng):
    dusk = Light((0.62, 0.36, 0.34), 80.0, 0.35)
    return random_world(rng, [random_thing(rng, 1, about(rng, 0.6, 0.4, 0.24, 0.5), 0.04, bird),
                              random_thing(rng, 2, across(rng, 1.3, 0.65, 0.24, 0), 0.04, beast,
                                           start=0.15)], "field", light=dusk)


def approach(rng):
    path = [(0.5, 0.45, 0.13), (1.0, 0.5, 0.34), (1.3, 0.55, 0.46), (0.8, 0.5, 0.22)]
    return random_world(rng, [random_thing(rng, 1, path, 0.035, person, start=0.1)], "field",
                        Camera((0.1, 0.03), 0.2, 80.0))


def crossing(rng):
    paths = [[(0.35, 0.35, 0.24), (1.4, 0.6, 0.24)], [(1.4, 0.4, 0.22), (0.4, 0.5, 0.26)],
             [(0.9, 0.72, 0.2), (0.8, 0.3, 0.24)]]
    shapes = [bird, snake, crystal]
    return random_world(rng, [random_thing(rng, i + 1, p, 0.042, s, start=0.15)
                              for i, (p, s) in enumerate(zip(paths, shapes))], "wall")


def shape_shifter(rng):
    path = about(rng, 0.9, 0.5, 0.28, 0.45)
    return random_world(rng, [random_thing(rng, 1, path, 0.035, morph, beat=26.0)], "wall")


VAL = {"two-friends": two_friends, "leaves-and-returns": leaves_and_returns,
       "look-alikes": look_alikes, "behind-the-fence": behind_the_fence, "sunset": sunset,
       "approach": approach, "crossing": crossing, "shape-shifter": shape_shifter}
TRAIN = {f"train-{i:02d}": varied for i in range(32)}
FRAMES = {"train": 24, "val": 40}


@dataclass(frozen=True)
class Clip:
    """What a clip is drawn from; `clip_frames` turns it into frames and masks."""
    name: str
    seed: int = 0

    @property
    def split(self):
        return "val" if self.name in VAL else "train"

    def scene(self):
        """The first draw in which every object covers at least 1 % of frame 0."""
        recipe = (VAL | TRAIN)[self.name]
        for attempt in range(200):
            rng = np.random.default_rng([self.seed, zlib.crc32(self.name.encode()), attempt])
            scene = recipe(rng)
            labels = label_frame(scene, 0, 90)
            if all((labels == i).mean() >= 0.01 for i in scene.ids):
                return scene
        raise RuntimeError(f"{self.name}: no draw shows every object in frame 0")


def find_clip(name, seed=0):
    """The Clip of this name. Raises BadInput for an unknown one."""
    if name not in VAL and name not in TRAIN:
        raise BadInput(f"{name}: no such clip; choose from {', '.join(VAL)}, train-00 to "
                       f"train-{len(TRAIN) - 1:02d}")
    return Clip(name, seed)


# ---- pixels ------------------------------------------------------------------------------------

def to_pixels(matrix, height, x0=0, y0=0):
    """(A: pixel -> coordinates) of a window that starts at pixel (x0, y0), after `matrix`."""
    scale = np.array([[1 / height, 0, (x0 + 0.5) / height], [0, 1 / height, (y0 + 0.5) / height],
                      [0, 0, 1]])
    return matrix @ scale


def square(matrix):
    return np.vstack([matrix, [0, 0, 1]])


def coverage(thing, t, camera, height, canvas, margin):
    """How much of each pixel the thing covers: alpha float32 (h, w) and its window's corner.

    The window is the thing's box plus `margin` pixels, cut to the canvas (H, W) plus `margin`;
    None when nothing of it is inside. Drawn at four times the size, so edges are soft.
    """
    pose = thing.pose(t, camera)
    outlines = [(p @ pose[:, :2].T + pose[:, 2]) * height for p in thing.outlines(t)[0]]
    corners = np.concatenate(outlines)
    low = np.maximum(np.floor(corners.min(0)) - margin, -margin).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + margin,
                      (canvas[1] + margin, canvas[0] + margin)).astype(int)
    w, h = high - low
    if w <= 2 * margin or h <= 2 * margin:
        return None
    fine = np.zeros((4 * h, 4 * w), np.uint8)
    for outline in outlines:
        points = np.round(((outline - low) * 4 - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [points], 255, shift=4)
    return cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) / 255, low


def width_of(height):
    return round(height * ASPECT)


def overlap(low, shape, canvas):
    """Where a window of `shape` at `low` lies on the canvas: slices of the canvas, of the window."""
    outer = tuple(slice(max(a, 0), min(a + n, m)) for a, n, m in zip(low[::-1], shape, canvas))
    inner = tuple(slice(o.start - a, o.stop - a) for o, a in zip(outer, low[::-1]))
    return outer, inner


def label_frame(scene, t, height):
    """The mask alone: object ids uint8 (H, W)."""
    labels = np.zeros((height, width_of(height)), np.uint8)
    for thing in scene.things:
        drawn = coverage(thing, t, scene.camera, height, labels.shape, 1)
        if drawn:
            outer, inner = overlap(drawn[1], drawn[0].shape, labels.shape)
            labels[outer][drawn[0][inner] >= 0.5] = thing.id
    return labels


def soften(alpha, sigma):
    """A wide blur of (h, w), computed at a quarter of the size."""
    h, w = alpha.shape
    small = cv2.resize(alpha, (max(w // 4, 1), max(h // 4, 1)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), max(sigma / 4, 0.3)), (w, h))


def draw(image, labels, thing, tile, t, camera, height):
    """Paint one thing with its shadow onto image float32 (H, W, 3) and labels uint8 (H, W)."""
    margin = round(0.07 * height)
    drawn = coverage(thing, t, camera, height, labels.shape, margin)
    if drawn is None:
        return
    alpha, low = drawn
    outer, inner = overlap(low, alpha.shape, labels.shape)
    labels[outer][alpha[inner] >= 0.5] = thing.id
    pose = square(thing.pose(t, camera))
    paint = shaded(alpha, tile, pose, low, height)
    for x, y in thing.outlines(t)[1]:
        draw_eye(paint, pose, (x, y), low, height)
    step = (thing.path.at(t + 0.25) - thing.path.at(t - 0.25))[:2] * height
    layer = motion_blur(np.dstack([paint * alpha[..., None], alpha]), step)
    shift = np.float32([[1, 0, 0.02 * height], [0, 1, 0.035 * height]])
    shadow = soften(cv2.warpAffine(alpha, shift, alpha.shape[::-1]), 0.015 * height)
    image[outer] *= 1 - 0.45 * shadow[inner][..., None]
    image[outer] *= 1 - layer[inner][..., 3:]
    image[outer] += layer[inner][..., :3]


def shaded(alpha, tile, pose, low, height):
    """The thing's texture in its window (h, w, 3), darker to the rim, lit from the upper left."""
    size = len(tile)
    to_tile = np.array([[size / 2.4, 0, size / 2 - 0.5], [0, size / 2.4, size / 2 - 0.5], [0, 0, 1]])
    matrix = (to_tile @ to_pixels(np.linalg.inv(pose), height, *low))[:2]
    paint = cv2.warpAffine(tile, matrix, alpha.shape[::-1],
                           flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                           borderMode=cv2.BORDER_WRAP)
    reach = 0.16 * np.sqrt(abs(np.linalg.det(pose))) * height
    soft = soften(alpha, reach)
    down, right = np.gradient(soft)
    return paint * (0.62 + 0.45 * soft + 0.5 * reach * (down + 0.6 * right))[..., None]


def draw_eye(paint, pose, eye, low, height):
    x, y = (pose[:2] @ (*eye, 1)) * height - low - 0.5
    radius = 0.065 * abs(pose[1, 1]) * height
    for r, colour in ((radius, (245, 245, 240)), (0.55 * radius, (15, 15, 20))):
        cv2.circle(paint, (round(x * 16), round(y * 16)), round(r * 16), colour, -1, cv2.LINE_AA, 4)


def motion_blur(layer, step):
    """Smear (h, w, 4) along `step` pixels, what the thing travels while the shutter is open."""
    reach = int(np.ceil(np.abs(step).max() / 2))
    if np.hypot(*step) < 1:
        return layer
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    ends = [tuple(int(v) for v in np.round((reach + s * step / 2) * 16)) for s in (-1, 1)]
    cv2.line(kernel, *ends, 255, 1, cv2.LINE_AA, 4)
    kernel = kernel.astype(np.float32)
    return cv2.filter2D(layer, -1, kernel / kernel.sum())


def scaled(tile, size):
    return cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA)


def wrapped(tile, x, y):
    """The periodic tile read at x, y (h, w) in tiles."""
    size = len(tile)
    return cv2.remap(tile, (x * size).astype(np.float32) % size, (y * size).astype(np.float32)
                     % size, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def backdrop(scene, height):
    """The still world, frame plus MARGIN on each side: uint8 (H', W', 3)."""
    h, w = round((1 + 2 * MARGIN) * height), round((ASPECT + 2 * MARGIN) * height)
    y, x = (np.mgrid[0:h, 0:w] + 0.5) / height - MARGIN
    ground, sky = (scaled(paint_tile(t), min(height, TILE)) for t in (scene.ground, scene.sky))
    if scene.kind == "wall":
        world = wrapped(ground, x, y) * (1.1 - 0.25 * y)[..., None].astype(np.float32)
    else:
        world = landscape(scene, ground, sky, x, y)
    scratch = np.zeros((h, w), np.uint8)
    for patch in scene.patches:
        draw(world, scratch, patch, tile_for(patch, height), 0, scene.camera, height)
    return np.clip(world, 0, 255).astype(np.uint8)


def landscape(scene, ground, sky, x, y):
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


def tile_for(thing, height):
    """The thing's texture, at about the resolution at which it will be seen."""
    size = 2.4 * thing.path.points[:, 2].max() * height
    return scaled(paint_tile(thing.texture), int(np.clip(size, 16, TILE)))


def seen_through(camera, world, x, y, t, height):
    """The part of the backdrop that the camera sees: float32 (H, W, 3); x, y (H, W)."""
    (dx, dy), zoom = camera.at(t)
    u = (x - ASPECT / 2) / zoom + ASPECT / 2 + dx + MARGIN
    v = (y - 0.5) / zoom + 0.5 + dy + MARGIN
    if camera.ripple:
        u, v = (u + camera.ripple * np.sin(TAU * (5 * y + t / 17)),
                v + camera.ripple * np.sin(TAU * (4 * x + t / 23)))
    u, v = ((a * height - 0.5).astype(np.float32) for a in (u, v))
    return cv2.remap(world, u, v, cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REFLECT).astype(np.float32)


def drifting_shade(light, field, x, y, t):
    """Cloud shadows that cross the scene: a gain (H, W, 1)."""
    gloom = sharpen(wrapped(field, 0.35 * x + 0.006 * t, 0.35 * y + 0.002 * t) - 0.55, 6.0)
    return (1 - light.shade * gloom)[..., None]


def clip_frames(clip, height=240, frames=None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (frame uint8 (H, W, 3) RGB, mask uint8 (H, W) of object ids), one pair at a time.

    clip: a Clip, or the name of one of seed 0. frames: the length, FRAMES[split] by default;
    nothing is kept, so any length fits in memory.
    """
    clip = find_clip(clip) if isinstance(clip, str) else clip
    scene = clip.scene()
    world = backdrop(scene, height)
    tiles = [tile_for(thing, height) for thing in scene.things]
    y, x = ((np.mgrid[0:height, 0:width_of(height)] + 0.5) / height).astype(np.float32)
    rng = np.random.default_rng(scene.seed)
    gloom = fractal(rng, 2.6).astype(np.float32)
    noise = rng.normal(0, 3.5, (height + 64, width_of(height) + 64, 3)).astype(np.float32)
    for t in range(FRAMES[clip.split] if frames is None else frames):
        image = seen_through(scene.camera, world, x, y, t, height)
        labels = np.zeros(x.shape, np.uint8)
        for thing, tile in zip(scene.things, tiles):
            draw(image, labels, thing, tile, t, scene.camera, height)
        image *= scene.light.gain(t)
        if scene.light.shade:
            image *= drifting_shade(scene.light, gloom, x, y, t)
        i, j = rng.integers(0, 64, 2)
        image += noise[i:i + x.shape[0], j:j + x.shape[1]]
        yield np.clip(image, 0, 255).astype(np.uint8), labels


# ---- files -------------------------------------------------------------------------------------

def render_clip(root, clip, height=240, frames=None):
    """Write one clip under `root` in the DAVIS layout (no split lists)."""
    clip = find_clip(clip) if isinstance(clip, str) else clip
    images, masks = (Path(root) / part / f"{height}p" / clip.name
                     for part in ("JPEGImages", "Annotations"))
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for t, (frame, labels) in enumerate(clip_frames(clip, height, frames)):
        Image.fromarray(frame).save(images / f"{t:05d}.jpg", quality=90)
        write_mask(masks / f"{t:05d}.png", labels)


def render(root, seed=0, height=240, clips=None, frames=None, progress=True):
    """Write the data set under `root`: JPEGImages, Annotations, ImageSets/2017/{train,val}.txt.

    height: 240 or 480 as shipped, any even height works. clips: names, all by default. frames:
    another length for every clip. The files appear all at once at the end; a folder that already
    holds this very data set is left alone. Returns the Path of `root`; raises BadInput when the
    folder holds anything that this function did not write.
    """
    root = Path(root)
    chosen = [find_clip(name, seed) for name in (clips or [*TRAIN, *VAL])]
    about = {"version": VERSION, "seed": seed, "height": height, "frames": frames,
             "clips": [clip.name for clip in chosen]}
    if already_there(root, about):
        print(f"{root}: already rendered")
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        for clip in tqdm(chosen, "render", unit="clip", disable=not progress):
            render_clip(partial, clip, height, frames)
        write_lists(partial, chosen, about)
        partial.chmod(0o755)
        if root.exists():
            shutil.rmtree(root)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def write_lists(root, clips, about):
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    for split in FRAMES:
        names = [clip.name + "\n" for clip in clips if clip.split == split]
        (lists / f"{split}.txt").write_text("".join(names))
    (root / "toy.json").write_text(json.dumps(about) + "\n")


def already_there(root, about):
    """Whether `root` holds the data set `about` describes. BadInput if it holds foreign files."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise BadInput(f"{root}: is a file; give --out a folder")
    foreign = {p.name for p in root.iterdir()} - {"JPEGImages", "Annotations", "ImageSets", "toy.json"}
    if foreign or (any(root.iterdir()) and not (root / "toy.json").exists()):
        raise BadInput(f"{root}: holds other files; give --out a new folder")
    try:
        return json.loads((root / "toy.json").read_text()) == about
    except (FileNotFoundError, json.JSONDecodeError):
        return False


@dataclass
class Arguments:
    """Render the embedded data set."""
    out: Path                          # the folder to write
    seed: int = 0
    height: Literal[240, 480] = 240    # lines per frame
    clips: tuple[str, ...] = ()        # clip names; all 40 if none


def main():
    arguments = tyro.cli(Arguments)
    root = render(arguments.out, arguments.seed, arguments.height, list(arguments.clips))
    print(f"{root}: ready")


if __name__ == "__main__":
    exit_on_bad_input(main)
