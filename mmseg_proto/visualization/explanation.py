"""What a prototype model says of one image: which prototypes are nearest, and how near."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine.fileio import get
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Explanation:
    """One image, and how each class and its prototypes see each of its pixels.

    Attributes:
        name: File name of the image.
        image: RGB, shape ``(H, W, 3)``, at the size of the prediction.
        labels: Predicted class, ``(H, W)``, int64.
        cosines: Cosine with the nearest prototype of each class, ``(C, H, W)``, fp32 in [-1, 1].
        winners: Number in its class of that prototype, ``(C, H, W)``, int16; -1 for none.
        truth: True class, ``(H, W)``, int64, -1 for ignored pixels; None where nobody knows it.
        classes: Names of the C classes.
        palette: RGB colour of each class, ``(C, 3)``. Defaults to None: a picture chooses.
    """

    name: str
    image: Picture
    labels: NDArray[np.int64]
    cosines: NDArray[np.float32]
    winners: NDArray[np.int16]
    truth: NDArray[np.int64] | None
    classes: tuple[str, ...]
    palette: Picture | None = None


def explanation_of(
    sample: Any,
    image: Picture,
    scale: float,
    classes: Sequence[str],
    ignore_index: int = 255,
    palette: Sequence[Sequence[int]] | None = None,
) -> Explanation:
    """Take an explanation out of what a view of a model has predicted.

    Args:
        sample: Prediction of an `explaining_view`, with `gt_sem_seg` where the truth is known.
        image: RGB, shape ``(H, W, 3)``, of the size of the prediction.
        scale: Scale from cosines to logits.
        classes: Names of the C classes.
        ignore_index: Label of pixels that do not count. Defaults to 255.
        palette: RGB colour of each class. Defaults to None.

    Returns:
        Explanation: On the CPU.

    Raises:
        ValueError: If the sample has no `class_winners`, or the parts are not of one size.
    """
    if "class_winners" not in sample:
        raise ValueError(
            "Expected `sample` to be a prediction of an explaining_view, with class_winners, but "
            f"got one with {', '.join(sorted(sample.keys())) or 'nothing'}."
        )
    logits = sample.seg_logits.data.detach().float().cpu().numpy()
    if image.shape != (*logits.shape[1:], 3) or image.dtype != np.uint8:
        raise ValueError(
            f"Expected `image` to be uint8 with shape {(*logits.shape[1:], 3)}, as the prediction, "
            f"but got {image.dtype} with shape {image.shape}."
        )
    if len(classes) != len(logits):
        raise ValueError(f"Expected names of {len(logits)} classes, but got {len(classes)}.")
    return Explanation(
        name=Path(sample.metainfo.get("img_path", "image")).name,
        image=image,
        labels=sample.pred_sem_seg.data[0].cpu().numpy().astype(np.int64),
        cosines=np.clip(logits / np.float32(scale), -1, 1),
        winners=sample.class_winners.data.cpu().numpy(),
        truth=_truth(sample, len(classes), ignore_index),
        classes=tuple(str(name) for name in classes),
        palette=_fitting(palette, len(classes)),
    )


def image_of(path: str | Path, size: tuple[int, int] | None = None) -> Picture:
    """Read the image that was predicted on, through MMEngine's file layer.

    Args:
        path: File or address, or a scene of `SyntheticScenes`.
        size: Rows and columns of the prediction, to which the image is resized. Defaults to None:
            its own.

    Returns:
        Picture: RGB, shape ``(H, W, 3)``.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is no image that OpenCV reads.
    """
    content = get(str(path))
    # Decoded as the host does, which turns a photo upright by what its camera has noted.
    image = mmcv.imfrombytes(content, flag="color") if content else None
    if image is None:
        raise ValueError(f"Expected an image in {path}, but it cannot be read as one.")
    if size is not None and image.shape[:2] != size:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1])


def _truth(sample: Any, classes: int, ignore_index: int) -> NDArray[np.int64] | None:
    if "gt_sem_seg" not in sample:
        return None
    truth: NDArray[np.int64] = sample.gt_sem_seg.data[0].cpu().numpy().astype(np.int64)
    size = tuple(sample.pred_sem_seg.data.shape[1:])
    if truth.shape != size:
        raise ValueError(
            f"Expected labels of the size of the prediction, {size}, but got {truth.shape}. Load "
            "them after images are resized, as the host's metrics need them."
        )
    truth[(truth == ignore_index) | (truth < 0) | (truth >= classes)] = -1
    return truth


def _fitting(palette: Sequence[Sequence[int]] | None, classes: int) -> Picture | None:
    """A palette with a colour for each class; data sets may have none, or too few."""
    if palette is None or len(palette) < classes:
        return None
    return np.asarray(palette[:classes], dtype=np.uint8)
