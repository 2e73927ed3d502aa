"""Checked settings behind the nested dicts of a `ProtoDecodeHead` config."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args

from mmseg_proto.ops import (
    ASSIGNMENTS,
    FEW_PIXELS,
    SINKHORN_STARTS,
    expect_flag,
    expect_number,
)

T = TypeVar("T")

_LEAST_OF_SEEDING = {"candidates": 1, "interval": 1, "batches": 1, "eager_iterations": 0}


@dataclass(frozen=True)
class ClusteringSettings:
    """Settings of the within-class clustering.

    Args:
        kappa: Weight of the entropy term, above 0. Defaults to 0.05.
        iterations: Sinkhorn-Knopp iterations, at least 1. Defaults to 3.
        assign: What becomes of the plan. ``'argmax'`` takes the prototype with the largest share
            of the pixel. ``'nearest'`` makes no plan: the nearest prototype of the own class.
            ``'gumbel'`` gives the losses the largest share too, but draws what the pixel moves, as
            the authors' release does. Defaults to ``'argmax'``.
        start: What the first Sinkhorn-Knopp iteration scales first: ``'pixels'``, or
            ``'prototypes'`` as in the authors' release. Defaults to ``'pixels'``.
        few_pixels: What decides for a class with fewer pixels than prototypes: the ``'nearest'``
            prototype or the ``'plan'``. Defaults to ``'nearest'``.
        num_pixels: Pixels that each rank draws for clustering and the prototype losses, as many
            of each class that is present; the losses have the same expectation as with all
            pixels. Defaults to None: all pixels.
    """

    kappa: float = 0.05
    iterations: int = 3
    assign: str = "argmax"
    start: str = "pixels"
    few_pixels: str = "nearest"
    num_pixels: int | None = None

    def __post_init__(self) -> None:
        expect_choice("clustering.assign", self.assign, ASSIGNMENTS)
        expect_choice("clustering.start", self.start, SINKHORN_STARTS)
        expect_choice("clustering.few_pixels", self.few_pixels, FEW_PIXELS)
        if self.kappa <= 0:
            raise ValueError(f"Expected `clustering.kappa` to be above 0, but got {self.kappa}.")
        if self.iterations < 1:
            raise ValueError(
                f"Expected `clustering.iterations` to be at least 1, but got {self.iterations}."
            )
        if self.num_pixels is not None and self.num_pixels < 1:
            raise ValueError(
                "Expected `clustering.num_pixels` to be at least 1 or None, but got "
                f"{self.num_pixels}."
            )


@dataclass(frozen=True)
class ScaleSettings:
    """Settings of the scale that turns cosines into logits.

    Args:
        kind: ``'scalar'`` multiplies all scores by one number, whatever the number of classes.
            ``'layer_norm'`` is a LayerNorm over class scores with twice as many parameters as
            classes, as in the authors' release; nothing else here applies to it then. Defaults to
            ``'scalar'``.
        init: Scale at the start, within `[min, max]`. Defaults to 10.
        learnable: Whether the scale is learned (one scalar, whatever the number of classes).
            Defaults to True.
        min: Smallest scale. Defaults to 1.
        max: Largest scale. Defaults to 100.
    """

    kind: str = "scalar"
    init: float = 10.0
    learnable: bool = True
    min: float = 1.0
    max: float = 100.0

    def __post_init__(self) -> None:
        expect_choice("score_scale.kind", self.kind, ("scalar", "layer_norm"))
        if not 0 < self.min <= self.init <= self.max < math.inf:
            raise ValueError(
                "Expected `score_scale` with 0 < min <= init <= max, but got "
                f"min={self.min}, init={self.init}, max={self.max}."
            )


@dataclass(frozen=True)
class SeedingSettings:
    """Settings of how prototypes start.

    Args:
        source: ``'data'`` seeds a class from its pixels when it is first seen. ``'kmeans'`` passes
            over `batches` of the training data before the first iteration and clusters what it
            finds, worth it where the model has learned something already; a class that is not
            found is seeded as by ``'data'``. ``'random'`` starts from random directions. Defaults
            to ``'data'``.
        candidates: Pixels a class and rank to choose from, at least 1. Defaults to 256.
        eager_iterations: Training iterations from the start in which new classes are looked
            for every time. A class first seen with few pixels is looked for every time too, until
            its prototypes have moved that often: so long it waits for more of its looks before
            it takes any pixels for its free places. Defaults to 100.
        interval: Iterations between two looks later on, so that a class that never comes costs
            nothing in between, at least 1. Defaults to 20.
        seed: Seed of the generator. Defaults to 0.
        revive_interval: Iterations between two looks for prototypes that have moved at least that
            often and win less than a hundredth of their equal share: these die, and their places
            are seeded anew. Defaults to None: never.
        batches: Batches on each rank that ``'kmeans'`` looks at, at least 1. Defaults to 20.
    """

    source: str = "data"
    candidates: int = 256
    eager_iterations: int = 100
    interval: int = 20
    seed: int = 0
    revive_interval: int | None = None
    batches: int = 20

    def __post_init__(self) -> None:
        expect_choice("seeding.source", self.source, ("data", "kmeans", "random"))
        for name, least in _LEAST_OF_SEEDING.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"Expected `seeding.{name}` to be at least {least}, but got "
                    f"{getattr(self, name)}."
                )
        if self.revive_interval is not None and self.revive_interval < 1:
            raise ValueError(
                "Expected `seeding.revive_interval` to be at least 1 or None, but got "
                f"{self.revive_interval}."
            )


@dataclass(frozen=True)
class UpdateSettings:
    """Settings of what moves the prototypes, beside `decay`.

    Args:
        pixels: ``'all'`` pixels of a class move its prototypes, or the ``'correct'`` ones alone,
            which the head classifies right: a class without one is skipped, as in the authors'
            release. ``'correct_or_all'`` lets all pixels of such a class move its prototypes, so
            that a badly seeded class is not stuck. Defaults to ``'all'``.
        clock: w of a running mean at the start: a prototype that has moved n times keeps
            ``min(decay, (n + 1) / (n + w))`` of itself, w above 1. Defaults to None: `decay` from
            the start.
    """

    pixels: str = "all"
    clock: float | None = None

    def __post_init__(self) -> None:
        expect_choice("update.pixels", self.pixels, ("all", "correct", "correct_or_all"))
        if self.clock is not None and self.clock <= 1:
            raise ValueError(f"Expected `update.clock` to be above 1, but got {self.clock}.")


@dataclass(frozen=True)
class ProjectionSettings:
    """Settings of the optional projection between decoder and embedding.

    Args:
        out_channels: Channels D of the embedding; None keeps the decoder's. Defaults to None.
        num_layers: Number of 1x1 convolutions, with ReLU between them, at least 1. Defaults
            to 2, as in the authors' code.
        normalize: Whether its output is l2-normalised over the *width* of the feature map before
            the feature norm, as in the authors' release, so that the embedding of a pixel depends
            on its whole row. Defaults to False.
    """

    out_channels: int | None = None
    num_layers: int = 2
    normalize: bool = False

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
        TypeError: If `values` is no dict, has unknown keys, or a value is of another type.
        ValueError: If a value is out of range.
    """
    values = {} if values is None else values
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise TypeError(
            f"Expected `{name}` to be a dict with keys among {known}, but got {values!r}."
        )
    refuse_unknown_keys(values, known, name)
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in values:
            _check_type(f"{name}.{field.name}", values[field.name], field.type)
    return kind(**values)


def expect_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is none of those known.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        choices: What it may be.

    Raises:
        ValueError: If it is something else.
    """
    if value not in choices:
        raise ValueError(f"Expected `{name}` to be one of {tuple(choices)}, but got {value!r}.")


def refuse_unknown_keys(values: Iterable[str], known: Sequence[str], name: str) -> None:
    """Refuse keys that a config dict does not have.

    Args:
        values: The config dict.
        known: Keys that it may have.
        name: Name of the argument, for the message.

    Raises:
        TypeError: Naming the unknown keys.
    """
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise TypeError(f"Expected the keys of `{name}` to be among {known}, but got {unknown}.")


def _check_type(name: str, value: Any, annotation: Any) -> None:
    """Compare a value with the annotation of its field: a plain type, or one and None."""
    kinds = get_args(annotation) or (annotation,)
    if value is None and type(None) in kinds:
        return
    kind = kinds[0]
    if kind in (int, float):
        expect_number(name, value, whole=kind is int)
    elif kind is bool:
        expect_flag(name, value)
    elif not isinstance(value, str):
        raise TypeError(f"Expected `{name}` to be a string, but got {value!r}.")
