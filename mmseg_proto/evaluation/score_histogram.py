"""Counts of scores of any size, in memory that does not grow with the pixels."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Bits of an fp32 number that are dropped: what stays is its sign, its exponent and 11 bits more.
_DROPPED = 12

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class ScoreHistogram(NamedTuple):
    """How often scores occur among known and unknown pixels.

    Attributes:
        keys: Numbers that order scores, each once and rising, shape ``(M,)``; at most 2**20.
        known: Known pixels of each, shape ``(M,)``.
        unknown: Unknown pixels of each, shape ``(M,)``.
    """

    keys: Ints
    known: Ints
    unknown: Ints

    @property
    def scores(self) -> Floats:
        """Scores in the middle of what a key stands for, shape ``(M,)``."""
        bits = (self.keys << _DROPPED) + (1 << _DROPPED) // 2
        bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        return bits.astype(np.int32).view(np.float32).astype(np.float64)


def count_scores(scores: npt.NDArray[np.float32], unknown: npt.NDArray[np.bool_]) -> ScoreHistogram:
    """Count scores of pixels.

    Args:
        scores: Finite scores, shape ``(N,)``.
        unknown: Which pixels are unknown, shape ``(N,)``.

    Returns:
        ScoreHistogram: The counts; scores that differ by less than 0.05 % may count as equal.
    """
    bits = np.ascontiguousarray(scores, dtype=np.float32).view(np.int32).astype(np.int64)
    # Negative numbers have their bits in reverse order.
    ordered = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits) >> _DROPPED
    keys, places = np.unique(ordered, return_inverse=True)
    total = np.bincount(places, minlength=len(keys))
    strange = np.bincount(places[unknown], minlength=len(keys))
    return ScoreHistogram(keys, total - strange, strange)


def merge_counts(parts: list[ScoreHistogram]) -> ScoreHistogram:
    """Add counts of several images up.

    Args:
        parts: At least one.

    Returns:
        ScoreHistogram: The sum.
    """
    keys, places = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
    known, unknown = np.zeros_like(keys), np.zeros_like(keys)
    np.add.at(known, places, np.concatenate([part.known for part in parts]))
    np.add.at(unknown, places, np.concatenate([part.unknown for part in parts]))
    return ScoreHistogram(keys, known, unknown)
