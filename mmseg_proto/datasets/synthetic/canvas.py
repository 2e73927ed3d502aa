"""The canvas of a scene: shapes, and covering them with the looks of a class."""

import numpy as np
from numpy.typing import NDArray

from .looks import LOOKS, surface


class Scene:
    """A picture and its label map while they are drawn.

    Args:
        height: Rows in pixels.
        width: Columns in pixels.
        rng: Source of everything that differs between scenes.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.height = height
        self.width = width
        self.rng = rng
        self.ys, self.xs = np.mgrid[:height, :width]
        self.image = np.zeros((height, width, 3), dtype=np.int64)
        self.labels = np.zeros((height, width), dtype=np.uint8)

    def between(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, max(low, high) + 1))

    def paint(self, mask: NDArray[np.bool_], class_id: int, top: int = 0, left: int = 0) -> None:
        """Cover the pixels of `mask` with one of the looks of a class.

        Args:
            mask: Pixels to cover, (height, width).
            class_id: The class.
            top: Row where the pattern starts.
            left: Column where the pattern starts.
        """
        looks = LOOKS[class_id]
        look = looks[self.between(0, len(looks) - 1)]
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return
        # Only the box around the mask is coloured: most objects are small.
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside = mask[box]
        colours = surface(look, np.abs(self.ys[box] - top), np.abs(self.xs[box] - left), self.rng)
        self.image[box][inside] = colours[inside]
        self.labels[box][inside] = class_id

    def rectangle(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
        """The pixels of an upright rectangle."""
        ys, xs = self.ys, self.xs
        return np.asarray(
            (ys >= top) & (ys < top + height) & (xs >= left) & (xs < left + width), dtype=np.bool_
        )

    def ellipse(self, y: int, x: int, ry: int, rx: int) -> NDArray[np.bool_]:
        """The pixels of an ellipse around (y, x)."""
        dy, dx = self.ys - y, self.xs - x
        return np.asarray(
            dy * dy * rx * rx + dx * dx * ry * ry <= ry * ry * rx * rx, dtype=np.bool_
        )

    def triangle(self, top: int, x: int, height: int, width: int) -> NDArray[np.bool_]:
        """The pixels of a triangle that stands on its base."""
        dy = self.ys - top
        inside = 2 * height * np.abs(self.xs - x) <= width * (dy + 1)
        return np.asarray((dy >= 0) & (dy < height) & inside, dtype=np.bool_)
