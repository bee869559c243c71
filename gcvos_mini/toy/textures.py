"""What the embedded clips are painted with: periodic patterns in random colours.

A texture is a square tile of TILE x TILE pixels, laid side by side where more is needed. A pattern
is what it is made from: a field in [0, 1], to which two or three colours are then given.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

TILE = 512  # pixels on a side of a texture
TAU = 2 * np.pi  # a full turn, in radians
Y, X = (np.mgrid[0:TILE, 0:TILE] / TILE).astype(np.float32)  # (TILE, TILE) each, in [0, 1)


@lru_cache
def spectrum(slope: float, stretch: tuple[float, float]) -> np.ndarray:
    """The amplitudes 1/f^slope of fractal noise, float32 (TILE, TILE // 2 + 1).

    stretch: along y and x; the larger, the more drawn out the noise is.
    """
    frequency = np.hypot(
        np.fft.fftfreq(TILE)[:, None] * stretch[0], np.fft.rfftfreq(TILE)[None] * stretch[1]
    )
    frequency[0, 0] = np.inf
    return (frequency**-slope).astype(np.float32)


def fractal(
    rng: Generator, slope: float = 1.7, stretch: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Fractal noise in [0, 1], float32 (TILE, TILE): white noise given that spectrum."""
    white = rng.standard_normal((TILE, TILE), dtype=np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white) * spectrum(slope, stretch))
    return np.clip(0.5 + noise / (4 * noise.std()), 0, 1)


