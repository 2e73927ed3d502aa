"""Looks at every pair of a config's data sets before anything is trained on them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS
from PIL import Image, UnidentifiedImageError
from rich.table import Table

from mmseg_proto.datasets import LoadWideAnnotations

from .config_swap import last_stage
from .foreign_text import for_picture, for_terminal
from .progress import first_line, map_with_progress

#: Values of a file that a message names before it says "and more".
_SHOWN = 5
_SPLITS = ("train", "val", "test")


class PairReport(NamedTuple):
    """What one pair is like.

    Attributes:
        problem: What is wrong with it, or None.
        pixels: Pixels of each class, shape ``(C,)``; zeros where the label cannot be read.
        ignored: Ignored pixels.
    """

    problem: str | None
    pixels: npt.NDArray[np.int64]
    ignored: int


class SplitReport(NamedTuple):
    """What a data set is like.

    Attributes:
        name: 'train', 'val' or 'test'.
        pairs: Number of pairs.
        problems: One line for each bad pair, and for what is wrong with the whole.
        classes: Names of the classes.
        pixels: Pixels of each class, shape ``(C,)``.
        images: Images in which each class is, shape ``(C,)``.
        ignored: Ignored pixels.
    """

    name: str
    pairs: int
    problems: list[str]
    classes: tuple[str, ...]
    pixels: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    ignored: int


def check_datasets(
    cfg: Config, *, splits: Sequence[str] = ("train", "val"), workers: int = 1
) -> list[SplitReport]:
    """Look at every image and label of a config's data sets.

    Labels are loaded by the transform of the config's own pipeline, so that what is checked is what
    training sees, `reduce_zero_label` and label maps included.

    Args:
        cfg: Config of a model with a decode head.
        splits: Which of its data sets to look at.
        workers: Processes.

    Returns:
        list[SplitReport]: One for each split.

    Raises:
        ValueError: If the config has no such split, or its data set cannot be looked into.
    """
    init_default_scope(cfg.get("default_scope") or "mmseg")
    head = last_stage(cfg.model.decode_head)
    num_classes, ignore_index = head["num_classes"], head.get("ignore_index", 255)
    reports = []
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        if split not in _SPLITS or not loader:
            raise ValueError(f"Expected the config to have a {split}_dataloader, but it has none.")
        dataset = DATASETS.build(loader["dataset"])
        look = partial(look_at_pair, num_classes=num_classes, ignore_index=ignore_index)
        reports.append(_check_split(split, dataset, look, num_classes, workers))
    return reports


def look_at_pair(
    pair: tuple[Mapping[str, Any], LoadAnnotations], num_classes: int, ignore_index: int | None
) -> PairReport:
    """Read an image and its label, and compare them with each other and with the classes.

    Args:
        pair: What the data set knows of the pair, and the transform that loads its label.
        num_classes: Number of classes C.
        ignore_index: Label that is ignored, or None.

    Returns:
        PairReport: What it is like.
    """
    info, load = pair
    nothing = PairReport(None, np.zeros(num_classes, dtype=np.int64), 0)
    image, label = str(info["img_path"]), str(info.get("seg_map_path"))
    pictures = []
    for path in (image, label):
        picture = _picture(path)
        if isinstance(picture, str):
            return nothing._replace(problem=f"{path}: {picture}")
        pictures.append(picture)
    (size, _), (label_size, mode) = pictures
    if size != label_size:
        said = f"{label_size[0]}x{label_size[1]}, but its image {size[0]}x{size[1]}"
        return nothing._replace(problem=f"{label}: {said}")
    if mode.startswith("I") and not isinstance(load, LoadWideAnnotations):
        said = f"16 bits, of which {type(load).__name__} keeps 8; load it with LoadWideAnnotations"
        return nothing._replace(problem=f"{label}: {said}")
    try:
        labels = load({**info, "seg_fields": []})["gt_seg_map"].astype(np.int64)
    except (OSError, ValueError, AssertionError, IndexError) as error:
        return nothing._replace(problem=f"{label}: cannot be loaded ({first_line(error)})")
    if labels.ndim != 2:
        return nothing._replace(problem=f"{label}: {labels.shape[-1]} channels, expected one")
    return _count(label, labels, num_classes, ignore_index)


def _count(
    path: str, labels: npt.NDArray[np.int64], num_classes: int, ignore_index: int | None
) -> PairReport:
    values, counts = np.unique(labels, return_counts=True)
    inside = (values >= 0) & (values < num_classes) & (values != ignore_index)
    pixels = np.zeros(num_classes, dtype=np.int64)
    pixels[values[inside]] = counts[inside]
    ignored = int(counts[values == ignore_index].sum())
    wrong = values[~inside & (values != ignore_index)].tolist()
    if not wrong:
        return PairReport(None, pixels, ignored)
    shown = ", ".join(map(str, wrong[:_SHOWN])) + (" and more" if len(wrong) > _SHOWN else "")
    bound = f"0 to {num_classes - 1}" + ("" if ignore_index is None else f" or {ignore_index}")
    return PairReport(f"{path}: labels {shown}, expected {bound}", pixels, ignored)


def _check_split(name: str, dataset: Any, look: Any, num_classes: int, workers: int) -> SplitReport:
    pairs = list(_pairs(dataset))
    names = tuple(map(str, dataset.metainfo.get("classes") or range(num_classes)))
    problems = []
    if len(names) != num_classes:
        problems.append(
            f"{type(dataset).__name__} has {len(names)} classes, but num_classes is {num_classes}"
        )
        names = tuple(map(str, range(num_classes)))
    if not pairs:
        problems.append(f"{type(dataset).__name__} has no pairs")
    pixels = np.zeros(num_classes, dtype=np.int64)
    images, ignored = pixels.copy(), 0
    for report in map_with_progress(look, pairs, workers, f"Looking at {name}"):
        if report.problem:
            problems.append(report.problem)
        pixels += report.pixels
        images += report.pixels > 0
        ignored += report.ignored
    return SplitReport(name, len(pairs), problems, names, pixels, images, ignored)


def _pairs(dataset: Any) -> Iterator[tuple[Mapping[str, Any], LoadAnnotations]]:
    """What a data set knows of its pairs, and how it loads labels; wrappers are looked into."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner != [None]:
        for part in inner:
            yield from _pairs(part)
        return
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", [])
    load = next((step for step in steps if isinstance(step, LoadAnnotations)), None)
    if load is None or not hasattr(dataset, "get_data_info"):
        raise ValueError(
            f"Expected {type(dataset).__name__} to load labels from files by a LoadAnnotations in "
            "its pipeline, but found none."
        )
    for index in range(len(dataset)):
        yield dataset.get_data_info(index), load


