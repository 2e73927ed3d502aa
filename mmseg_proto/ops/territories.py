"""Whose a pixel is: the prototype nearest of all, of its own class, and of the other classes."""

from typing import NamedTuple

import torch
from torch import Tensor

from .blocks import rows_of_a_block


class Territories(NamedTuple):
    """Prototypes of pixels, as numbers ``class * K + k``; -1 where there is none.

    Attributes:
        winner: Nearest of all, ``(N,)``, int64.
        cosine: Cosine with it, ``(N,)``, fp32.
        rival: Nearest of the classes other than the winner's, ``(N,)``, int64.
        rival_cosine: Cosine with it, ``(N,)``, fp32; -1 where there is none.
        own: Nearest of the pixel's labelled class, ``(N,)``, int64.
    """

    winner: Tensor
    cosine: Tensor
    rival: Tensor
    rival_cosine: Tensor
    own: Tensor


@torch.no_grad()
def find_territories(
    embeddings: Tensor,
    prototypes: Tensor,
    alive: Tensor,
    labels: Tensor,
    block_size: int | None = None,
) -> Territories:
    """Find the nearest prototype of each pixel: of all, of other classes and of its own.

    Prototypes share the pixels of a class by nearness (eq. 5); memory does not grow with pixels
    times prototypes.

    Args:
        embeddings: Unit-norm pixel embeddings, shape ``(N, D)``.
        prototypes: Unit-norm prototypes, shape ``(C, K, D)``.
        alive: Which prototypes exist, shape ``(C, K)``, bool; at least one. Others win no pixel.
        labels: Class of each pixel, shape ``(N,)``, int64; anything outside [0, C) for none.
        block_size: Pixels a block; chosen from a memory budget by default.

    Returns:
        Territories: What was found.

    Raises:
        ValueError: If no prototype exists.
    """
    if not alive.any():
        raise ValueError("Expected at least one living prototype, but got none.")
    size = block_size or rows_of_a_block(alive.numel(), embeddings.device)
    flat = prototypes.flatten(0, 1).to(embeddings.dtype).t()
    blocks = [
        _block(embeddings[start : start + size] @ flat, alive, labels[start : start + size])
        for start in range(0, max(1, len(embeddings)), size)
    ]
    return Territories(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _block(cosines: Tensor, alive: Tensor, labels: Tensor) -> Territories:
    """Find the territories of a block with cosines ``(n, C*K)``."""
    classes, places = alive.shape
    cosines = cosines.float().unflatten(1, (classes, places)).masked_fill(~alive, -torch.inf)
    scores, nearest = cosines.max(dim=2)
    # Class and number together; of a class without prototypes neither counts.
    named = nearest + torch.arange(classes, device=alive.device) * places
    named = named.masked_fill(~alive.any(dim=1), -1)
    count = min(2, classes)
    best, order = scores.topk(count, dim=1)
    winner = named.gather(1, order[:, :1])[:, 0]
    if count == 2:
        rival, rival_cosine = named.gather(1, order[:, 1:])[:, 0], best[:, 1].clamp(min=-1)
    else:
        rival, rival_cosine = torch.full_like(winner, -1), torch.full_like(best[:, 0], -1)
    labelled = (labels >= 0) & (labels < classes)
    own = named.gather(1, labels.clamp(0, classes - 1)[:, None])[:, 0].masked_fill(~labelled, -1)
    return Territories(winner, best[:, 0], rival, rival_cosine, own)
