"""What is written of embedding maps: a picture, and arrays for other plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_proto.visualization.embedding_picture import FlatMap, draw_maps

from .embedding_map import EmbeddingMap
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
        arrays |= {f"{name}_{number}": values for name, values in named.items()}
        arrays[f"title_{number}"] = np.array(sample.title)
        arrays[f"classes_{number}"] = np.array(sample.classes)
    with written_whole(file) as draft, draft.open("wb") as opened:
        np.savez_compressed(opened, **arrays)


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
