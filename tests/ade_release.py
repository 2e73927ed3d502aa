"""A tiny folder in the layout of the ADE20K-full release, index and encoding included."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

#: Objects of the release, of which masks hold the position counted from 1.
OBJECTS = 1000


def encode(objects: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Colours of the release: hundreds in red in steps of 10, the rest in green, instances in blue.

    Args:
        objects: Positions counted from 1, 0 for none.
    """
    blue = np.full_like(objects, 7)
    return np.stack([objects // 256 * 10, objects % 256, blue], axis=-1).astype(np.uint8)


def make_release(
    root: Path,
    *,
    train: int = 6,
    val: int = 6,
    objects: int = OBJECTS,
    tile: int = 8,
    protocol: int = 4,
) -> Path:
    """Draw images of 64x80 pixels in square tiles, one object and colour per tile.

    Args:
        root: Folder in which ``ADE20K_2021_17_01`` is made.
        train: Number of training images.
        val: Number of validation images.
        objects: Objects that occur in the masks.
        tile: Side of a tile, in pixels.
        protocol: Protocol of the pickled index.

    Returns:
        Folder of the release.
    """
    rng = np.random.default_rng(0)
    release = root / "ADE20K_2021_17_01"
    folders, files = [], []
    for split, count in (("training", train), ("validation", val)):
        for index in range(count):
            inside = f"images/ADE/{split}/{('urban', 'nature_landscape')[index % 2]}/street"
            name = f"ADE_{split[:5]}_{index:08d}"
            folders.append(f"ADE20K_2021_17_01/{inside}")
            files.append(f"{name}.jpg")
            tiles = rng.integers(0, objects + 1, (64 // tile, 80 // tile))
            mask = encode(tiles.repeat(tile, axis=0).repeat(tile, axis=1))
            folder = release / inside
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / f"{name}_seg.png")
            Image.fromarray(mask[..., ::-1].copy()).save(folder / f"{name}.jpg")
            # Instances lie in a folder of the image's name, as PNG files that nobody here reads.
            (folder / name).mkdir()
            Image.fromarray(mask[..., 0]).save(folder / name / f"instance_000_{name}.png")
    write_index(release, folders, files, protocol=protocol)
    return release


def write_index(release: Path, folders: list[str], files: list[str], **options: Any) -> None:
    """Pickle an index with the keys of the release that are read, and some that are not.

    Args:
        release: Folder of the release.
        folders: Folder of each image, as the release names it.
        files: File name of each image.
        **options: Of `pickle.dump`.
    """
    index = {
        "filename": files,
        "folder": folders,
        "objectnames": [f"object {i}" for i in range(1, OBJECTS + 1)],
        "objectPresence": np.zeros((OBJECTS, len(files)), dtype=np.float64),
        "scene": np.array(["/street"] * len(files), dtype=object),
        "counts": [np.float64(1.5)],
    }
    with (release / "index_ade20k.pkl").open("wb") as file:
        pickle.dump(index, file, **options)