def cells(rng: Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n x n jittered points: each pixel's distance to the nearest one, and that one's tone.

    (TILE, TILE) each; distances in widths of a cell, tones in [0, 1].
    """
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


def sharpen(wave: np.ndarray, edge: float = 4.0) -> np.ndarray:
    """A wave in [-1, 1] to [0, 1], its flanks made steep."""
    return 0.5 + 0.5 * np.tanh(edge * wave)


# Patterns. Each takes random numbers and how often it repeats, n, and gives a field (TILE, TILE).


def stripes(rng: Generator, n: int) -> np.ndarray:
    """n upright stripes that waver."""
    return sharpen(np.sin(TAU * (n * X + 1.2 * fractal(rng, 2.0))))


def zigzag(rng: Generator, n: int) -> np.ndarray:
    """n rows of zigzag."""
    return sharpen(np.sin(TAU * (n * Y + 0.7 * np.abs(2 * (n * X % 1) - 1))))


def checks(rng: Generator, n: int) -> np.ndarray:
    """A chequered board of 2n x 2n squares."""
    return sharpen(2 * np.sin(TAU * n * X) * np.sin(TAU * n * Y))


def rings(rng: Generator, n: int) -> np.ndarray:
    """Rings around the middle that waver."""
    return sharpen(np.sin(TAU * (1.4 * n * np.hypot(X - 0.5, Y - 0.5) + fractal(rng, 2.0))))


def spots(rng: Generator, n: int) -> np.ndarray:
    """n x n round spots at random places."""
    return sharpen(3 * (cells(rng, n)[0] - 0.3))


def clouds(rng: Generator, n: int) -> np.ndarray:
    """Soft noise, large and small."""
    return fractal(rng, 1.6)


def marble(rng: Generator, n: int) -> np.ndarray:
    """Thin dark veins in cloudy stone."""
    return np.abs(2 * fractal(rng, 1.9) - 1) ** 0.6


def gradient(rng: Generator, n: int) -> np.ndarray:
    """From 0 at the top to 1 at the bottom, with noise."""
    return np.clip(Y + 0.5 * (fractal(rng) - 0.5), 0, 1)


def bricks(rng: Generator, n: int) -> np.ndarray:
    """n rows of bricks with joints, each brick of a tone of its own; n is made even."""
    rows, columns = n // 2 * 2, n // 2
    i, v = np.divmod(rows * Y, 1)
    j, u = np.divmod(columns * X + 0.5 * (i % 2), 1)
    tone = rng.uniform(0.35, 1, (rows, columns))[i.astype(int), j.astype(int) % columns]
    joint = np.minimum(np.minimum(u, 1 - u) * 2, np.minimum(v, 1 - v)) < 0.07
    return np.where(joint, 0, np.clip(tone + 0.3 * (fractal(rng, 1.0) - 0.5), 0, 1))


def wood(rng: Generator, n: int) -> np.ndarray:
    """n // 2 upright planks, each of a tone of its own, grained crosswise."""
    plank, u = np.divmod(n // 2 * X, 1)
    rings = sharpen(np.sin(TAU * 3 * fractal(rng, 1.5, (0.2, 1.0))), 1.0)
    tone = rng.uniform(0, 0.35, n // 2)[plank.astype(int)]
    return np.clip(tone + 0.65 * rings, 0, 1) * (u > 0.03)


def grass(rng: Generator, n: int) -> np.ndarray:
    """Fine noise, drawn out along x."""
    return np.clip(0.65 * fractal(rng, 0.9, (0.35, 1.0)) + 0.35 * fractal(rng, 2.0), 0, 1)


def waves(rng: Generator, n: int) -> np.ndarray:
    """n rows of waves that run into each other."""
    return 0.5 + 0.5 * np.sin(TAU * (n * Y + 2.5 * fractal(rng, 1.8, (1.0, 2.5))))


def pebbles(rng: Generator, n: int) -> np.ndarray:
    """n x n stones side by side, each of a tone of its own, darker to its rim."""
    distance, tone = cells(rng, n)
    return np.clip(tone * 0.8 + 0.4 - 0.9 * distance**2, 0, 1)


def sand(rng: Generator, n: int) -> np.ndarray:
    """Grainy noise."""
    return 0.6 * fractal(rng, 0.6) + 0.4 * fractal(rng, 1.8)


COATS = [stripes, zigzag, checks, rings, spots, clouds, marble, gradient]
GROUNDS = [grass, sand, pebbles, waves, bricks]
WALLS = [bricks, wood, pebbles, marble, waves, grass, stripes, checks]


@dataclass(frozen=True)
class Texture:
    """A pattern and its colours, all that `paint_tile` needs."""

    pattern: Callable[[Generator, int], np.ndarray]
    colours: tuple[tuple[float, ...], ...]  # two or three, RGB in [0, 255], for field 0 .. 1
    repeats: int  # the pattern's n
    seed: int


@lru_cache
def grain() -> np.ndarray:
    """The fine unevenness that every texture has: a gain float32 (TILE, TILE, 1)."""
    return 0.82 + 0.36 * fractal(np.random.default_rng(0), 1.1)[..., None]


def paint_tile(texture: Texture) -> np.ndarray:
    """The texture as RGB, float32 (TILE, TILE, 3), about [0, 255]."""
    rng = np.random.default_rng(texture.seed)
    field = texture.pattern(rng, texture.repeats)
    stops = np.linspace(0, 255, len(texture.colours))
    table = np.stack(
        [np.interp(np.arange(256), stops, channel) for channel in np.transpose(texture.colours)], -1
    )
    tile = table.astype(np.float32)[(field * 255).astype(np.uint8)]
    return tile * np.roll(grain(), rng.integers(TILE, size=2), (0, 1))


def random_texture(
    rng: Generator,
    patterns: list[Callable],
    saturation: tuple[float, float] = (0.45, 0.95),
    repeats: tuple[int, int] = (3, 7),
) -> Texture:
    """A texture of one of `patterns` with a hue, a related or opposite one, and a light one.

    saturation: between these, 0 is grey; repeats: from the first number up to the second, without.
    """
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


def scaled(tile: np.ndarray, size: int) -> np.ndarray:
    """The tile made smaller: (size, size, 3)."""
    return cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA)


def wrapped(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The periodic tile read at x, y (h, w) in tiles, from -30 to 30."""
    n = len(tile)
    return cv2.remap(tile, n * x, n * y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
