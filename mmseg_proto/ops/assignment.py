"""Which prototype of its own class each pixel belongs to."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .segments import segment_count
from .sinkhorn import within_class_sinkhorn

ASSIGNMENTS = ("argmax", "nearest", "gumbel")
#: What decides for a class with fewer pixels than prototypes.
FEW_PIXELS = ("nearest", "plan")


class Assignment(NamedTuple):
    """Prototypes of pixels, in ``[0, K)``; meaningless for pixels with label -1.

    Attributes:
        target: What the losses draw a pixel to, shape ``(N,)``, int64.
        moving: What the pixel moves, shape ``(N,)``, int64; another one than `target` only where
            it is drawn.
    """

    target: Tensor
    moving: Tensor


@torch.no_grad()
def assign_prototypes(
    similarity: Tensor,
    labels: Tensor,
    alive: Tensor,
    *,
    assign: str = "argmax",
    kappa: float = 0.05,
    iterations: int = 3,
    start: str = "pixels",
    few_pixels: str = "nearest",
    noise: Tensor | None = None,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Assignment:
    """Assign each pixel to a prototype of its class.

    ``'argmax'`` takes the largest entry of the plan of eq. 8-10. ``'nearest'`` makes no plan at
    all. ``'gumbel'`` is what the authors' release does: the losses see the largest entry, and what
    the pixel moves is drawn by :func:`sample_gumbel`.

    A class with fewer pixels than prototypes cannot give each an equal part of whole pixels, and
    its plan would hand pixels of one look to prototypes of others. With ``few_pixels='nearest'``
    these go to the nearest; with ``'plan'`` the plan decides for them too, as in the release.

    Args:
        similarity: Cosine of each pixel with the prototypes of its own class, shape ``(N, K)``;
            -1 for prototypes that do not exist.
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 leaves a pixel out.
        alive: Which prototypes exist, shape ``(C, K)``, bool.
        assign: One of `ASSIGNMENTS`. Defaults to ``'argmax'``.
        kappa: Weight of the entropy term, above 0. Defaults to 0.05.
        iterations: Number of Sinkhorn-Knopp iterations. Defaults to 3.
        start: What Sinkhorn-Knopp scales first, see `within_class_sinkhorn`. Defaults to
            ``'pixels'``.
        few_pixels: One of `FEW_PIXELS`. Defaults to ``'nearest'``.
        noise: Of ``'gumbel'``, see :func:`sample_gumbel`. Defaults to None: drawn.
        reduce: Sums a tensor over all ranks. Defaults to None: one process.

    Returns:
        Assignment: What the losses see, and what moves.

    Raises:
        ValueError: If `assign` or `few_pixels` is unknown.
    """
    for name, value, known in (
        ("assign", assign, ASSIGNMENTS),
        ("few_pixels", few_pixels, FEW_PIXELS),
    ):
        if value not in known:
            raise ValueError(f"Expected `{name}` to be one of {known}, but got {value!r}.")
    if assign == "nearest":
        nearest = similarity.argmax(dim=1)
        return Assignment(nearest, nearest)
    dtype = torch.promote_types(similarity.dtype, torch.float32)
    sizes = segment_count(labels, alive.shape[0], dtype)
    sizes = sizes if reduce is None else reduce(sizes)
    plan = within_class_sinkhorn(
        similarity,
        labels,
        alive,
        kappa=kappa,
        iterations=iterations,
        start=start,
        class_size=sizes,
        reduce=reduce,
    )
    own = labels.clamp(min=0)
    target = moving = plan.argmax(dim=1)
    if assign == "gumbel":
        moving = sample_gumbel(plan, alive[own], noise)
    if few_pixels == "nearest":
        too_few, nearest = (sizes < alive.sum(dim=1))[own], similarity.argmax(dim=1)
        target = torch.where(too_few, nearest, target)
        moving = torch.where(too_few, nearest, moving)
    return Assignment(target, moving)


def sample_gumbel(plan: Tensor, exists: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw a prototype for each pixel as the authors' release does.

    ``gumbel_softmax(plan, tau=0.5, hard=True)``, which takes the probabilities of the plan for
    logits: k is drawn with probability ``exp(plan_k) / sum exp(plan)``, whatever tau. So even a
    one-hot plan of 10 prototypes is kept 23 % of the time only, and all prototypes of a class
    drift to its mean.

    Args:
        plan: Part of each pixel that each prototype has, shape ``(N, K)``, floating point.
        exists: Which prototypes can be drawn, shape ``(N, K)``, bool.
        noise: Draws of the standard Gumbel distribution, shape ``(N, K)``. Defaults to None: drawn
            by PyTorch's generator.

    Returns:
        Tensor: Drawn prototypes, shape ``(N,)``, int64 in ``[0, K)``.
    """
    if noise is None:
        noise = -torch.empty_like(plan).exponential_().log()
    return (plan + noise).masked_fill(~exists, -torch.inf).argmax(dim=1)
