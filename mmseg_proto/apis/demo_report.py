"""What the demo shows at its end: IoU per class, prototype health, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.fileio import get
from mmseg.evaluation import IoUMetric
from numpy.typing import NDArray
from rich.table import Table

Labels = NDArray[np.uint8]
HEALTH_PREFIX = "prototype/"
_MEANING = {
    "live_share": "share of prototypes that are alive",
    "perplexity": "prototypes of a class that are in use (perplexity of wins)",
    "cosine": "mean cosine between prototypes of a class (1 would be all alike)",
    "largest_cosine": "cosine of the two most alike prototypes of a class",
    "drift": "turn of a prototype in 1000 iterations (1 - cosine)",
    "scale": "learned scale from cosines to logits",
    "nonfinite": "pixels left out, their embedding not finite",
}
_ZOOM = 3
_GAP = 6
_HEADER = 22


def class_ious(
    predictions: Sequence[Labels], truths: Sequence[Labels], num_classes: int, ignore_index: int
) -> list[float]:
    """IoU per class over all pictures together.

    Args:
        predictions: Predicted class per pixel, each (H, W).
        truths: True class per pixel, each (H, W).
        num_classes: Number of classes C.
        ignore_index: True label of the pixels that do not count.

    Returns:
        C values in percent, NaN for a class in neither.
    """
    areas = [
        IoUMetric.intersect_and_union(
            torch.from_numpy(prediction), torch.from_numpy(truth), num_classes, ignore_index
        )
        for prediction, truth in zip(predictions, truths, strict=True)
    ]
    intersect, union = (torch.stack([area[part] for area in areas]).sum(0) for part in (0, 1))
    return [float(value) for value in 100 * intersect / union]


def iou_table(classes: Sequence[str], ious: Mapping[str, Sequence[float]]) -> Table:
    """Table of IoU per class and mIoU, one column per model and one for the difference.

    Args:
        classes: Names of the C classes.
        ious: Name of each of the two models to its C values in percent.
    """
    first, second = ious
    table = Table(title="IoU on the validation scenes (%)")
    table.add_column("class")
    for name in (first, second, "difference"):
        table.add_column(name, justify="right")
    rows = [*zip(classes, ious[first], ious[second], strict=True)]
    means = [float(np.nanmean(ious[name])) for name in (first, second)]
    for name, a, b in rows:
        table.add_row(name, f"{a:.1f}", f"{b:.1f}", f"{b - a:+.1f}")
    table.add_section()
    table.add_row("mIoU", f"{means[0]:.2f}", f"{means[1]:.2f}", f"{means[1] - means[0]:+.2f}")
    return table


def health_table(scalars: Sequence[Mapping[str, Any]]) -> Table:
    """Table of the last health numbers that a training run has logged.

    Args:
        scalars: Logged lines, oldest first.
    """
    last: dict[str, float] = {}
    for line in scalars:
        last.update({key: value for key, value in line.items() if key.startswith(HEALTH_PREFIX)})
    table = Table(title="Health of the prototypes at the end of training")
    table.add_column("logged as")
    table.add_column("value", justify="right")
    table.add_column("meaning")
    for key, value in last.items():
        table.add_row(key, f"{value:.3f}", _MEANING.get(key.removeprefix(HEALTH_PREFIX), ""))
    return table


def read_picture(path: str | Path, flag: int) -> NDArray[np.uint8]:
    """Read a picture through MMEngine's file layer, which also draws synthetic scenes.

    Args:
        path: File or address.
        flag: How OpenCV decodes it, for instance `cv2.IMREAD_COLOR`.
    """
    picture = cv2.imdecode(np.frombuffer(get(str(path)), dtype=np.uint8), flag)
    return np.asarray(picture, dtype=np.uint8)


def contact_sheet(
    titles: Sequence[str],
    rows: Sequence[tuple[NDArray[np.uint8], Sequence[Labels]]],
    palette: Sequence[Sequence[int]],
) -> NDArray[np.uint8]:
    """Pictures beside their label maps, one scene per row.

    Args:
        titles: Title of each column; the first one is the picture's.
        rows: BGR picture (H, W, 3) and label maps (H, W) of each scene, all of one size.
        palette: RGB colour of each class; labels beyond it are black.

    Returns:
        A BGR picture.
    """
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(palette)] = np.array(palette, dtype=np.uint8)[:, ::-1]
    cells = [[picture, *(colours[labels] for labels in maps)] for picture, maps in rows]
    height, width = (side * _ZOOM for side in cells[0][0].shape[:2])
    shape = (
        _HEADER + len(rows) * (height + _GAP),
        _GAP + len(titles) * (width + _GAP),
        3,
    )
    sheet = np.full(shape, 255, dtype=np.uint8)
    for column, title in enumerate(titles):
        left = _GAP + column * (width + _GAP)
        place = (left, _HEADER - 7)
        cv2.putText(sheet, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        for row, cell in enumerate(cells):
            top = _HEADER + row * (height + _GAP)
            zoomed = cell[column].repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)
            sheet[top : top + height, left : left + width] = zoomed
    return sheet
