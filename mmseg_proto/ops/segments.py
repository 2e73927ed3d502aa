"""Sums over segments of pixels, such as classes or prototypes."""

import torch
from torch import Tensor


def segment_sum(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """Sum rows that belong to the same segment.

    Args:
        values: Rows to add up, shape ``(N, ...)``, floating point.
        segments: Segment of each row, shape ``(N,)``, int64 in ``[-1, num_segments)``. Rows with
            -1 are left out, whatever they hold (NaN too).
        num_segments: Number of segments, at least 1.

    Returns:
        Tensor: Sums with shape ``(num_segments, ...)`` and the dtype of `values`; zero for a
        segment without rows.

    Raises:
        ValueError: If `values` and `segments` differ in their number of rows.
    """
    if segments.ndim != 1 or values.shape[0] != segments.shape[0]:
        raise ValueError(
            "Expected `segments` to be a vector with one entry per row of `values`, but got "
            f"{tuple(segments.shape)} for values of shape {tuple(values.shape)}."
        )
    # Left-out rows are added to a spare last row: selecting them away would read their number
    # on the host and stall a GPU.
    total = values.new_zeros((num_segments + 1, *values.shape[1:]))
    total.index_add_(0, torch.where(segments < 0, num_segments, segments), values)
    return total[:num_segments]


def segment_count(
    segments: Tensor, num_segments: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Count the rows of each segment.

    Args:
        segments: Segment of each row, shape ``(N,)``, int64 in ``[-1, num_segments)``; -1 counts
            for none.
        num_segments: Number of segments, at least 1.
        dtype: Floating-point dtype to count in; half precision stops short of 2049. Defaults to
            fp32.

    Returns:
        Tensor: Counts with shape ``(num_segments,)`` in `dtype`.
    """
    return segment_sum(torch.ones_like(segments, dtype=dtype), segments, num_segments)
