"""A tiny folder in the layout of ADE20K (SceneParse150), and a config's overrides to run on it."""

from pathlib import Path

import numpy as np
from PIL import Image

NUM_CLASSES = 150


def make_ade_folder(root: Path, *, train: int = 4, val: int = 2, seed: int = 0) -> Path:
    """Draw images of 64x80 pixels made of 16-pixel tiles, one class and colour per tile.

    Args:
        root: Folder in which ``ADEChallengeData2016`` is made.
        train: Number of training images.
        val: Number of validation images.
        seed: Seed of classes and colours.

    Returns:
        The data root to write into a config.
    """
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (NUM_CLASSES + 1, 3), dtype=np.uint8)
    data_root = root / "ADEChallengeData2016"
    for split, count in (("training", train), ("validation", val)):
        images = data_root / "images" / split
        annotations = data_root / "annotations" / split
        images.mkdir(parents=True)
        annotations.mkdir(parents=True)
        for index in range(count):
            tiles = rng.integers(0, NUM_CLASSES + 1, (4, 5), dtype=np.uint8)
            tiles[0, 0] = 0  # every image has some background, which ADE20K ignores
            labels = tiles.repeat(16, axis=0).repeat(16, axis=1)
            Image.fromarray(colours[labels]).save(images / f"{index:08d}.jpg")
            Image.fromarray(labels).save(annotations / f"{index:08d}.png")
    return data_root


def tiny_options(data_root: Path) -> list[str]:
    """Shrink the SegFormer recipe to three iterations on a CPU; MiT-B4 keeps its widths and depths.

    Overridden are sizes, pretrained weights, workers, and SyncBN, which needs a GPU.

    Args:
        data_root: What `make_ade_folder` returned.

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
