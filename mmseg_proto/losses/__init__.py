"""Losses between pixels and prototypes, and what the host's losses need to work beside them."""

from .ignore_safe_cross_entropy import IgnoreSafeCrossEntropyLoss, repair_class_weighted_losses
from .pixel_prototype_loss import (
    PixelPrototypeLoss,
    pixel_prototype_contrast,
    pixel_prototype_distance,
    pixel_weights,
)

__all__ = [
    "IgnoreSafeCrossEntropyLoss",
    "PixelPrototypeLoss",
    "pixel_prototype_contrast",
    "pixel_prototype_distance",
    "pixel_weights",
    "repair_class_weighted_losses",
]
