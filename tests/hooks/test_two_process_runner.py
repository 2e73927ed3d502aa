"""The real Runner with two CPU processes: the same as one process with both batches."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from toy_runner import runner_config

from mmseg_proto.hooks.checkpoint_files import load_weights

#: Statistics of one image, so that the result does not depend on who sees which.
NORM = {"type": "GN", "num_groups": 2}


def config_of(folder: Path, batch: int, **options: Any) -> Config:
    """Return the config of a run on images of one size, without dropout."""
    config = runner_config(folder)
    for part in ("backbone", "decode_head", "auxiliary_head"):
        config.model[part].norm_cfg = NORM
    for head in ("decode_head", "auxiliary_head"):
        config.model[head].dropout_ratio = 0
    config.model.decode_head.seeding = {"candidates": 20}
    config.train_dataloader.batch_size = batch
    config.default_hooks.checkpoint.type = "AtomicCheckpointHook"
    config.default_hooks.prototype.check_ranks = True
    config.merge_from_dict(options)
    config.experiment_name = folder.name
    return config


def run_rank(rank: int, folder: str) -> None:
    """Train as one of two ranks, and once more from the middle.

    With launcher='pytorch' mmengine would ask for a CUDA device, and wrap the model with it. A
    group that exists is taken as it is, and so is a wrapper that is told of no device.
    """
    torch.set_num_threads(1)
    wrapper = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
    }
    several = {"launcher": "pytorch", "model_wrapper_cfg": wrapper}
    halfway = {"load_from": f"{folder}/together/iter_2.pth", "resume": True}
    with mock.patch.dict(os.environ, LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE="2"):
        meeting = f"file://{folder}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
        score = train(config_of(Path(folder, "together"), 1, **several))
        train(config_of(Path(folder, "resumed"), 1, **several, **halfway))
        dist.destroy_process_group()
    Path(folder, f"{rank}.score").write_text(str(score))


def train(config: Config) -> float:
    """Train and return the mIoU of the last validation."""
    runner = Runner.from_cfg(config)
    runner.train()
    return float(runner.message_hub.get_scalar("val/mIoU").current())


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = load_weights(folder / "iter_4.pth")["state_dict"]
    return state


@pytest.mark.ddp
def test_two_ranks_equal_one_process_and_resume(tmp_path: Path) -> None:
    score = train(config_of(tmp_path / "alone", 2))
    spawn(run_rank, (str(tmp_path),), nprocs=2)
    expected, found, resumed = (
        weights(tmp_path / name) for name in ("alone", "together", "resumed")
    )
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-5, msg=key)
    assert float((tmp_path / "0.score").read_text()) == pytest.approx(score)
    bank = "decode_head.prototype_classifier.bank"
    assert found[f"{bank}.alive"].all()
    assert found[f"{bank}.updates"].max() == 4
    assert [key for key, value in found.items() if not torch.equal(resumed[key], value)] == []
