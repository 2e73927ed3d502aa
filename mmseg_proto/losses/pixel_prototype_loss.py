"""Pixel-prototype contrast (PPC) and distance (PPD).

Source:
    [0] Zhou et al., "Rethinking Semantic Segmentation: A Prototype View", CVPR 2022, eq. 11-12,
        https://arxiv.org/abs/2203.15102
"""

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn


def _masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid entries, 0 without any; what is masked gets no gradient, NaN or not."""
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def pixel_prototype_contrast(
    positive: Tensor, log_partition: Tensor, valid: Tensor, temperature: float = 0.1
) -> Tensor:
    """Contrast the assigned prototype with all others of all classes (PPC, eq. 11).

    ``-log( exp(i.p+ / tau) / sum over all prototypes of exp(i.p / tau) )``, by logarithms only.

    Args:
        positive: Cosine of each pixel with its assigned prototype, shape ``(N,)``.
        log_partition: Logarithm of the denominator at the same temperature, shape ``(N,)``.
        valid: Which pixels count, shape ``(N,)``, bool.
        temperature: tau, above 0. Defaults to 0.1.

    Returns:
        Tensor: Mean over the valid pixels of this rank, as the host's cross-entropy; 0 without any.
    """
    return _masked_mean(log_partition - positive / temperature, valid)


def pixel_prototype_distance(positive: Tensor, valid: Tensor) -> Tensor:
    """Draw pixels to their assigned prototype (PPD, eq. 12): ``(1 - i.p+)^2``.

    Args:
        positive: Cosine of each pixel with its assigned prototype, shape ``(N,)``.
        valid: Which pixels count, shape ``(N,)``, bool.

    Returns:
        Tensor: Mean over the valid pixels of this rank; 0 without any.
    """
    # Masked before squaring too: 0 times the slope of a NaN is NaN.
    return _masked_mean((1 - torch.where(valid, positive, 1.0)).square(), valid)


@MODELS.register_module()
class PixelPrototypeLoss(nn.Module):
    """Weighted PPC and PPD losses of a prototype head.

    Args:
        contrast_weight: Weight of PPC (lambda1 in eq. 13), at least 0. Defaults to 0.01.
        distance_weight: Weight of PPD (lambda2 in eq. 13), at least 0. Defaults to 0.01.
        temperature: Temperature of PPC (tau in eq. 11), above 0. Defaults to 0.1.
        warmup_iterations: Iterations over which both weights grow linearly from 0, at least 0.
            Defaults to 0: full weights from the start.

    Raises:
        ValueError: If a weight is negative, the temperature is not positive or
            `warmup_iterations` is negative.
    """

    def __init__(
        self,
        contrast_weight: float = 0.01,
        distance_weight: float = 0.01,
        temperature: float = 0.1,
        warmup_iterations: int = 0,
    ) -> None:
        super().__init__()
        if contrast_weight < 0 or distance_weight < 0:
            raise ValueError(
                "Expected `contrast_weight` and `distance_weight` to be at least 0, but got "
                f"{contrast_weight} and {distance_weight}."
            )
        if temperature <= 0:
            raise ValueError(f"Expected `temperature` to be above 0, but got {temperature}.")
        if warmup_iterations < 0:
            raise ValueError(
                f"Expected `warmup_iterations` to be at least 0, but got {warmup_iterations}."
            )
        self.contrast_weight = contrast_weight
        self.distance_weight = distance_weight
        self.temperature = temperature
        self.warmup_iterations = warmup_iterations

    def extra_repr(self) -> str:
        """Weights and temperature, as shown by ``print(model)``."""
        return (
            f"contrast_weight={self.contrast_weight}, distance_weight={self.distance_weight}, "
            f"temperature={self.temperature}, warmup_iterations={self.warmup_iterations}"
        )

    def forward(
        self, positive: Tensor, log_partition: Tensor, valid: Tensor, iteration: int = 0
    ) -> dict[str, Tensor]:
        """Compute both losses.

        Args:
            positive: Cosine of each pixel with its assigned prototype, shape ``(N,)``.
            log_partition: ``log sum exp(cosine / temperature)`` over all prototypes, ``(N,)``.
            valid: Which pixels count, shape ``(N,)``, bool.
            iteration: Training iteration, from 0; of interest to the warm-up alone.

        Returns:
            dict[str, Tensor]: ``loss_ppc`` and ``loss_ppd``, scalars.
        """
        contrast = pixel_prototype_contrast(positive, log_partition, valid, self.temperature)
        distance = pixel_prototype_distance(positive, valid)
        ramp = min(1.0, (iteration + 1) / (self.warmup_iterations + 1))
        return {
            "loss_ppc": ramp * self.contrast_weight * contrast,
            "loss_ppd": ramp * self.distance_weight * distance,
        }
