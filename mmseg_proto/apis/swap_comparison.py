"""What the swap of a checkpoint costs, and what training on from there brings."""

import tempfile
from pathlib import Path

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
    with tempfile.TemporaryDirectory() as folder:
        cfg = Config.fromfile(config)
        own = {"work_dir": folder, "load_from": str(checkpoint), "resume": False}
        cfg.merge_from_dict({**own, "visualizer.vis_backends": []})
        _rename(cfg, Path(folder).name)
        return float(Runner.from_cfg(cfg).val()["mIoU"])


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
