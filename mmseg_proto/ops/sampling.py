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

    Systematic sampling: the classes that are present lie side by side, each 1 long and cut into
    its pixels, and `num_pixels` points at equal distances are laid over them. The expected number
    of draws is exact, nothing is read on the host, and there is no sum in floating point whose
    order could matter.

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
    num_present = present.sum()
    steps = torch.arange(num_pixels, device=labels.device, dtype=torch.float64) + offset
    points = steps * (num_present / num_pixels)
    # Which of the present classes each point falls in, and where in it.
    ordinal = torch.minimum(points.long(), (num_present - 1).clamp(min=0))
    classes = (~present).byte().argsort(stable=True)[ordinal]
    whole = sizes.long()
    place = ((points - ordinal) * sizes[classes]).long().clamp(max=whole[classes] - 1)
    first = (labels < 0).sum() + whole.cumsum(0) - whole
    order = labels.argsort(stable=True)
    drawn = order[(first[classes] + place).clamp_(0, len(labels) - 1)]
    expected = torch.where(present, num_pixels / num_present.double().clamp(min=1), 0.0)
    return BalancedDraw(drawn, sizes, expected)
