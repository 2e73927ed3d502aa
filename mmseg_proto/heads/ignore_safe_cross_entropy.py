"""Class-weighted cross-entropy that works with ignored pixels on both host families."""

from typing import Any

from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn


class IgnoreSafeCrossEntropyLoss(CrossEntropyLoss):
    """The host's cross-entropy with its average over class weights repaired.

    The hosts look up the class weight of ignored labels too: mmsegmentation 1.2.2 fails with an
    IndexError on any ignored pixel, onedl-mmsegmentation 1.4.2 does with `avg_non_ignore=True`.
    Here the average factor, the sum of the weights of the pixels that count (as in PyTorch's own
    weighted mean), is computed first and handed over.

    Only heads of this package use it, in place of a `CrossEntropyLoss` with `class_weight`.
    """

    @classmethod
    def from_host(cls, loss: CrossEntropyLoss) -> "IgnoreSafeCrossEntropyLoss":
        """Build from a loss of the host with the same settings."""
        return cls(
            reduction=loss.reduction,
            class_weight=loss.class_weight,
            loss_weight=loss.loss_weight,
            loss_name=loss.loss_name,
            avg_non_ignore=loss.avg_non_ignore,
        )

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        reduction_override: str | None = None,
        ignore_index: int = -100,
        **kwargs: Any,
    ) -> Tensor:
        """Compute the loss; arguments as in the host's class.

        Args:
            cls_score: Logits, shape ``(B, C, ...)``.
            label: Labels in ``[0, C)`` or `ignore_index`, shape ``(B, ...)``.
            weight: Weight of each pixel, shape ``(B, ...)``.
            avg_factor: Divisor of the sum; by default the sum of class weights.
            reduction_override: Takes the place of `reduction`.
            ignore_index: Label that does not count.
            **kwargs: Handed to the host.

        Returns:
            Tensor: The loss.
        """
        if avg_factor is None and (reduction_override or self.reduction) == "mean":
            table = cls_score.new_tensor(self.class_weight)
            counted = label != ignore_index
            # Looked up for all pixels and masked: selecting would wait for the device.
            label_weight = table[label.masked_fill(~counted, 0)]
            avg_factor = (label_weight * counted).sum()
        result: Tensor = super().forward(
            cls_score,
            label,
            weight=weight,
            avg_factor=avg_factor,
            reduction_override=reduction_override,
            ignore_index=ignore_index,
            **kwargs,
        )
        return result


def _repaired(loss: nn.Module) -> nn.Module:
    # Exactly this class: a user's subclass may have repaired it in another way.
    plain = type(loss) is CrossEntropyLoss and not loss.use_sigmoid and not loss.use_mask
    if plain and loss.class_weight is not None:
        return IgnoreSafeCrossEntropyLoss.from_host(loss)
    return loss


def repair_class_weighted_losses(losses: nn.Module) -> nn.Module:
    """Return a loss, or a `ModuleList` of losses, with class-weighted cross-entropies repaired.

    Args:
        losses: The `loss_decode` of a decode head.

    Returns:
        nn.Module: The same, with each class-weighted softmax cross-entropy of the host replaced.
    """
    if isinstance(losses, nn.ModuleList):
        return nn.ModuleList(_repaired(loss) for loss in losses)
    return _repaired(losses)
