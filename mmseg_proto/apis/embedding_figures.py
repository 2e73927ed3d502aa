"""What embeddings are like in the full space, in figures."""

from collections.abc import Sequence

import torch
from rich.table import Table

from .accuracy_report import rich_table
from .embedding_map import EmbeddingMap


def class_cosines(sample: EmbeddingMap) -> tuple[float, float]:
    """Say how much alike pixels of a class are, in the full space.

    Args:
        sample: Pixels.

    Returns:
        tuple[float, float]: Mean cosine of two different pixels of one class, mean over classes
        with two or more; and of pixels of two different classes, mean over pairs of classes. NaN
        where there are none.
    """
    own = torch.stack([sample.labels == c for c in sample.labels.unique()]).float()
    count = own.sum(dim=1)
    sums = own @ sample.points
    pairs = sums @ sums.t()
    several = count > 1
    # Of the n^2 pairs of a class n are pixels with themselves, whose cosine is 1.
    within = ((pairs.diagonal() - count) / (count * (count - 1)))[several]
    between = (pairs / (count[:, None] * count))[~torch.eye(len(count), dtype=torch.bool)]
    return float(within.mean()), float(between.mean())


def shown_share(sample: EmbeddingMap) -> float:
    """Return the share of the variance of the pixels that a plane of PCA shows, in [0, 1]."""
    variance = torch.linalg.svdvals(sample.points - sample.points.mean(dim=0)).square()
    return float(variance[:2].sum() / variance.sum())


def cosine_table(maps: Sequence[EmbeddingMap]) -> Table:
    """Say in figures what the picture shows of the full space, and how much of it.

    Args:
        maps: Pixels of each model.

    Returns:
        Table: One row for each model.
    """
    rows = []
    for sample in maps:
        within, between = class_cosines(sample)
        share = f"{100 * shown_share(sample):.0f} %"
        rows.append([sample.title, f"{within:.3f}", f"{between:.3f}", share])
    head = ["model", "same class", "different classes", "variance in a plane of PCA"]
    return rich_table("Mean cosine of two pixels", head, rows)
