"""Runs the parts of the speed benchmark and writes their results as table, JSON and plot."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from .accuracy_report import markdown_table, rich_table
from .speed_cases import (
    Functions,
    classifier_cases,
    clustering_cases,
    huge_image_cases,
    op_cases,
)
from .speed_measure import machine, measure
from .speed_models import WHOLE_MODELS, inference_cases, training_cases

PARTS = ("op", "classes", "places", "image", "clustering", "training", "inference")
#: Case of a part to name of a function to its measurement.
Cases = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class SpeedSettings:
    """Sizes of the speed benchmark.

    Args:
        rounds: Timed rounds, at least 1.
        pixels: Pixels N of the op and of the clustering of a full batch.
        channels: Channels D.
        num_classes: Classes C, where they do not grow.
        num_prototypes: Prototypes per class K, where they do not grow.
        classes: Numbers of classes to grow through.
        places: Numbers of prototypes per class to grow through.
        map_size: Height and width of the two feature maps that grow in classes and prototypes.
        image: Height and width of the features of a huge image.
        models: Names of whole models.
        batch: Images a step of a whole model.
        size: Height and width of an image.
        amp: Dtype of autocast for whole models; None for none.
    """

    rounds: int = 5
    pixels: int = 16384
    channels: int = 256
    num_classes: int = 150
    num_prototypes: int = 10
    classes: tuple[int, ...] = (150, 300, 500, 847, 2000, 10000)
    places: tuple[int, ...] = (1, 5, 10, 20, 50)
    map_size: int = 128
    image: tuple[int, int] = (540, 960)
    models: tuple[str, ...] = tuple(WHOLE_MODELS)
    batch: int = 2
    size: int = 512
    amp: str | None = None

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"Expected `rounds` to be at least 1, but got {self.rounds}.")
        unknown = sorted(set(self.models) - set(WHOLE_MODELS))
        if unknown:
            raise ValueError(
                f"Expected models among {', '.join(WHOLE_MODELS)}, but got {', '.join(unknown)}."
            )


def run_parts(
    configs: Path,
    parts: Sequence[str],
    settings: SpeedSettings,
    device: torch.device,
    out: Path,
    console: Console,
) -> dict[str, Any]:
    """Measure parts; each is written as soon as it is done, beside those of earlier calls.

    Args:
        configs: Folder of the packaged configs.
        parts: Some of `PARTS`.
        settings: Sizes.
        device: Device.
        out: JSON file of the results.
        console: Where to report.

    Returns:
        dict[str, Any]: Part to its machine, settings and cases, of this call and earlier ones.

    Raises:
        ValueError: If a part is unknown or the device is missing.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise ValueError(f"Expected parts among {', '.join(PARTS)}, but got {', '.join(unknown)}.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("Expected a CUDA device, but PyTorch sees none. Take --device cpu.")
    results: dict[str, Any] = {}
    if out.is_file():
        results = json.loads(out.read_text(encoding="utf-8"))
    for part in parts:
        cases: Cases = {}
        results[part] = {
            "machine": machine(device),
            # As JSON has it.
            "settings": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(settings).items()
            },
            "cases": cases,
        }
        for case, functions, peer in _cases(part, configs, settings, device):
            # Drawn once: a bar that moves would take time from what is measured.
            hidden = not console.is_terminal
            with Progress(
                console=console, transient=True, auto_refresh=False, disable=hidden
            ) as bar:
                bar.add_task(f"{part}: measuring {case}", total=None)
                bar.refresh()
                cases[case] = measure(functions, device, settings.rounds, peer)
            head, rows = _rows({case: cases[case]})
            console.print(rich_table(f"{part}: {case}", head[1:], [row[1:] for row in rows]))
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return results


