"""Pixels and prototypes in two dimensions, as in Fig. 5: PCA, t-SNE or UMAP."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from numpy.typing import NDArray
from rich.markup import escape
from torch import Tensor

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.heads.decoders import last_head

from .config_swap import is_swapped, last_stage
from .feature_sample import Reservoir, pixels_of_images, whole_images
from .progress import doing, map_with_progress
from .trained import Trained, classes_of, expect_same_classes, find_classes

#: Module and package that each method needs.
_NEEDED = {
    "pca": ("torch", "torch"),
    "tsne": ("sklearn", "scikit-learn"),
    "umap": ("umap", "umap-learn"),
}
METHODS = tuple(_NEEDED)


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
        kind: What they are, 'prototypes' or 'class vectors'.
        classes: Names of the C classes.
        palette: Their colours, RGB, ``(C, 3)``.
    """

    title: str
    points: Tensor
    labels: Tensor
    anchors: Tensor
    anchor_labels: Tensor
    anchor_numbers: Tensor
    kind: str
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]


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

    Raises:
        ValueError: If a number is below 1, or no pixel has a label.
    """
    for name, number in (("per_class", per_class), ("images", images)):
        if number is not None and number < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {number}.")
    head = last_head(model)
    proto = isinstance(head, ProtoDecodeHead)
    classifier: Any = head.prototype_classifier if proto else head.conv_seg
    dataset = whole_images(cfg, cfg.train_dataloader.dataset)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    bar = escape(f"Map of {title}")
    samples = map_with_progress(dataset.__getitem__, order[:images].tolist(), 1, bar)
    reservoir = Reservoir(head.num_classes, per_class, seed)
    for vectors, labels, _ in pixels_of_images(model, samples):
        pixels = vectors.float() if proto else F.normalize(vectors.float(), dim=1)
        reservoir.add(pixels.cpu(), labels)
    points, labels = reservoir.take()
    if proto:
        alive = classifier.bank.alive_mask.cpu()
        anchors, (classes, numbers) = classifier.bank.directions.cpu()[alive], alive.nonzero().T
    else:
        anchors = F.normalize(classifier.weight.detach().flatten(1).float().cpu(), dim=1)
        classes = torch.arange(len(anchors))
        numbers = torch.zeros_like(classes)
    kind = "prototypes" if proto else "class vectors"
    return EmbeddingMap(title, points, labels, anchors, classes, numbers, kind, *classes_of(model))


def sample_models(
    models: Sequence[Trained],
    per_class: int,
    *,
    images: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    names: Sequence[str] | None = None,
    prototypes: int | None = None,
) -> list[EmbeddingMap]:
    """Sample several models with the same classes, one after the other.

    Args:
        models: The models.
        per_class: Pixels of each class, at least 1.
        images: Training images to look at. Defaults to None: all.
        seed: Seed of everything random. Defaults to 0.
        device: Where the models run. Defaults to 'cpu'.
        names: Classes that are shown, see `part_of`. Defaults to None: all.
        prototypes: Prototypes of each class that are shown of prototype models, at most. Defaults
            to None: all.

    Returns:
        list[EmbeddingMap]: The pixels of each, and its prototypes or class vectors.

    Raises:
        ValueError: If the models differ in classes or do not have one of `names`, or `prototypes`
            is below 1 or no model has prototypes.
    """
    if prototypes is not None:
        if prototypes < 1:
            raise ValueError(f"Expected `prototypes` to be at least 1, but got {prototypes}.")
        heads = [last_stage(Config.fromfile(one.config).model.decode_head) for one in models]
        if not any(map(is_swapped, heads)):
            raise ValueError(
                f"Expected a model with prototypes to show {prototypes} of each class, but got "
                "softmax models alone, which have one vector a class. Leave `prototypes` out."
            )
    maps: list[EmbeddingMap] = []
    known: dict[str, tuple[str, ...]] = {}
    for one in models:
        cfg, model = one.load(device)
        known[one.name] = classes_of(model)[0]
        expect_same_classes(known)
        labels = None if names is None else find_classes(names, known[one.name])
        found = sample_embeddings(cfg, model, one.name, per_class, images=images, seed=seed)
        maps.append(part_of(found, labels, prototypes))
    return maps


def winners_of(sample: EmbeddingMap) -> Tensor:
    """Find the anchor of its own class that is nearest to each pixel.

    Args:
        sample: Pixels and anchors.

    Returns:
        Tensor: Rows of `anchors`, ``(N,)``, int64; -1 for pixels of a class that has none.
    """
    own = sample.labels[:, None] == sample.anchor_labels
    cosines = (sample.points @ sample.anchors.t()).masked_fill(~own, -torch.inf)
    return cosines.argmax(dim=1).masked_fill(~own.any(dim=1), -1)


def part_of(
    sample: EmbeddingMap, labels: Sequence[int] | None, prototypes: int | None = None
) -> EmbeddingMap:
    """Take a few classes out of a map, and of each the prototypes that win most of its pixels.

    Args:
        sample: Pixels and anchors.
        labels: Numbers of the classes. They have numbers from 0 in what is returned, in this
            order. None for all classes, as they are.
        prototypes: Prototypes of each class that stay, at most, of those that win any of its
            sampled pixels among the prototypes of the class; and with them the pixels that they
            win. Class vectors all stay. Defaults to None: all prototypes and pixels.

    Returns:
        EmbeddingMap: The part.

    Raises:
        ValueError: If a class of `labels` has no pixels to show.
    """
    chosen = list(range(len(sample.classes)) if labels is None else labels)
    numbers = torch.full((len(sample.classes),), -1)
    numbers[chosen] = torch.arange(len(chosen))
    own, anchor_own = numbers[sample.labels], numbers[sample.anchor_labels]
    shown, stay = own >= 0, anchor_own >= 0
    if prototypes is not None and sample.kind == "prototypes":
        winners = winners_of(sample)
        wins = torch.bincount(winners[winners >= 0], minlength=len(stay))
        order = wins.argsort(descending=True, stable=True)
        for label in sample.anchor_labels.unique():
            stay[order[sample.anchor_labels[order] == label][prototypes:]] = False
        stay &= wins > 0
        shown &= (winners[:, None] == stay.nonzero().t()).any(dim=1)
    for label in chosen if labels is not None else ():
        if not (sample.labels[shown] == label).any():
            raise ValueError(
                f"Expected pixels of {sample.classes[label]!r} to show of {sample.title}, but the "
                "training images that were looked at have none, or it has no prototype. Look at "
                "more images, or leave the class out."
            )
    return replace(
        sample,
        points=sample.points[shown],
        labels=own[shown],
        anchors=sample.anchors[stay],
        anchor_labels=anchor_own[stay],
        anchor_numbers=sample.anchor_numbers[stay],
        classes=tuple(sample.classes[label] for label in chosen),
        palette=sample.palette[chosen],
    )


def expect_method(method: str) -> None:
    """Make sure that a layout can be computed, before anything is done for it.

    Args:
        method: One of `METHODS`.

    Raises:
        ImportError: If a package is missing.
        ValueError: If the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"Expected `method` to be one of {METHODS}, but got {method!r}.")
    module, package = _NEEDED[method]
    if find_spec(module) is None:
        said = f"Expected {package} for method '{method}', but it is not installed"
        raise ImportError(f"{said}: pip install {package}")


