"""Tiny folders in the layouts of the data sets of the recipes, and a config's overrides for them.

Labels are those of the real files: ADE20K counts from 1 and keeps 0 for what is ignored; Cityscapes
has trainIds, with 255 for what is ignored, beside label ids that nobody may read; COCO-Stuff 10k
counts its 171 classes from 1, as the host's converter writes them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

TILE = 16
ROWS, COLUMNS = 4, 5


class Layout(NamedTuple):
    """Where a data set keeps a pair, and which values its labels have.

    Attributes:
        image: Path of an image, of its split and index.
        label: Path of its label.
        values: Values of classes in label files.
        ignored: Value of what is ignored.
    """

    image: Callable[[str, int], str]
    label: Callable[[str, int], str]
    values: range
    ignored: int


def _ade(kind: str, suffix: str) -> Callable[[str, int], str]:
    splits = {"train": "training", "val": "validation"}
    prefixes = {"train": "ADE_train", "val": "ADE_val"}
    return lambda split, index: f"{kind}/{splits[split]}/{prefixes[split]}_{index + 1:08d}.{suffix}"


def _cityscapes(kind: str, suffix: str) -> Callable[[str, int], str]:
    cities = {"train": ("aachen", "zurich"), "val": ("frankfurt", "lindau")}

    def path(split: str, index: int) -> str:
        city = cities[split][index % 2]
        return f"{kind}/{split}/{city}/{city}_{index:06d}_000019_{suffix}.png"

    return path


def _coco(kind: str, suffix: str) -> Callable[[str, int], str]:
    folders = {"train": "train2014", "val": "test2014"}
    # Both splits of the 10k release come from COCO's train2014, and keep its names.
    return lambda split, index: f"{kind}/{folders[split]}/COCO_train2014_{index:012d}{suffix}"


LAYOUTS = {
    "ade": Layout(_ade("images", "jpg"), _ade("annotations", "png"), range(1, 151), 0),
    "cityscapes": Layout(
        _cityscapes("leftImg8bit", "leftImg8bit"),
        _cityscapes("gtFine", "gtFine_labelTrainIds"),
        range(19),
        255,
    ),
    "coco_stuff10k": Layout(
        _coco("images", ".jpg"), _coco("annotations", "_labelTrainIds.png"), range(1, 172), 0
    ),
}


def make_folder(data_set: str, root: Path, *, train: int = 4, val: int = 2, seed: int = 0) -> Path:
    """Draw images of 64x80 pixels made of 16-pixel tiles, one class and colour per tile.

    Args:
        data_set: Key of `LAYOUTS`.
        root: Folder in which the data root is made.
        train: Number of training images.
        val: Number of validation images.
        seed: Seed of classes and colours.

    Returns:
        The data root to write into a config.
    """
    layout = LAYOUTS[data_set]
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    data_root = root / data_set
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            tiles = rng.integers(
                layout.values.start, layout.values.stop, (ROWS, COLUMNS), dtype=np.uint8
            )
            tiles[0, 0] = layout.ignored
            labels = tiles.repeat(TILE, axis=0).repeat(TILE, axis=1)
            image, label = layout.image(split, index), layout.label(split, index)
            _save(colours[labels], data_root / image)
            _save(labels, data_root / label)
            if data_set == "cityscapes":
                other = label.replace("labelTrainIds", "labelIds")
                _save(np.full_like(labels, 33), data_root / other)
    return data_root


def _save(pixels: np.ndarray[Any, np.dtype[np.uint8]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def tiny_options(data_root: Path) -> list[str]:
    """Shrink the SegFormer recipe to three iterations on a CPU; MiT-B4 keeps its widths and depths.

    Overridden are sizes, pretrained weights, workers, and SyncBN, which needs a GPU.

    Args:
        data_root: What `make_folder` returned.

    Returns:
        Arguments for the host's train and test scripts.
    """
    options = {
        "model.data_preprocessor.size": "(64,64)",
        "model.backbone.init_cfg": "None",
        "model.decode_head.norm_cfg.type": "BN",
        "train_dataloader.dataset.pipeline.2.scale": "(256,64)",
        "train_dataloader.dataset.pipeline.3.crop_size": "(64,64)",
        "train_cfg.max_iters": "3",
        "train_cfg.val_interval": "3",
        "default_hooks.logger.interval": "1",
        "default_hooks.checkpoint.save_optimizer": "False",
    }
    for split in ("train", "val", "test"):
        options[f"{split}_dataloader.dataset.data_root"] = str(data_root)
        options[f"{split}_dataloader.num_workers"] = "0"
        options[f"{split}_dataloader.persistent_workers"] = "False"
    for split in ("val", "test"):
        options[f"{split}_dataloader.dataset.pipeline.1.scale"] = "(256,64)"
    return ["--cfg-options", *(f"{key}={value}" for key, value in options.items())]


def shrink(config: Any, data_root: Path, work_dir: Path, *, iterations: int = 2) -> None:
    """Let any recipe run on a CPU and a tiny folder; its model keeps its widths and depths.

    Overridden are sizes, pretrained weights, workers, lengths, and SyncBN, which needs a GPU.

    Args:
        config: Config of the host, changed in place.
        data_root: What `make_folder` returned.
        work_dir: Where logs go.
        iterations: Training iterations, with a validation after the last.
    """
    _replace_value(config, "SyncBN", "BN")
    config.work_dir = str(work_dir)
    model = config.model
    model.data_preprocessor.size = (64, 64)
    model.pretrained = None
    model.backbone.init_cfg = None
    if model.test_cfg.mode == "slide":
        model.test_cfg.update(crop_size=(64, 64), stride=(48, 48))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = config[name]
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(data_root)
        for step in loader.dataset.pipeline:
            if "scale" in step:
                step.scale = (256, 64)
            if "crop_size" in step:
                step.crop_size = (64, 64)
    # One image a GPU is too few for BatchNorm on a single pooled value, and there is one process.
    config.train_dataloader.batch_size = 2
    config.train_cfg.update(max_iters=iterations, val_interval=iterations)
    config.default_hooks.logger.interval = 1
    config.default_hooks.checkpoint = None


def _replace_value(node: Any, old: str, new: str) -> None:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        if value == old:
            node[key] = new
        elif isinstance(value, dict | list):
            _replace_value(value, old, new)
