"""Which prototype of its own class each pixel belongs to."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .segments import segment_count
from .sinkhorn import within_class_sinkhorn

ASSIGNMENTS = ("argmax", "nearest", "gumbel")
#: Temperature of the authors' Gumbel sample.
_GUMBEL_TEMPERATURE = 0.5


@torch.no_grad()
def assign_prototypes(
    similarity: Tensor,
    labels: Tensor,
    alive: Tensor,
    *,
    assign: str = "argmax",
    kappa: float = 0.05,
    iterations: int = 3,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Assign each pixel to a prototype of its class.

    ``'argmax'`` takes the largest entry of the plan of eq. 8-10. A class with fewer pixels than
    prototypes cannot give each an equal part of whole pixels, and its plan would hand pixels of
    one look to prototypes of others; these go to the nearest. ``'nearest'`` makes no plan at all.
    ``'gumbel'`` samples from ``gumbel_softmax(plan, tau=0.5)`` like the authors' code, which takes
    probabilities for logits: even a one-hot plan of 10 prototypes is kept 23 % of the time only,
    and all prototypes of a class drift to its mean.

    Args:
        similarity: Cosine of each pixel with the prototypes of its own class, shape ``(N, K)``;
            -1 for prototypes that do not exist.
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 leaves a pixel out.
        alive: Which prototypes exist, shape ``(C, K)``, bool.
        assign: One of `ASSIGNMENTS`. Defaults to ``'argmax'``.
        kappa: Weight of the entropy term, above 0. Defaults to 0.05.
        iterations: Number of Sinkhorn-Knopp iterations. Defaults to 3.
        reduce: Sums a tensor over all ranks. Defaults to None: one process.

    Returns:
        Tensor: Prototype of each pixel, shape ``(N,)``, int64 in ``[0, K)``; meaningless for
        pixels with label -1.

    Raises:
        ValueError: If `assign` is unknown.
    """
    if assign not in ASSIGNMENTS:
        raise ValueError(f"Expected `assign` to be one of {ASSIGNMENTS}, but got {assign!r}.")
    if assign == "nearest":
        return similarity.argmax(dim=1)
    dtype = torch.promote_types(similarity.dtype, torch.float32)
    sizes = segment_count(labels, alive.shape[0], dtype)
    sizes = sizes if reduce is None else reduce(sizes)
    plan = within_class_sinkhorn(
        similarity,
        labels,
        alive,
        kappa=kappa,
        iterations=iterations,
        class_size=sizes,
        reduce=reduce,
    )
    if assign == "gumbel":
        exists = alive[labels.clamp(min=0)]
        plan = F.gumbel_softmax(plan, tau=_GUMBEL_TEMPERATURE).masked_fill(~exists, -1.0)
        return plan.argmax(dim=1)
    too_few = sizes < alive.sum(dim=1)
    to_nearest = too_few[labels.clamp(min=0)][:, None]
    return torch.where(to_nearest, similarity.to(dtype), plan).argmax(dim=1)
