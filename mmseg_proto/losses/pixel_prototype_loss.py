"""Pixel-prototype contrast (PPC) and distance (PPD).

Source:
    [0] Zhou et al., "Rethinking Semantic Segmentation: A Prototype View", CVPR 2022, eq. 11-12,
        https://arxiv.org/abs/2203.15102
"""

import torch
from torch import Tensor, nn

from mmseg_proto.ops import BalancedDraw, expect_number, segment_count


def pixel_weights(
    labels: Tensor,
    num_classes: int,
    class_balance: float = 0.0,
    draw: BalancedDraw | None = None,
) -> Tensor:
    """Weigh pixels, evenly or so that small classes count for more.

    A pixel of a class with n pixels weighs in proportion to ``n ** -class_balance``.

    Args:
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 weighs nothing.
        num_classes: Number of classes C.
        class_balance: 0 for pixels of equal weight, 1 for classes of equal weight. Defaults to 0.
        draw: The draw that took these pixels from more. The expectation of a weighted sum is then
            that of the sum over all of them. Defaults to None: these are all.

    Returns:
        Tensor: Weights of the pixels of this rank, shape ``(N,)``, fp32, that sum up to 1 (of
        drawn ones on average); all 0 without a pixel that counts.
    """
    valid = labels >= 0
    if draw is None:
        sizes = rows = segment_count(labels, num_classes)
    else:
        sizes, rows = draw.class_sizes.float(), draw.expected_draws.float()
    part_of_class = torch.where(sizes > 0, sizes.pow(1 - class_balance), 0.0)
    weight_of_class = part_of_class / torch.where(rows > 0, rows, 1.0)
    weights = torch.where(valid, weight_of_class[labels.clamp(min=0)], 0.0)
    return weights / part_of_class.sum().clamp(min=torch.finfo(torch.float32).tiny)


def pixel_prototype_contrast(
    positive: Tensor, log_partition: Tensor, weights: Tensor, temperature: float = 0.1
) -> Tensor:
    """Contrast the assigned prototype with all others of all classes (PPC, eq. 11).

    ``-log( exp(i.p+ / tau) / sum over all prototypes of exp(i.p / tau) )``, by logarithms only.

    Args:
        positive: Cosine of each pixel with its assigned prototype, shape ``(N,)``.
        log_partition: Logarithm of the denominator at the same temperature, shape ``(N,)``.
        weights: Weight of each pixel, shape ``(N,)``, 0 for those that do not count.
        temperature: tau, above 0. Defaults to 0.1.

    Returns:
        Tensor: Weighted sum over pixels.
    """
    return _weighted_sum(log_partition - positive / temperature, weights)


def pixel_prototype_distance(positive: Tensor, weights: Tensor) -> Tensor:
    """Draw pixels to their assigned prototype (PPD, eq. 12): ``(1 - i.p+)^2``.

    Args:
        positive: Cosine of each pixel with its assigned prototype, shape ``(N,)``.
        weights: Weight of each pixel, shape ``(N,)``, 0 for those that do not count.

    Returns:
        Tensor: Weighted sum over pixels.
    """
    # Masked before squaring too: 0 times the slope of a NaN is NaN.
    return _weighted_sum((1 - torch.where(weights > 0, positive, 1.0)).square(), weights)


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum; what weighs nothing gets no gradient, NaN or not."""
    return (torch.where(weights > 0, values, 0.0) * weights).sum()


class PixelPrototypeLoss(nn.Module):
    """Weighted PPC and PPD losses of a prototype head.

    The defaults are measured ones (docs/accuracy.md), for logits of a scale that starts at 10 and
    with all classes of a batch equal. With ``contrast_weight=0.01, distance_weight=0.01,
    class_balance=0`` the weights are those that go by the paper, whose logits have scale 1.

    Args:
        contrast_weight: Weight of PPC (lambda1 in eq. 13), at least 0. Defaults to 0.1.
        distance_weight: Weight of PPD (lambda2 in eq. 13), at least 0. Defaults to 0.1.
        temperature: Temperature of PPC (tau in eq. 11), above 0. Defaults to 0.1.
        warmup_iterations: Iterations over which both weights grow linearly from 0, at least 0.
            Defaults to 0: full weights from the start.
        class_balance: A pixel of a class with n pixels on its rank weighs in proportion to
            ``n ** -class_balance``, in [0, 1]: 0 for pixels of equal weight, 1 for classes of
            equal weight. Defaults to 1.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If a weight or `warmup_iterations` is negative, the temperature is not
            positive, or `class_balance` is outside [0, 1].
    """

    def __init__(
        self,
        contrast_weight: float = 0.1,
        distance_weight: float = 0.1,
        temperature: float = 0.1,
        warmup_iterations: int = 0,
        class_balance: float = 1.0,
    ) -> None:
        super().__init__()
        numbers = {
            "contrast_weight": contrast_weight,
            "distance_weight": distance_weight,
            "temperature": temperature,
            "class_balance": class_balance,
        }
        for name, value in numbers.items():
            expect_number(f"loss_prototype.{name}", value)
        expect_number("loss_prototype.warmup_iterations", warmup_iterations, whole=True)
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
        if not 0 <= class_balance <= 1:
            raise ValueError(
                f"Expected `class_balance` to be between 0 and 1, but got {class_balance}."
            )
        self.contrast_weight = contrast_weight
        self.distance_weight = distance_weight
        self.temperature = temperature
        self.warmup_iterations = warmup_iterations
        self.class_balance = class_balance

    def extra_repr(self) -> str:
        """Weights and temperature, as shown by ``print(model)``."""
        return (
            f"contrast_weight={self.contrast_weight}, distance_weight={self.distance_weight}, "
            f"temperature={self.temperature}, warmup_iterations={self.warmup_iterations}, "
            f"class_balance={self.class_balance}"
        )

    def forward(
        self,
        positive: Tensor,
        log_partition: Tensor,
        labels: Tensor,
        num_classes: int,
        iteration: int = 0,
        draw: BalancedDraw | None = None,
    ) -> dict[str, Tensor]:
        """Compute both losses.

        Both average over the labelled pixels of this rank. Heads multiply them by the share of
        labelled pixels where their cross-entropy divides by all pixels.

        Args:
            positive: Cosine of each pixel with its assigned prototype, shape ``(N,)``.
            log_partition: ``log sum exp(cosine / temperature)`` over all prototypes, ``(N,)``.
            labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 for pixels that
                do not count.
            num_classes: Number of classes C.
            iteration: Training iteration, from 0; of interest to the warm-up alone.
            draw: The draw that took these pixels from more. Defaults to None: these are all.

        Returns:
            dict[str, Tensor]: ``loss_ppc`` and ``loss_ppd``, scalars; 0 without any pixel.
        """
        weights = pixel_weights(labels, num_classes, self.class_balance, draw)
        contrast = pixel_prototype_contrast(positive, log_partition, weights, self.temperature)
        distance = pixel_prototype_distance(positive, weights)
        ramp = min(1.0, (iteration + 1) / (self.warmup_iterations + 1))
        return {
            "loss_ppc": ramp * self.contrast_weight * contrast,
            "loss_ppd": ramp * self.distance_weight * distance,
        }
