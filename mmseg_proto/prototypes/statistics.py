"""Sums and counts of a training step, the only thing that ranks exchange about pixels.

Rule for several ranks: sums and counts are reduced before anything is normalised, so that a
pixel counts the same wherever it was seen. Every rank reduces every step, whatever its data.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_proto.ops import segment_count, segment_sum


class PrototypeStatistics(NamedTuple):
    """What one or more training steps say about the prototypes.

    Attributes:
        sums: Sum of the embeddings assigned to each prototype, ``(C, K, D)``, at least fp32.
        counts: Number of these pixels, ``(C, K)``, fp32.
        wins: Number of pixels of the class to which each prototype is the nearest, ``(C, K)``,
            fp32. Unlike `counts`, which are balanced by construction, these show collapse.
    """

    sums: Tensor
    counts: Tensor
    wins: Tensor

    def plus(self, other: "PrototypeStatistics") -> "PrototypeStatistics":
        """Add the statistics of another step."""
        return PrototypeStatistics(*(a + b for a, b in zip(self, other, strict=True)))

    def reduced(self, reduce: Callable[[Tensor], Tensor]) -> "PrototypeStatistics":
        """Apply a sum over ranks to each part, always in the same order."""
        return PrototypeStatistics(*(reduce(part) for part in self))


@torch.no_grad()
def collect_statistics(
    embeddings: Tensor,
    moving: Tensor,
    assignment: Tensor,
    labels: Tensor,
    nearest: Tensor,
    shape: tuple[int, int],
) -> PrototypeStatistics:
    """Add up embeddings by assigned prototype.

    Args:
        embeddings: Pixel embeddings, shape ``(N, D)``.
        moving: Class of each pixel that moves a prototype, shape ``(N,)``, int64 in ``[-1, C)``;
            -1 for the others.
        assignment: Prototype that clustering gave the pixel, shape ``(N,)``, in ``[0, K)``.
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 is left out.
        nearest: Nearest prototype of the pixel's class, shape ``(N,)``, in ``[0, K)``.
        shape: Number of classes C and prototypes per class K.

    Returns:
        PrototypeStatistics: Sums and counts of the moving pixels, wins of all.
    """
    num_classes, num_prototypes = shape

    def flat(classes: Tensor, index: Tensor) -> Tensor:
        return torch.where(classes < 0, -1, classes * num_prototypes + index)

    total = num_classes * num_prototypes
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    sums = segment_sum(embeddings.to(wide), flat(moving, assignment), total)
    counts = segment_count(flat(moving, assignment), total)
    wins = segment_count(flat(labels, nearest), total)
    return PrototypeStatistics(sums.unflatten(0, shape), counts.view(shape), wins.view(shape))
