"""The scenes of the embedded clips: things on paths before a world, a camera, a light; recipes.

Lengths are fractions of the frame height (x from 0 to 1.78, y from 0 to 1, downwards), times are
frames. Every path is a closed loop, so a clip can be rendered at any length.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from gcvos_mini.toy import parts, textures
from gcvos_mini.toy.parts import LEAN, SHAPES, Shape
from gcvos_mini.toy.textures import COATS, GROUNDS, TAU, WALLS, Texture, random_texture

ASPECT = 854 / 480  # 427x240 and 854x480 alike
MARGIN = 0.35  # background beyond each side of the frame, for the camera to pan over


# ---- what a scene is -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Loop:
    """A smooth closed path through points (n, 3) of x, y and size (a radius)."""

    points: np.ndarray
    period: float  # frames for one time around
    start: float = 0.0  # where on the loop frame 0 is, in points

    def at(self, t: float) -> np.ndarray:
        """Position and size (3,) at frame t: a periodic Catmull-Rom spline."""
        n = len(self.points)
        i, u = divmod(t / self.period * n + self.start, 1.0)
        p0, p1, p2, p3 = (self.points[(int(i) + k) % n] for k in (-1, 0, 1, 2))
        return p1 + 0.5 * u * (
            p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0))
        )


def loop(points: np.ndarray | list[tuple], speed: float, start: float = 0.0) -> Loop:
    """The Loop through `points` whose fastest step is `speed` (heights per frame), or slower."""
    unit = Loop(np.asarray(points, float), 1.0)
    track = np.array([unit.at(t)[:2] for t in np.linspace(0, 1, 200)])
    fastest = np.linalg.norm(np.diff(track, axis=0), axis=1).max() * 199
    return Loop(unit.points, max(fastest / speed, 24.0), start)


@dataclass(frozen=True)
class Thing:
    """Something that moves: an object (id 1, 2, ...), or an occluder of the background (id 0)."""

    id: int
    shape: Callable[[tuple, float], Shape]
    build: tuple[float, ...]
    texture: Texture
    path: Loop
    beat: float = 16.0  # frames per cycle of limbs or outline
    spin: float = 0.0  # radians to which it turns to and fro
    fixed: bool = False  # stands in the world: the camera moves it

    def pose(self, t: float, camera: "Camera") -> np.ndarray:
        """The affine map (2, 3) from its own coordinates to those of frame t."""
        x, y, size = self.path.at(t)
        vx, vy, _ = self.path.at(t + 0.5) - self.path.at(t - 0.5)
        lean, facing, angle = LEAN.get(self.shape), 1.0, self.spin * np.sin(TAU * t / 60)
        if lean is not None and len(self.path.points) > 1:
            turned = np.tanh(250 * abs(vx))  # like a card, but never thinner than 0.4
            facing = np.copysign(max(turned, 0.4), vx)
            angle = lean * vy / (np.hypot(vx, vy) + 0.01) * np.sign(vx)
        if self.fixed:
            x, y, size = camera.to_frame(x, y, size, t)
        cos, sin = size * np.cos(angle), size * np.sin(angle)
        return np.array([[cos * facing, -sin, x], [sin * facing, cos, y]])

    def outlines(self, t: float) -> Shape:
        """Its outlines and eyes in frame t, in its own coordinates."""
        return self.shape(self.build, TAU * (t / self.beat + self.build[-1]))


@dataclass(frozen=True)
class Camera:
    """How the view swings to and fro, and nearer."""

    pan: tuple[float, float] = (0.0, 0.0)  # the furthest shift
    zoom: float = 0.0  # the most that is added to a magnification of 1
    period: float = 90.0  # frames
    ripple: float = 0.0  # the background seen through moving water

    def at(self, t: float) -> tuple[np.ndarray, float]:
        """Shift (2,) and magnification at frame t."""
        wave = np.sin(TAU * t / self.period)
        return np.array(self.pan) * wave, 1 + self.zoom * (1 - np.cos(TAU * t / self.period)) / 2

    def to_frame(self, x: float, y: float, size: float, t: float) -> tuple[float, float, float]:
        """Where a place (x, y) of the world is seen in frame t, and at what size."""
        (dx, dy), zoom = self.at(t)
        return ((x - dx - ASPECT / 2) * zoom + ASPECT / 2, (y - dy - 0.5) * zoom + 0.5, size * zoom)


@dataclass(frozen=True)
class Light:
    """How brightness and colour change, and come back."""

    end: tuple[float, ...] = (1.0, 1.0, 1.0)  # RGB gain half a period later
    period: float = 80.0  # frames
    shade: float = 0.0  # depth of the cloud shadows that drift over the scene

    def gain(self, t: float) -> np.ndarray:
        """What RGB is multiplied by in frame t, float32 (3,)."""
        mix = (1 - np.cos(TAU * t / self.period)) / 2
        return (1 - mix + mix * np.array(self.end)).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """All that render.py needs to draw a clip of any length."""

    kind: str  # "wall", "field" or "water"
    ground: Texture
    sky: Texture
    patches: tuple[Thing, ...]  # in the backdrop's coordinates: part of it
    things: tuple[Thing, ...]  # far to near
    camera: Camera
    light: Light
    seed: int

    @property
    def ids(self) -> list[int]:
        """The object ids in its masks, in order."""
        return sorted(thing.id for thing in self.things if thing.id)


def random_thing(
    rng: Generator,
    id: int,
    points: np.ndarray | list[tuple],
    speed: float,
    shape: Callable | None = None,
    texture: Texture | None = None,
    start: float = 0.0,
    **more,
) -> Thing:
    """A Thing on the loop through `points`; what is not given is drawn from rng."""
    shape = shape or SHAPES[rng.integers(len(SHAPES))]
    texture = texture or random_texture(rng, COATS)
    spin = rng.uniform(-0.6, 0.6) if LEAN.get(shape, 0) is None else 0.0
    return Thing(
        id,
        shape,
        tuple(rng.uniform(size=8)),
        texture,
        loop(points, speed, start),
        more.pop("beat", rng.uniform(11, 22)),
        spin,
        **more,
    )


def still(rng: Generator, shape: Callable, x: float, y: float, size: float,
          texture: Texture | None = None, fixed: bool = True) -> Thing:  # fmt: skip
    """A Thing that stands in the world: an occluder, or a patch of the background."""
    return random_thing(rng, 0, [(x, y, size)], 1.0, shape, texture, beat=40.0, fixed=fixed)


def random_world(
    rng: Generator,
    things: list[Thing],
    kind: str | None = None,
    camera: Camera | None = None,
    light: Light | None = None,
    vivid: bool = False,
) -> Scene:
    """A Scene around `things`: background, still patches, camera and light drawn from rng.

    Dull patches belong to the background at a glance. `vivid` ones look like objects, so that
    only the first mask tells which is which.
    """
    kind = kind or ["wall", "field", "water"][rng.integers(3)]
    dull = {"saturation": (0.1, 0.6), "repeats": (8, 14)}
    ground = random_texture(rng, WALLS if kind == "wall" else GROUNDS, **dull)
    sky = Texture(
        textures.clouds,
        ((90 + 60 * rng.uniform(), 150, 215), (225, 225, 235)),
        1,
        int(rng.integers(2**31)),
    )
    coats = (
        (None,) * rng.integers(5, 9)
        if vivid
        else [random_texture(rng, GROUNDS, **dull) for _ in range(rng.integers(2, 6))]
    )
    patches = tuple(
        still(
            rng,
            SHAPES[rng.integers(len(SHAPES))],
            *rng.uniform((0, 0.3, 0.08), (ASPECT + 2 * MARGIN, 1.6, 0.2)),
            coat,
            fixed=False,
        )
        for coat in coats
    )
    camera = camera or Camera(
        tuple(rng.uniform(-0.32, 0.32, 2) * (1, 0.5)),
        rng.uniform(0, 0.15),
        rng.uniform(70, 130),
        0.006 * (kind == "water"),
    )
    light = light or Light(
        tuple(rng.uniform(0.75, 1.15) * rng.uniform(0.94, 1.06, 3)), 80.0, rng.choice([0.0, 0.4])
    )
    return Scene(kind, ground, sky, patches, tuple(things), camera, light, int(rng.integers(2**31)))


# ---- what happens in a clip --------------------------------------------------------------------
# First the routes: points (n, 3) of a loop that starts near (x, y); `reach` is for `about` alone.


def about(rng: Generator, x: float, y: float, size: float, reach: float) -> np.ndarray:
    """Four points up to 1.2 `reach` from (x, y), for a path that wanders."""
    angles = rng.uniform(0, TAU) + rng.choice([-1, 1]) * np.arange(4) * TAU / 4
    radii = reach * rng.uniform(0.6, 1.2, (4, 1))
    sizes = size * rng.uniform(0.85, 1.15, (4, 1))
    places = (x, y) + radii * np.stack([np.cos(angles), 0.45 * np.sin(angles)], -1)
    return np.hstack([np.clip(places, (0.15, 0.2), (ASPECT - 0.15, 0.8)), sizes])


def across(rng: Generator, x: float, y: float, size: float, reach: float) -> list[tuple]:
    """From side to side, slightly up and down."""
    far = ASPECT - x
    return [(x, y, size), (far, y + rng.uniform(-0.15, 0.15), size * rng.uniform(0.8, 1.2))]


def away(rng: Generator, x: float, y: float, size: float, reach: float) -> list[tuple]:
    """Out of the nearer side of the frame, and back in."""
    out = ASPECT + 1.5 * size if x > ASPECT / 2 else -1.5 * size
    return [
        (x, y, size),
        (out, y, size),
        (x, y + rng.uniform(-0.2, 0.2), size),
        (ASPECT / 2, y, size),
    ]


def nearer(rng: Generator, x: float, y: float, size: float, reach: float) -> list[tuple]:
    """Towards the camera: small, then large."""
    return [(x, y, 0.75 * size), (ASPECT / 2, 0.5, 1.5 * size), (ASPECT - x, 0.6, 1.1 * size)]


def varied(rng: Generator) -> Scene:
    """A training scene: one to three objects, each on a kind of path of its own.

    With few objects and dull patches, a network learns to find whatever stands out and never
    looks at the memory; vivid patches make it match.
    """
    number = rng.choice([1, 2, 3], p=[0.1, 0.4, 0.5])
    homes = rng.permutation([0.35, 0.9, 1.45])[:number]
    things, twin = [], rng.uniform() < 0.15
    for i, x in enumerate(homes):
        route = [about, about, across, across, away, nearer][rng.integers(6)]
        points = route(rng, x, rng.uniform(0.35, 0.65), rng.uniform(0.2, 0.32), 0.4)
        double = {"shape": things[0].shape, "texture": things[0].texture} if twin and i else {}
        things.append(
            random_thing(
                rng, i + 1, points, rng.uniform(0.02, 0.036), start=rng.uniform(0.1, 0.4), **double
            )
        )
    if rng.uniform() < 0.4:
        x = rng.uniform(0.3, ASPECT - 0.3)
        shape, y, size = [(parts.post, 0.4, 0.8), (parts.bush, 0.85, 0.25)][rng.integers(2)]
        coat = random_texture(
            rng, [textures.wood, textures.grass, textures.bricks], repeats=(9, 15)
        )
        things.append(still(rng, shape, x, y, size, coat))
    return random_world(rng, things, vivid=True)


def two_friends(rng: Generator) -> Scene:
    """A small animal passes before a person; both stay in view."""
    small = [(0.5, 0.64, 0.27), (1.35, 0.6, 0.3), (0.9, 0.66, 0.27)]
    tall = [(1.0, 0.5, 0.4), (1.5, 0.5, 0.38), (0.4, 0.52, 0.4)]
    return random_world(
        rng,
        [
            random_thing(rng, 1, tall, 0.026, parts.person, start=0.2),
            random_thing(rng, 2, small, 0.034, parts.beast, start=0.2),
        ],
        "field",
    )


def leaves_and_returns(rng: Generator) -> Scene:
    """A fish swims out of the frame and comes back; an octopus stays."""
    out = [(1.3, 0.4, 0.3), (2.2, 0.45, 0.3), (1.3, 0.6, 0.3), (0.9, 0.5, 0.3)]
    stays = about(rng, 0.6, 0.5, 0.3, 0.4)
    return random_world(
        rng,
        [
            random_thing(rng, 1, stays, 0.026, parts.octopus),
            random_thing(rng, 2, out, 0.055, parts.fish, start=0.1),
        ],
        "water",
    )


def look_alikes(rng: Generator) -> Scene:
    """Two fish of one shape and one texture cross."""
    coat = random_texture(rng, [textures.stripes, textures.spots, textures.checks])
    one = [(0.4, 0.36, 0.3), (1.4, 0.42, 0.3)]
    two = [(1.4, 0.68, 0.3), (0.4, 0.56, 0.3)]
    return random_world(
        rng,
        [
            random_thing(rng, 1, one, 0.036, parts.fish, coat, 0.15),
            random_thing(rng, 2, two, 0.036, parts.fish, coat, 0.15),
        ],
        "water",
    )


def behind_the_fence(rng: Generator) -> Scene:
    """An animal walks behind a fence that covers parts of it."""
    walk = [(0.45, 0.5, 0.42), (1.35, 0.5, 0.42)]
    planks = random_texture(rng, [textures.wood], (0.2, 0.6))
    return random_world(
        rng,
        [
            random_thing(rng, 1, walk, 0.034, parts.beast, start=0.15),
            still(rng, parts.fence, ASPECT / 2, 0.55, 0.6, planks),
        ],
        "field",
        Camera((0.08, 0.02), 0.05),
    )


def sunset(rng: Generator) -> Scene:
    """A bird and an animal, while the light turns dark and red."""
    dusk = Light((0.62, 0.36, 0.34), 80.0, 0.35)
    flight, walk = about(rng, 0.6, 0.35, 0.34, 0.5), across(rng, 1.3, 0.68, 0.32, 0)
    return random_world(
        rng,
        [
            random_thing(rng, 1, flight, 0.036, parts.bird),
            random_thing(rng, 2, walk, 0.034, parts.beast, start=0.15),
        ],
        "field",
        light=dusk,
    )


def approach(rng: Generator) -> Scene:
    """A person comes nearer, up to almost three times as large."""
    path = [(0.5, 0.42, 0.2), (1.0, 0.5, 0.4), (1.3, 0.55, 0.55), (0.8, 0.5, 0.3)]
    return random_world(
        rng,
        [random_thing(rng, 1, path, 0.035, parts.person, start=0.1)],
        "field",
        Camera((0.1, 0.03), 0.2, 80.0),
    )


def crossing(rng: Generator) -> Scene:
    """Three objects cross one another's paths."""
    paths = [
        [(0.35, 0.35, 0.32), (1.4, 0.62, 0.32)],
        [(1.4, 0.4, 0.3), (0.4, 0.5, 0.34)],
        [(0.9, 0.74, 0.22), (0.8, 0.3, 0.26)],
    ]
    shapes = [parts.bird, parts.snake, parts.crystal]
    return random_world(
        rng,
        [random_thing(rng, i + 1, paths[i], 0.036, shapes[i], start=0.15) for i in range(3)],
        "wall",
    )


def shape_shifter(rng: Generator) -> Scene:
    """One object whose outline changes kind altogether."""
    path = about(rng, 0.9, 0.5, 0.3, 0.5)
    return random_world(rng, [random_thing(rng, 1, path, 0.035, parts.morph, beat=26.0)], "wall")


VAL = {
    "two-friends": two_friends,
    "leaves-and-returns": leaves_and_returns,
    "look-alikes": look_alikes,
    "behind-the-fence": behind_the_fence,
    "sunset": sunset,
    "approach": approach,
    "crossing": crossing,
    "shape-shifter": shape_shifter,
}
TRAIN = {f"train-{i:03d}": varied for i in range(160)}
