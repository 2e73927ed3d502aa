"""Training runs of the accuracy benchmark, in-process, with the data kept in memory."""

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.ops import nearest_prototypes
from mmseg_proto.prototypes import usage_perplexity

from .whole_files import written_whole

#: Validations in a run, evenly spread; the last one is the result.
_VALIDATIONS = 4
_TRAIN_SEQUENCES = ("0001TP", "0006R0", "0016E5")


@dataclass(frozen=True)
class Arm:
    """One arm of the benchmark: a packaged config and what is changed in it.

    Args:
        config: File name of the config.
        options: Dotted keys to values, as in ``--cfg-options``.
    """

    config: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """What all arms of a comparison share.

    Args:
        iterations: Training iterations.
        hold_out: Sequence of the train split that is held back and validated on, for tuning;
            None trains on the whole split and validates on val. Defaults to None.
    """

    iterations: int = 600
    hold_out: str | None = None

    def __post_init__(self) -> None:
        if self.iterations < _VALIDATIONS:
            raise ValueError(
                f"Expected `iterations` to be at least {_VALIDATIONS}, but got {self.iterations}."
            )
        if self.hold_out is not None and self.hold_out not in _TRAIN_SEQUENCES:
            raise ValueError(
                f"Expected `hold_out` to be one of {_TRAIN_SEQUENCES}, but got {self.hold_out!r}."
            )


class _Curve(Hook):
    """Keeps the metrics of every validation and the health of the prototypes at every report.

    Args:
        interval: Iterations between two reports.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.points: list[dict[str, float]] = []
        self.health: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep the health numbers, which only prototypes have."""
        if self.every_n_train_iters(runner, self.interval):
            numbers = {
                key.removeprefix("train/prototype/"): round(float(scalar.current()), 4)
                for key, scalar in runner.message_hub.log_scalars.items()
                if key.startswith("train/prototype/")
            }
            if numbers:
                self.health.append({"iteration": runner.iter + 1, **numbers})

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the metrics."""
        numbers = {key: round(float(value), 2) for key, value in (metrics or {}).items()}
        self.points.append({"iteration": runner.iter, **numbers})


def build_config(
    configs: Path, arm: Arm, budget: Budget, seed: int, data_root: Path, work_dir: Path
) -> Config:
    """Make the config of one run.

    Args:
        configs: Folder of the packaged configs.
        arm: The arm.
        budget: What all arms share.
        seed: Seed of everything random.
        data_root: CamVid's folder.
        work_dir: Where the run writes.

    Returns:
        Config: For `Runner.from_cfg`.
    """
    cfg = Config.fromfile(configs / arm.config)
    iterations, interval = budget.iterations, budget.iterations // _VALIDATIONS
    train = dict(cfg.train_dataloader.dataset, data_root=str(data_root))
    val = dict(cfg.val_dataloader.dataset, data_root=str(data_root))
    if budget.hold_out is not None:
        rest = [name for name in _TRAIN_SEQUENCES if name != budget.hold_out]
        train["sequences"] = rest
        val.update(split="train", sequences=[budget.hold_out])
    # Loading an image and its labels is what is deterministic in the training pipeline.
    cached = {
        "train": {"type": "CachedDataset", "dataset": train, "num_cached": 2},
        "val": {"type": "CachedDataset", "dataset": val},
    }
    cfg.merge_from_dict(
        {
            "work_dir": str(work_dir),
            "randomness.seed": seed,
            "train_cfg.max_iters": iterations,
            "train_cfg.val_interval": interval,
            "param_scheduler.0.end": iterations,
            "default_hooks.checkpoint.interval": iterations,
            "default_hooks.logger.interval": min(50, interval),
            "val_evaluator.type": "ClassIoUMetric",
        }
    )
    for name in ("train", "val"):
        loader = cfg[f"{name}_dataloader"]
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset = cached[name]
    for name in ("test_dataloader", "test_evaluator", "test_cfg"):
        cfg.pop(name)
    cfg.merge_from_dict(dict(arm.options))
    return cfg


def run(
    configs: Path, arm: Arm, budget: Budget, seed: int, data_root: Path, work_dir: Path
) -> dict[str, Any]:
    """Train and validate one arm with one seed.

    Args:
        configs: Folder of the packaged configs.
        arm: The arm.
        budget: What all arms share.
        seed: Seed of everything random.
        data_root: CamVid's folder.
        work_dir: Where the run writes.

    Returns:
        dict[str, Any]: What was run, ``curve`` (metrics of each validation) and ``health`` (of the
        prototypes, at each report) and ``validation_perplexity`` (of their wins, by class), both
        empty for softmax.
    """
    cfg = build_config(configs, arm, budget, seed, data_root, work_dir)
    runner = Runner.from_cfg(cfg)
    # A fifth faster on CPUs, and no other result.
    runner.model.to(memory_format=torch.channels_last)
    curve = _Curve(cfg.default_hooks.logger.interval)
    runner.register_hook(curve, "VERY_LOW")
    started = time.monotonic()
    runner.train()
    return {
        "arm": asdict(arm),
        "budget": asdict(budget),
        "seed": seed,
        "curve": curve.points,
        "health": curve.health,
        "validation_perplexity": _validation_perplexity(runner),
        "seconds": round(time.monotonic() - started),
        "versions": _versions(),
    }


def run_to_file(file: Path, threads: int, *arguments: Any) -> None:
    """Make a run and write its result, whole or not at all.

    Args:
        file: JSON file of the result.
        threads: Threads to compute with.
        *arguments: Those of :func:`run`.
    """
    torch.set_num_threads(threads)
    result = run(*arguments)
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as draft:
        draft.write_text(json.dumps(result, indent=1), encoding="utf-8")


@torch.no_grad()
def _validation_perplexity(runner: Runner) -> dict[str, float]:
    """Perplexity of nearest-prototype wins by class, on the images of the last validation."""
    model = runner.model
    if not isinstance(model.decode_head, ProtoDecodeHead):
        return {}
    model.eval()
    bank = model.decode_head.prototype_classifier.bank
    wins = torch.zeros(bank.shape, device=bank.prototypes.device)
    for batch in runner.val_dataloader:
        data = model.data_preprocessor(batch, False)
        features = model.extract_feat(data["inputs"])
        embeddings, labels = model.decode_head.embed(features, data["data_samples"])
        own = nearest_prototypes(embeddings, bank.directions, bank.alive_mask, labels)
        assert own.own_similarity is not None  # labels were given
        counts = labels >= 0
        places = labels[counts], own.own_similarity[counts].argmax(dim=1)
        wins.index_put_(places, wins.new_ones(()), accumulate=True)
    classes = runner.val_dataloader.dataset.metainfo["classes"]
    perplexity = usage_perplexity(wins).tolist()
    return {
        name: round(number, 2)
        for name, number in zip(classes, perplexity, strict=True)
        if number == number  # a class that is not in the images has none
    }


def _versions() -> dict[str, str]:
    import mmengine
    import mmseg

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "torch": str(torch.__version__),
        "mmseg": mmseg.__version__,
        "mmengine": mmengine.__version__,
        "device": device,
    }
