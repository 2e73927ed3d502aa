"""Pixels and prototypes in two dimensions, as in Fig. 5: PCA, t-SNE or UMAP."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from numpy.typing import NDArray
from torch import Tensor

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.heads.decoders import last_head

from .feature_sample import Reservoir, classifier_inputs, whole_images
from .foreign_text import for_picture
from .progress import map_with_progress
from .whole_files import written_whole

METHODS = ("pca", "tsne", "umap")


@dataclass(frozen=True)
class EmbeddingMap:
    """Sampled pixels and what a model compares them with, in the space of the classifier.

    Attributes:
        title: What the model is.
        points: Unit-norm embeddings of pixels, ``(N, D)``, fp32.
        labels: Their classes, ``(N,)``.
        anchors: Living prototypes, or class vectors of a softmax model, unit-norm, ``(P, D)``.
        anchor_labels: Their classes, ``(P,)``.
        anchor_numbers: Their numbers in the class, ``(P,)``; 0 for class vectors.
    """

    title: str
    points: Tensor
    labels: Tensor
    anchors: Tensor
    anchor_labels: Tensor
    anchor_numbers: Tensor


@torch.no_grad()
def sample_embeddings(
    cfg: Config, model: Any, title: str, per_class: int, *, images: int | None = None, seed: int = 0
) -> EmbeddingMap:
    """Draw pixels evenly from the training images of each class, and embed them.

    Args:
        cfg: Config of the model.
        model: The segmentor, with prototypes or with softmax, in evaluation mode.
        title: What the model is.
        per_class: Pixels of each class, at least 1.
        images: Training images to look at. Defaults to None: all.
        seed: Seed of everything random. Defaults to 0.

    Returns:
        EmbeddingMap: The pixels, and prototypes or class vectors.
    """
    head = last_head(model)
    proto = isinstance(head, ProtoDecodeHead)
    classifier: Any = head.prototype_classifier if proto else head.conv_seg
    dataset = whole_images(cfg, cfg.train_dataloader.dataset)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    samples = map_with_progress(dataset.__getitem__, order[:images].tolist(), 1, f"Map of {title}")
    reservoir = Reservoir(head.num_classes, per_class, seed)
    for features, labels in classifier_inputs(model, classifier, samples):
        if proto:
            pixels = classifier.embedding(features)
        else:
            pixels = F.normalize(features.permute(0, 2, 3, 1).flatten(0, 2).float(), dim=1)
        reservoir.add(pixels.float().cpu(), labels)
    points, labels = reservoir.take()
    if proto:
        alive = classifier.bank.alive_mask.cpu()
        anchors, (classes, numbers) = classifier.bank.directions.cpu()[alive], alive.nonzero().T
    else:
        anchors = F.normalize(classifier.weight.detach().flatten(1).float().cpu(), dim=1)
        classes = torch.arange(len(anchors))
        numbers = torch.zeros_like(classes)
    return EmbeddingMap(title, points, labels, anchors, classes, numbers)


def project(
    sample: EmbeddingMap, method: str = "pca", seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lay pixels and prototypes out in two dimensions.

    PCA takes its directions from the pixels alone, and puts prototypes into their plane; the
    largest part of each direction is positive. The other methods lay both out together, by cosine.

    Args:
        sample: Pixels and prototypes.
        method: 'pca', 'tsne' (needs scikit-learn) or 'umap' (needs umap-learn).
        seed: Seed of t-SNE and UMAP. Defaults to 0.

    Returns:
        tuple: Places of the pixels ``(N, 2)`` and of the prototypes ``(P, 2)``, fp32.

    Raises:
        ImportError: If a package is missing.
        ValueError: If the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"Expected `method` to be one of {METHODS}, but got {method!r}.")
    if method == "pca":
        mean = sample.points.mean(dim=0)
        _, _, directions = torch.linalg.svd(sample.points - mean, full_matrices=False)
        directions = F.pad(directions[:2], (0, 0, 0, max(0, 2 - len(directions))))
        largest = directions.abs().argmax(dim=1, keepdim=True)
        directions = directions * directions.gather(1, largest).sign()
        places = [(part - mean) @ directions.t() for part in (sample.points, sample.anchors)]
        return places[0].numpy(), places[1].numpy()
    both = torch.cat([sample.points, sample.anchors]).numpy()
    laid = np.asarray(_layout(method, len(both), seed).fit_transform(both), dtype=np.float32)
    return laid[: len(sample.points)], laid[len(sample.points) :]


def _layout(method: str, count: int, seed: int) -> Any:
    """Return t-SNE or UMAP of a library."""
    try:
        if method == "tsne":
            from sklearn.manifold import TSNE

            # Its own default of 30, where there are enough points for it.
            return TSNE(
                metric="cosine", perplexity=min(30, max(1, (count - 1) / 3)), random_state=seed
            )
        from umap import UMAP

        return UMAP(metric="cosine", random_state=seed)
    except ImportError as error:
        package = "scikit-learn" if method == "tsne" else "umap-learn"
        raise ImportError(
            f"Expected {package} for method '{method}', but it is not installed: "
            f"pip install {package}"
        ) from error


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
    with written_whole(file) as draft, draft.open("wb") as opened:
        np.savez_compressed(opened, **arrays)


def draw_map(
    maps: Sequence[EmbeddingMap],
    places: Sequence[Any],
    names: Sequence[str],
    palette: Sequence[Sequence[int]],
    file: Path,
) -> None:
    """Draw the maps side by side.

    Args:
        maps: Pixels and prototypes of each model.
        places: What `project` returns for each.
        names: Names of the C classes.
        palette: RGB colours of the classes.
        file: The picture; its suffix says the format.
    """
    from matplotlib.figure import Figure

    colours = np.array(palette) / 255
    figure = Figure(figsize=(7.5 * len(maps), 7), layout="constrained")
    for axes, sample, (points, anchors) in zip(
        figure.subplots(1, len(maps), squeeze=False)[0], maps, places, strict=True
    ):
        axes.scatter(*points.T, s=6, c=colours[sample.labels], alpha=0.5, linewidths=0)
        look = {"s": 70, "marker": "o", "edgecolors": "black", "linewidths": 1.2}
        axes.scatter(*anchors.T, c=colours[sample.anchor_labels], **look)
        for label in sample.labels.unique().tolist() if len(names) <= 40 else []:
            middle = np.median(points[(sample.labels == label).numpy()], axis=0)
            axes.annotate(
                for_picture(names[label]),
                middle,
                ha="center",
                fontsize=9,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
            )
        axes.set_title(for_picture(sample.title))
        axes.set_xticks([])
        axes.set_yticks([])
    with written_whole(file) as draft:
        figure.savefig(draft, dpi=110, format=file.suffix[1:] or "png")
