"""Surface patterns: maps from pixel to colour number, in whole-number arithmetic only.

Rounding of floats differs between processors and library versions; integers do not. So a scene has
the same bytes on every machine.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

IntMap = NDArray[np.int64]
Pattern = Callable[[IntMap, IntMap, np.random.Generator], IntMap]


def flat(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """One colour everywhere."""
    return np.zeros(np.broadcast(ys, xs).shape, dtype=np.int64)


def bricks(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """Courses of bricks (0) with joints (1), every second course shifted by half a brick."""
    height, width = int(rng.integers(3, 5)), int(rng.integers(5, 8))
    shifted = xs + (ys // height % 2) * (width // 2)
    return np.asarray((ys % height == 0) | (shifted % width == 0), dtype=np.int64)


def panes(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """A grid of square panes (0) in frames (1)."""
    step = int(rng.integers(4, 7))
    return np.asarray((ys % step == 0) | (xs % step == 0), dtype=np.int64)


def windows(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """A wall (0) with separate windows (1)."""
    step = int(rng.integers(6, 9))
    return np.asarray((ys % step > step // 2) & (xs % step > step // 2), dtype=np.int64)


def bands(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """Horizontal bands of two colours."""
    return ys // int(rng.integers(2, 4)) % 2


def stripes(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """Slanting stripes of two colours."""
    slope = int(rng.integers(-1, 2))
    return (xs + slope * ys) // int(rng.integers(2, 5)) % 2


def checks(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """A chequered surface of two colours."""
    step = int(rng.integers(2, 5))
    return (ys // step + xs // step) % 2


def speckle(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """A surface (0) with about a quarter of its pixels in another colour (1)."""
    return np.asarray(rng.integers(0, 4, size=np.broadcast(ys, xs).shape) == 0, dtype=np.int64)


def stars(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """A surface (0) with few bright points (1)."""
    return np.asarray(rng.integers(0, 40, size=np.broadcast(ys, xs).shape) == 0, dtype=np.int64)


def patches(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """Irregular square patches of two colours."""
    step = int(rng.integers(3, 6))
    cells = rng.integers(0, 2, size=(16, 16))
    return cells[ys // step % 16, xs // step % 16]


def fade(ys: IntMap, xs: IntMap, rng: np.random.Generator) -> IntMap:
    """From the first colour at the top to the second at the bottom, dithered."""
    height = int(ys.max()) + 1
    return (ys + rng.integers(0, height, size=np.broadcast(ys, xs).shape) >= height).astype(
        np.int64
    )
