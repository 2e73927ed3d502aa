"""Layer norm over channels and l2 normalisation of every pixel, in one pass over a feature map."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .blocks import blocks_of_images, rows_of_a_block
from .compiled import opaque

#: Norm below which a vector has no direction. It becomes 0 without a gradient: cosines of 0 with
#: everything, instead of a gradient that grows without bounds.
SMALLEST_NORM = 1e-6


def unit_layer_norm(
    features: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """Normalise each pixel by layer norm over its channels and then to unit length.

    Equal to ``F.normalize(F.layer_norm(pixels, (D,), weight, bias, eps), dim=1)`` without keeping
    any of the three tensors in between: the backward pass computes them again, in blocks.

    Args:
        features: Feature map, shape ``(B, D, H, W)``, floating point, in any memory format.
        weight: Weight of the layer norm, shape ``(D,)``, floating point.
        bias: Bias of the layer norm, shape ``(D,)``, floating point.
        eps: Added to the variance.
        dtype: Dtype of the result; all is computed in at least fp32.

    Returns:
        Tensor: Unit vectors, shape ``(B*H*W, D)``, in `dtype`; 0 for a pixel whose layer norm
        is 0.
    """
    wide = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        result: Tensor = _UnitLayerNorm.apply(  # type: ignore[no-untyped-call]
            features, weight.to(wide), bias.to(wide), eps, dtype
        )
    return result


def _pixels(features: Tensor) -> Tensor:
    """View a feature map as ``(B, H*W, D)``, a copy only if its memory allows no view."""
    return features.flatten(2).transpose(1, 2)


def _forward_like(
    features: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """Output of :func:`_unit_norm_forward` without values."""
    batch, channels, height, width = features.shape
    return features.new_empty(batch * height * width, channels, dtype=dtype)


def _normalise(
    block: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit vectors of pixels ``(n, D)``, and mean, inverse deviation and inverse norm of each."""
    normed, mean, rstd = torch.native_layer_norm(block, block.shape[1:], weight, bias, eps)
    norm = torch.linalg.vector_norm(normed, dim=1, keepdim=True)
    inverse = norm.reciprocal().masked_fill_(norm < SMALLEST_NORM, 0.0)
    return normed.mul_(inverse), mean, rstd, inverse


@opaque(_forward_like)
def _unit_norm_forward(
    features: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """Unit vectors of all pixels."""
    units = _forward_like(features, weight, bias, eps, dtype)
    images = _pixels(features)
    batch, count, channels = images.shape
    size = rows_of_a_block(channels, features.device)
    for image, pixels, rows in blocks_of_images(batch, count, size):
        block = images[image, pixels].to(weight.dtype)
        units[rows] = _normalise(block, weight, bias, eps)[0]
    return units


def _backward_like(
    grad_units: Tensor, features: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of :func:`_unit_norm_backward` without values."""
    return torch.empty_like(features), torch.empty_like(weight), torch.empty_like(weight)


@opaque(_backward_like)
def _unit_norm_backward(
    grad_units: Tensor, features: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of features, weight and bias."""
    grad, grad_weight, grad_bias = _backward_like(grad_units, features, weight, bias, eps)
    grad_weight.zero_()
    grad_bias.zero_()
    images, grad_images = _pixels(features), _pixels(grad)
    batch, count, channels = images.shape
    size = rows_of_a_block(channels, features.device)
    for image, pixels, rows in blocks_of_images(batch, count, size):
        block = images[image, pixels].to(weight.dtype)
        unit, mean, rstd, inverse = _normalise(block, weight, bias, eps)
        slope = grad_units[rows].to(weight.dtype)
        # What points along the unit vector is lost in l2 normalisation.
        along = (unit * slope).sum(dim=1, keepdim=True)
        slope = torch.addcmul(slope, unit, along, value=-1).mul_(inverse)
        parts = torch.ops.aten.native_layer_norm_backward(
            slope, block, (channels,), mean, rstd, weight, bias, (True, True, True)
        )
        grad_images[image, pixels] = parts[0]
        grad_weight += parts[1]
        grad_bias += parts[2]
    return grad, grad_weight, grad_bias


class _UnitLayerNorm(torch.autograd.Function):
    """Blocked forward and recomputing backward of :func:`unit_layer_norm`."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(features, weight, bias)
        ctx.eps = eps
        return _unit_norm_forward(features, weight, bias, eps, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_units: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        features, weight, bias = ctx.saved_tensors
        return *_unit_norm_backward(grad_units, features, weight, bias, ctx.eps), None, None