def _cases(
    part: str, configs: Path, settings: SpeedSettings, device: torch.device
) -> Iterator[tuple[str, Functions, str]]:
    """Name, functions and peer of every case of a part; made one by one, for they need memory."""
    s = settings
    sizes = (s.num_classes, s.num_prototypes, s.channels)
    if part == "op":
        name = f"N={s.pixels}, C={s.num_classes}, K={s.num_prototypes}, D={s.channels}"
        yield name, op_cases(device, s.pixels, *sizes), "three matmuls"
    elif part == "classes":
        for classes in s.classes:
            functions = classifier_cases(
                device, classes, s.num_prototypes, s.channels, 2, s.map_size
            )
            yield f"C={classes}", functions, "softmax"
    elif part == "places":
        for places in s.places:
            functions = classifier_cases(device, s.num_classes, places, s.channels, 2, s.map_size)
            yield f"K={places}", functions, "softmax"
    elif part == "image":
        height, width = s.image
        yield f"{4 * height}x{4 * width}", huge_image_cases(device, *sizes, *s.image), "softmax"
    elif part == "clustering":
        for pixels, classes in ((10_000, 1), (2 * s.pixels, s.num_classes)):
            functions = clustering_cases(device, pixels, classes, s.num_prototypes)
            yield f"{pixels} pixels, {classes} classes", functions, "class by class"
    else:
        make = training_cases if part == "training" else inference_cases
        for name in s.models:
            yield name, make(configs, name, device, s.batch, s.size, s.amp), "softmax"


def _rows(cases: Mapping[str, Mapping[str, Mapping[str, float]]]) -> tuple[list[str], list[Any]]:
    head = ["case", "what", "median ms", "fastest ms", "time ratio", "peak MiB", "memory ratio"]
    rows = [
        [
            case,
            name,
            f"{1000 * taken['seconds']:.2f}",
            f"{1000 * taken['fastest']:.2f}",
            f"{taken['time_ratio']:.3f}",
            f"{taken['peak_mib']:.1f}",
            f"{taken['memory_ratio']:.2f}",
        ]
        for case, functions in cases.items()
        for name, taken in functions.items()
    ]
    return head, rows


def write_summary(results: Mapping[str, Any], folder: Path, stem: str) -> None:
    """Write all results as Markdown tables and the growth with classes and prototypes as a plot.

    Args:
        results: What :func:`run_parts` returned.
        folder: Where to write.
        stem: Name of the files without their ends.
    """
    sections = []
    for part in (name for name in PARTS if name in results):
        where = results[part]["machine"]
        made_on = f"{where['device']}, {where['threads']} threads, torch {where['torch']}"
        sections.append(
            f"## {part}\n\n{made_on}\n\n{markdown_table(*_rows(results[part]['cases']))}"
        )
    (folder / f"{stem}.md").write_text("\n".join(sections), encoding="utf-8")
    growth = [part for part in ("classes", "places") if part in results]
    if growth:
        _draw_growth({part: results[part]["cases"] for part in growth}, folder / f"{stem}.png")


def _draw_growth(parts: Mapping[str, Cases], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(parts), 6), layout="constrained")
    axes = figure.subplots(2, len(parts), squeeze=False)
    for column, (part, cases) in enumerate(parts.items()):
        numbers = [int(case.partition("=")[2]) for case in cases]
        for row, (key, unit, factor) in enumerate(
            (("seconds", "ms", 1000.0), ("peak_mib", "peak MiB", 1.0))
        ):
            axis = axes[row][column]
            for name in next(iter(cases.values())):
                values = [factor * case[name][key] for case in cases.values()]
                axis.plot(numbers, values, marker="o", label=name)
            label = "classes" if part == "classes" else "prototypes per class"
            axis.set(xscale="log", xlabel=label, ylabel=unit)
            # Within less than a power of ten a logarithmic axis has hardly a tick.
            if axis.dataLim.y1 > 10 * axis.dataLim.y0:
                axis.set_yscale("log")
            else:
                axis.set_ylim(bottom=0)
            axis.set_xticks(numbers, [str(number) for number in numbers])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            axis.legend()
    figure.savefig(file, dpi=110)
