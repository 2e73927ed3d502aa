"""The classes of the synthetic scenes, and the several looks that each of them has.

Colours are shared between classes on purpose (brick and red car, glass and blue sky, plaster and
sand), so that colour alone decides nothing, and the looks of one class have nothing in common but
their class: the case for which a class has several prototypes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .patterns import (
    IntMap,
    Pattern,
    bands,
    bricks,
    checks,
    fade,
    flat,
    panes,
    patches,
    speckle,
    stars,
    stripes,
    windows,
)

Colour = tuple[int, int, int]

CLASSES = ("sky", "ground", "building", "vegetation", "vehicle", "person", "pole", "sign")
PALETTE = (
    (70, 130, 180),
    (128, 64, 128),
    (70, 70, 70),
    (107, 142, 35),
    (0, 0, 142),
    (220, 20, 60),
    (153, 153, 153),
    (220, 220, 0),
)
SKY, GROUND, BUILDING, VEGETATION, VEHICLE, PERSON, POLE, SIGN = range(len(CLASSES))


class Look(NamedTuple):
    """A pattern and its two colours (RGB)."""

    pattern: Pattern
    first: Colour
    second: Colour


LOOKS: dict[int, tuple[Look, ...]] = {
    SKY: (
        Look(fade, (70, 130, 210), (170, 205, 235)),
        Look(fade, (190, 90, 70), (240, 190, 120)),
        Look(patches, (150, 155, 160), (185, 188, 190)),
        Look(stars, (30, 35, 70), (220, 220, 200)),
    ),
    GROUND: (
        Look(speckle, (80, 130, 60), (110, 160, 70)),
        Look(speckle, (205, 180, 130), (180, 155, 105)),
        Look(checks, (120, 120, 125), (150, 150, 150)),
        Look(stripes, (75, 75, 80), (190, 185, 150)),
    ),
    BUILDING: (
        Look(bricks, (160, 70, 55), (190, 170, 155)),
        Look(panes, (85, 140, 195), (45, 60, 90)),
        Look(windows, (215, 195, 150), (70, 75, 95)),
        Look(bands, (150, 150, 155), (105, 105, 110)),
    ),
    VEGETATION: (
        Look(speckle, (50, 105, 45), (85, 145, 60)),
        Look(patches, (190, 110, 40), (160, 70, 35)),
        Look(stripes, (35, 75, 60), (60, 100, 75)),
        Look(speckle, (220, 150, 175), (90, 130, 70)),
    ),
    VEHICLE: (
        Look(flat, (165, 45, 45), (0, 0, 0)),
        Look(bands, (60, 90, 175), (205, 210, 215)),
        Look(checks, (225, 190, 50), (40, 40, 45)),
        Look(flat, (215, 215, 215), (0, 0, 0)),
    ),
    PERSON: (
        Look(flat, (60, 70, 130), (0, 0, 0)),
        Look(bands, (200, 200, 200), (150, 50, 60)),
        Look(checks, (90, 130, 70), (60, 60, 50)),
    ),
    POLE: (
        Look(flat, (60, 60, 65), (0, 0, 0)),
        Look(bands, (200, 60, 55), (225, 225, 225)),
        Look(speckle, (125, 90, 55), (100, 70, 40)),
    ),
    SIGN: (
        Look(flat, (200, 45, 45), (0, 0, 0)),
        Look(flat, (50, 95, 190), (0, 0, 0)),
        Look(checks, (235, 205, 60), (50, 50, 50)),
    ),
}


def surface(look: Look, ys: IntMap, xs: IntMap, rng: np.random.Generator) -> NDArray[np.int64]:
    """Colour a surface.

    Args:
        look: The pattern and its colours. Both colours are shifted together, by up to 22 of 255
            per channel: no two walls of brick are alike.
        ys: Rows counted from the surface's own top, any shape that broadcasts with ``xs``.
        xs: Columns counted from the surface's own left edge.
        rng: Source of the shift and of the pattern's own choices.

    Returns:
        RGB with shape (..., 3), before lighting and noise; may leave [0, 255].
    """
    shift = rng.integers(-22, 23, size=3)
    colours = np.array([look.first, look.second], dtype=np.int64) + shift
    return colours[look.pattern(ys, xs, rng)]
