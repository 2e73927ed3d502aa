"""Converts the official release of ADE20K-full to label maps that hold the rank of each class."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmseg_proto.datasets.ade20k_full import IGNORED, LABEL_FOLDER

from .progress import first_line, map_with_progress
from .restricted_pickle import load_plain_pickle
from .whole_files import written_whole

INDEX = "index_ade20k.pkl"
SPLITS = ("training", "validation")

Labels = npt.NDArray[np.uint16]


class Pair(NamedTuple):
    """An image of the index.

    Attributes:
        split: 'training' or 'validation'.
        stem: Path of the image below the folder of the split, without suffix.
    """

    split: str
    stem: str


class RankedClass(NamedTuple):
    """A class of both splits.

    Attributes:
        name: Its name in the release.
        position: Its position in the release's list of objects, counted from 1 as in the masks.
        training_pixels: Pixels of it in the training split, by which classes are ranked.
        validation_pixels: Pixels of it in the validation split.
    """

    name: str
    position: int
    training_pixels: int
    validation_pixels: int


class Conversion(NamedTuple):
    """What was converted.

    Attributes:
        classes: Classes, the most frequent one first.
        pairs: Pairs that were written.
        problems: What was left out, one line each.
    """

    classes: list[RankedClass]
    pairs: list[Pair]
    problems: list[str]


def convert_ade20k_full(root: Path, *, workers: int = 1) -> Conversion:
    """Writes ranked label maps, the list of classes and the lists of pairs into the release.

    A class is kept if it has pixels in the training and in the validation split; the rank is that
    of its training pixels, the release's order where they are equal. Images stay where they are.
    Pairs that are missing or damaged are left out and listed. The lists are written last, so that
    a conversion that was cut short cannot be taken for a whole one.

    Args:
        root: Folder of the release, ``ADE20K_2021_17_01``.
        workers: Processes.

    Returns:
        Conversion: Classes, pairs and problems, which are also in ``annotations_ranked/``.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError: If the index is not what it should be, or no pair can be read.
    """
    out = root / LABEL_FOLDER
    names, pairs, problems = _read_index(root / INDEX)
    _remove_lists(out)
    sums = {split: np.zeros(len(names) + 1, dtype=np.int64) for split in SPLITS}
    readable = []
    count = partial(_count_pixels, root, len(names))
    for pair, counted in zip(
        pairs, map_with_progress(count, pairs, workers, "Counting"), strict=True
    ):
        if isinstance(counted, str):
            problems.append(counted)
        else:
            values, pixels = counted
            sums[pair.split][values] += pixels
            readable.append(pair)
    classes = _rank(names, sums["training"], sums["validation"])
    if not classes:
        raise ValueError(
            f"Expected {root} to hold pairs of both splits with a class in common, but "
            f"{len(readable)} of {len(pairs)} could be read. " + " ".join(problems[:3])
        )
    write = partial(_write_ranks, root, _rank_of_index(classes, len(names)))
    for _ in map_with_progress(write, readable, workers, "Writing"):
        pass
    _write_lists(out, classes, readable, problems)
    return Conversion(classes, readable, problems)


def _read_index(path: Path) -> tuple[list[str], list[Pair], list[str]]:
    """Names of objects, pairs, and what is wrong with others."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the index of the release at {path}, but it is not there. Name the folder "
            "that was unpacked, ADE20K_2021_17_01."
        )
    index = load_plain_pickle(path)
    keys = ("filename", "folder", "objectnames")
    missing = [key for key in keys if not isinstance(index, dict) or key not in index]
    if missing or len(index["filename"]) != len(index["folder"]):
        raise ValueError(
            f"Expected {path} to hold {', '.join(keys)}, with as many files as folders, but got "
            f"{sorted(index) if isinstance(index, dict) else type(index).__name__}."
        )
    pairs, problems = [], []
    for folder, file in zip(index["folder"], index["filename"], strict=True):
        parts = (*PurePosixPath(str(folder)).parts, str(file))
        start = parts.index("images") + 1 if "images" in parts else len(parts)
        # images/ADE/SPLIT/...; what a folder above is called is up to who unpacked it.
        inside = parts[start:]
        plain = ".." not in inside and not any("/" in part for part in inside)
        if len(inside) < 3 or inside[1] not in SPLITS or not plain:
            problems.append(f"{folder}/{file}: not in images/ADE/training or images/ADE/validation")
        else:
            stem = PurePosixPath(*inside[2:]).with_suffix("").as_posix()
            pairs.append(Pair(inside[1], stem))
    return [str(name) for name in index["objectnames"]], pairs, problems


