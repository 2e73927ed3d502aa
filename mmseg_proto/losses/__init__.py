"""Losses between pixels and prototypes: torch in, torch out, no host framework."""

from .pixel_prototype_loss import (
    PixelPrototypeLoss,
    pixel_prototype_contrast,
    pixel_prototype_distance,
    pixel_weights,
)

__all__ = [
    "PixelPrototypeLoss",
    "pixel_prototype_contrast",
    "pixel_prototype_distance",
    "pixel_weights",
]
