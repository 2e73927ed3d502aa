"""What the commands that change classes have in common: compare, say, and write JSON."""

import math
from collections.abc import Callable
from typing import Any

from rich.console import Console

from .accuracy_report import rich_table
from .class_edit import EditedCheckpoint, Target
from .foreign_text import for_terminal
from .validation import evaluate_classes
from .whole_files import expect_new_file, write_json

_SAME_PIXELS = "after, its pixels ignored"


def run(arguments: Any, edit: Callable[[Target], EditedCheckpoint]) -> dict[str, Any]:
    """Edit the classes of a model, and validate it before and after.

    Args:
        arguments: Of the command: `config`, `checkpoint`, `out`, `device`, `force`, `json` and
            `no_evaluation`.
        edit: What is to be done.

    Returns:
        dict[str, Any]: What was written, and IoU by class before and after, for `show`.

    Raises:
        FileExistsError: If the JSON file is there, before anything is done.
    """
    if arguments.json is not None:
        expect_new_file(arguments.json, force=arguments.force)
    target = Target(
        arguments.config, arguments.checkpoint, arguments.out, arguments.device, arguments.force
    )
    edited = edit(target)
    found: dict[str, Any] = {
        "config": str(edited.config),
        "checkpoint": str(edited.checkpoint),
        "classes": list(edited.change.names),
        "notes": edited.notes,
    }
    if not arguments.no_evaluation:
        found |= compare(target, edited)
    if arguments.json is not None:
        write_json(arguments.json, found)
    return found


def compare(target: Target, edited: EditedCheckpoint) -> dict[str, Any]:
    """Validate a model before and after its classes were changed, each with its own labels.

    Args:
        target: The model before.
        edited: The model after.

    Returns:
        dict[str, Any]: IoU in percent by class `before` and `after`, None for one without pixels,
        and the mean over the old classes that are still there. With a new class also
        `after, its pixels ignored`, which counts the pixels that counted before.
    """
    change = edited.change
    pairs = list(zip(change.names, change.sources, strict=True))
    new = [name for name, source in pairs if source is None]
    before, _ = evaluate_classes(target.config, target.checkpoint)
    after, same_pixels = evaluate_classes(edited.config, edited.checkpoint, new)
    scores = {"before": _renamed(before, edited), "after": after}
    if new:
        scores[_SAME_PIXELS] = {name: iou for name, iou in same_pixels.items() if name not in new}
    stay = [name for name, source in pairs if source is not None]
    means = {when: _mean([ious.get(name) for name in stay]) for when, ious in scores.items()}
    tidy = {when: {n: _number(iou) for n, iou in ious.items()} for when, ious in scores.items()}
    return {"IoU": tidy, "mIoU of the old classes": means}


def _renamed(ious: dict[str, float], edited: EditedCheckpoint) -> dict[str, float]:
    """Name old classes as they are called now."""
    change = edited.change
    sources = zip(change.names, change.sources, strict=True)
    now = {change.old_names[s]: name for name, s in sources if s is not None}
    return {now.get(name, name): iou for name, iou in ious.items()}


def _mean(ious: list[float | None]) -> float | None:
    there = [iou for iou in ious if iou is not None and not math.isnan(iou)]
    return sum(there) / len(there) if there else None


def _number(iou: float) -> float | None:
    return None if math.isnan(iou) else iou


def show(found: dict[str, Any]) -> None:
    """Print what `run` returned."""
    console = Console()
    for note in found["notes"]:
        print_line(console, f"{note}.")
    if "IoU" in found:
        columns, means = found["IoU"], found["mIoU of the old classes"]
        names = list(dict.fromkeys(name for ious in columns.values() for name in ious))
        rows = [[name, *(_shown(ious.get(name)) for ious in columns.values())] for name in names]
        rows.append(["old classes, mean", *map(_shown, means.values())])
        console.print(rich_table("IoU (%)", ["class", *columns], rows))
    print_line(console, f"Written: {found['config']} and {found['checkpoint']}")


def print_line(console: Console, text: str) -> None:
    """Print a line as it is: not wrapped, and without markup."""
    console.print(for_terminal(text), soft_wrap=True, markup=False, highlight=False)


def _shown(iou: float | None) -> str:
    return "-" if iou is None else f"{iou:.2f}"
