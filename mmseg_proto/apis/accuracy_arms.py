"""The arms of the accuracy benchmark: a head, and what is changed about it."""

from collections.abc import Mapping
from typing import Any

from .accuracy_runs import Arm

BASES: dict[str, str] = {
    "softmax": "softmax_lite0_camvid.py",
    "prototypes": "proto_lite0_camvid.py",
}


def _lr(value: float) -> dict[str, Any]:
    return {"optim_wrapper.optimizer.lr": value}


def _head(**options: Any) -> dict[str, Any]:
    """Options of the head; a double underscore steps into a dict."""
    return {f"model.decode_head.{k.replace('__', '.')}": v for k, v in options.items()}


def _losses(contrast: float, distance: float) -> dict[str, Any]:
    return _head(loss_prototype__contrast_weight=contrast, loss_prototype__distance_weight=distance)


def _balance(value: float) -> dict[str, Any]:
    return _head(loss_prototype__class_balance=value)


#: Changes for either head, so that both are tuned with equal effort.
SHARED: dict[str, dict[str, Any]] = {
    "lr-0.0015": _lr(0.0015),
    "lr-0.003": _lr(0.003),
    "lr-0.006": _lr(0.006),
    "lr-0.012": _lr(0.012),
    "no-dropout": _head(dropout_ratio=0.0),
    # One over the root of each class's share of the pixels of train, 1 for a mean pixel.
    "class-weights": _head(
        loss_decode__class_weight=[
            *(0.88, 0.75, 3.63, 0.64, 1.7, 1.15),
            *(3.32, 3.39, 1.49, 4.5, 6.66),
        ]
    ),
}

#: Changes for prototypes alone.
OF_PROTOTYPES: dict[str, dict[str, Any]] = {
    # The losses.
    "ce": _losses(0.0, 0.0),
    "ce-ppc": _losses(0.1, 0.0),
    "ce-ppd": _losses(0.0, 0.1),
    "losses-1": _losses(1.0, 1.0),
    "balance-0": _balance(0.0),
    "balance-0.5": _balance(0.5),
    # Settings that belong together.
    "paper": _head(preset="paper"),
    "authors": _head(preset="authors"),
    "warm-up": _head(loss_prototype__warmup_iterations=300),
    "tau-0.05": _head(loss_prototype__temperature=0.05),
    # Prototypes per class.
    "k-1": _head(num_prototypes=1),
    "k-5": _head(num_prototypes=5),
    "k-20": _head(num_prototypes=20),
    # How they move.
    "decay-0.99": _head(decay=0.99),
    "decay-0.9999": _head(decay=0.9999),
    "clock-2": _head(update__clock=2),
    "correct-only": _head(update__pixels="correct"),
    # What they are assigned, and how they start.
    "nearest-own": _head(clustering__assign="nearest"),
    "gumbel": _head(clustering__assign="gumbel"),
    "revive": _head(seeding__revive_interval=200),
    "random-start": _head(seeding__source="random"),
    "kmeans-start": _head(seeding__source="kmeans"),
    # What stands around them.
    "layer-norm-scores": _head(score_scale__kind="layer_norm"),
    "fixed-scale": _head(score_scale__learnable=False),
    "scale-20": _head(score_scale__init=20.0),
    "no-feature-norm": _head(feature_norm=None),
    "projection": _head(projection__num_layers=1),
}


def parse_arm(name: str) -> Arm:
    """Read the name of an arm: a head, then changes, joined by ``+``.

    Args:
        name: Such as ``'softmax+lr-0.003'`` or ``'prototypes+k-5+projection'``.

    Returns:
        Arm: The arm.

    Raises:
        ValueError: If the head or a change is unknown, or two changes set the same key.
    """
    base, *changes = name.split("+")
    if base not in BASES:
        raise ValueError(f"Expected an arm to begin with one of {list(BASES)}, but got {name!r}.")
    known: Mapping[str, dict[str, Any]] = (
        SHARED if base == "softmax" else {**SHARED, **OF_PROTOTYPES}
    )
    options: dict[str, Any] = {}
    for change in changes:
        if change not in known:
            raise ValueError(
                f"Expected the changes in {name!r} to be among {', '.join(known)}, "
                f"but got {change!r}."
            )
        twice = sorted(set(options) & set(known[change]))
        if twice:
            raise ValueError(
                f"Expected changes that do not meet, but in {name!r} {change!r} sets again: "
                f"{', '.join(twice)}."
            )
        options.update(known[change])
    return Arm(BASES[base], options)
