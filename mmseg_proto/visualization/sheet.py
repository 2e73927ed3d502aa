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
_INK = "#222222"
_BAR = 160


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
        self._panel = panel
        self._width = 2 * _EDGE + columns * panel[1] + (columns - 1) * _GAP
        self._top = _EDGE
        self._pasted: list[tuple[int, int, Picture]] = []
        self._words: list[_Words] = []

    def title(self, text: str) -> None:
        """Write the title of the sheet."""
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
        height, width = self._panel
        for number, panel in enumerate(panels):
            left = _EDGE + number * (width + _GAP)
            middle, indent = self._top + _LABEL / 2 - 1, 0
            if panel.colour is not None:
                self._swatch(left, middle, panel.colour)
                indent = _SWATCH + 6
            self._words.append(_Words(panel.title, left + indent, middle, 13))
            self._pasted.append((self._top + _LABEL, left, panel.picture))
        self._top += _LABEL + height + _GAP

    def legend(self, entries: Sequence[tuple[str, Colour]]) -> None:
        """List names with their colours, in as many lines as they need."""
        across = max(1, (self._width - 2 * _EDGE) // _CELL)
        for number, (name, colour) in enumerate(entries):
            left = _EDGE + number % across * _CELL
            middle = self._top + number // across * _LEGEND + _LEGEND / 2
            self._swatch(left, middle, colour)
            short = name if len(name) <= 16 else f"{name[:15]}\N{HORIZONTAL ELLIPSIS}"
            self._words.append(_Words(short, left + _SWATCH + 6, middle, 12))
        self._top += -(-len(entries) // across) * _LEGEND + _GAP

    def drawn(self) -> Picture:
        """Return the sheet, RGB, shape ``(height, width, 3)``."""
        height = self._top + _EDGE - _GAP
        canvas = np.full((height, self._width, 3), 255, dtype=np.uint8)
        for top, left, picture in self._pasted:
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        figure = Figure((self._width / _DPI, height / _DPI), dpi=_DPI)
        painter: Any = FigureCanvasAgg(figure)
        figure.figimage(canvas, resize=False)
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
        return np.array(painter.buffer_rgba())[..., :3].copy()

    def scale(self, low: float, high: float) -> None:
        """Say what strength means, at the right of the title's line."""
        left = self._width - _EDGE - _BAR
        shades = np.linspace(235, 60, _BAR).astype(np.uint8)[None, :, None]
        middle = _EDGE + _TITLE / 2 - 6
        self._pasted.append((int(middle - 6), left - 50, np.tile(shades, (12, 1, 3))))
        text = f"cosine with the nearest prototype  {low:.2f}"
        self._words.append(_Words(text, left - 50 - 265, middle, 12))
        self._words.append(_Words(f"{high:.2f}", left - 50 + _BAR + 8, middle, 12))

    def _swatch(self, left: int, middle: float, colour: Colour, side: int = _SWATCH) -> None:
        picture = np.tile(np.asarray(colour, dtype=np.uint8), (side, side, 1))
        self._pasted.append((round(middle - side / 2), left, picture))
