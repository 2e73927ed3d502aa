"""Reads what training has logged about prototypes, and draws it."""

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from mmseg_proto.hooks.prototype_timeline import TIMELINE
from mmseg_proto.visualization.training_life import Curve, Lives, TrainingLife
from mmseg_proto.visualization.training_picture import training_figure

from .foreign_text import for_picture
from .whole_files import written_whole

#: Letters of a class's name that a picture has room for.
_LONGEST_NAME = 28
_DPI = 110


def read_training_life(work_dir: Path) -> TrainingLife:
    """Read the numbers and timelines of all runs in a work folder, in order of time.

    Where a run goes on from before the end of an earlier one (resuming), what the earlier one did
    from there on is left out. Runs that trained nothing play no part.

    Args:
        work_dir: The `--work-dir` of training, with a folder for each run.

    Returns:
        TrainingLife: What they have logged. Damaged lines, as a killed run leaves its last one,
        are left out with a warning.

    Raises:
        FileNotFoundError: If there is no such folder, or no run in it that has logged anything.
        ValueError: If the runs have logged nothing of training.
    """
    if not work_dir.is_dir():
        raise FileNotFoundError(f"Expected a folder of training runs, but {work_dir} is none.")
    # Folders are named by the time at which they were made.
    scalars = work_dir.glob("*/vis_data/scalars.json")
    folders = sorted(
        {path.parents[1] for path in scalars}
        | {path.parent for path in work_dir.glob(f"*/{TIMELINE}")}
    )
    if not folders:
        raise FileNotFoundError(
            f"Expected {work_dir} to have been the --work-dir of training, but found neither "
            f"*/vis_data/scalars.json nor */{TIMELINE} in it."
        )
    runs = [run for run in map(_read_run, folders) if run.numbers or run.lives]
    if not runs:
        raise ValueError(
            f"Expected runs that have trained, but found no loss and no prototypes in {work_dir}. "
            "Numbers are logged every `interval` iterations of the LoggerHook."
        )
    return _joined(runs)


def draw_training_life(life: TrainingLife, file: Path) -> None:
    """Draw the curves, and below them the timeline of each head, with one row per class.

    Args:
        life: What training has logged.
        file: Picture to write; its suffix says the format, PNG without one.

    Raises:
        ValueError: If matplotlib knows no such format.
    """
    with written_whole(file) as draft:
        draft.write_bytes(training_picture(life, file.suffix[1:] or "png"))


def training_picture(life: TrainingLife, kind: str = "png") -> bytes:
    """Return the picture that `draw_training_life` writes.

    Args:
        life: What training has logged.
        kind: Its format. Defaults to PNG.

    Raises:
        ValueError: If matplotlib knows no such format.
    """
    labels = {head: [_label(name) for name in names] for head, names in life.classes.items()}
    drawn = BytesIO()
    training_figure(life, labels).savefig(drawn, dpi=_DPI, format=kind)
    return drawn.getvalue()


@dataclass
class _Run:
    """What one run has logged.

    Attributes:
        numbers: Name, iteration and number.
        lives: Head and what became of its prototypes.
        classes: Head to names of its classes.
        start: Iterations done before the run; None until it is known.
    """

    numbers: list[tuple[str, int, float]] = field(default_factory=list)
    lives: list[tuple[str, Lives]] = field(default_factory=list)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    start: int | None = None


def _joined(runs: Sequence[_Run]) -> TrainingLife:
    curves: dict[str, dict[int, float]] = {}
    lives: dict[str, list[Lives]] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for run in runs:
        start = run.start or 0
        curves = {
            name: {step: number for step, number in curve.items() if step <= start}
            for name, curve in curves.items()
        }
        # One that ends after the start tells of moves that this run has not seen.
        lives = {head: [x for x in known if x.stop <= start] for head, known in lives.items()}
        for name, step, number in run.numbers:
            curves.setdefault(name, {})[step] = number
        for head, change in run.lives:
            lives.setdefault(head, []).append(change)
        classes.update(run.classes)
    return TrainingLife(
        scalars={name: _curve(curve) for name, curve in sorted(curves.items()) if curve},
        timeline={head: tuple(known) for head, known in lives.items() if known},
        classes=classes,
    )


def _curve(numbers: dict[int, float]) -> Curve:
    steps = sorted(numbers)
    return tuple(steps), tuple(numbers[step] for step in steps)


def _read_run(folder: Path) -> _Run:
    run = _Run()
    for line in _lines(folder / TIMELINE):
        if "classes" in line:
            run.start = line["iteration"]
            run.classes[line["head"]] = tuple(line["classes"])
        else:
            run.lives.append((line["head"], _lives(line)))
    latest, trained = 0, bool(run.lives)
    for line in _lines(folder / "vis_data" / "scalars.json"):
        if "loss" in line:
            trained = True
            if run.start is None:
                run.start = line["step"] - 1
        # Where metrics are logged by epoch, the step of a validation is the epoch.
        latest = max(latest, line.get("step", 0))
        run.numbers += [
            (name, latest, float(number)) for name, number in line.items() if _wanted(name)
        ]
    return run if trained else _Run()


def _wanted(name: str) -> bool:
    last = name.rpartition(".")[2]
    return name == "mIoU" or name.startswith("prototype/") or last.startswith("loss")


def _lives(line: dict[str, Any]) -> Lives:
    return Lives(
        start=line["start"],
        stop=line["stop"],
        born=tuple((label, place) for label, place in line["born"]),
        died=tuple((label, place) for label, place in line["died"]),
        turn=tuple(float("nan") if x is None else x for x in line["turn"]),
        moves=tuple(line["moves"]),
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in the lines of a file, none if it is not there."""
    if not path.is_file():
        return
    damaged = 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            damaged += bool(text.strip())
            continue
        if isinstance(line, dict):
            yield line
    if damaged:
        warnings.warn(
            f"Left out {damaged} damaged lines of {path}: a run that is killed leaves one.",
            stacklevel=2,
        )


def _label(name: str) -> str:
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return for_picture(short)
