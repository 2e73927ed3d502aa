"""Pixels and prototypes in two dimensions, beside those of another model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

Places = NDArray[np.float32]

#: Inches of a map, and of the strip above it.
_SIDE, _TITLE = 7.2, 0.32
#: With more classes than this their numbers stand in the map, and their names below it.
_MOST_NAMES = 24
_FONT, _SMALL_FONT = 9, 7
_LONGEST_NAME = 20
_COLUMN, _LINE = 1.45, 0.16
_STEPS, _EXTRA = 400, 1.0
#: How near the mark of a prototype is to a name that would hide it, in points.
_MARK = 6


@dataclass(frozen=True)
class FlatMap:
    """One of the maps in a picture.

    Attributes:
        title: What stands above it; a dollar sign is no formula.
        points: Places of pixels, ``(N, 2)``.
        labels: Their classes, ``(N,)``.
        anchors: Places of prototypes or class vectors, ``(P, 2)``.
        anchor_labels: Their classes, ``(P,)``.
    """

    title: str
    points: Places
    labels: NDArray[np.int64]
    anchors: Places
    anchor_labels: NDArray[np.int64]


def draw_maps(
    maps: Sequence[FlatMap], classes: Sequence[str], palette: NDArray[np.uint8]
) -> Figure:
    """Draw maps side by side.

    Pixels have the colour of their class, prototypes a black border as well. The name of a class
    stands where its pixels are on average, moved only as far as it takes to be read; where there
    are many classes their numbers do, and the names below.

    Args:
        maps: The maps.
        classes: Names of the C classes; a dollar sign is no formula.
        palette: Their colours, RGB, ``(C, 3)``.

    Returns:
        Figure: The picture.
    """
    many = len(classes) > _MOST_NAMES
    width = _SIDE * len(maps)
    columns = max(1, int(width / _COLUMN))
    below = (-(-len(classes) // columns) * _LINE + 0.15) if many else 0.0
    height = _TITLE + _SIDE + below
    figure = Figure((width, height), dpi=110)
    for number, one in enumerate(maps):
        left, side = (number * _SIDE + 0.1) / width, (_SIDE - 0.2) / width
        axes: Any = figure.add_axes((left, (below + 0.1) / height, side, (_SIDE - 0.2) / height))
        _draw_one(axes, one, palette / 255)
        axes.set_title(one.title, fontsize=12, parse_math=False)
        texts = [str(number) if many else name for number, name in enumerate(classes)]
        _name_classes(axes, one, texts, palette / 255, _SMALL_FONT if many else _FONT)
    if many:
        _list_classes(figure, classes, palette / 255, columns)
    return figure


def spread_out(
    wanted: NDArray[np.float64], sizes: NDArray[np.float64], bounds: tuple[float, float]
) -> NDArray[np.float64]:
    """Move boxes apart until none covers another, as far as there is room.

    Args:
        wanted: Where their centres should be, ``(n, 2)``.
        sizes: Their widths and heights, ``(n, 2)``.
        bounds: Width and height of what they must stay within.

    Returns:
        NDArray[np.float64]: Their centres, ``(n, 2)``.
    """
    low, high = sizes / 2, np.asarray(bounds) - sizes / 2
    numbers = np.arange(len(wanted))
    # Boxes at one place, or on one line at the edge, must know which of them goes which way.
    ranks = np.sign(numbers[:, None] - numbers)[..., None]
    centres = wanted
    reach = (sizes[:, None] + sizes[None]) / 2
    for _ in range(_STEPS):
        centres = np.clip(centres, low, np.maximum(low, high))
        apart = centres[:, None] - centres[None]
        overlap = reach - np.abs(apart)
        meet = (overlap > 0).all(axis=2) & (ranks[..., 0] != 0)
        if not meet.any():
            break
        # Each goes half the shorter way out, and a little farther, else it takes for ever.
        shorter = overlap.argmin(axis=2)[..., None] == np.arange(2)
        way = np.where(apart == 0, ranks, np.sign(apart)) * (overlap + _EXTRA) / 2
        centres = centres + np.where(shorter & meet[..., None], way, 0).sum(axis=1)
    return np.clip(centres, low, np.maximum(low, high))


def _draw_one(axes: Any, one: FlatMap, colours: NDArray[np.float64]) -> None:
    """Draw pixels and prototypes, the fewer the larger."""
    point = float(np.clip(12000 / max(1, len(one.points)), 2, 9))
    axes.scatter(*one.points.T, s=point, c=colours[one.labels], alpha=0.55, linewidths=0)
    anchor = float(np.clip(9000 / max(1, len(one.anchors)), 16, 75))
    axes.scatter(
        *one.anchors.T,
        s=anchor,
        c=colours[one.anchor_labels],
        edgecolors="black",
        linewidths=1.3 if anchor > 30 else 0.7,
    )
    every = np.concatenate([one.points, one.anchors])
    middle = (every.max(axis=0) + every.min(axis=0)) / 2
    # One unit is as long upwards as sideways: a map with two scales would make distances up.
    reach = 0.54 * float(np.max(every.max(axis=0) - every.min(axis=0))) or 1.0
    axes.set(
        xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach)
    )
    axes.set_xticks([])
    axes.set_yticks([])


def _name_classes(
    axes: Any, one: FlatMap, texts: Sequence[str], colours: NDArray[np.float64], font: int
) -> None:
    """Write what a class is called where its pixels are, with a line to there if it was moved."""
    labels = np.unique(one.labels)
    if not len(labels):
        return
    means = np.stack([one.points[one.labels == label].mean(axis=0) for label in labels])
    low, span = np.array([axes.get_xlim()[0], axes.get_ylim()[0]]), np.ptp(axes.get_xlim())
    points = 72 * (_SIDE - 0.2)
    wanted = (means - low) / span * points
    sizes = np.array([[0.62 * font * len(texts[c]) + 5, 1.45 * font] for c in labels])
    marks = (one.anchors - low) / span * points
    near = np.abs(marks - wanted[:, None]) < sizes[:, None] / 2 + _MARK
    wanted[:, 1] += near.all(axis=2).any(axis=1) * (sizes[:, 1] + 2 * _MARK)
    places = spread_out(wanted.astype(float), sizes, (points, points))
    for label, mean, place, start, size in zip(labels, means, places, wanted, sizes, strict=True):
        at = low + place / points * span
        if (np.abs(place - start) > size / 2).any():
            axes.plot(*zip(mean, at, strict=True), color="black", linewidth=0.5)
        axes.text(
            *at,
            texts[label],
            ha="center",
            va="center",
            fontsize=font,
            color="black",
            parse_math=False,
            bbox={
                "facecolor": "white",
                "alpha": 0.85,
                "edgecolor": colours[label],
                "boxstyle": "square,pad=0.15",
                "linewidth": 1,
            },
        )


def _list_classes(
    figure: Figure, classes: Sequence[str], colours: NDArray[np.float64], columns: int
) -> None:
    """List numbers and names of the classes at the bottom, column by column."""
    width, height = figure.get_size_inches()
    lines = -(-len(classes) // columns)
    for number, name in enumerate(classes):
        column, line = divmod(number, lines)
        left = (0.15 + column * (width - 0.2) / columns) / width
        middle = (0.1 + (lines - line - 0.5) * _LINE) / height
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        figure.text(
            left,
            middle,
            "\N{BLACK SQUARE}",
            color=colours[number],
            fontsize=_FONT,
            va="center",
            path_effects=[withStroke(linewidth=0.8, foreground="black")],
        )
        text = f"{number} {short}"
        figure.text(
            left + 0.14 / width, middle, text, fontsize=_SMALL_FONT, va="center", parse_math=False
        )
