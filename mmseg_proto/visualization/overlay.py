"""Overlays as in Fig. 3: which prototype is nearest, and how near."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def prototype_colours(count: int) -> Picture:
    """Give each prototype of a class a colour, the same in all classes.

    Args:
        count: Prototypes K of a class.

    Returns:
        Picture: RGB colours, shape ``(K, 3)``. Up to ten are those of matplotlib's tab10, up to
        twenty those of tab20, more are spread over a colour wheel.
    """
    if count <= 20:
        listed = colormaps["tab10" if count <= 10 else "tab20"](np.arange(count))
    else:
        listed = colormaps["gist_rainbow"](np.linspace(0, 1, count, endpoint=False))
    return np.asarray(np.round(255 * listed[:, :3]), dtype=np.uint8)


def strength(cosines: NDArray[Any]) -> NDArray[np.float32]:
    """Say how near pixels are to their prototypes, as shares within one picture.

    The 5 % of pixels with the smallest cosines get 0, the 5 % with the largest 1, and what is
    between grows evenly with the cosine, that is with falling distance ``1 - cosine``.

    Args:
        cosines: Cosines with the nearest prototype, any shape.

    Returns:
        NDArray[np.float32]: Strength in [0, 1], the same shape; 1 where all cosines are equal.
    """
    low, high = np.quantile(cosines, [0.05, 0.95]) if cosines.size else (0.0, 0.0)
    if high - low < 1e-6:
        return np.ones(cosines.shape, dtype=np.float32)
    return np.asarray(np.clip((cosines - low) / (high - low), 0, 1), dtype=np.float32)


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
    grey = image.astype(np.float32).mean(axis=2, keepdims=True).repeat(3, axis=2)
    coloured = winners >= 0 if mask is None else mask & (winners >= 0)
    # Some colour is left on the farthest, or nobody could tell whose they are.
    opacity = np.where(coloured, 0.25 + 0.55 * strong, 0.0)[..., None]
    tint = colours[np.maximum(winners, 0)].astype(np.float32)
    # What is not coloured steps back.
    ground = np.where(coloured[..., None], grey, 128 + 0.4 * (grey - 128))
    return np.asarray(np.round((1 - opacity) * ground + opacity * tint), dtype=np.uint8)
