"""What the swap of a checkpoint costs, and what training on from there brings."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from .checkpoint_swap import SwappedCheckpoint


def compare(
    config: Path,
    checkpoint: Path,
    swapped: SwappedCheckpoint,
    *,
    fine_tune_for: int | None = None,
    evaluated: bool = True,
) -> dict[str, float]:
    """Validate a model before and after the swap, and after training on if asked for.

    Args:
        config: Config of the softmax model.
        checkpoint: Its checkpoint.
        swapped: What was made of them.
        fine_tune_for: Iterations to train on, beside the swapped checkpoint in a folder
            ``fine_tuned``. Defaults to None: none.
        evaluated: Whether to validate. Defaults to True.

    Returns:
        dict[str, float]: mIoU in percent by the name of the model.
    """
    models = {"softmax": (config, checkpoint), "swapped": (swapped.config, swapped.checkpoint)}
    if fine_tune_for is not None:
        tuned = fine_tune(swapped, fine_tune_for, swapped.config.parent / "fine_tuned")
        models[f"after {fine_tune_for} iterations"] = swapped.config, tuned
    return {name: evaluate(*model) for name, model in models.items()} if evaluated else {}


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
        ignored: Classes whose pixels do not count in the second result. Defaults to none.

    Returns:
        tuple: IoU of each class in percent, NaN for one that is not there, on all pixels and on
        those that do not belong to an ignored class.
    """
    metric = {"type": "ClassIoUMetric", "iou_metrics": ["mIoU"]}
    without = {**metric, "ignored_classes": list(ignored), "prefix": "without"}
    found = validate(config, checkpoint, {"val_evaluator": [metric, without]})
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
        _rename(cfg, Path(folder).name)
        metrics: dict[str, Any] = Runner.from_cfg(cfg).val()
        return metrics


def fine_tune(swapped: SwappedCheckpoint, iterations: int, work_dir: Path) -> Path:
    """Train a swapped model on, with a tenth of its config's rate, falling to nothing.

    Args:
        swapped: The model.
        iterations: Training iterations, at least 1.
        work_dir: Folder for the run.

    Returns:
        Path: The checkpoint at the end.
    """
    cfg = Config.fromfile(swapped.config)
    cfg.work_dir, cfg.load_from = str(work_dir), str(swapped.checkpoint)
    cfg.optim_wrapper.optimizer.lr = cfg.optim_wrapper.optimizer.lr / 10
    cfg.param_scheduler = [
        {"type": "PolyLR", "power": 1.0, "begin": 0, "end": iterations, "by_epoch": False}
    ]
    cfg.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": iterations,
        "val_interval": iterations,
    }
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=iterations)
    _rename(cfg, f"{swapped.config.stem}_{iterations}")
    Runner.from_cfg(cfg).train()
    return work_dir / f"iter_{iterations}.pth"


def _rename(cfg: Config, name: str) -> None:
    """Give a run a name of its own: mmengine keeps visualisers by name, their folders with them."""
    cfg.experiment_name = name
    cfg.merge_from_dict({"visualizer.name": name})
