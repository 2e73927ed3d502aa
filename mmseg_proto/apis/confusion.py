"""What is taken for what: counts of pixels by true and predicted class."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Labels = NDArray[np.int16]


class Confusion(NamedTuple):
    """Pixels of one class that a model takes for another.

    Attributes:
        truth: The true class.
        predicted: What they are taken for.
        pixels: Their number.
        share: Their share of the pixels of the true class, in (0, 1].
    """

    truth: int
    predicted: int
    pixels: int
    share: float


def count_confusion(truth: Labels, predicted: Labels, num_classes: int) -> Counts:
    """Count pixels by true and predicted class.

    Args:
        truth: True classes, ``(H, W)``; -1 for pixels that do not count.
        predicted: Predicted classes, ``(H, W)``.
        num_classes: Number of classes C.

    Returns:
        Counts: Rows are true classes, columns predicted ones, ``(C, C)``.
    """
    counts = truth >= 0
    pairs = truth[counts].astype(np.int64) * num_classes + predicted[counts]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def ious(confusion: Counts) -> NDArray[np.float64]:
    """Compute the IoU of each class.

    Args:
        confusion: Pixels by true and predicted class, ``(C, C)``.

    Returns:
        NDArray[np.float64]: In percent, ``(C,)``; NaN for a class that is neither in the truth
        nor predicted.
    """
    both = confusion.diagonal()
    either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    return np.where(either > 0, 100 * both / np.maximum(either, 1), np.nan)


def top_confusions(confusion: Counts, count: int, truth: int | None = None) -> list[Confusion]:
    """List the largest confusions.

    Args:
        confusion: Pixels by true and predicted class, ``(C, C)``.
        count: How many, at most.
        truth: Only those of this true class. Defaults to None: of all.

    Returns:
        list[Confusion]: That with most pixels first.
    """
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    if truth is not None:
        errors[np.arange(len(errors)) != truth] = 0
    found = []
    for place in np.argsort(-errors, axis=None, kind="stable")[:count].tolist():
        true, predicted = divmod(place, len(errors))
        pixels = int(errors[true, predicted])
        if pixels:
            found.append(Confusion(true, predicted, pixels, pixels / int(confusion[true].sum())))
    return found
