"""The host's cross-entropy where pixels are ignored: its divisor, and repairs of it."""

from collections.abc import Mapping
from typing import Any

from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn


class IgnoreSafeCrossEntropyLoss(CrossEntropyLoss):
    """The host's cross-entropy, averaged over the pixels that are not ignored.

    With class weights the hosts look up the weight of ignored labels too: mmsegmentation 1.2.2
    fails with an IndexError on any ignored pixel, onedl-mmsegmentation 1.4.2 does with
    `avg_non_ignore=True`. Without them, `avg_non_ignore` counts pixels on the CPU, which stalls a
    GPU in each step. Here the average factor is computed first, on the device, and handed over: the
    number of pixels that count, or the sum of their class weights (as in PyTorch's own weighted
    mean).

    Only heads of this package use it, in place of a `CrossEntropyLoss` with `class_weight` or
    `avg_non_ignore`.
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
            avg_factor: Divisor of the sum; by default the number of pixels that count, or the sum
                of their class weights.
            reduction_override: Takes the place of `reduction`.
            ignore_index: Label that does not count.
            **kwargs: Handed to the host.

        Returns:
            Tensor: The loss; 0 where all pixels are ignored.
        """
        if avg_factor is None and (reduction_override or self.reduction) == "mean":
            counted = label != ignore_index
            if self.class_weight is not None:
                table = cls_score.new_tensor(self.class_weight)
                # Looked up for all pixels and masked: selecting would wait for the device.
                counted = table[label.masked_fill(~counted, 0)] * counted
            avg_factor = counted.sum()
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


def repair_cross_entropy(losses: nn.Module) -> nn.Module:
    """Return a loss, or a `ModuleList` of losses, with cross-entropies that need it repaired.

    Args:
        losses: The `loss_decode` of a decode head.

    Returns:
        nn.Module: The same, with each plain cross-entropy of the host replaced that has class
        weights or averages over pixels that are not ignored.
    """
    if isinstance(losses, nn.ModuleList):
        return nn.ModuleList(_repaired(loss) for loss in losses)
    return _repaired(losses)


def averages_over_all(losses: nn.Module) -> bool:
    """Whether the cross-entropy of a head divides by all pixels, the ignored ones among them.

    That is the host's default. The first plain cross-entropy decides.

    Args:
        losses: The `loss_decode` of a decode head, a loss or a `ModuleList`.

    Returns:
        bool: False where it divides by labelled pixels, or there is no plain cross-entropy.
    """
    plain = [loss for loss in losses.modules() if _is_plain(loss)]
    if not plain:
        return False
    first: Any = plain[0]
    return first.reduction == "mean" and not first.avg_non_ignore and first.class_weight is None


def average_over_labelled(losses: Any) -> tuple[Any, list[str]]:
    """Let each plain cross-entropy of a config average over labelled pixels, unless it says how.

    Args:
        losses: The `loss_decode` of a config, a dict or a sequence of dicts.

    Returns:
        tuple[Any, list[str]]: A copy with ``avg_non_ignore=True``, and the types of other losses.
    """
    if not isinstance(losses, Mapping):
        pairs = [average_over_labelled(loss) for loss in losses]
        return [loss for loss, _ in pairs], [name for _, names in pairs for name in names]
    kind = losses.get("type")
    name = kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]
    if name != "CrossEntropyLoss" or losses.get("use_sigmoid") or losses.get("use_mask"):
        return losses, [name]
    return {"avg_non_ignore": True, **losses}, []


def _is_plain(loss: nn.Module) -> bool:
    return isinstance(loss, CrossEntropyLoss) and not loss.use_sigmoid and not loss.use_mask


def _repaired(loss: nn.Module) -> nn.Module:
    # Exactly this class: a user's subclass may have repaired it in another way.
    plain = type(loss) is CrossEntropyLoss and _is_plain(loss)
    if plain and (loss.class_weight is not None or loss.avg_non_ignore):
        return IgnoreSafeCrossEntropyLoss.from_host(loss)
    return loss
