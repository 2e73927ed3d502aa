"""The demo: the same small model with softmax and with prototypes, trained, tested and compared."""

import os
import shlex
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmseg.registry import DATASETS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmseg_proto.backbones.pypi_weights import SCHEME, find_weights

from .demo_report import (
    class_ious,
    contact_sheet,
    health_table,
    iou_table,
    read_picture,
)
from .mim_job import JobError, MimJob, wait_for
from .report import ReportSettings, write_report
from .report_rendering import require_libraries

CONFIGS = {"softmax": "softmax_demo_synthetic.py", "prototypes": "proto_demo_synthetic.py"}
_PICTURES = 8
#: Training images that the report looks at.
_IMAGES = 120


def run_demo(configs: Path, out: Path, iterations: int | None, console: Console) -> None:
    """Train and test the two demo configs through `mim`, then show how they compare.

    It prints and draws the comparison, and writes the report on what the prototypes stand for.
    Both run at the same time, each on its share of the processors.

    Args:
        configs: Folder of the configs.
        out: Folder for checkpoints, logs and pictures.
        iterations: Training iterations; None keeps the configs' own.
        console: Where to print.

    Raises:
        ValueError: If `iterations` is below 1.
        JobError: If `mim` or a config is missing, or a command fails.
    """
    if iterations is not None and iterations < 1:
        raise ValueError(f"Expected `iterations` to be at least 1, but got {iterations}.")
    _require(configs)
    started = time.monotonic()
    trained = _train(configs, out, iterations, console)
    tested = _test(configs, out, trained, console)
    _show(configs, out, trained, tested, console)
    report = _explain(configs, out, trained)
    console.print(f"Finished after {time.monotonic() - started:.0f} s.")
    console.print("What each prototype stands for, to open in a browser:")
    console.print(f"  {report}", soft_wrap=True, highlight=False)


def _require(configs: Path) -> None:
    if find_spec("mim") is None:
        raise JobError("The demo needs `mim`, which is not installed: pip install onedl-mim")
    try:
        require_libraries()
    except ImportError as error:
        raise JobError(str(error)) from error
    for name in CONFIGS.values():
        if not (configs / name).is_file():
            raise JobError(f"Expected the config {name} in {configs}, but it is not there.")
        _require_weights(configs / name)


def _require_weights(config: Path) -> None:
    """Look for packaged weights now: the child's own error would stand at the end of a log."""
    weights = (Config.fromfile(config).model.backbone.get("init_cfg") or {}).get("checkpoint", "")
    if weights.startswith(SCHEME):
        try:
            find_weights(weights.removeprefix(SCHEME))
        except ModuleNotFoundError as error:
            raise JobError(str(error)) from error


def _threads() -> int:
    """Processors for each of the two runs that share the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, count // len(CONFIGS))


def _overrides(iterations: int) -> list[str]:
    return [
        "--cfg-options",
        f"train_cfg.max_iters={iterations}",
        f"train_cfg.val_interval={iterations}",
        f"param_scheduler.0.end={iterations}",
        f"default_hooks.checkpoint.interval={iterations}",
        f"default_hooks.logger.interval={min(10, iterations)}",
    ]


def _train(configs: Path, out: Path, iterations: int | None, console: Console) -> dict[str, MimJob]:
    console.print(f"Training {' and '.join(CONFIGS)} at the same time; logs lie in {out}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        jobs, tasks = {}, {}
        for name, file in CONFIGS.items():
            config = configs / file
            total = iterations or Config.fromfile(config).train_cfg.max_iters
            arguments = ["train", "mmsegmentation", str(config), "--work-dir", str(out / name)]
            arguments += _overrides(iterations) if iterations else []
            jobs[name] = MimJob(arguments, out / name, "train.log", _threads())
            tasks[name] = progress.add_task(f"train {name}", total=total)

        def show() -> None:
            for name, job in jobs.items():
                lines = [line for line in job.scalars() if "loss" in line]
                if lines:
                    text = f"train {name}, loss {lines[-1]['loss']:.3f}"
                    progress.update(tasks[name], completed=lines[-1]["step"], description=text)

        wait_for(list(jobs.values()), show)
    return jobs


def _test(
    configs: Path, out: Path, trained: dict[str, MimJob], console: Console
) -> dict[str, MimJob]:
    jobs = {}
    for name, file in CONFIGS.items():
        arguments = ["test", "mmsegmentation", str(configs / file)]
        arguments += ["--checkpoint", str(trained[name].checkpoint())]
        arguments += ["--work-dir", str(out / name / "test")]
        arguments += ["--out", str(out / name / "predictions")]
        jobs[name] = MimJob(arguments, out / name / "test", "test.log", _threads())
    with console.status("Testing both checkpoints"):
        wait_for(list(jobs.values()), lambda: None)
    return jobs


def _show(
    configs: Path,
    out: Path,
    trained: dict[str, MimJob],
    tested: dict[str, MimJob],
    console: Console,
) -> None:
    dataset = _test_dataset(configs / CONFIGS["prototypes"])
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    truths = [read_picture(info["seg_map_path"], cv2.IMREAD_UNCHANGED) for info in infos]
    maps = {
        name: [
            read_picture(out / name / "predictions" / Path(info["img_path"]).name, 0)
            for info in infos
        ]
        for name in CONFIGS
    }
    classes, palette = dataset.metainfo["classes"], dataset.metainfo["palette"]
    ious = {
        name: class_ious(maps[name], truths, len(classes), dataset.ignore_index) for name in CONFIGS
    }
    console.print(iou_table(classes, ious))
    console.print(health_table(trained["prototypes"].scalars()))
    shown = np.linspace(0, len(infos) - 1, min(_PICTURES, len(infos)), dtype=int)
    rows = [
        (
            read_picture(infos[index]["img_path"], cv2.IMREAD_COLOR),
            [truths[index], *(maps[name][index] for name in CONFIGS)],
        )
        for index in shown
    ]
    pictures = out / "pictures.png"
    cv2.imwrite(str(pictures), contact_sheet(("image", "truth", *CONFIGS), rows, palette))
    console.print(f"Pictures: {pictures}")
    for name, job in trained.items():
        console.print(
            f"{name}: mIoU {tested[name].test_metrics()['mIoU']:.2f} by `mim test`, again with"
        )
        command = ["mim", "test", "mmsegmentation", str(configs / CONFIGS[name])]
        command += ["--checkpoint", str(job.checkpoint())]
        console.print("  " + shlex.join(command), soft_wrap=True, highlight=False)


def _explain(configs: Path, out: Path, trained: dict[str, MimJob]) -> Path:
    """Write the report on what the prototypes stand for."""
    softmax, prototypes = (
        (configs / file, trained[name].checkpoint()) for name, file in CONFIGS.items()
    )
    settings = ReportSettings(images=_IMAGES, against=softmax)
    report = out / "report.html"
    with warnings.catch_warnings():
        # What the host warns of while it builds a model stands in the logs of training already.
        warnings.simplefilter("ignore")
        write_report(*prototypes, report, settings, force=True)
    return report.resolve()


def _test_dataset(config: Path) -> Any:
    settings = Config.fromfile(config).test_dataloader.dataset
    return DATASETS.build({**settings, "pipeline": []})