def project(
    sample: EmbeddingMap, method: str = "pca", seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lay pixels and prototypes out in two dimensions.

    PCA takes its directions from the pixels alone, and puts prototypes into their plane; the
    largest part of each direction is positive. The other methods lay both out together, by cosine.

    Args:
        sample: Pixels and prototypes.
        method: One of `METHODS`, see `expect_method`. Defaults to 'pca'.
        seed: Seed of t-SNE and UMAP. Defaults to 0.

    Returns:
        tuple: Places of the pixels ``(N, 2)`` and of the prototypes ``(P, 2)``, fp32.
    """
    expect_method(method)
    if method == "pca":
        mean = sample.points.mean(dim=0)
        _, _, directions = torch.linalg.svd(sample.points - mean, full_matrices=False)
        directions = F.pad(directions[:2], (0, 0, 0, max(0, 2 - len(directions))))
        largest = directions.abs().argmax(dim=1, keepdim=True)
        directions = directions * directions.gather(1, largest).sign()
        places = [(part - mean) @ directions.t() for part in (sample.points, sample.anchors)]
        return places[0].numpy(), places[1].numpy()
    both = torch.cat([sample.points, sample.anchors]).numpy()
    with doing(f"Laying out {len(both):,} points of {sample.title}"):
        laid = np.asarray(_layout(method, len(both), seed).fit_transform(both), dtype=np.float32)
    return laid[: len(sample.points)], laid[len(sample.points) :]


def _layout(method: str, count: int, seed: int) -> Any:
    """Return t-SNE or UMAP of a library."""
    if method == "tsne":
        from sklearn.manifold import TSNE

        # Its own default of 30, where there are enough points for it.
        perplexity = min(30, max(1, (count - 1) / 3))
        return TSNE(metric="cosine", perplexity=perplexity, random_state=seed)
    from umap import UMAP

    # One job: with a seed it takes no more, and would warn of it.
    return UMAP(metric="cosine", random_state=seed, n_jobs=1)
