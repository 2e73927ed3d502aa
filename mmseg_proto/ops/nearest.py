"""Similarities of pixels with the prototypes of all classes, without storing them.

With N pixels, C classes and K prototypes the full similarity has N x C*K entries: 1 GiB for
two 512x512 crops at stride 4 and 847 classes. Here the pixels pass in blocks; the forward
pass keeps what the losses need, and the backward pass computes each block again.
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .blocks import blocks_of_images, rows_of_a_block
from .compiled import opaque

#: Score of a class without prototypes: the smallest cosine there is. Finite, because an
#: all -inf channel turns to NaN in bilinear resizing and in the gradient of the scale.
FLOOR = -1.0


class NearestPrototypes(NamedTuple):
    """What a pass over the prototypes gives for N pixels.

    Attributes:
        class_scores: Cosine of the nearest prototype of each class, in [-1, 1], times the scale
            if there is one; ``(N, C)``, or maps ``(B, C, N / B)``; in the dtype of the embeddings.
        own_similarity: Cosine with the K prototypes of the pixel's own class, ``(N, K)``, at
            least fp32; -1 for prototypes that do not exist. None without labels.
        log_partition: ``log sum exp(cosine / temperature)`` over all existing prototypes,
            ``(N,)``, at least fp32. None without labels.
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
    scale: Tensor | None = None,
    temperature: float = 0.1,
    num_maps: int | None = None,
    block_size: int | None = None,
) -> NearestPrototypes:
    """Compare pixels with all prototypes (eq. 5 of the paper, and the sums of eq. 11).

    The gradient flows to the embeddings and the scale: prototypes are not learned by gradient.
    That of a class score comes from the winning prototype of the class.

    Half-precision embeddings meet half-precision prototypes in the matrix units; maxima, sums
    and exponentials are taken in fp32.

    Args:
        embeddings: Unit-norm pixel embeddings, shape ``(N, D)``, floating point, N may be 0.
        prototypes: Unit-norm prototypes, shape ``(C, K, D)``, floating point.
        alive: Which prototypes exist, shape ``(C, K)``, bool. The others win no pixel and stand
            in no denominator.
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 for ignored pixels,
            whose `own_similarity` means nothing. Defaults to None: class scores only.
        scale: Factor of the class scores, shape ``(1,)``. Multiplied here, the cosines need not
            be kept beside their multiples. Defaults to None: 1.
        temperature: Temperature of `log_partition` (tau in eq. 11). Defaults to 0.1.
        num_maps: Number B of feature maps of equal size whose pixels these are, one map after the
            other. The class scores then come as maps too, like those of a convolution. Defaults to
            None: one row a pixel.
        block_size: Pixels a block; chosen from a memory budget by default.

    Returns:
        NearestPrototypes: Class scores, and with `labels` the other two.

    Raises:
        ValueError: If shapes do not fit together, `num_maps` does not divide N, or `temperature`
            is not positive.
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
    if num_maps is not None and (num_maps < 1 or embeddings.shape[0] % num_maps):
        raise ValueError(
            f"Expected `num_maps` to divide {embeddings.shape[0]} pixels, but got {num_maps}."
        )
    if block_size is None:
        block_size = rows_of_a_block(max(1, alive.numel()), embeddings.device)
    # As zeros, those that do not exist have no part in the gradient of the embeddings either.
    # Classes come last, so that maxima over the prototypes of a class run along vectors.
    existing = torch.where(alive[..., None], prototypes.detach() / temperature, 0.0)
    existing = existing.transpose(0, 1).flatten(0, 1).to(embeddings.dtype)
    with torch.autocast(embeddings.device.type, enabled=False):
        scores, own, log_partition = _Nearest.apply(  # type: ignore[no-untyped-call]
            embeddings,
            existing,
            alive.t(),
            labels,
            scale,
            temperature,
            num_maps or 0,
            block_size,
        )
    if labels is None:
        return NearestPrototypes(scores, None, None)
    return NearestPrototypes(scores, own, log_partition)


def _own_columns(labels: Tensor, alive: Tensor) -> Tensor:
    """Columns of a pixel's own class in the flat similarity, ``(n, K)``."""
    num_prototypes, num_classes = alive.shape
    offset = torch.arange(num_prototypes, device=labels.device) * num_classes
    return labels.clamp(min=0)[:, None] + offset


