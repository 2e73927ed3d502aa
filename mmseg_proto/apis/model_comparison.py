"""Two models on the same validation images: class by class, and where they disagree."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import pseudo_collate
from numpy.typing import NDArray

from mmseg_proto.visualization.comparison_picture import ONLY_FIRST, ONLY_SECOND, differences

from .confusion import Counts, Labels, count_confusion
from .feature_sample import whole_images
from .progress import map_with_progress
from .trained import Trained as Trained
from .trained import classes_of, expect_same_classes

_IGNORED = 255


@dataclass(frozen=True)
class Example:
    """An image on which one model is right where the other is not.

    Attributes:
        name: Name of the file without its suffix.
        image: The image at the size of its labels, RGB, ``(H, W, 3)``.
        truth: True classes, ``(H, W)``; -1 where they are not known.
        first: Classes that the first model predicts, ``(H, W)``.
        second: Those of the second.
        gained: Pixels on which only the second is right.
        lost: Pixels on which only the first is right.
    """

    name: str
    image: NDArray[np.uint8]
    truth: Labels
    first: Labels
    second: Labels
    gained: int
    lost: int


@dataclass(frozen=True)
class Comparison:
    """What two models predict for the same pixels.

    Attributes:
        names: Names of both.
        classes: Names of the C classes.
        palette: Their colours, RGB, ``(C, 3)``.
        confusion: Pixels by model, true class and predicted class, ``(2, C, C)``.
        examples: Images on which they disagree: those with the largest gain of the second first,
            then those with its largest loss.
        images: Number of images that were looked at.
    """

    names: tuple[str, str]
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    confusion: Counts
    examples: tuple[Example, ...]
    images: int


def compare_models(
    first: Trained,
    second: Trained,
    *,
    images: int | None = None,
    examples: int = 6,
    device: str = "cpu",
) -> Comparison:
    """Validate two models together, on the validation set of the second one's config.

    Each image comes to each model through the validation pipeline of the model's own config, and
    through its `test_step`. Memory does not grow with the number of images.

    Args:
        first: What the other is compared with.
        second: The other.
        images: Images to look at, evenly spread over the set. Defaults to None: all.
        examples: Images to keep, half of them where the second gains most against the first, half
            where it loses most; more of one kind where there are too few of the other. Defaults
            to 6.
        device: Where the models run. Defaults to 'cpu'.

    Returns:
        Comparison: What they predict. Pixels whose label is no class do not count, nor do those
        that the metric of the second config ignores.

    Raises:
        ValueError: If a number is too small, or the models or the data set differ in classes.
    """
    if images is not None and images < 1:
        raise ValueError(f"Expected `images` to be at least 1, but got {images}.")
    if examples < 0:
        raise ValueError(f"Expected `examples` to be at least 0, but got {examples}.")
    (own, former), (cfg, latter) = first.load(device), second.load(device)
    datasets = [whole_images(each, cfg.val_dataloader.dataset) for each in (own, cfg)]
    classes, palette = classes_of(latter)
    expect_same_classes(
        {
            first.name: classes_of(former)[0],
            second.name: classes,
            "the validation data set": tuple(datasets[1].metainfo["classes"]),
        }
    )
    ignored = _ignored_labels(cfg.get("val_evaluator"))
    total = len(datasets[1])
    chosen = range(total)
    if images is not None and images < total:
        chosen = np.linspace(0, total - 1, images).round().astype(int).tolist()
    confusion = np.zeros((2, len(classes), len(classes)), dtype=np.int64)
    kept = _Extremes(examples)
    pairs = map_with_progress(
        lambda number: [dataset[number] for dataset in datasets], chosen, 1, "Comparing"
    )
    for samples in pairs:
        predicted = [_predict(*both) for both in zip((former, latter), samples, strict=True)]
        truth = _truth(samples[1], len(classes), ignored)
        for number, labels in enumerate(predicted):
            confusion[number] += count_confusion(truth, labels, len(classes))
        _offer(kept, samples[1], truth, *predicted)
    return Comparison(
        (first.name, second.name), classes, palette, confusion, kept.take(), len(chosen)
    )


class _Extremes:
    """Keeps the examples with the largest gains and with the largest losses."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._offered = 0
        self._heaps: dict[bool, list[tuple[int, int, Example]]] = {True: [], False: []}

    def offer(self, balance: int, make: Callable[[], Example]) -> None:
        """Keep an example if its balance of gained and lost pixels is among the extremes."""
        heap, size = self._heaps[balance > 0], abs(balance)
        self._offered += 1
        if not size or not self._count or (len(heap) == self._count and size <= heap[0][0]):
            return
        # Of equals the one offered first stays; examples themselves have no order.
        entry = (size, -self._offered, make())
        (heapq.heappushpop if len(heap) == self._count else heapq.heappush)(heap, entry)

    def take(self) -> tuple[Example, ...]:
        """Return gains, then losses, the largest first; a loss more than gains if it is odd."""
        gains, losses = (sorted(self._heaps[won], reverse=True) for won in (True, False))
        lost = min(len(losses), self._count - min(len(gains), self._count // 2))
        chosen = [*gains[: self._count - lost], *losses[:lost]]
        return tuple(example for _, _, example in chosen)


def _offer(kept: _Extremes, sample: Any, truth: Labels, first: Labels, second: Labels) -> None:
    parted = differences(truth, first, second)
    gained, lost = (int((parted == kind).sum()) for kind in (ONLY_SECOND, ONLY_FIRST))

    def make() -> Example:
        name = Path(sample["data_samples"].img_path).stem
        return Example(name, _picture(sample, truth), truth, first, second, gained, lost)

    kept.offer(gained - lost, make)


def _predict(model: Any, sample: Any) -> Labels:
    """Classes that a model predicts, at the size of the labels."""
    (found,) = model.test_step(pseudo_collate([sample]))
    return np.asarray(found.pred_sem_seg.data[0].cpu().numpy(), dtype=np.int16)


def _truth(sample: Any, num_classes: int, ignored: set[int]) -> Labels:
    """True classes, -1 where they do not count."""
    labels = sample["data_samples"].gt_sem_seg.data[0].numpy().astype(np.int64)
    unknown = (labels < 0) | (labels >= num_classes) | np.isin(labels, list(ignored))
    return np.where(unknown, -1, labels).astype(np.int16)


def _picture(sample: Any, truth: Labels) -> NDArray[np.uint8]:
    """The image of a sample, RGB, at the size of its labels."""
    # The host loads BGR.
    picture = sample["inputs"][:3].flip(0).permute(1, 2, 0).contiguous().numpy()
    return np.asarray(cv2.resize(picture, truth.shape[::-1]), dtype=np.uint8)


def _ignored_labels(evaluator: Any) -> set[int]:
    """Labels that the metrics of a config ignore."""
    metrics = evaluator if isinstance(evaluator, list | tuple) else [evaluator or {}]
    return {metric.get("ignore_index", _IGNORED) for metric in metrics}
