"""Pictures in rows under titles, laid out in pixels and lettered by matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = Sequence[int] | NDArray[np.uint8]

_DPI = 100
_EDGE, _GAP = 20, 12
_TITLE, _HEADING, _LABEL, _LEGEND = 40, 34, 20, 22
_SWATCH = 12
_CELL = 130
#: What titles need: those of panels, and that of the sheet with the scale beside it.
_LEAST_PANEL, _LEAST_SHEET = 170, 760
_LETTER = 13
_INK = "#222222"
_BAR, _SCALE = 160, 490


class Panel(NamedTuple):
    """A picture under a title, with the colour that the title speaks of."""

    title: str
    picture: Picture
    colour: Colour | None = None


@dataclass(frozen=True)
class _Words:
    text: str
    left: float
    middle: float
    size: float
    bold: bool = False


class Sheet:
    """Grows downwards, row by row.

    Args:
        columns: Panels in a row, at most.
        panel: Rows and columns of a panel, in pixels.
    """

    def __init__(self, columns: int, panel: tuple[int, int]) -> None:
        self._height = panel[0]
        self._step = max(panel[1], _LEAST_PANEL) + _GAP
        self._width = max(2 * _EDGE + columns * self._step - _GAP, _LEAST_SHEET)
        self._top = _EDGE
        self._pasted: list[tuple[int, int, Picture]] = []
        self._words: list[_Words] = []

    def title(self, text: str) -> None:
        """Write the title of the sheet, cut short where there is no room beside the scale."""
        text = _shortened(text, (self._width - 2 * _EDGE - _SCALE) // _LETTER)
        self._words.append(_Words(text, _EDGE, self._top + _TITLE / 2 - 6, 20, bold=True))
        self._top += _TITLE

    def heading(self, text: str, colour: Colour) -> None:
        """Write the heading of a row, after a swatch of a colour."""
        middle = self._top + _HEADING / 2
        self._swatch(_EDGE, middle, colour, _SWATCH + 4)
        self._words.append(_Words(text, _EDGE + _SWATCH + 12, middle, 16, bold=True))
        self._top += _HEADING

    def panels(self, panels: Sequence[Panel]) -> None:
        """Put pictures beside each other, each under its title."""
        for number, panel in enumerate(panels):
            left = _EDGE + number * self._step
            middle, indent = self._top + _LABEL / 2 - 1, 0
            if panel.colour is not None:
                self._swatch(left, middle, panel.colour)
                indent = _SWATCH + 6
            self._words.append(_Words(panel.title, left + indent, middle, 13))
            self._pasted.append((self._top + _LABEL, left, panel.picture))
        self._top += _LABEL + self._height + _GAP

    def legend(self, entries: Sequence[tuple[str, Colour]]) -> None:
        """List names with their colours, in as many lines as they need."""
        across = max(1, (self._width - 2 * _EDGE) // _CELL)
        for number, (name, colour) in enumerate(entries):
            left = _EDGE + number % across * _CELL
            middle = self._top + number // across * _LEGEND + _LEGEND / 2
            self._swatch(left, middle, colour)
            self._words.append(_Words(_shortened(name, 16), left + _SWATCH + 6, middle, 12))
        self._top += -(-len(entries) // across) * _LEGEND + _GAP

    def scale(self, low: float, high: float) -> None:
        """Say at the right of the title's line between which cosines colour grows."""
        left, middle = self._width - _EDGE - _BAR - 40, _EDGE + _TITLE // 2 - 6
        shades = np.linspace(235, 60, _BAR).astype(np.uint8)[None, :, None]
        self._pasted.append((middle - 6, left, np.tile(shades, (12, 1, 3))))
        text = f"cosine with the nearest prototype  {low:.2f}"
        self._words.append(_Words(text, left - 265, middle, 12))
        self._words.append(_Words(f"{high:.2f}", left + _BAR + 8, middle, 12))

    def drawn(self) -> Picture:
        """Return the sheet, RGB, shape ``(height, width, 3)``."""
        height = self._top + _EDGE - _GAP
        figure = Figure((self._width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        painter: Any = FigureCanvasAgg(figure)
        for words in self._words:
            figure.text(
                words.left / self._width,
                1 - words.middle / height,
                words.text,
                fontsize=words.size * 72 / _DPI,
                fontweight="bold" if words.bold else "normal",
                color=_INK,
                verticalalignment="center_baseline",
                # A dollar sign in a name starts no formula.
                parse_math=False,
            )
        painter.draw()
        canvas = np.array(painter.buffer_rgba())[..., :3].copy()
        # Words lie beside the pictures, and matplotlib would take long to draw these.
        for top, left, picture in self._pasted:
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return canvas

    def _swatch(self, left: int, middle: float, colour: Colour, side: int = _SWATCH) -> None:
        picture = np.tile(np.asarray(colour, dtype=np.uint8), (side, side, 1))
        self._pasted.append((round(middle - side / 2), left, picture))


def label_legend(
    maps: Sequence[NDArray[Any]], classes: Sequence[str], colours: Picture
) -> list[tuple[str, Colour]]:
    """List names and colours of the classes in label maps, that with most pixels first.

    Args:
        maps: Classes, -1 where they are not known, of any shape.
        classes: Names of the C classes.
        colours: Their colours, RGB, ``(C, 3)``; more play no part.

    Returns:
        list[tuple[str, Colour]]: What `Sheet.legend` takes.
    """
    every = np.concatenate([part.flatten() for part in maps])
    counts = np.bincount(every[every >= 0], minlength=len(classes))
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    return [(classes[label], colours[label]) for label in order]


def nearest_places(before: int, after: int) -> NDArray[np.intp]:
    """Return the numbers of the rows or columns that stay when a label map is resized."""
    return ((np.arange(after) + 0.5) * before / after).astype(np.intp)


def _shortened(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"