def read_objects(path: Path, size: tuple[int, int] | None = None) -> Labels:
    """Reads which object each pixel of a mask of the release belongs to.

    Red holds the hundreds in steps of 10, green the rest: ``R // 10 * 256 + G``. Blue tells
    instances apart.

    Args:
        path: The file ``*_seg.png``.
        size: Width and height that it must have; None for any.

    Returns:
        Labels: Positions in the list of objects counted from 1, 0 for none, shape ``(H, W)``.

    Raises:
        OSError: If it is missing or damaged.
        ValueError: If it is no colour image or has another size.
    """
    with Image.open(path) as image:
        if image.mode != "RGB" or size not in (None, image.size):
            raise ValueError(f"expected RGB of {size}, got {image.mode} of {image.size}")
        colours = np.asarray(image)
    objects: Labels = colours[..., 0].astype(np.uint16) // 10 * 256 + colours[..., 1]
    return objects


def _image_path(root: Path, pair: Pair) -> Path:
    return root / "images" / "ADE" / pair.split / f"{pair.stem}.jpg"


def _mask_path(root: Path, pair: Pair) -> Path:
    return root / "images" / "ADE" / pair.split / f"{pair.stem}_seg.png"


def _count_pixels(
    root: Path, num_objects: int, pair: Pair
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] | str:
    """Values of a mask and how many pixels have each, or what is wrong with the pair."""
    path = _image_path(root, pair)
    try:
        with Image.open(path) as image:
            image.load()  # the header alone does not tell a file that was cut short
            size = image.size
        path = _mask_path(root, pair)
        counts = np.bincount(read_objects(path, size).reshape(-1))
    except (OSError, ValueError, SyntaxError) as error:
        return f"{path.relative_to(root)}: {_what_is_wrong(error)}"
    values = counts.nonzero()[0]
    if values[-1] > num_objects:
        return f"{path.relative_to(root)}: object {values[-1]}, but there are {num_objects}"
    return values, counts[values]


def _what_is_wrong(error: Exception) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else f"damaged ({first_line(error)})"


def _rank(
    names: Sequence[str], training: npt.NDArray[np.int64], validation: npt.NDArray[np.int64]
) -> list[RankedClass]:
    kept = [i for i in range(1, len(training)) if training[i] and validation[i]]
    kept.sort(key=lambda i: (-training[i], i))
    return [RankedClass(names[i - 1], i, int(training[i]), int(validation[i])) for i in kept]


def _rank_of_index(classes: Iterable[RankedClass], num_objects: int) -> Labels:
    ranks = np.full(num_objects + 1, IGNORED, dtype=np.uint16)
    for rank, kept in enumerate(classes):
        ranks[kept.position] = rank
    return ranks


def _write_ranks(root: Path, ranks: Labels, pair: Pair) -> None:
    path = root / LABEL_FOLDER / pair.split / f"{pair.stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as draft:
        Image.fromarray(ranks[read_objects(_mask_path(root, pair))]).save(draft, format="PNG")


def _lists(out: Path) -> dict[str, Path]:
    files = ("classes.json", "problems.txt", *(f"{split}.txt" for split in SPLITS))
    return {name: out / name for name in files}


def _remove_lists(out: Path) -> None:
    for path in _lists(out).values():
        path.unlink(missing_ok=True)


def _write_lists(
    out: Path, classes: Sequence[RankedClass], pairs: Sequence[Pair], problems: Sequence[str]
) -> None:
    paths = _lists(out)
    for split in SPLITS:
        _write_lines(paths[f"{split}.txt"], [pair.stem for pair in pairs if pair.split == split])
    _write_lines(paths["problems.txt"], problems)
    entries: list[dict[str, Any]] = [ranked._asdict() for ranked in classes]
    _write_lines(paths["classes.json"], [json.dumps(entries, indent=1)])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with written_whole(path) as draft:
        draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
