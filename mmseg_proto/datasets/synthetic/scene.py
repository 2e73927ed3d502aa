"""One street scene: sky above, ground below, and what stands on it."""

import numpy as np
from numpy.typing import NDArray

from .canvas import Scene
from .looks import (
    BUILDING,
    GROUND,
    PERSON,
    POLE,
    SIGN,
    SKY,
    VEGETATION,
    VEHICLE,
)

IGNORED = 255
MIN_SIDE = 32


def draw_scene(
    height: int, width: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one scene.

    Args:
        height: Rows in pixels, at least 32.
        width: Columns in pixels, at least 32.
        rng: Source of the scene. The same state gives the same bytes on every machine.

    Returns:
        The RGB image (height, width, 3) and the label map (height, width) with class ids, and 255
        for ignored pixels.
    """
    scene = Scene(height, width, rng)
    horizon = scene.between(height * 3 // 10, height // 2)
    _draw_backdrop(scene, horizon)
    for _ in range(scene.between(1, 4)):
        _draw_building(scene, horizon)
    for _ in range(scene.between(1, 3)):
        _draw_vegetation(scene, horizon)
    for _ in range(scene.between(0, 3)):
        _draw_vehicle(scene, horizon)
    _ignore_borders(scene)
    for _ in range(scene.between(0, 2)):
        _draw_person(scene, horizon)
    for _ in range(scene.between(0, 3)):
        _draw_pole(scene, horizon)
    return _light(scene), scene.labels


def _draw_backdrop(scene: Scene, horizon: int) -> None:
    slope = scene.between(-3, 3)
    above = scene.ys * scene.width < horizon * scene.width + slope * (scene.xs - scene.width // 2)
    scene.paint(above, SKY)
    scene.paint(~above, GROUND, top=horizon)
    # A second kind of ground, as a path that widens towards the viewer.
    if scene.between(0, 1):
        x, half = scene.between(0, scene.width), scene.between(scene.width // 6, scene.width // 2)
        path = ~above & (np.abs(scene.xs - x) * scene.height <= half * (scene.ys - horizon + 2) * 2)
        scene.paint(path, GROUND, top=horizon)


def _draw_building(scene: Scene, horizon: int) -> None:
    height = scene.between(scene.height // 6, scene.height // 2)
    width = scene.between(scene.width // 8, scene.width // 3)
    left, foot = scene.between(-width // 2, scene.width - width // 2), horizon + scene.between(0, 5)
    scene.paint(scene.rectangle(foot - height, left, height, width), BUILDING, foot - height, left)


def _draw_vegetation(scene: Scene, horizon: int) -> None:
    size = scene.between(scene.height // 12, scene.height // 5)
    x, foot = scene.between(0, scene.width), horizon + scene.between(0, scene.height // 5)
    if scene.between(0, 2):
        mask = scene.ellipse(foot - size, x, size, scene.between(size * 2 // 3, size * 3 // 2))
    else:
        mask = scene.triangle(foot - 2 * size, x, 2 * size, scene.between(size, 2 * size))
    scene.paint(mask, VEGETATION, foot - 2 * size, x - size)


def _draw_vehicle(scene: Scene, horizon: int) -> None:
    height = scene.between(scene.height // 10, scene.height // 5)
    width = height * scene.between(17, 26) // 10
    top = scene.between(horizon + 1, scene.height - 2 * height)
    left = scene.between(-width // 3, scene.width - width * 2 // 3)
    body = scene.rectangle(top + height // 2, left, height - height // 2, width)
    cabin = scene.rectangle(top, left + width // 5, height // 2, width * 3 // 5)
    scene.paint(body | cabin, VEHICLE, top, left)


def _draw_person(scene: Scene, horizon: int) -> None:
    height = scene.between(scene.height // 6, scene.height // 3)
    width = height * 2 // 5
    x, top = (
        scene.between(2, scene.width - 3),
        scene.between(horizon - height // 2, scene.height - height),
    )
    head = scene.ellipse(top + height // 8, x, max(1, height // 7), max(1, height // 8))
    body = scene.ellipse(top + height * 5 // 8, x, height * 3 // 8, width // 2)
    scene.paint(head | body, PERSON, top, x - width)


def _draw_pole(scene: Scene, horizon: int) -> None:
    height, width = scene.between(scene.height // 4, scene.height // 2), scene.between(2, 4)
    x, foot = scene.between(3, scene.width - 4), horizon + scene.between(2, scene.height // 4)
    scene.paint(scene.rectangle(foot - height, x, height, width), POLE, foot - height, x)
    if scene.between(0, 2):
        return
    radius, y = (
        scene.between(scene.height // 20, scene.height // 12),
        max(foot - height, scene.height // 16),
    )
    kinds = (
        scene.ellipse(y, x, radius, radius),
        scene.rectangle(y - radius, x - radius, 2 * radius, 2 * radius),
        scene.triangle(y - radius, x, 2 * radius, 2 * radius),
    )
    scene.paint(kinds[scene.between(0, 2)], SIGN, y - radius, x - radius)


def _ignore_borders(scene: Scene) -> None:
    """Leave the pixel at a border between two surfaces undecided, as annotators do."""
    labels = scene.labels
    right, below = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    labels[:, 1:][right] = IGNORED
    labels[1:][below] = IGNORED


def _light(scene: Scene) -> NDArray[np.uint8]:
    """Brightness, a slope of light across the picture, and noise per pixel and channel."""
    gain = scene.between(150, 300)
    slope = scene.between(-70, 70)
    light = gain + slope * (2 * scene.xs - scene.width) // scene.width
    noise = scene.rng.integers(-18, 19, size=scene.image.shape)
    lit = scene.image * light[..., None] // 256 + scene.between(-15, 15) + noise
    return np.asarray(np.clip(lit, 0, 255), dtype=np.uint8)
