"""The shapes of the embedded clips: closed outlines that move, such as an animal's as it walks."""

import numpy as np

from gcvos_mini.toy.textures import TAU

# The outlines whose union a shape is, [(n, 2)], and its eyes, [(x, y)]. Both in a box of about
# [-1, 1], y downwards, heading to +x.
Shape = tuple[list[np.ndarray], list[tuple[float, float]]]

AROUND = np.linspace(0, TAU, 72, endpoint=False)


def polar(radius: np.ndarray | float, angle: np.ndarray = AROUND) -> np.ndarray:
    """The outline (n, 2) at these radii, (n,) or one for all, and angles (n,) in radians."""
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def ellipse(x: float, y: float, a: float, b: float, tilt: float = 0.0) -> np.ndarray:
    """The outline (n, 2) around (x, y) with half axes a and b, turned by `tilt` radians."""
    cos, sin = np.cos(tilt), np.sin(tilt)
    return polar(1.0) * (a, b) @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def tube(points: np.ndarray, thick: float, thin: float) -> np.ndarray:
    """The outline around a centre line (n, 2), from half width `thick` to `thin`, ends rounded."""
    points = np.asarray(points, float)
    along = np.gradient(points, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], -1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    s = np.linspace(0, 1, len(points))[:, None]
    width = (thick + (thin - thick) * s) * np.sqrt(np.maximum(1 - (2 * s - 1) ** 8, 0))
    return np.concatenate([points + width * normal, (points - width * normal)[::-1]])


def limb(
    x: float, y: float, length: float, swing: float, thick: float, bend: float = 0.0
) -> np.ndarray:
    """A leg from (x, y) downwards, turned by `swing` and bent by `bend` radians along the way."""
    angle = swing + bend * np.linspace(0, 1, 12)
    steps = length / 12 * np.stack([np.sin(angle), np.cos(angle)], -1)
    return tube((x, y) + np.cumsum(steps, 0) - steps[0], thick, 0.6 * thick)


# Shapes. Each takes `build`, eight numbers in [0, 1] that set its proportions, and the `phase` of
# its movement in radians: after 2 pi it looks as before.


def blob(build: tuple[float, ...], phase: float) -> Shape:
    """A lump whose outline wobbles."""
    radius = 0.85 + sum(
        0.13 * (0.5 + build[k]) * np.cos((k + 2) * AROUND + TAU * build[k] + phase * (-1) ** k)
        for k in range(3)
    )
    return [polar(radius)], [(0.28, -0.2), (-0.12, -0.2)]


def star(build: tuple[float, ...], phase: float) -> Shape:
    """Four to seven arms that twist to and fro."""
    arms = 4 + int(4 * build[0])
    radius = 0.75 + (0.18 + 0.15 * build[1]) * np.cos(arms * AROUND) + 0.08 * np.sin(phase)
    return [polar(radius, AROUND + 0.45 * radius * np.sin(phase))], []


def crystal(build: tuple[float, ...], phase: float) -> Shape:
    """A polygon of three to six corners, pressed flat along x and y in turn."""
    side = TAU / (3 + int(4 * build[0]))
    radius = np.cos(side / 2) / np.cos(AROUND % side - side / 2)
    return [
        polar(radius + 0.05 * np.cos(2 * AROUND + phase))
        * (1 + 0.18 * np.sin(phase), 1 - 0.18 * np.sin(phase))
    ], []


def morph(build: tuple[float, ...], phase: float) -> Shape:
    """Star, then bean, then bar: the outline changes kind altogether."""
    mix = 0.5 - 0.5 * np.cos(phase)
    arms = 3 + int(3 * build[0])
    radius = 0.8 + 0.3 * (1 - mix) * np.cos(arms * AROUND) + 0.16 * mix * np.cos(2 * AROUND + phase)
    return [polar(radius) * (1 + 0.45 * mix, 1 - 0.5 * mix)], [(0.1, -0.12), (-0.2, -0.12)]


def fish(build: tuple[float, ...], phase: float) -> Shape:
    """Body, tail and back fin, through which a wave runs."""

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


def beast(build: tuple[float, ...], phase: float) -> Shape:
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


def bird(build: tuple[float, ...], phase: float) -> Shape:
    """From the side, with two wings that flap."""
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


def person(build: tuple[float, ...], phase: float) -> Shape:
    """From the side, walking."""
    swing = 0.6 * np.sin(phase)
    wide = 0.17 + 0.1 * build[0]
    legs = [
        limb(s * 0.07, 0.2, 0.8, s * swing, 0.14, -0.35 * (1 + s * np.sin(phase)) / 2)
        for s in (1, -1)
    ]
    arms = [limb(s * wide * 0.5, -0.4, 0.62, -1.1 * s * swing, 0.09, 0.7) for s in (1, -1)]
    torso = tube(np.linspace((0.03, -0.58), (0, 0.36), 12), wide + 0.08, wide)
    return legs + arms + [torso, ellipse(0.05, -0.78, 0.2, 0.23)], [(0.16, -0.8)]


def octopus(build: tuple[float, ...], phase: float) -> Shape:
    """A dome on five arms that wave."""
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


def snake(build: tuple[float, ...], phase: float) -> Shape:
    """A tube that winds, thinner to its tail."""
    x = np.linspace(1.1, -1.1, 40)
    line = np.stack([x, 0.3 * np.sin((3 + build[0]) * x + phase) * (1.3 - x) / 2], -1)
    head = ellipse(line[0, 0], line[0, 1], 0.26, 0.2)
    return [tube(line, 0.24, 0.1), head], [(line[0, 0] + 0.08, line[0, 1] - 0.05)]


def bush(build: tuple[float, ...], phase: float) -> Shape:
    """Two leafy balls that hardly move."""
    radius = (
        0.9
        + 0.1 * np.abs(np.sin(4.5 * AROUND + TAU * build[0]))
        + 0.02 * np.sin(9 * AROUND + phase)
    )
    return [polar(radius) * (1 + 0.3 * build[1], 0.9), ellipse(0.5, 0.4, 0.7, 0.6)], []


def post(build: tuple[float, ...], phase: float) -> Shape:
    """An upright bar that never moves."""
    half = 0.09 + 0.05 * build[0]
    return [np.array([(-half, -1.0), (half, -1.0), (half, 1.0), (-half, 1.0)])], []


def fence(build: tuple[float, ...], phase: float) -> Shape:
    """Pointed posts on two rails, wider than the box, that never move."""
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