def _as_maps(scores: Tensor) -> Tensor:
    """View rows ``(N, C)`` as one map ``(1, C, N)``; maps stay what they are."""
    return scores if scores.ndim == 3 else scores.t().unsqueeze(0)


def _tempered_cosines(rows: Tensor, flat: Tensor, dead: Tensor, out: Tensor) -> Tensor:
    """Cosines over the temperature, ``(n, K*C)``, at least fp32; -inf where none exists.

    Args:
        rows: Embeddings, ``(n, D)``.
        flat: Prototypes over the temperature, ``(K*C, D)``, of the same dtype.
        dead: 0 for prototypes that exist and -inf for others, ``(K*C,)``.
        out: Where to write, at least n rows; new memory for each block costs a tenth of the time.
    """
    out = out[: rows.shape[0]]
    if rows.dtype == dead.dtype:
        return torch.addmm(dead, rows, flat.t(), out=out)
    return torch.add(dead, rows @ flat.t(), out=out)


def _forward_like(
    embeddings: Tensor,
    flat: Tensor,
    alive: Tensor,
    labels: Tensor | None,
    scale: Tensor | None,
    temperature: float,
    num_maps: int,
    block_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of :func:`_nearest_forward` without values."""
    num_prototypes, num_classes = alive.shape
    num_pixels, labelled = embeddings.shape[0], embeddings.shape[0] if labels is not None else 0
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    maps_shape = (num_maps, num_classes, num_pixels // max(1, num_maps))
    return (
        embeddings.new_empty(maps_shape if num_maps else (num_pixels, num_classes)),
        embeddings.new_empty(labelled, num_prototypes, dtype=wide),
        embeddings.new_empty(labelled, dtype=wide),
    )


@opaque(_forward_like)
def _nearest_forward(
    embeddings: Tensor,
    flat: Tensor,
    alive: Tensor,
    labels: Optional[Tensor],  # noqa: UP045  the schema of an operator knows no `|`
    scale: Optional[Tensor],  # noqa: UP045
    temperature: float,
    num_maps: int,
    block_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, own similarities and log-partition; the last two empty without labels."""
    outputs = _forward_like(
        embeddings, flat, alive, labels, scale, temperature, num_maps, block_size
    )
    scores, own, log_partition = outputs
    maps = _as_maps(scores)
    dead = own.new_zeros(alive.numel()).masked_fill_(~alive.flatten(), -torch.inf)
    factor = temperature if scale is None else (scale * temperature).to(own.dtype)
    floor = FLOOR / temperature
    memory = own.new_empty(min(block_size, embeddings.shape[0]), alive.numel())
    for image, pixels, rows in blocks_of_images(maps.shape[0], maps.shape[2], block_size):
        cosines = _tempered_cosines(embeddings[rows], flat, dead, memory)
        best = cosines.unflatten(1, alive.shape).amax(dim=1)
        maps[image, :, pixels] = (best.clamp(min=floor) * factor).t()
        if labels is not None:
            columns = _own_columns(labels[rows], alive)
            own[rows] = cosines.gather(1, columns).clamp_(min=floor).mul_(temperature)
            largest = best.amax(dim=1)
            total = cosines.sub_(largest[:, None]).exp_().sum(dim=1)
            log_partition[rows] = total.log_().add_(largest)
    if labels is not None:
        # With no prototype at all the sum is empty; 0 keeps loss and gradient finite.
        log_partition.masked_fill_(~alive.any(), 0.0)
    return outputs


def _backward_like(
    grad_scores: Tensor | None,
    grad_own: Tensor | None,
    grad_partition: Tensor | None,
    embeddings: Tensor,
    *others: Any,
) -> tuple[Tensor, Tensor]:
    """Outputs of :func:`_nearest_backward` without values."""
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    return torch.empty_like(embeddings), embeddings.new_empty(1, dtype=wide)


@opaque(_backward_like)
def _nearest_backward(
    grad_scores: Optional[Tensor],  # noqa: UP045
    grad_own: Optional[Tensor],  # noqa: UP045
    grad_partition: Optional[Tensor],  # noqa: UP045
    embeddings: Tensor,
    flat: Tensor,
    alive: Tensor,
    labels: Optional[Tensor],  # noqa: UP045
    scale: Optional[Tensor],  # noqa: UP045
    log_partition: Tensor,
    temperature: float,
    block_size: int,
) -> tuple[Tensor, Tensor]:
    """Gradients of the embeddings and of the scale."""
    grad, grad_scale = _backward_like(grad_scores, grad_own, grad_partition, embeddings)
    grad_scale.zero_()
    wide = grad_scale.dtype
    dead = grad_scale.new_zeros(alive.numel()).masked_fill_(~alive.flatten(), -torch.inf)
    factor = temperature if scale is None else (scale * temperature).to(wide)
    memory = grad_scale.new_empty(min(block_size, embeddings.shape[0]), alive.numel())
    maps = None if grad_scores is None else _as_maps(grad_scores)
    marks = None if maps is None else torch.empty_like(memory)
    num_images = 1 if maps is None else maps.shape[0]
    per_image = embeddings.shape[0] // num_images
    for image, pixels, rows in blocks_of_images(num_images, per_image, block_size):
        cosines = _tempered_cosines(embeddings[rows], flat, dead, memory)
        by_class = cosines.unflatten(1, alive.shape)
        if maps is not None and marks is not None:
            # Found again rather than kept: a byte for each of N x C scores is a quarter of these.
            best = by_class.amax(dim=1)
            wins = marks[: len(cosines)].unflatten(1, alive.shape)
            torch.eq(by_class, best[:, None], out=wins)
            by_winner = maps[image, :, pixels].t().to(wide)
            if scale is not None:
                grad_scale += (by_winner * best.mul_(temperature).clamp_(min=FLOOR)).sum()
            # Several are the nearest only where they are equal; each has its part then.
            by_winner = by_winner * factor / wins.sum(dim=1).clamp_(min=1)
        if grad_partition is not None:
            cosines.sub_(log_partition[rows, None]).exp_().mul_(grad_partition[rows, None])
        else:
            cosines.zero_()
        if maps is not None:
            by_class.addcmul_(wins, by_winner[:, None])
        if grad_own is not None and labels is not None:
            cosines.scatter_add_(1, _own_columns(labels[rows], alive), temperature * grad_own[rows])
        torch.mm(cosines.to(flat.dtype), flat, out=grad[rows])
    return grad, grad_scale


class _Nearest(torch.autograd.Function):
    """Blocked forward and recomputing backward of :func:`nearest_prototypes`."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        embeddings: Tensor,
        flat: Tensor,
        alive: Tensor,
        labels: Tensor | None,
        scale: Tensor | None,
        temperature: float,
        num_maps: int,
        block_size: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores, own, log_partition = _nearest_forward(
            embeddings, flat, alive, labels, scale, temperature, num_maps, block_size
        )
        ctx.save_for_backward(embeddings, flat, alive, labels, scale, log_partition)
        ctx.temperature, ctx.block_size = temperature, block_size
        ctx.set_materialize_grads(False)
        return scores, own, log_partition

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102
        ctx: Any, grad_scores: Tensor | None, grad_own: Tensor | None, grad_partition: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        embeddings, flat, alive, labels, scale, log_partition = ctx.saved_tensors
        grad, grad_scale = _nearest_backward(
            grad_scores,
            grad_own,
            grad_partition,
            embeddings,
            flat,
            alive,
            labels,
            scale,
            log_partition,
            ctx.temperature,
            ctx.block_size,
        )
        of_scale = None if scale is None else grad_scale.to(scale.dtype)
        return grad, None, None, None, of_scale, None, None, None
