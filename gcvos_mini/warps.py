"""How training clips are moved and coloured: affines, splines, zoom, brightness, hue (section 3.3).

Images are uint8 (H, W, 3), masks uint8 (H, W) of object ids; a crop has S x S pixels. Notebook 06.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.random import Generator

from gcvos_mini.config import Stage


def center(mask: np.ndarray) -> np.ndarray:
    """(x, y) in pixels of an object's centre in its mask (H, W), or of the image's if empty."""
    y, x = np.nonzero(mask)
    if len(x) == 0:
        return np.array(mask.shape[::-1]) / 2
    return np.array([x.mean(), y.mean()])


def crop_matrix(
    size: int, zoom: float, angle: float, about: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """The 2x3 matrix from crop pixels to pixels of the source.

    The source is turned by an angle in degrees and enlarged by `zoom`; its point `about` then lies
    at the point `at` of the crop, (x, y) both.
    """
    matrix = cv2.getRotationMatrix2D((0, 0), angle, 1 / zoom)
    matrix[:, 2] = about - matrix[:, :2] @ at
    return matrix


def random_growth(rng: Generator, stage: Stage) -> np.ndarray:
    """By how much a thing is enlarged in each frame of a clip, (T,): up to `stage.zoom` times from
    the first to the last, or the other way, mostly less."""
    return stage.zoom ** (rng.triangular(-1, 0, 1) * np.linspace(-0.5, 0.5, stage.clip_frames))


def random_motion(rng: Generator, stage: Stage, change: float = 1.0) -> np.ndarray:
    """How a thing moves through a clip, (T, 4): scale, angle in degrees, shift along x and y.

    Section 3.3's rotation, scaling and random cropping, drawn for each frame by itself; shifts are
    shares of the crop, up to a quarter of it. change: how much of the differences from the first
    frame is kept, 0 to 1.
    """
    draws = np.stack(
        [
            rng.uniform(*stage.scale, stage.clip_frames),
            rng.uniform(-stage.rotation, stage.rotation, stage.clip_frames),
            *rng.uniform(-0.25, 0.25, (2, stage.clip_frames)),
        ],
        axis=1,
    )
    return draws[0] + change * (draws - draws[0])


def move(
    rng: Generator,
    stage: Stage,
    image: np.ndarray,
    labels: np.ndarray,
    zoom: float,
    about: np.ndarray,
    at: np.ndarray,
    border: int = cv2.BORDER_REFLECT_101,
) -> Iterator[list[np.ndarray]]:
    """Yield T views of a source by random affines and splines: frame (S, S, 3), ids (S, S).

    image (H, W, 3) and labels (H, W), uint8. At scale 1 the source is enlarged by `zoom` and its
    point `about` lies at the point `at` of the crop. Calm clips change less from frame to frame.
    """
    size, change, first = stage.crop, rng.uniform(stage.calm, 1), None
    motion, growth = random_motion(rng, stage, change), random_growth(rng, stage)
    for (scale, angle, *shift), grown in zip(motion, growth):
        spline = thin_plate_spline(rng, size, stage.spline) if stage.spline else 0
        first = spline if first is None else first
        matrix = crop_matrix(size, zoom * scale * grown, angle, about, at + size * np.array(shift))
        positions = source_positions(matrix, size, first + change * (spline - first))
        yield sample(image, labels, positions, border)


def thin_plate_spline(rng: Generator, size: int, strength: float, points: int = 4) -> np.ndarray:
    """A smooth random displacement (S, S, 2) in pixels that moves points x points control points.

    strength: the most that one moves along x or y, as a share of the size S.
    The thin-plate spline is the surface through the moved points that bends least:
    f(p) = a0 + a.p + sum_i w_i U(|p - c_i|), U(r) = r^2 log r^2 (Bookstein 1989).
    """
    axis = np.linspace(0, 1, points)
    control = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)  # (n, 2)
    shift = rng.uniform(-strength, strength, control.shape)

    def basis(p):  # (m, 2) -> (m, n + 3)
        r2 = ((p[:, None] - control) ** 2).sum(axis=2)
        return np.hstack([r2 * np.log(r2 + 1e-9), np.ones((len(p), 1)), p])

    n = len(control)
    system = np.zeros((n + 3, n + 3))
    system[:n] = basis(control)
    system[n:, :n] = system[:n, n:].T  # the weights hold no affine part
    weights = np.linalg.solve(system, np.vstack([shift, np.zeros((3, 2))]))
    coarse = np.linspace(0, 1, 24)  # smooth enough to draw coarsely
    grid = np.stack(np.meshgrid(coarse, coarse), axis=-1).reshape(-1, 2)
    field = (basis(grid) @ weights).reshape(24, 24, 2).astype(np.float32)
    return cv2.resize(field, (size, size), interpolation=cv2.INTER_LINEAR) * size


def source_positions(
    matrix: np.ndarray, size: int, displacement: np.ndarray | int = 0
) -> np.ndarray:
    """Where each crop pixel looks in the source, float32 (S, S, 2), (x, y) in pixels.

    matrix: of `crop_matrix`; displacement: of `thin_plate_spline`, in the crop, before it.
    """
    axis = np.arange(size, dtype=np.float32)
    crop = np.stack(np.meshgrid(axis, axis), axis=-1) + np.float32(displacement)  # (S, S, 2)
    matrix = matrix.astype(np.float32)
    return crop @ matrix[:, :2].T + matrix[:, 2]


def sample(
    image: np.ndarray,
    labels: np.ndarray,
    positions: np.ndarray,
    border: int = cv2.BORDER_REFLECT_101,
) -> list[np.ndarray]:
    """Image (H, W, 3) and ids (H, W) at positions (S, S, 2), both mirrored beyond the source.

    An object's mirror image is the object too: left unmarked, it would teach that nothing is.
    Where a source is made much smaller, it is halved first, so that no pixel is left out.
    """
    step = np.hypot(*(positions[0, 0] - positions[-1, -1])) / np.hypot(*positions.shape[:2])
    while step > 2:
        image, labels = cv2.pyrDown(image), labels[::2, ::2]
        positions, step = positions / 2, step / 2
    return [
        cv2.remap(source, positions, None, how, borderMode=border)
        for source, how in ((image, cv2.INTER_LINEAR), (labels, cv2.INTER_NEAREST))
    ]


def jitter(rng: Generator, frame: np.ndarray, strength: float) -> np.ndarray:
    """Change brightness and contrast of uint8 (S, S, 3), each by up to +-strength (0.1 is 10 %)."""
    gain, shift = 1 + rng.uniform(-strength, strength, 2)
    return np.clip(frame * gain + 255 * (shift - 1), 0, 255).astype(np.uint8)


def tint(rng: Generator, strength: float) -> np.ndarray:
    """A colour matrix (3, 3): hue turned by up to +-strength half turns, saturation scaled too."""
    grey = np.full((3, 3), 1 / 3)  # RGB -> its mean, three times
    turn = cv2.Rodrigues(np.full(3, np.pi * rng.uniform(-strength, strength) / np.sqrt(3)))[0]
    return grey + (1 + rng.uniform(-strength, strength)) * turn @ (np.eye(3) - grey)
