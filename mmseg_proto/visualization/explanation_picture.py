"""The sheet of an explanation: Fig. 3 of the paper for one image."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .explanation import Explanation
from .overlay import prototype_colours, strength, strength_range, winner_overlay, with_borders
from .sheet import Panel, Sheet, label_legend, nearest_places

Picture = NDArray[np.uint8]
_LONGEST = 320
_UNKNOWN = (0, 0, 0)


def draw_explanation(explanation: Explanation, *, classes: int = 4, prototypes: int = 5) -> Picture:
    """Draw which prototypes make a prediction, as a sheet.

    The first row has the image, its truth where that is known, the prediction, and all pixels in
    the colour of the prototype that wins them. Then a row for each of the classes with most
    predicted pixels: the pixels of the class by their prototypes, and each of its most winning
    prototypes alone. Everywhere colour is the stronger the nearer a pixel is to its prototype,
    on one scale for the sheet.

    Args:
        explanation: The explanation.
        classes: Classes with a row, at most. Defaults to 4.
        prototypes: Prototypes of each class that are shown alone, at most. Defaults to 5.

    Returns:
        Picture: RGB, shape ``(height, width, 3)``.

    Raises:
        ValueError: If `classes` or `prototypes` is below 1.
    """
    for name, number in (("classes", classes), ("prototypes", prototypes)):
        if number < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {number}.")
    parts = _Parts.of(explanation)
    columns = max(
        1 + min(prototypes, len(parts.colours)), 4 if explanation.truth is not None else 3
    )
    sheet = Sheet(columns, parts.image.shape[:2])
    sheet.title(explanation.name)
    sheet.panels(_first_row(parts))
    maps = [explanation.labels, *([] if explanation.truth is None else [explanation.truth])]
    sheet.legend(label_legend(maps, explanation.classes, parts.class_colours))
    sheet.scale(*strength_range(parts.nearest))
    shares = np.bincount(explanation.labels.flatten(), minlength=len(explanation.classes))
    for label in np.argsort(-shares, kind="stable")[:classes].tolist():
        if not shares[label]:
            break
        share = shares[label] / explanation.labels.size
        heading = f"{explanation.classes[label]}, {_percent(share)} of the image"
        sheet.heading(heading, parts.class_colours[label])
        sheet.panels(_class_row(parts, label, prototypes))
    return sheet.drawn()


@dataclass(frozen=True)
class _Parts:
    """An explanation at the size of a panel."""

    image: Picture
    labels: NDArray[np.int64]
    truth: NDArray[np.int64] | None
    nearest: NDArray[np.float32]
    strong: NDArray[np.float32]
    winners: NDArray[np.int16]
    class_colours: Picture
    colours: Picture

    @classmethod
    def of(cls, explanation: Explanation) -> "_Parts":
        height, width = explanation.labels.shape
        factor = _LONGEST / max(height, width)
        size = max(1, round(height * factor)), max(1, round(width * factor))
        rows, columns = map(nearest_places, (height, width), size)
        place = np.ix_(rows, columns)
        labels, truth = explanation.labels[place], explanation.truth
        area = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
        own = labels, rows[:, None], columns
        nearest = explanation.cosines[own]
        palette = explanation.palette
        if palette is None:
            palette = prototype_colours(len(explanation.classes))
        return cls(
            image=cv2.resize(explanation.image, size[::-1], interpolation=area),
            labels=labels,
            truth=None if truth is None else truth[place],
            nearest=nearest,
            strong=strength(nearest),
            winners=explanation.winners[own],
            class_colours=palette,
            colours=prototype_colours(max(1, int(explanation.winners.max()) + 1)),
        )

    def overlay(self, mask: NDArray[np.bool_] | None = None) -> Picture:
        return winner_overlay(self.image, self.winners, self.strong, self.colours, mask)

    def painted(self, labels: NDArray[np.int64]) -> Picture:
        colours = np.concatenate([self.class_colours, [_UNKNOWN]]).astype(np.uint8)
        return colours[labels]


def _first_row(parts: _Parts) -> list[Panel]:
    truth = [] if parts.truth is None else [Panel("truth", parts.painted(parts.truth))]
    return [
        Panel("image", parts.image),
        *truth,
        Panel("prediction", parts.painted(parts.labels)),
        Panel("nearest prototype", with_borders(parts.overlay(), parts.labels)),
    ]


def _class_row(parts: _Parts, label: int, prototypes: int) -> list[Panel]:
    own = parts.labels == label
    found = [Panel("its prototypes", parts.overlay(own))]
    winners = parts.winners[own]
    # A class without prototypes may be predicted, by a model that knows no other.
    wins = np.bincount(winners[winners >= 0], minlength=len(parts.colours))
    for number in np.argsort(-wins, kind="stable")[:prototypes].tolist():
        if wins[number]:
            title = f"prototype {number}: {_percent(wins[number] / own.sum())}"
            picture = parts.overlay(own & (parts.winners == number))
            found.append(Panel(title, picture, tuple(parts.colours[number].tolist())))
    return found


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.005 else f"{math.floor(100 * share + 0.5)} %"
