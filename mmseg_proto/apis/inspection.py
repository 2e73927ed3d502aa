"""Reads prototypes out of checkpoints and says how they fare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from mmseg_proto.hooks.checkpoint_files import load_weights
from mmseg_proto.prototypes import class_health

from .foreign_text import for_picture, for_terminal

_COLUMNS = {
    "live_share": "live share",
    "perplexity": "perplexity of wins",
    "cosine": "mean cosine",
    "largest_cosine": "largest cosine",
    "updates": "moves, mean",
}


@dataclass(frozen=True)
class SavedPrototypes:
    """Prototypes of one head in a checkpoint.

    Attributes:
        key: Name of the tensor in the checkpoint.
        classes: Names of the C classes.
        prototypes: Prototypes, ``(C, K, D)``, fp32.
        alive: Which exist, ``(C, K)``, bool; all of them in the authors' checkpoints.
        usage: Share of the wins of their class, ``(C, K)``; None in the authors' checkpoints.
        updates: Number of moves, ``(C, K)``; None in the authors' checkpoints.
    """

    key: str
    classes: tuple[str, ...]
    prototypes: Tensor
    alive: Tensor
    usage: Tensor | None
    updates: Tensor | None


def read_prototypes(checkpoint: Path) -> list[SavedPrototypes]:
    """Read the prototypes of every head in a checkpoint.

    Knows the checkpoints of this package and of the authors' release (``module.prototypes``).

    Args:
        checkpoint: File that `torch.load` reads with ``weights_only=True``.

    Returns:
        list[SavedPrototypes]: One for each head, at least one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, or holds no prototypes.
    """
    loaded = load_weights(checkpoint)
    state = loaded.get("state_dict", loaded)
    found = [
        _read_one(key, state, _class_names(loaded))
        for key, value in state.items()
        if key.rpartition(".")[2] == "prototypes" and isinstance(value, Tensor) and value.ndim == 3
    ]
    if not found:
        raise ValueError(
            f"Expected a checkpoint with prototypes (a 3-D tensor named `prototypes`), but found "
            f"none among the {len(state)} entries of {checkpoint}. Softmax models have none."
        )
    return found


def class_table(saved: SavedPrototypes) -> dict[str, list[float | None]]:
    """Say how the prototypes of each class fare.

    Args:
        saved: Prototypes of a head.

    Returns:
        dict[str, list[float | None]]: Measure to one number per class, None where it means
        nothing; measures that the checkpoint says nothing about are left out.
    """
    numbers = class_health(saved.prototypes, saved.alive, saved.usage)
    if saved.updates is not None:
        numbers["updates"] = saved.updates.mean(dim=1)
    return {
        key: [float(x) if x.isfinite() else None for x in numbers[key]]
        for key in _COLUMNS
        if key in numbers
    }


def report(saved: SavedPrototypes) -> dict[str, Any]:
    """Put everything that is known about the prototypes of a head into plain data for JSON."""
    classes, prototypes, channels = saved.prototypes.shape
    measures = class_table(saved)
    return {
        "key": saved.key,
        "num_classes": classes,
        "num_prototypes": prototypes,
        "channels": channels,
        "mean": {key: _mean(values) for key, values in measures.items()},
        "classes": [
            {"name": name, **{key: values[index] for key, values in measures.items()}}
            for index, name in enumerate(saved.classes)
        ],
    }


def rich_table(saved: SavedPrototypes) -> Table:
    """Draw the report as a table with one row per class and one for the mean."""
    measures = class_table(saved)
    classes, prototypes, channels = saved.prototypes.shape
    title = f"{saved.key}: {classes} classes, {prototypes} prototypes each, {channels} channels"
    table = Table(title=for_terminal(title))
    table.add_column("class")
    for key in measures:
        table.add_column(_COLUMNS[key], justify="right")
    for index, name in enumerate(saved.classes):
        table.add_row(
            for_terminal(name), *(_shown(key, values[index]) for key, values in measures.items())
        )
    table.add_section()
    table.add_row("mean", *(_shown(key, _mean(values)) for key, values in measures.items()))
    return table


def draw_heat_map(saved: SavedPrototypes, file: Path) -> None:
    """Draw the cosines between the prototypes of each class as one small picture per class.

    Args:
        saved: Prototypes of a head.
        file: Picture to write; its suffix says the format.
    """
    from matplotlib.figure import Figure

    directions = torch.nn.functional.normalize(saved.prototypes, dim=-1)
    cosines = directions @ directions.transpose(1, 2)
    exist = saved.alive[:, :, None] & saved.alive[:, None, :]
    cosines = cosines.masked_fill(~exist, torch.nan)
    columns = min(len(cosines), 6)
    rows = -(-len(cosines) // columns)
    figure = Figure(figsize=(1.9 * columns + 1, 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for place in axes:
        place.set_axis_off()
    for place, cosine, name in zip(axes, cosines, saved.classes, strict=False):
        image = place.imshow(cosine.numpy(), vmin=-1, vmax=1, cmap="RdBu_r")
        place.set_title(for_picture(name), fontsize=9)
    bar = figure.colorbar(image, ax=axes.tolist(), shrink=0.8)
    bar.set_label("cosine between prototypes of the class")
    figure.savefig(file, dpi=120)


def _read_one(key: str, state: Mapping[str, Any], names: Sequence[str]) -> SavedPrototypes:
    prefix = key.removesuffix("prototypes")
    prototypes = state[key].float()
    classes = prototypes.shape[0]
    alive = state.get(f"{prefix}alive")
    return SavedPrototypes(
        key=key,
        classes=tuple(names) if len(names) == classes else tuple(map(str, range(classes))),
        prototypes=prototypes,
        alive=torch.ones(prototypes.shape[:2], dtype=torch.bool) if alive is None else alive > 0,
        usage=state.get(f"{prefix}usage"),
        updates=state.get(f"{prefix}updates"),
    )


def _class_names(loaded: Mapping[str, Any]) -> Sequence[str]:
    dataset = (loaded.get("meta") or {}).get("dataset_meta") or {}
    names: Sequence[str] = dataset.get("classes") or dataset.get("CLASSES") or ()
    return names


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _shown(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if key == "updates" else f"{value:.3f}"
