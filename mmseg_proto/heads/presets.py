"""Settings of a prototype head that belong together: the paper's, and the authors' release's."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: What the paper says (CVPR 2022, eq. 5-14). Of its text no part that could be read here has
#: lambda, tau, kappa, mu or K: these are second-hand. It is silent on how prototypes start.
_PAPER: dict[str, Any] = {
    "num_prototypes": 10,
    "projection": None,
    "feature_norm": None,
    "score_scale": {"kind": "scalar", "init": 1.0, "learnable": False, "min": 1.0, "max": 100.0},
    "loss_prototype": {
        "contrast_weight": 0.01,
        "distance_weight": 0.01,
        "temperature": 0.1,
        "warmup_iterations": 0,
        "class_balance": 0.0,
    },
    "clustering": {
        "kappa": 0.05,
        "iterations": 3,
        "assign": "argmax",
        "start": "pixels",
        "few_pixels": "plan",
        "num_pixels": None,
    },
    "seeding": {"source": "random"},
    "decay": 0.999,
    "update": {"pixels": "all", "clock": None},
    "label_sampling": "nearest-exact",
}

#: What a head can be of tfzhou/ProtoSeg, commit 1c4a778.
_AUTHORS: dict[str, Any] = {
    "num_prototypes": 10,
    "projection": {"num_layers": 2, "normalize": True},
    "feature_norm": {"type": "LN"},
    "score_scale": {"kind": "layer_norm"},
    "loss_prototype": {
        "contrast_weight": 0.01,
        "distance_weight": 0.001,
        "temperature": 1.0,
        "warmup_iterations": 0,
        "class_balance": 0.0,
    },
    "clustering": {
        "kappa": 0.05,
        "iterations": 3,
        "assign": "gumbel",
        "start": "prototypes",
        "few_pixels": "plan",
        "num_pixels": None,
    },
    "seeding": {"source": "random"},
    "decay": 0.999,
    "update": {"pixels": "correct", "clock": None},
    "label_sampling": "nearest",
    # Of the decoder; it is applied before the projection.
    "dropout_ratio": 0.1,
}

PRESETS: dict[str, dict[str, Any]] = {"paper": _PAPER, "authors": _AUTHORS}


class FilledPreset(NamedTuple):
    """Arguments of a head after a preset, and what became of the preset.

    Attributes:
        arguments: What was given, and the preset's values where nothing was.
        filled: Dotted names and values that the preset set.
        beaten: What was given another value than the preset's: both of them, as text.
    """

    arguments: dict[str, Any]
    filled: dict[str, Any]
    beaten: list[str]

    def line(self, preset: str, untouched: Sequence[str]) -> str:
        """Say in one line what the preset set, what beat it, and what it leaves alone.

        Args:
            preset: Its name.
            untouched: Losses, samplers and heads that it leaves alone.
        """
        parts = [f"preset='{preset}' set {', '.join(f'{k}={v!r}' for k, v in self.filled.items())}"]
        if self.beaten:
            parts.append(f"given in the config and kept: {', '.join(self.beaten)}")
        if untouched:
            parts.append(f"left as they are: {', '.join(untouched)}")
        return "; ".join(parts)


def fill_preset(preset: str | None, given: Mapping[str, Any]) -> FilledPreset:
    """Fill in what is not given, key by key inside nested dicts.

    What is given counts as given even if it is the default; None in place of a dict does too.

    Args:
        preset: One of `PRESETS`, or None for no preset.
        given: Arguments of the head, as they stand in a config.

    Returns:
        FilledPreset: The arguments, a copy where the preset fills.

    Raises:
        ValueError: If the preset is unknown.
    """
    if preset is None:
        return FilledPreset(dict(given), {}, [])
    if preset not in PRESETS:
        raise ValueError(
            f"Expected `preset` to be one of {tuple(PRESETS)} or None, but got {preset!r}."
        )
    filled: dict[str, Any] = {}
    beaten: list[str] = []
    arguments = _fill(PRESETS[preset], given, "", filled, beaten)
    return FilledPreset(arguments, filled, beaten)


def _fill(
    preset: Mapping[str, Any],
    given: Mapping[str, Any],
    path: str,
    filled: dict[str, Any],
    beaten: list[str],
) -> dict[str, Any]:
    arguments = dict(given)
    for key, value in preset.items():
        name = f"{path}{key}"
        if key not in given:
            arguments[key] = copy.deepcopy(value)
            filled[name] = value
        elif isinstance(value, Mapping) and isinstance(given[key], Mapping):
            arguments[key] = _fill(value, given[key], f"{name}.", filled, beaten)
        elif given[key] != value:
            beaten.append(f"{name}={given[key]!r} in place of {value!r}")
    return arguments
