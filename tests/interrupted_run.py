"""A short training run with augmentation and dropout, as a program that may be killed.

python interrupted_run.py WORK_DIR ITERATIONS [--resume] [--die-writing N]
"""

import argparse
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import LocalBackend
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from toy_runner import StripesDataset, runner_config

from mmseg_proto.hooks import PrototypeUpdateHook


@DATASETS.register_module()
class NoisyStripes(StripesDataset):
    """Stripes with noise from all three generators, as augmentation draws it."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        noise = random.random() + np.random.rand() + torch.randn(item["inputs"].shape)
        return {**item, "inputs": item["inputs"] + 10 * noise}


class _Says(PrototypeUpdateHook):
    """Tells the parent process that an iteration is over."""

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        super().after_train_iter(runner, *args, **kwargs)
        sys.stderr.write(f"done {runner.iter + 1}\n")
        sys.stderr.flush()


def die_writing(number: int) -> None:
    """Let the process be killed in the middle of its n-th write of a checkpoint."""
    written = 0
    put = LocalBackend.put

    def half(backend: LocalBackend, data: bytes, path: str) -> None:
        nonlocal written
        written += 1
        if written == number:
            Path(path).write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        put(backend, data, path)

    LocalBackend.put = half


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("iterations", type=int)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--die-writing", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.die_writing:
        die_writing(arguments.die_writing)
    config = runner_config(arguments.work_dir)
    config.train_dataloader.dataset.type = "NoisyStripes"
    config.train_dataloader.sampler = {"type": "InfiniteSampler", "shuffle": True}
    config.train_cfg.update(max_iters=arguments.iterations, val_interval=5)
    config.model.decode_head.update(dropout_ratio=0.2, projection={})
    config.default_hooks.update(
        checkpoint={
            "type": "AtomicCheckpointHook",
            "by_epoch": False,
            "interval": 1,
            "max_keep_ckpts": 1,
        },
        random_state={"type": "RandomStateHook"},
    )
    config.randomness = {"seed": 3, "deterministic": True}
    config.resume = arguments.resume
    runner = Runner.from_cfg(config)
    for place, hook in enumerate(runner._hooks):
        if isinstance(hook, PrototypeUpdateHook):
            runner._hooks[place] = _Says(hook.interval)
    runner.train()


if __name__ == "__main__":
    main()
