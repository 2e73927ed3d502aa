"""Drawing pixels so that each class has an equal part."""

from typing import NamedTuple

import torch
from torch import Tensor

from .segments import segment_count


class BalancedDraw(NamedTuple):
    """Some of N pixels, and what is needed to let them stand for all.

    Attributes:
        drawn: Drawn pixels, shape ``(M,)``, int64 in ``[0, N)``.
        class_sizes: Number of pixels of each class among the N, shape ``(C,)``, fp64.
        expected_draws: Expected number of draws of each class, shape ``(C,)``, fp64: M over the
            number of classes present, 0 for those that are not.
    """

    drawn: Tensor
    class_sizes: Tensor
    expected_draws: Tensor


@torch.no_grad()
def draw_balanced(
    labels: Tensor, num_classes: int, num_pixels: int, offset: Tensor
) -> BalancedDraw:
    """Draw pixels, with repetition, as many of each class that is present.

    Systematic sampling: the pixels lie side by side, class by class, each of them ``1 / n`` long in
    a class of n, and `num_pixels` points at equal distances are laid over them. The expected number
    of draws is exact, and nothing is read on the host.

    Args:
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 is never drawn
            while there are others.
        num_classes: Number of classes C.
        num_pixels: Number of draws M, at least 1. N is at least 1.
        offset: Random number in [0, 1), shape ``()``, the only source of chance.

    Returns:
        BalancedDraw: The draw.
    """
    sizes = segment_count(labels, num_classes, torch.float64)
    present = sizes > 0
    length = torch.where(labels >= 0, 1 / sizes.clamp(min=1)[labels.clamp(min=0)], 0.0)
    order = labels.argsort(stable=True)
    ends = length[order].cumsum(0)
    steps = torch.arange(num_pixels, device=labels.device, dtype=torch.float64) + offset
    points = steps * (ends[-1] / num_pixels)
    drawn = order[torch.searchsorted(ends, points, right=True).clamp_(max=len(labels) - 1)]
    expected = torch.where(present, num_pixels / present.sum().double().clamp(min=1), 0.0)
    return BalancedDraw(drawn, sizes, expected)
