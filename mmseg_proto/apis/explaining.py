"""Explanations of image files, folders and data sets: what tools/explain.py draws."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_proto.heads.decoders import last_head
from mmseg_proto.segmentors import explaining_view
from mmseg_proto.visualization.explanation import Explanation, explanation_of, image_of

from .feature_sample import innermost, whole_images
from .progress import first_line, map_with_progress

#: Splits of a config.
SPLITS = ("train", "val", "test")
_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def list_images(place: Path) -> list[Path]:
    """Find the images in a place.

    Args:
        place: An image, or a folder, whose folders are not gone into.

    Returns:
        list[Path]: The image itself, or those of the folder, in order of their names.

    Raises:
        FileNotFoundError: If there is nothing, or no image in the folder.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise FileNotFoundError(f"Expected an image or a folder of images, but {place} is missing.")
    found = sorted(path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise FileNotFoundError(
            f"Expected images in {place}, but none has a suffix of {', '.join(_SUFFIXES)}."
        )
    return found


def explain_files(
    model: Any,
    cfg: Config,
    images: Sequence[str | Path],
    *,
    on_unreadable: Callable[[str], None] | None = None,
) -> Iterator[Explanation]:
    """Explain predictions on image files, which go through the test pipeline, under a bar.

    Args:
        model: The segmentor with a `ProtoDecodeHead`, in evaluation mode.
        cfg: Its config.
        images: Files or addresses.
        on_unreadable: Called with what is wrong with an image that cannot be read, which is left
            out. Defaults to None: an error is raised.

    Yields:
        Explanation: That of each image, without truth.

    Raises:
        OSError: If a file is not there.
        ValueError: If it is no image.
    """
    init_default_scope(cfg.get("default_scope") or "mmseg")
    pipeline = Compose(
        [
            step
            for step in next(innermost(cfg.test_dataloader.dataset))["pipeline"]
            if "Annotation" not in str(step["type"])
        ]
    )

    def prepare(path: str | Path) -> Any:
        try:
            image_of(path)  # says what is wrong where the host's loader stumbles
            return pipeline({"img_path": str(path), "seg_fields": [], "reduce_zero_label": False})
        except (OSError, ValueError) as error:
            if on_unreadable is None:
                raise
            on_unreadable(first_line(error))
            return None

    samples = map_with_progress(prepare, images, 1, "Explaining images")
    yield from explanations(model, (sample for sample in samples if sample is not None))


def explain_split(
    model: Any, cfg: Config, split: str, indices: Sequence[int] | None = None
) -> Iterator[Explanation]:
    """Explain predictions on images of a data set, under a bar.

    Args:
        model: The segmentor with a `ProtoDecodeHead`, in evaluation mode.
        cfg: Its config.
        split: 'train', 'val' or 'test', whose data loader the config has. Images of 'train' go
            through the pipeline of 'val', whole and without augmentation.
        indices: Which images, by their numbers in the data set. Defaults to None: all.

    Yields:
        Explanation: That of each image, with its truth where the pipeline loads it.

    Raises:
        ValueError: If the config has no such split, or the data set no such image.
    """
    dataset = split_dataset(cfg, split)
    chosen = range(len(dataset)) if indices is None else indices
    wrong = [index for index in chosen if not 0 <= index < len(dataset)]
    if wrong:
        raise ValueError(
            f"Expected `indices` to be in [0, {len(dataset)}), the images of {split!r}, but got "
            f"{wrong[0]}."
        )
    samples = map_with_progress(dataset.__getitem__, chosen, 1, f"Explaining {split} images")
    meta = dataset.metainfo
    yield from explanations(model, samples, meta.get("classes"), meta.get("palette"))


def split_dataset(cfg: Config, split: str) -> Any:
    """Build the data set of a split of a config.

    Args:
        cfg: The config.
        split: 'train', 'val' or 'test'.

    Returns:
        Any: The data set; of 'train' with the pipeline of 'val', and each image once.

    Raises:
        ValueError: If the config has no such split.
    """
    if split not in SPLITS or not cfg.get(f"{split}_dataloader"):
        there = [name for name in SPLITS if cfg.get(f"{name}_dataloader")]
        raise ValueError(
            f"Expected `split` to be one of {', '.join(there)}, which the config has, but got "
            f"{split!r}."
        )
    init_default_scope(cfg.get("default_scope") or "mmseg")
    settings = copy.deepcopy(cfg[f"{split}_dataloader"].dataset)
    while settings["type"] == "RepeatDataset":
        settings = settings["dataset"]
    return whole_images(cfg, settings) if split == "train" else DATASETS.build(settings)


@torch.no_grad()
def explanations(
    model: Any,
    samples: Iterable[Any],
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> Iterator[Explanation]:
    """Explain predictions on what a pipeline has made of images.

    Args:
        model: The segmentor with a `ProtoDecodeHead`, in evaluation mode.
        samples: What the pipeline packs, one image each, with `img_path`.
        classes: Names of the classes. Defaults to None: those that the model was trained with.
        palette: RGB colour of each class. Defaults to None: likewise.

    Yields:
        Explanation: That of each image.
    """
    view = explaining_view(model)
    head = last_head(view)
    meta = getattr(model, "dataset_meta", None) or {}
    if classes is None:
        classes = meta.get("classes", [str(c) for c in range(head.num_classes)])
    palette = meta.get("palette") if palette is None else palette
    for sample in samples:
        (predicted,) = view.test_step(pseudo_collate([sample]))
        size = tuple(predicted.pred_sem_seg.data.shape[1:])
        yield explanation_of(
            predicted,
            image_of(predicted.img_path, size),
            float(head.prototype_classifier.score_scale.value()),
            classes,
            head.ignore_index,
            palette,
        )
