"""What a training run tells of its prototypes: curves of numbers, and what became of each class."""

from collections.abc import Mapping
from dataclasses import dataclass

#: Iterations and the numbers at them.
Curve = tuple[tuple[int, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Lives:
    """What became of the prototypes of a head between two iterations of training.

    Attributes:
        start: Iterations done at the start.
        stop: Iterations done at the end.
        born: Class and place of the prototypes that came to life.
        died: Class and place of those that died.
        turn: One minus the cosine with where they were, mean of each class; NaN where unknown.
        moves: Updates of all prototypes of each class.
    """

    start: int
    stop: int
    born: tuple[tuple[int, int], ...]
    died: tuple[tuple[int, int], ...]
    turn: tuple[float, ...]
    moves: tuple[int, ...]


@dataclass(frozen=True)
class TrainingLife:
    """What the runs in a work folder have logged, one after the other.

    Attributes:
        scalars: Name to curve: all ``prototype/*``, all losses, and ``mIoU``.
        timeline: Head to what became of its prototypes, in order of time.
        classes: Head to the names of its classes; only heads with a timeline.
    """

    scalars: Mapping[str, Curve]
    timeline: Mapping[str, tuple[Lives, ...]]
    classes: Mapping[str, tuple[str, ...]]
