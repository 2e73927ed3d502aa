"""Overlays as in Fig. 3: which prototype is nearest, and how near."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

#: Okabe and Ito's colours, which most colour-blind people tell apart, the lightest ones last.
_FIRST = (
    (230, 159, 0),
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (240, 228, 66),
)
#: Bounds of further colours in CIELAB: over a grey image greys, black and white say nothing, and
#: what is purer than this outshines the others.
_LIGHTNESS, _CHROMA = (30, 90), (38, 80)
#: Where strength is 0 and where it is 1.
_OPACITY = (0.3, 0.9)
_SHARES = (0.05, 0.95)


@lru_cache
def _spread_colours(count: int) -> Picture:
    """Okabe and Ito's colours, and after them always that farthest from all before, in CIELAB."""
    levels = 8
    while levels**3 < 4 * count:
        levels += 1
    steps = np.linspace(0, 1, levels, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    first = np.array(_FIRST, dtype=np.float32) / 255
    lab = cv2.cvtColor(np.concatenate([first, grid])[None], cv2.COLOR_RGB2LAB)[0]
    light, chroma = lab[:, 0], np.linalg.norm(lab[:, 1:], axis=1)
    usable = (light > _LIGHTNESS[0]) & (light < _LIGHTNESS[1])
    usable &= (chroma > _CHROMA[0]) & (chroma < _CHROMA[1])
    usable[: len(first)] = True
    colours, lab = np.concatenate([first, grid])[usable], lab[usable]
    chosen = list(range(min(count, len(first))))
    distance = np.full(len(lab), np.inf)
    for number in range(count):
        if number == len(chosen):
            chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[number]], axis=1))
    return np.asarray(np.round(255 * colours[chosen]), dtype=np.uint8)


def prototype_colours(count: int) -> Picture:
    """Give each prototype of a class a colour, the same in all classes.

    The first seven are Okabe and Ito's, made for colour-blind people; each further one is that
    which is farthest in CIELAB from all before it.

    Args:
        count: Prototypes K of a class, at least 0.

    Returns:
        Picture: RGB colours, all different, shape ``(K, 3)``.

    Sources:
        - Okabe and Ito, Color Universal Design, 2008, https://jfly.uni-koeln.de/color/
    """
    return _spread_colours(count).copy()


def strength(cosines: NDArray[Any], within: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Say how near pixels are to their prototypes, as shares within one picture.

    The rule: the 5 % of the picture's pixels with the largest distance ``1 - cosine`` to their
    winner get 0, the 5 % with the smallest 1, and what is between grows evenly as distance falls.

    Args:
        cosines: Cosines, any shape.
        within: Cosines with the winners of the picture that set the scale, any shape; give the
            same ones for overlays that are to be compared. Defaults to None: `cosines`.

    Returns:
        NDArray[np.float32]: Strength in [0, 1], the same shape as `cosines`; 1 where all those of
        the picture are equal.
    """
    low, high = strength_range(cosines if within is None else within)
    if high - low < 1e-6:
        return np.ones(cosines.shape, dtype=np.float32)
    return np.asarray(np.clip((cosines - low) / (high - low), 0, 1), dtype=np.float32)


def strength_range(cosines: NDArray[Any]) -> tuple[float, float]:
    """Return the cosines at which strength is 0 and 1 in a picture with these; NaN of none."""
    if not cosines.size:
        return float("nan"), float("nan")
    low, high = np.quantile(cosines, _SHARES)
    return float(low), float(high)


def winner_overlay(
    image: Picture,
    winners: NDArray[Any],
    strong: NDArray[np.float32],
    colours: Picture,
    mask: NDArray[np.bool_] | None = None,
) -> Picture:
    """Colour pixels by their nearest prototype, the stronger the nearer.

    Args:
        image: RGB, shape ``(H, W, 3)``; shown in grey below.
        winners: Number of the prototype, shape ``(H, W)``; below 0 for none.
        strong: Strength in [0, 1], shape ``(H, W)``.
        colours: RGB colour of each prototype, shape ``(K, 3)``.
        mask: Pixels that are coloured, shape ``(H, W)``. Defaults to None: all with a winner.

    Returns:
        Picture: RGB, shape ``(H, W, 3)``.
    """
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    coloured = winners >= 0 if mask is None else mask & (winners >= 0)
    least, most = _OPACITY
    # Some colour is left on the farthest, or nobody could tell whose they are.
    opacity = np.where(coloured, least + (most - least) * strong, 0.0)[..., None]
    tint = colours[np.maximum(winners, 0)].astype(np.float32)
    # Colours are read best on a light ground, and what is not coloured steps back.
    ground = np.where(coloured[..., None], 90 + 0.64 * grey, 165 + 0.3 * grey)
    return np.asarray(np.round((1 - opacity) * ground + opacity * tint), dtype=np.uint8)


def with_borders(picture: Picture, labels: NDArray[np.int64]) -> Picture:
    """Draw white lines, a pixel wide, where one class ends and another begins.

    Args:
        picture: RGB, shape ``(H, W, 3)``. It stays as it is.
        labels: Class of each pixel, shape ``(H, W)``.

    Returns:
        Picture: RGB, shape ``(H, W, 3)``.
    """
    border = np.zeros(labels.shape, dtype=bool)
    border[:-1] |= labels[:-1] != labels[1:]
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return np.where(border[..., None], np.uint8(255), picture)
