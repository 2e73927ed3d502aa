"""Prototypes of a class that a trained model has not seen, fitted beside those that it has."""

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_new_prototypes(
    start: Tensor,
    embeddings: Tensor,
    is_new: Tensor,
    rivals: Tensor,
    weights: Tensor,
    scale: float = 14.0,
    *,
    steps: int = 100,
    rate: float = 0.02,
    pull: float = 0.05,
) -> Tensor:
    """Turn the prototypes of a new class so that they win its pixels and no others.

    An embedding that was learned without a class does not gather it in clusters of its own: cluster
    centres win as many pixels of other classes. So they are moved along the gradient of the binary
    cross-entropy of "the new class, or the nearest of the others", and held near to where they
    started. Nothing else moves, neither the embedding nor the prototypes of other classes.

    Args:
        start: Unit-norm prototypes to start from, shape ``(K, D)``.
        embeddings: Unit-norm embeddings of pixels, shape ``(N, D)``.
        is_new: Which are of the new class, shape ``(N,)``, bool.
        rivals: Cosine of each pixel with the nearest prototype of all other classes, ``(N,)``.
        weights: Weight of each pixel, at least 0, shape ``(N,)``; their sum does not matter.
        scale: From differences of cosines to logits, above 0. Larger, and only pixels near to the
            border between classes take part, which is worse with few images. Defaults to 14.
        steps: Steps of Adam, at least 0. Defaults to 100.
        rate: Its learning rate. Defaults to 0.02.
        pull: Weight of the mean cosine distance from the start. Defaults to 0.05.

    Returns:
        Tensor: Unit-norm prototypes, shape ``(K, D)``.
    """
    weights = weights / weights.sum()
    truth = is_new.to(embeddings.dtype)
    with torch.enable_grad():
        moving = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([moving], lr=rate)
        for _ in range(steps):
            nearest = (embeddings @ F.normalize(moving, dim=1).T).amax(dim=1)
            losses = F.binary_cross_entropy_with_logits(
                (nearest - rivals) * scale, truth, reduction="none"
            )
            distance = 1 - F.cosine_similarity(moving, start, dim=1).mean()
            optimizer.zero_grad()
            ((losses * weights).sum() + pull * distance).backward()
            optimizer.step()
    return F.normalize(moving.detach(), dim=1)
