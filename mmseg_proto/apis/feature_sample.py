"""What a trained model makes of the pixels of images, and an even sample of each class."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from torch import Tensor

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.heads.decoders import last_head
from mmseg_proto.ops import sample_labels

from .progress import map_with_progress


class ImagePixels(NamedTuple):
    """Pixels of the feature map of an image, row by row, without padding.

    Attributes:
        vectors: Of a model with prototypes their unit-norm embeddings, of a softmax model what the
            classifier gets, ``(H*W, D)``, on the model's device.
        labels: Their labels as they are in the data set, ``(H*W,)``, on the CPU.
        size: Rows H and columns W.
    """

    vectors: Tensor
    labels: Tensor
    size: tuple[int, int]


def draw_features(
    cfg: Config, model: Any, limit: int, *, images: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what a softmax classifier sees, evenly from all training pixels of each class.

    Args:
        cfg: Config of the model.
        model: The softmax segmentor, in evaluation mode.
        limit: Pixels of each class to keep, at least 1.
        images: Training images to look at. Defaults to None: all.
        seed: Seed of everything random. Defaults to 0.

    Returns:
        tuple[Tensor, Tensor]: Features ``(N, D)`` in fp32 on the CPU and their labels ``(N,)``.

    Raises:
        ValueError: If no pixel has a label.
    """
    head = last_head(model)
    reservoir = Reservoir(head.num_classes, limit, seed)
    dataset = whole_images(cfg, cfg.train_dataloader.dataset)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(dataset), generator=generator)[:images].tolist()
    samples = map_with_progress(dataset.__getitem__, order, 1, "Looking at training images")
    for pixels in pixels_of_images(model, samples):
        reservoir.add(pixels.vectors.float().cpu(), pixels.labels)
    return reservoir.take()


@torch.no_grad()
def pixels_of_images(model: Any, samples: Iterable[Any]) -> Iterator[ImagePixels]:
    """Run images through a model, each whole, and catch what it makes of their pixels.

    Embeddings are those of the model itself: the whole feature map is embedded, with its padding,
    for a projection may look at a whole row of pixels. Only then is the padding cut off.

    Args:
        model: The segmentor, with prototypes or with softmax, in evaluation mode.
        samples: Samples of a data set, with `gt_sem_seg`.

    Yields:
        ImagePixels: Pixels of each image.
    """
    head = last_head(model)
    proto = isinstance(head, ProtoDecodeHead)
    classifier: Any = head.prototype_classifier if proto else head.conv_seg
    seen: list[Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        for sample in samples:
            batch = model.data_preprocessor(pseudo_collate([sample]), False)
            seen.clear()
            model(batch["inputs"], batch["data_samples"], mode="tensor")
            features = seen[-1]
            vectors = (
                classifier.embedding(features).unflatten(0, features.shape[-2:])
                if proto
                else features[0].permute(1, 2, 0)
            )
            height, width = size = _inside(features, batch)
            labels = torch.stack([s.gt_sem_seg.data for s in batch["data_samples"]])[:, 0].cpu()
            yield ImagePixels(
                vectors[:height, :width].flatten(0, 1),
                sample_labels(labels, size, head.align_corners).flatten(),
                size,
            )
    finally:
        handle.remove()


def whole_images(cfg: Config, settings: Any) -> Any:
    """Build a data set whose images come as validation sees them: whole, without augmentation.

    Args:
        cfg: Config of the model.
        settings: Config of the data set.

    Returns:
        Any: The data set.
    """
    settings = copy.deepcopy(settings)
    pipeline = next(innermost(cfg.val_dataloader.dataset))["pipeline"]
    for inner in innermost(settings):
        inner["pipeline"] = pipeline
    return DATASETS.build(settings)


def innermost(settings: Any, keep: str | None = None) -> Iterator[Any]:
    """Go into what is around data sets.

    Args:
        settings: Config of a data set.
        keep: Type that is not gone into. Defaults to None: everything is.

    Yields:
        Any: Config of each data set inside.
    """
    if settings["type"] != keep and "datasets" in settings:
        for part in settings["datasets"]:
            yield from innermost(part, keep)
    elif settings["type"] != keep and isinstance(settings.get("dataset"), Mapping):
        yield from innermost(settings["dataset"], keep)
    else:
        yield settings


def _inside(features: Tensor, batch: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns without the padding at the right and below, which has no labels."""
    height, width = (
        math.ceil(size * inside / padded)
        for size, inside, padded in zip(
            features.shape[-2:],
            batch["data_samples"][0].img_shape[:2],
            batch["inputs"].shape[-2:],
            strict=True,
        )
    )
    return height, width


class Reservoir:
    """An even sample of the pixels of each class, of bounded size.

    Every pixel gets a random number, and those with the smallest ones stay.

    Args:
        num_classes: Number of classes.
        limit: Pixels of each to keep, at least 1.
        seed: Seed of the random numbers.
    """

    def __init__(self, num_classes: int, limit: int, seed: int) -> None:
        self._limit = limit
        self._generator = torch.Generator().manual_seed(seed)
        self._kept: list[tuple[Tensor, Tensor] | None] = [None] * num_classes

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Offer features ``(N, D)`` with labels ``(N,)``; others than classes are ignored."""
        number = torch.rand(len(labels), generator=self._generator)
        for label in labels.unique().tolist():
            if not 0 <= label < len(self._kept):
                continue  # ignored
            own = labels == label
            numbers, pixels = number[own], features[own]
            before = self._kept[label]
            if before is not None:
                numbers, pixels = torch.cat([before[0], numbers]), torch.cat([before[1], pixels])
            first = numbers.argsort()[: self._limit]
            self._kept[label] = numbers[first], pixels[first]

    def take(self) -> tuple[Tensor, Tensor]:
        """Return features and labels of what was kept, class by class."""
        kept = [(c, pair[1]) for c, pair in enumerate(self._kept) if pair is not None]
        if not kept:
            raise ValueError("Expected training images with labels, but no pixel has one.")
        labels = torch.cat([torch.full((len(pixels),), c) for c, pixels in kept])
        return torch.cat([pixels for _, pixels in kept]), labels
