"""Two predictions of an image beside its truth, and where they differ."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .sheet import Panel, Sheet, label_legend, nearest_places

Picture = NDArray[np.uint8]
Labels = NDArray[np.int16]

#: What `differences` tells apart: neither is right alone, only one is, both err in their own way.
ALIKE, ONLY_FIRST, ONLY_SECOND, BOTH_WRONG = range(4)
#: Colours of the last three, from Okabe and Ito's, which most colour-blind people tell apart.
_COLOURS = ((213, 94, 0), (0, 114, 178), (240, 228, 66))
_UNKNOWN = (0, 0, 0)
_LONGEST = 320
#: How far the image behind the differences is moved to white.
_FADED = 0.65


def differences(truth: Labels, first: Labels, second: Labels) -> NDArray[np.uint8]:
    """Say for each pixel who is right where two predictions differ.

    Args:
        truth: True classes, ``(H, W)``, -1 where they are not known.
        first: Classes that the first model predicts, ``(H, W)``.
        second: Those of the second.

    Returns:
        NDArray[np.uint8]: ``(H, W)``: `ONLY_FIRST`, `ONLY_SECOND` or `BOTH_WRONG` where they
        differ, `ALIKE` where they do not and where the truth is not known.
    """
    found = np.full(truth.shape, BOTH_WRONG, dtype=np.uint8)
    found[first == truth] = ONLY_FIRST
    found[second == truth] = ONLY_SECOND
    found[(first == second) | (truth < 0)] = ALIKE
    return found


def draw_comparison(
    title: str,
    image: Picture,
    maps: tuple[Labels, Labels, Labels],
    names: tuple[str, str],
    classes: Sequence[str],
    palette: Picture,
) -> Picture:
    """Draw an image, its truth, two predictions, and where these differ.

    Args:
        title: Title of the picture.
        image: The image, RGB, ``(H, W, 3)``.
        maps: Truth (-1 where it is not known), and what the models predict, ``(H, W)`` each.
        names: Names of the models.
        classes: Names of the C classes.
        palette: Their colours, RGB, ``(C, 3)``.

    Returns:
        Picture: RGB, shape ``(height, width, 3)``.
    """
    parted = differences(*maps)
    height, width = parted.shape
    factor = _LONGEST / max(height, width)
    rows, columns = (max(1, round(side * factor)) for side in (height, width))
    place = np.ix_(nearest_places(height, rows), nearest_places(width, columns))
    area = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    small = np.asarray(cv2.resize(image, (columns, rows), interpolation=area), dtype=np.uint8)
    colours = np.concatenate([palette, [_UNKNOWN]]).astype(np.uint8)
    painted = [colours[labels[place]] for labels in maps]
    sheet = Sheet(5, (rows, columns))
    sheet.title(title)
    titles = ("truth", *names)
    sheet.panels(
        [
            Panel("image", small),
            *map(Panel, titles, painted),
            Panel("where they differ", _over(small, parted[place])),
        ]
    )
    for kind, (text, colour) in enumerate(zip(_texts(names), _COLOURS, strict=True), ONLY_FIRST):
        share = int((parted == kind).sum()) / max(1, int((maps[0] >= 0).sum()))
        sheet.heading(f"{text}: {100 * share:.1f} % of the labelled pixels", colour)
    unknown = [("no label", colours[-1])] if (maps[0] < 0).any() else []
    sheet.legend(label_legend(maps, classes, colours) + unknown)
    return sheet.drawn()


def _texts(names: tuple[str, str]) -> tuple[str, str, str]:
    """What the colours mean."""
    return f"only {names[0]} is right", f"only {names[1]} is right", "both wrong, each its own way"


def _over(image: Picture, parted: NDArray[np.uint8]) -> Picture:
    """Paint differences over a faded grey image."""
    grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    faded = np.asarray((1 - _FADED) * grey + _FADED * 255, dtype=np.uint8)
    for kind, colour in enumerate(_COLOURS, ONLY_FIRST):
        faded[parted == kind] = colour
    return faded
