"""Label maps at the size of a feature map."""

import torch
import torch.nn.functional as F
from torch import Tensor

LABEL_SAMPLINGS = ("nearest-exact", "nearest")


def _source_positions(
    out_size: int, in_size: int, align_corners: bool, device: torch.device
) -> Tensor:
    """Return the input index that each of `out_size` output positions falls on, ``(out_size,)``."""
    position = torch.arange(out_size, device=device, dtype=torch.float64)
    if align_corners:
        step = (in_size - 1) / (out_size - 1) if out_size > 1 else 0.0
        source = (position * step).round()
    else:
        source = ((position + 0.5) * (in_size / out_size)).floor()
    return source.long().clamp_(0, in_size - 1)


def sample_labels(
    labels: Tensor,
    size: tuple[int, int],
    align_corners: bool = False,
    mode: str = "nearest-exact",
) -> Tensor:
    """Take the label under each position of a feature map.

    Without `align_corners`, ``'nearest-exact'`` samples at pixel centres. With it, the corners of
    both grids coincide, as in the bilinear resizing of a model built that way. ``'nearest'`` is
    PyTorch's old interpolation of that name, off by a pixel and a half at stride 4, and knows
    nothing of corners: the authors' release uses it.

    Args:
        labels: Label maps, shape ``(B, H, W)``, any integer dtype, below 2**24.
        size: Height and width of the feature map.
        align_corners: The `align_corners` of the decode head. Defaults to False.
        mode: One of `LABEL_SAMPLINGS`. Defaults to ``'nearest-exact'``.

    Returns:
        Tensor: Labels with shape ``(B, *size)`` and the dtype of `labels`.
    """
    if mode == "nearest":
        sampled = F.interpolate(labels[:, None].float(), size=size, mode="nearest")
        return sampled[:, 0].to(labels.dtype)
    rows = _source_positions(size[0], labels.shape[1], align_corners, labels.device)
    columns = _source_positions(size[1], labels.shape[2], align_corners, labels.device)
    return labels[:, rows[:, None], columns[None, :]]
