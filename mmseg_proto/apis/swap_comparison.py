"""What the swap of a checkpoint costs, and what training on from there brings."""

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from .checkpoint_swap import SwappedCheckpoint
from .validation import evaluate, own_name


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
    own_name(cfg, f"{swapped.config.stem}_{iterations}")
    Runner.from_cfg(cfg).train()
    return work_dir / f"iter_{iterations}.pth"
