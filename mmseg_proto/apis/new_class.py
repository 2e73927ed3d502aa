"""Prototypes of a new class, from a few labelled images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from mmseg_proto.heads.decoders import last_head
from mmseg_proto.hooks.kmeans_seeding import kmeans_centres
from mmseg_proto.ops import expect_number, nearest_prototypes
from mmseg_proto.prototypes import fit_new_prototypes

from .feature_sample import Reservoir, pixels_of_images, whole_images
from .progress import doing, map_with_progress, under_bar

#: Pixels in which a class is worth looking at an image.
_FEW = 50
#: Share of an image that a class covers in at least one of those chosen, if there is one.
_GOOD_LOOK = 1 / 256
#: Share of the weight that pixels of the new class have at least.
_LEAST_WEIGHT = 0.02
#: Kept pixels of other classes for each one of the new class.
_OTHERS = 4


@dataclass(frozen=True)
class NewClassSettings:
    """Where pixels of a new class come from, and how prototypes are made of them.

    Args:
        images: Images to look at, at least 1.
        pixels: Pixels of the new class to keep, at least 2, and four times as many of others.
        num_prototypes: Prototypes of the new class, at least 1; fewer where it has few pixels. More
            than other classes have make empty places for these, which cost time.
        steps: Steps in which cluster centres are fitted to win these pixels and no others, at least
            0: 0 leaves them as they are.
        seed: Seed of everything random.
        folders: Folders of images and of their label maps, which are named alike. Defaults to None:
            the training data of the config.
        value: Value of the new class in these label maps; 255 is ignored, all else another class.

    Raises:
        TypeError: If a number is none.
        ValueError: If one is too small, or of folders and value only one is there.
    """

    images: int = 20
    pixels: int = 4000
    num_prototypes: int = 30
    steps: int = 100
    seed: int = 0
    folders: tuple[Path, Path] | None = None
    value: int | None = None

    def __post_init__(self) -> None:
        counts = {"images": 1, "pixels": 2, "num_prototypes": 1, "steps": 0}
        for name, least in counts.items():
            expect_number(name, getattr(self, name), whole=True)
            if getattr(self, name) < least:
                raise ValueError(
                    f"Expected `{name}` to be at least {least}, but got {getattr(self, name)}."
                )
        if (self.folders is None) != (self.value is None):
            raise ValueError(
                "Expected `folders` together with `value`, the label of the new class in them, but "
                f"got {self.folders} and {self.value}."
            )


class _Drawn(NamedTuple):
    """Pixels of a few images.

    Attributes:
        embeddings: Unit-norm embeddings, ``(N, D)``.
        is_new: Which are of the new class, ``(N,)``.
        weights: How many pixels each stands for, those of a rare class more, ``(N,)``.
        images: Number of images.
    """

    embeddings: Tensor
    is_new: Tensor
    weights: Tensor
    images: int


def seed_new_class(cfg: Config, model: Any, name: str, settings: NewClassSettings) -> str:
    """Give the last class of a model, which has none yet, prototypes from a few labelled images.

    Args:
        cfg: Config of the model, with the new class.
        model: The segmentor, in evaluation mode.
        name: Name of the class.
        settings: Which images, and how prototypes are made of them.

    Returns:
        str: What was done, in words.

    Raises:
        ValueError: If no image has pixels of the class.
    """
    classifier = last_head(model).prototype_classifier
    bank = classifier.bank
    label = bank.shape[0] - 1
    drawn = _draw(cfg, model, name, label, settings)
    own = drawn.embeddings[drawn.is_new]
    centres = F.normalize(kmeans_centres(own, settings.num_prototypes, settings.seed), dim=1)
    old, alive = bank.directions[:label].cpu(), bank.alive_mask[:label].cpu()
    rivals = nearest_prototypes(drawn.embeddings, old, alive).class_scores.amax(dim=1)
    with doing("Fitting prototypes"):
        fitted = fit_new_prototypes(
            centres, drawn.embeddings, drawn.is_new, rivals, drawn.weights, steps=settings.steps
        )
    places = torch.zeros(1, *bank.prototypes.shape[1:])
    places[0, : len(fitted)] = fitted
    exist = torch.arange(bank.shape[1])[None] < len(fitted)
    bank.seed(torch.tensor([label]), places.to(bank.prototypes.device), exist)
    return f"{name} has {len(fitted)} prototypes from {drawn.images} images"


def _draw(cfg: Config, model: Any, name: str, label: int, settings: NewClassSettings) -> _Drawn:
    """Embed pixels of the new class and of others, evenly from all that the images have."""
    chosen = _images(cfg, name, label, settings)
    reservoirs = [Reservoir(1, n * settings.pixels, settings.seed) for n in (1, _OTHERS)]
    counts = [0, 0]
    looked_at = under_bar(chosen, len(chosen), "Embedding pixels")
    for vectors, labels, _ in pixels_of_images(model, looked_at):
        embeddings = vectors.float().cpu()
        for part, mask in enumerate((labels == label, (labels >= 0) & (labels < label))):
            reservoirs[part].add(embeddings[mask], torch.zeros(int(mask.sum()), dtype=torch.long))
            counts[part] += int(mask.sum())
    kept = [
        reservoir.take()[0] if count else torch.zeros(0, embeddings.shape[1])
        for reservoir, count in zip(reservoirs, counts, strict=True)
    ]
    sizes = torch.tensor([len(part) for part in kept])
    stands_for = torch.tensor(counts) / sizes.clamp(min=1)
    # Without it, the prototypes of a rare class stay where they win nothing.
    stands_for[0] *= max(1.0, _LEAST_WEIGHT * sum(counts) / counts[0])
    return _Drawn(
        torch.cat(kept),
        torch.arange(int(sizes.sum())) < sizes[0],
        stands_for.repeat_interleave(sizes),
        len(chosen),
    )


def _images(cfg: Config, name: str, label: int, settings: NewClassSettings) -> list[Any]:
    """Choose images with pixels of the class at random, one of them with a good look at it."""
    dataset = _dataset(cfg, label, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(dataset), generator=generator).tolist()
    chosen: list[tuple[float, Any]] = []
    for sample in map_with_progress(dataset.__getitem__, order, 1, f"Looking for {name}"):
        own = sample["data_samples"].gt_sem_seg.data == label
        share = float(own.float().mean())
        if int(own.sum()) < _FEW:
            continue
        if len(chosen) < settings.images:
            chosen.append((share, sample))
        elif share > chosen[0][0]:
            chosen[0] = share, sample
        chosen.sort(key=lambda pair: -pair[0])
        if len(chosen) == settings.images and chosen[0][0] >= _GOOD_LOOK:
            break
    if not chosen:
        where = "the training data" if settings.folders is None else settings.folders[1]
        raise ValueError(
            f"Expected images with at least {_FEW} pixels of {name}, but {where} has none among "
            f"{len(dataset)}. Name other images with their label maps, and its value in these."
        )
    return [sample for _, sample in chosen]


def _dataset(cfg: Config, label: int, settings: NewClassSettings) -> Any:
    if settings.folders is None:
        return whole_images(cfg, cfg.train_dataloader.dataset)
    images, labels = settings.folders
    for folder in settings.folders:
        if not folder.is_dir() or not any(folder.iterdir()):
            raise FileNotFoundError(f"Expected a folder of images, but {folder} is none.")
    values = {value: 0 for value in range(255)} | {255: 255, settings.value: label}
    dataset = {
        "type": "BaseSegDataset",
        "data_prefix": {"img_path": str(images), "seg_map_path": str(labels)},
        "img_suffix": next(images.iterdir()).suffix,
        "seg_map_suffix": next(labels.iterdir()).suffix,
        "metainfo": {"classes": [str(value) for value in values]},
        "lazy_init": True,
    }
    built = whole_images(cfg, dataset)
    built.label_map = values
    built.full_init()
    return built
