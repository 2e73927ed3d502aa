"""Similarities of pixels with the prototypes of all classes, without storing them.

With N pixels, C classes and K prototypes the full similarity has N x C*K entries: 2 GiB for
two 512x512 crops at stride 4 and 847 classes. Here the pixels pass in blocks; the forward
pass keeps what the losses need, and the backward pass computes each block again.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Score of a class without prototypes: the smallest cosine there is. Finite, because an
#: all -inf channel turns to NaN in bilinear resizing and in the gradient of the scale.
FLOOR = -1.0

_BLOCK_BYTES = 32 * 2**20


class NearestPrototypes(NamedTuple):
    """What a pass over the prototypes gives for N pixels.

    Attributes:
        class_scores: Cosine of the nearest prototype of each class, ``(N, C)``, in [-1, 1].
        own_similarity: Cosine with the K prototypes of the pixel's own class, ``(N, K)``; -1 for
            prototypes that do not exist. None without labels.
        log_partition: ``log sum exp(cosine / temperature)`` over all existing prototypes,
            ``(N,)``. None without labels.
    """

    class_scores: Tensor
    own_similarity: Tensor | None
    log_partition: Tensor | None


def nearest_prototypes(
    embeddings: Tensor,
    prototypes: Tensor,
    alive: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 0.1,
    block_size: int | None = None,
) -> NearestPrototypes:
    """Compare pixels with all prototypes (eq. 5 of the paper, and the sums of eq. 11).

    The gradient flows to the embeddings alone: prototypes are not learned by gradient. That
    of a class score comes from the winning prototype of the class.

    Args:
        embeddings: Unit-norm pixel embeddings, shape ``(N, D)``, fp32 or fp64, N may be 0.
        prototypes: Unit-norm prototypes, shape ``(C, K, D)``, same dtype.
        alive: Which prototypes exist, shape ``(C, K)``, bool. The others win no pixel and stand
            in no denominator.
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 for ignored pixels,
            whose `own_similarity` means nothing. Defaults to None: class scores only.
        temperature: Temperature of `log_partition` (tau in eq. 11). Defaults to 0.1.
        block_size: Pixels a block; chosen from a memory budget by default.

    Returns:
        NearestPrototypes: Class scores, and with `labels` the other two.

    Raises:
        ValueError: If shapes do not fit together or `temperature` is not positive.
    """
    if prototypes.ndim != 3 or embeddings.ndim != 2 or embeddings.shape[1] != prototypes.shape[2]:
        raise ValueError(
            "Expected `embeddings` (N, D) and `prototypes` (C, K, D), but got "
            f"{tuple(embeddings.shape)} and {tuple(prototypes.shape)}."
        )
    if alive.shape != prototypes.shape[:2]:
        raise ValueError(
            f"Expected `alive` to be of shape {tuple(prototypes.shape[:2])}, "
            f"but got {tuple(alive.shape)}."
        )
    if temperature <= 0:
        raise ValueError(f"Expected `temperature` to be above 0, but got {temperature}.")
    if block_size is None:
        row_bytes = max(1, alive.numel()) * embeddings.element_size()
        block_size = max(64, _BLOCK_BYTES // row_bytes)
    scores, own, log_partition = _Nearest.apply(  # type: ignore[no-untyped-call]
        embeddings, prototypes, alive, labels, temperature, block_size
    )
    return NearestPrototypes(scores, own, log_partition)


def _own_columns(labels: Tensor, num_prototypes: int) -> Tensor:
    """Columns of a pixel's own class in the flat similarity, ``(n, K)``."""
    offset = torch.arange(num_prototypes, device=labels.device)
    return labels.clamp(min=0)[:, None] * num_prototypes + offset


class _Nearest(torch.autograd.Function):
    """Blocked forward and recomputing backward of :func:`nearest_prototypes`."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        embeddings: Tensor,
        prototypes: Tensor,
        alive: Tensor,
        labels: Tensor | None,
        temperature: float,
        block_size: int,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        num_pixels = embeddings.shape[0]
        num_classes, num_prototypes = alive.shape
        flat, dead = prototypes.flatten(0, 1), ~alive.flatten()
        scores = embeddings.new_empty(num_pixels, num_classes)
        index_dtype = torch.uint8 if num_prototypes <= 256 else torch.int32
        winners = torch.empty(scores.shape, dtype=index_dtype, device=scores.device)
        own = log_partition = None
        if labels is not None:
            own = embeddings.new_empty(num_pixels, num_prototypes)
            log_partition = embeddings.new_empty(num_pixels)
        for start in range(0, num_pixels, block_size):
            rows = slice(start, start + block_size)
            similarity = (embeddings[rows] @ flat.t()).masked_fill_(dead, FLOOR)
            best, winner = similarity.unflatten(1, (num_classes, num_prototypes)).max(dim=2)
            scores[rows], winners[rows] = best, winner.to(index_dtype)
            if labels is not None and own is not None and log_partition is not None:
                own[rows] = similarity.gather(1, _own_columns(labels[rows], num_prototypes))
                similarity.div_(temperature).masked_fill_(dead, -torch.inf)
                log_partition[rows] = similarity.logsumexp(dim=1)
        if log_partition is not None:
            # With no prototype at all the sum is empty; 0 keeps loss and gradient finite.
            log_partition.masked_fill_(dead.all(), 0.0)
        ctx.save_for_backward(embeddings, flat, dead, labels, winners, log_partition)
        ctx.temperature, ctx.block_size = temperature, block_size
        ctx.set_materialize_grads(False)
        return scores, own, log_partition

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102
        ctx: Any, grad_scores: Tensor | None, grad_own: Tensor | None, grad_partition: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        embeddings, flat, dead, labels, winners, log_partition = ctx.saved_tensors
        num_pixels, num_classes = winners.shape
        num_prototypes = flat.shape[0] // num_classes
        grad = torch.empty_like(embeddings)
        for start in range(0, num_pixels, ctx.block_size):
            rows = slice(start, start + ctx.block_size)
            if grad_partition is not None:
                block = (embeddings[rows] @ flat.t()).div_(ctx.temperature)
                block = block.sub_(log_partition[rows, None]).exp_()
                block.mul_(grad_partition[rows, None] / ctx.temperature)
            else:
                block = embeddings.new_zeros(embeddings[rows].shape[0], flat.shape[0])
            if grad_scores is not None:
                by_class = block.unflatten(1, (num_classes, num_prototypes))
                winner = winners[rows].long().unsqueeze(2)
                by_class.scatter_add_(2, winner, grad_scores[rows].unsqueeze(2))
            if grad_own is not None:
                block.scatter_add_(1, _own_columns(labels[rows], num_prototypes), grad_own[rows])
            # What does not exist has a constant score: no gradient (and perhaps inf above).
            grad[rows] = block.masked_fill_(dead, 0.0) @ flat
        return grad, None, None, None, None, None
