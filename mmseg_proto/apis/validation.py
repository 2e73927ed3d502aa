"""Validation of a checkpoint with its config, under a progress bar."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress


def evaluate(config: Path, checkpoint: Path) -> float:
    """Validate a checkpoint with its config.

    Args:
        config: The config.
        checkpoint: The checkpoint.

    Returns:
        float: mIoU in percent.
    """
    return float(validate(config, checkpoint)["mIoU"])


def evaluate_classes(
    config: Path, checkpoint: Path, ignored: Sequence[str] = ()
) -> tuple[dict[str, float], dict[str, float]]:
    """Validate a checkpoint with its config, class by class.

    Args:
        config: The config.
        checkpoint: The checkpoint.
        ignored: Classes whose pixels do not count in the second result. Defaults to none, and
            nothing in that result.

    Returns:
        tuple: IoU of each class in percent, NaN for one that is not there, on all pixels and on
        those that do not belong to an ignored class.
    """
    metric: dict[str, Any] = {"type": "ClassIoUMetric", "iou_metrics": ["mIoU"]}
    metrics = [metric]
    if ignored:
        metrics.append({**metric, "ignored_classes": list(ignored), "prefix": "without"})
    found = validate(config, checkpoint, {"val_evaluator": metrics})
    on_all, on_others = (
        {k[len(start) :]: value for k, value in found.items() if k.startswith(start)}
        for start in ("IoU/", "without/IoU/")
    )
    return on_all, on_others


def validate(
    config: Path, checkpoint: Path, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Validate a checkpoint with its config, and leave nothing behind.

    Args:
        config: The config.
        checkpoint: The checkpoint.
        options: What to change in the config. Defaults to None: nothing.

    Returns:
        dict[str, Any]: What the evaluator returns.
    """
    with tempfile.TemporaryDirectory() as folder:
        cfg = Config.fromfile(config)
        own = {"work_dir": folder, "load_from": str(checkpoint), "resume": False}
        cfg.merge_from_dict({**own, "visualizer.vis_backends": [], **(options or {})})
        own_name(cfg, Path(folder).name)
        # The bar says how far it is; the host's log would say it line by line, below its config.
        cfg.log_level = "WARNING"
        runner = Runner.from_cfg(cfg)
        with Progress(console=Console(stderr=True)) as bar:
            title = f"Validating {checkpoint.stem}"
            task = bar.add_task(escape(title), total=len(runner.val_dataloader))
            runner.register_hook(_Advance(lambda: bar.advance(task)))
            metrics: dict[str, Any] = runner.val()
        return metrics


def own_name(cfg: Config, name: str) -> None:
    """Give a run a name of its own: mmengine keeps visualisers by name, their folders with them."""
    cfg.experiment_name = name
    cfg.merge_from_dict({"visualizer.name": name})


class _Advance(Hook):
    """Calls a function after each batch."""

    def __init__(self, advance: Callable[[], None]) -> None:
        self._advance = advance

    def after_val_iter(self, *args: Any, **kwargs: Any) -> None:
        self._advance()
