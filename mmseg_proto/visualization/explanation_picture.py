"""The sheet of an explanation: Fig. 3 of the paper for one image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .explanation import Explanation
from .overlay import prototype_colours, strength, strength_range, winner_overlay, with_borders
from .sheet import Panel, Sheet, label_legend, nearest_places

Picture = NDArray[np.uint8]
#: Longer side of a panel, in pixels; the second where there are but two in a row.
_LONGEST, _LARGE = 320, 480
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
    parts = _Parts.of(explanation, _LONGEST)
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
        sheet.heading(_heading(explanation, label), parts.class_colours[label])
        sheet.panels(_class_row(explanation, parts, label, prototypes))
    return sheet.drawn()


def draw_classes(
    explanation: Explanation, labels: Sequence[int], *, prototypes: int | None = None
) -> Picture:
    """Draw chosen classes as Fig. 3 does: one overlay each, by prototype.

    A class has a row: the image, and beside it the image in faint grey with the predicted pixels
    of the class in the colours of the prototypes that win them. Numbers of the prototypes
    and their shares of these pixels stand below. Of a class that is not predicted that is said.

    Args:
        explanation: The explanation.
        labels: Numbers of the classes in [0, C), in the order of the rows.
        prototypes: Prototypes of a class that are coloured, at most, those that win most first.
            Defaults to None: all.

    Returns:
        Picture: RGB, shape ``(height, width, 3)``.

    Raises:
        ValueError: If `prototypes` is below 1, or there is no such class.
    """
    if prototypes is not None and prototypes < 1:
        raise ValueError(f"Expected `prototypes` to be at least 1, but got {prototypes}.")
    wrong = [label for label in labels if not 0 <= label < len(explanation.classes)]
    if wrong:
        raise ValueError(
            f"Expected `labels` to be in [0, {len(explanation.classes)}), but got {wrong[0]}."
        )
    parts = _Parts.of(explanation, _LARGE)
    sheet = Sheet(2, parts.image.shape[:2])
    sheet.title(explanation.name)
    sheet.scale(*strength_range(parts.nearest))
    for label in labels:
        sheet.heading(_heading(explanation, label), parts.class_colours[label])
        if not (explanation.labels == label).any():
            continue
        shares = _shares(explanation, label, prototypes)
        own = (parts.labels == label) & np.isin(parts.winners, list(shares))
        sheet.panels([Panel("image", parts.image), Panel("its prototypes", parts.overlay(own))])
        sheet.legend(
            [(f"number {k}: {_percent(share)}", parts.colours[k]) for k, share in shares.items()]
        )
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
    def of(cls, explanation: Explanation, longest: int) -> "_Parts":
        height, width = explanation.labels.shape
        factor = longest / max(height, width)
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


def _class_row(explanation: Explanation, parts: _Parts, label: int, prototypes: int) -> list[Panel]:
    own = parts.labels == label
    found = [Panel("its prototypes", parts.overlay(own))]
    for number, share in _shares(explanation, label, prototypes).items():
        picture = parts.overlay(own & (parts.winners == number))
        title = f"prototype {number}: {_percent(share)}"
        found.append(Panel(title, picture, parts.colours[number]))
    return found


def _heading(explanation: Explanation, label: int) -> str:
    share = float((explanation.labels == label).mean())
    said = f"{_percent(share)} of the image" if share else "not predicted in this image"
    return f"{explanation.classes[label]}, {said}"


def _shares(explanation: Explanation, label: int, most: int | None) -> dict[int, float]:
    """The prototypes that win most of the pixels of a class, with their shares of these."""
    winners = explanation.winners[label][explanation.labels == label]
    # A class without prototypes may be predicted, by a model that knows no other.
    wins = np.bincount(winners[winners >= 0])
    order = np.argsort(-wins, kind="stable")[:most].tolist()
    return {number: wins[number] / len(winners) for number in order if wins[number]}


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.005 else f"{math.floor(100 * share + 0.5)} %"
