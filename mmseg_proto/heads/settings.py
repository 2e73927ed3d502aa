"""Checked settings behind the nested dicts of a `ProtoDecodeHead` config."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ClusteringSettings:
    """Settings of the within-class clustering.

    Args:
        kappa: Weight of the entropy term, above 0. Defaults to 0.05.
        iterations: Sinkhorn-Knopp iterations, at least 1. Defaults to 3.
    """

    kappa: float = 0.05
    iterations: int = 3

    def __post_init__(self) -> None:
        if self.kappa <= 0:
            raise ValueError(f"Expected `clustering.kappa` to be above 0, but got {self.kappa}.")
        if self.iterations < 1:
            raise ValueError(
                f"Expected `clustering.iterations` to be at least 1, but got {self.iterations}."
            )


@dataclass(frozen=True)
class ScaleSettings:
    """Settings of the scale that turns cosines into logits.

    Args:
        init: Scale at the start, within `[min, max]`. Defaults to 10.
        learnable: Whether the scale is learned (one scalar, whatever the number of classes).
            Defaults to True.
        min: Smallest scale. Defaults to 1.
        max: Largest scale. Defaults to 100.
    """

    init: float = 10.0
    learnable: bool = True
    min: float = 1.0
    max: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.min <= self.init <= self.max < math.inf:
            raise ValueError(
                "Expected `score_scale` with 0 < min <= init <= max, but got "
                f"min={self.min}, init={self.init}, max={self.max}."
            )


@dataclass(frozen=True)
class SeedingSettings:
    """Settings of how prototypes start.

    Args:
        source: ``'data'`` seeds a class from its pixels when it is first seen, ``'random'`` starts
            from random directions. Defaults to ``'data'``.
        candidates: Pixels a class and rank to choose from, at least 1. Defaults to 256.
        eager_iterations: Training iterations from the start in which new classes are looked
            for every time. Defaults to 100.
        interval: Iterations between two looks later on, so that a class that never comes costs
            nothing in between, at least 1. Defaults to 20.
        seed: Seed of the generator. Defaults to 0.
    """

    source: str = "data"
    candidates: int = 256
    eager_iterations: int = 100
    interval: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.source not in ("data", "random"):
            raise ValueError(
                f"Expected `seeding.source` to be 'data' or 'random', but got {self.source!r}."
            )
        if self.candidates < 1 or self.interval < 1 or self.eager_iterations < 0:
            raise ValueError(
                "Expected `seeding` with candidates >= 1, interval >= 1 and "
                f"eager_iterations >= 0, but got {self}."
            )


@dataclass(frozen=True)
class ProjectionSettings:
    """Settings of the optional projection between decoder and embedding.

    Args:
        out_channels: Channels D of the embedding; None keeps the decoder's. Defaults to None.
        num_layers: Number of 1x1 convolutions, with ReLU between them, at least 1. Defaults
            to 2, as in the authors' code.
    """

    out_channels: int | None = None
    num_layers: int = 2

    def __post_init__(self) -> None:
        if self.num_layers < 1 or (self.out_channels is not None and self.out_channels < 1):
            raise ValueError(
                "Expected `projection` with num_layers >= 1 and out_channels >= 1, but got "
                f"num_layers={self.num_layers}, out_channels={self.out_channels}."
            )


def read_settings(kind: type[T], values: Mapping[str, Any] | None, name: str) -> T:
    """Build settings from a config dict.

    Args:
        kind: Settings class.
        values: Config dict, or None for the defaults.
        name: Name of the head's argument, for messages.

    Returns:
        T: The settings.

    Raises:
        TypeError: If `values` is no dict or has unknown keys.
        ValueError: If a value is out of range.
    """
    values = {} if values is None else values
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise TypeError(
            f"Expected `{name}` to be a dict with keys among {known}, but got {values!r}."
        )
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise TypeError(f"Expected the keys of `{name}` to be among {known}, but got {unknown}.")
    return kind(**values)
