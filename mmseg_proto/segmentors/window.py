"""From pixels of a prediction back to the feature pixels that they came from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Window(NamedTuple):
    """Winners in a part of an image that went through the model.

    Attributes:
        top: First row of the part, in pixels of the input.
        left: First column.
        height: Its rows.
        width: Its columns.
        winners: Number of the winning prototype of each class at each feature pixel,
            ``(C, h, w)``, or of several images, ``(B, C, h, w)``.
    """

    top: int
    left: int
    height: int
    width: int
    winners: Tensor


def places_before_resizing(
    meta: Mapping[str, Any],
    canvas: tuple[int, int],
    size: Sequence[int],
    align_corners: bool,
) -> tuple[Tensor, Tensor]:
    """Find the input pixel nearest to each pixel of a prediction, as the host resizes it.

    Args:
        meta: Meta information of the sample: padding and flip.
        canvas: Rows and columns of the input.
        size: Rows and columns of the prediction.
        align_corners: Whether corners of both lie on each other.

    Returns:
        tuple[Tensor, Tensor]: Row of the input for each row of the prediction, ``(H,)``, and the
        same for columns, ``(W,)``, int64.
    """
    left, right, top, bottom = meta.get("img_padding_size", meta.get("padding_size", [0] * 4))
    flip = meta.get("flip_direction") if meta.get("flip") else None
    rows = _resized(canvas[0] - top - bottom, size[0], align_corners)
    columns = _resized(canvas[1] - left - right, size[1], align_corners)
    rows = canvas[0] - top - bottom - 1 - rows if flip == "vertical" else rows
    columns = canvas[1] - left - right - 1 - columns if flip == "horizontal" else columns
    return rows + top, columns + left


def _resized(before: int, after: int, align_corners: bool) -> Tensor:
    """Nearest of `before` places for each of `after`, shape ``(after,)``."""
    places = torch.arange(after, dtype=torch.float64)
    if align_corners:
        return (places * (before - 1) / max(1, after - 1)).round().long()
    return ((places + 0.5) * before / after).long()


def name_winners(
    labels: Tensor, windows: Sequence[Window], rows: Tensor, columns: Tensor
) -> Tensor:
    """Look up which prototype of its class won each pixel of a prediction.

    Args:
        labels: Predicted classes, shape ``(H, W)``.
        windows: Parts of the input that cover it; of several at a place the last one counts.
        rows: Row of the input for each row of the prediction, ``(H,)``.
        columns: Column of the input for each column, ``(W,)``.

    Returns:
        Tensor: Number of the prototype in its class, shape ``(H, W)``, int64.
    """
    winners = torch.full_like(labels, -1)
    for window, inside, across, down, along in _placed(windows, rows, columns):
        winners[inside, across] = window.winners[labels[inside, across], down, along].long()
    return winners


def name_class_winners(windows: Sequence[Window], rows: Tensor, columns: Tensor) -> Tensor:
    """Look up which prototype of every class is nearest to each pixel of a prediction.

    Args:
        windows: As for `name_winners`, at least one.
        rows: Row of the input for each row of the prediction, ``(H,)``.
        columns: Column of the input for each column, ``(W,)``.

    Returns:
        Tensor: Its number in the class, shape ``(C, H, W)``, int16; -1 where there is none.
    """
    first = windows[0].winners
    winners = first.new_full((len(first), len(rows), len(columns)), -1)
    for window, inside, across, down, along in _placed(windows, rows, columns):
        winners[:, inside, across] = window.winners[:, down, along]
    return winners


def _placed(
    windows: Sequence[Window], rows: Tensor, columns: Tensor
) -> Iterator[tuple[Window, Tensor, Tensor, Tensor, Tensor]]:
    """Yield each window that a prediction sees, with rows and columns there and of its features.

    Rows are ``(h, 1)``, columns ``(w,)``, so that both together are a block.
    """
    for window in windows:
        height, width = window.winners.shape[-2:]
        inside = ((rows >= window.top) & (rows < window.top + window.height)).nonzero()[:, 0]
        across = ((columns >= window.left) & (columns < window.left + window.width)).nonzero()[:, 0]
        if not len(inside) or not len(across):
            continue
        down = _feature_places(rows[inside] - window.top, window.height, height)
        along = _feature_places(columns[across] - window.left, window.width, width)
        device = window.winners.device
        inside, across = inside.to(device)[:, None], across.to(device)
        yield window, inside, across, down.to(device)[:, None], along.to(device)


def _feature_places(places: Tensor, pixels: int, features: int) -> Tensor:
    return ((places.double() + 0.5) * features / pixels).long().clamp(max=features - 1)