def _picture(path: str) -> tuple[tuple[int, int], str] | str:
    """Size and mode of a picture that can be read to its end, or what is wrong with it."""
    try:
        with Image.open(path) as picture:
            picture.load()  # the header alone does not tell a file that was cut short
            return picture.size, picture.mode
    except FileNotFoundError:
        return "missing"
    except UnidentifiedImageError:
        return "no picture"
    except (OSError, ValueError, SyntaxError) as error:
        return f"damaged ({first_line(error)})"


def as_data(report: SplitReport) -> dict[str, Any]:
    """Put a report into plain data for JSON."""
    return {
        "split": report.name,
        "pairs": report.pairs,
        "problems": report.problems,
        "ignored_pixels": report.ignored,
        "classes": [
            {"name": name, "pixels": int(pixels), "images": int(images)}
            for name, pixels, images in zip(
                report.classes, report.pixels, report.images, strict=True
            )
        ],
    }


def frequency_table(report: SplitReport) -> Table:
    """Draw how often each class is there, the most frequent one first."""
    total = max(1, int(report.pixels.sum()) + report.ignored)
    table = Table(
        title=f"{report.name}: {report.pairs} pairs, {report.ignored / total:.1%} ignored"
    )
    table.add_column("class")
    for column in ("pixels", "share", "images"):
        table.add_column(column, justify="right")
    for index in np.argsort(-report.pixels, kind="stable").tolist():
        pixels = int(report.pixels[index])
        row = (for_terminal(report.classes[index]), f"{pixels:,}", f"{pixels / total:.3%}")
        table.add_row(*row, str(report.images[index]), style=None if pixels else "red")
    return table


def draw_frequencies(reports: Sequence[SplitReport], file: Path) -> None:
    """Draw the share of each class in each split, on a logarithmic scale.

    Args:
        reports: Reports of splits with the same classes.
        file: Picture to write; its suffix says the format.
    """
    from matplotlib.figure import Figure

    order = np.argsort(-reports[0].pixels, kind="stable")
    figure = Figure(figsize=(8, max(2.5, 0.22 * len(order) + 1)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(reports)
    for place, report in enumerate(reports):
        shares = report.pixels[order] / max(1, int(report.pixels.sum()))
        offset = np.arange(len(order)) + (place - (len(reports) - 1) / 2) * height
        axes.barh(offset, shares, height=height, label=report.name)
    names = [for_picture(reports[0].classes[index]) for index in order]
    axes.set_yticks(np.arange(len(order)), names, fontsize=8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("share of labelled pixels")
    axes.legend()
    figure.savefig(file, dpi=120)
