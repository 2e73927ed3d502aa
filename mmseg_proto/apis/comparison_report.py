"""What is shown of a comparison: a table, pictures, and a section of the report."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from mmseg_proto.visualization.comparison_picture import draw_comparison

from .accuracy_report import rich_table
from .confusion import ious, top_confusions
from .model_comparison import Comparison, Example
from .report_pictures import Picture, data_address
from .whole_files import expect_new_file, write_json, write_png

_WIDEST = 1400


def comparison_rows(found: Comparison) -> list[dict[str, str]]:
    """Put the IoU of each class, and what it is most often taken for, into words.

    Args:
        found: The comparison.

    Returns:
        list[dict[str, str]]: For each class `name`, `first`, `second`, `delta`,
        `first_confusions` and `second_confusions`.
    """
    first, second = (ious(part) for part in found.confusion)
    return [
        {
            "name": name,
            "first": _shown(float(first[c])),
            "second": _shown(float(second[c])),
            "delta": _shown(float(second[c] - first[c]), "+.1f"),
            "first_confusions": _confused(found, 0, c),
            "second_confusions": _confused(found, 1, c),
        }
        for c, name in enumerate(found.classes)
    ]


def comparison_table(found: Comparison) -> Table:
    """Draw the comparison for a terminal."""
    rows = [list(row.values()) for row in comparison_rows(found)]
    means = _means(found)
    rows.append(["mIoU", *(f"{mean:.2f}" for mean in means), f"{means[1] - means[0]:+.2f}", "", ""])
    head = ["class", *found.names, "difference", *(f"{name} takes it for" for name in found.names)]
    return rich_table(f"IoU (%) on {found.images} validation images", head, rows)


def comparison_context(found: Comparison) -> dict[str, Any]:
    """Prepare the section of the report.

    Args:
        found: The comparison.

    Returns:
        dict[str, Any]: What the template fills in.
    """
    return {
        "names": found.names,
        "num_images": found.images,
        "means": [f"{mean:.2f}" for mean in _means(found)],
        "rows": comparison_rows(found),
        "examples": [
            {
                "picture": data_address(example_picture(found, example), _WIDEST),
                "text": _told(found, example),
            }
            for example in found.examples
        ],
    }


def example_picture(found: Comparison, example: Example) -> Picture:
    """Draw an image on which the models disagree."""
    maps = example.truth, example.first, example.second
    return draw_comparison(
        _told(found, example), example.image, maps, found.names, found.classes, found.palette
    )


def comparison_data(found: Comparison) -> dict[str, Any]:
    """Put a comparison into plain data for JSON.

    Args:
        found: The comparison.

    Returns:
        dict[str, Any]: IoU in percent, None for a class that is nowhere; shares in [0, 1].
    """
    both = [ious(part) for part in found.confusion]
    named = ("first", "second")
    return {
        "models": dict(zip(named, found.names, strict=True)),
        "images": found.images,
        "mIoU": dict(zip(named, map(_plain, _means(found)), strict=True)),
        "classes": [
            {
                "name": name,
                "pixels": int(found.confusion[0, c].sum()),
                "IoU": {
                    which: _plain(float(one[c])) for which, one in zip(named, both, strict=True)
                },
                "delta": _plain(float(both[1][c] - both[0][c])),
                "taken_for": {
                    which: [
                        {"class": found.classes[one.predicted], "share": one.share}
                        for one in top_confusions(part, 3, c)
                    ]
                    for which, part in zip(named, found.confusion, strict=True)
                },
            }
            for c, name in enumerate(found.classes)
        ],
        "confusion": dict(zip(named, found.confusion.tolist(), strict=True)),
        "examples": [
            {"name": one.name, "gained": one.gained, "lost": one.lost} for one in found.examples
        ],
    }


def write_comparison(found: Comparison, folder: Path, *, force: bool = False) -> None:
    """Write `comparison.json` and a picture of each example.

    Args:
        found: The comparison.
        folder: Where to write; made if it is not there.
        force: Whether to overwrite files. Defaults to False.

    Raises:
        FileExistsError: If there is a comparison already.
    """
    expect_new_file(folder / "comparison.json", force=force)
    folder.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(found.examples, 1):
        write_png(folder / f"{number}_{example.name}.png", example_picture(found, example))
    write_json(folder / "comparison.json", comparison_data(found))


def _means(found: Comparison) -> list[float]:
    """MIoU of both models in percent."""
    return [float(np.nanmean(ious(part))) for part in found.confusion]


def _confused(found: Comparison, model: int, label: int) -> str:
    shares = top_confusions(found.confusion[model], 2, label)
    return ", ".join(
        f"{found.classes[one.predicted]} {100 * one.share:.0f} %"
        for one in shares
        if one.share >= 0.005
    )


def _told(found: Comparison, example: Example) -> str:
    first, second = found.names
    return (
        f"{example.name}: {example.gained:,} pixels only {second} gets right, "
        f"{example.lost:,} only {first}"
    )


def _plain(value: float) -> float | None:
    """What JSON can say: it knows no NaN."""
    return None if value != value else value


def _shown(value: float, form: str = ".1f") -> str:
    return "-" if value != value else format(value, form)
