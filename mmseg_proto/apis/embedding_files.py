"""What is written of embedding maps: a picture, and arrays for other plots."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmseg_proto.visualization.embedding_picture import FlatMap, draw_maps
from mmseg_proto.visualization.overlay import prototype_colours

from .embedding_map import EmbeddingMap, winners_of
from .whole_files import written_whole

_SHOWN = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def save_npz(maps: Sequence[EmbeddingMap], places: Sequence[Any], file: Path) -> None:
    """Write embeddings and places, with names that end in the number of the model.

    Args:
        maps: Pixels and prototypes of each model.
        places: What `project` returns for each.
        file: The file, ending in .npz.
    """
    arrays: dict[str, Any] = {}
    for number, (sample, (points, anchors)) in enumerate(zip(maps, places, strict=True)):
        named = {"points_2d": points, "anchors_2d": anchors}
        for name in ("points", "labels", "anchors", "anchor_labels", "anchor_numbers"):
            named[name] = getattr(sample, name).numpy()
        named["winners"] = winners_of(sample).numpy()
        arrays |= {f"{name}_{number}": values for name, values in named.items()}
        arrays[f"title_{number}"] = np.array(sample.title)
        arrays[f"classes_{number}"] = np.array(sample.classes)
    with written_whole(file) as draft, draft.open("wb") as opened:
        np.savez_compressed(opened, **arrays)


def by_prototype(maps: Sequence[EmbeddingMap]) -> list[EmbeddingMap]:
    """Make every prototype a class with its pixels and a colour, for `write_maps`.

    Args:
        maps: Pixels and prototypes of each model, no pixel of a class without prototypes. Models
            without prototypes keep their classes, in other colours than those of prototypes.

    Returns:
        list[EmbeddingMap]: The maps, all with the same classes. Their names are those of the
        classes and the numbers of prototypes, as in 'person #3'.
    """
    names: list[str] = []
    parts = []
    for sample in maps:
        labels, anchor_labels, called = sample.labels, sample.anchor_labels, list(sample.classes)
        if sample.kind == "prototypes":
            pairs = zip(anchor_labels.tolist(), sample.anchor_numbers.tolist(), strict=True)
            called = [f"{sample.classes[label]} #{number}" for label, number in pairs]
            labels, anchor_labels = winners_of(sample), torch.arange(len(called))
        parts.append((labels + len(names), anchor_labels + len(names)))
        names += called
    colours = prototype_colours(len(names))
    return [
        replace(one, labels=own, anchor_labels=anchors, classes=tuple(names), palette=colours)
        for one, (own, anchors) in zip(maps, parts, strict=True)
    ]


def write_maps(
    maps: Sequence[EmbeddingMap], places: Sequence[Any], method: str, file: Path
) -> None:
    """Draw maps side by side.

    Args:
        maps: Pixels and prototypes of each model, all with the same classes.
        places: What `project` returns for each.
        method: How they were laid out.
        file: The picture; its suffix says the format.

    Raises:
        ValueError: If matplotlib does not know the format.
    """
    flat = [
        FlatMap(
            f"{sample.title}: {len(sample.points):,} pixels, {len(sample.anchors):,} "
            f"{sample.kind} ({_SHOWN[method]})",
            points,
            sample.labels.numpy(),
            anchors,
            sample.anchor_labels.numpy(),
        )
        for sample, (points, anchors) in zip(maps, places, strict=True)
    ]
    figure = draw_maps(flat, maps[0].classes, maps[0].palette)
    with written_whole(file) as draft:
        figure.savefig(draft, format=file.suffix[1:] or "png")
