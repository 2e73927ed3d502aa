"""A small real Runner over images in memory."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from torch.utils.data import Dataset
from toy import make_samples

import mmseg_proto  # noqa: F401

CLASSES = ("sky", "road", "car")


@DATASETS.register_module()
class StripesDataset(Dataset):  # type: ignore[type-arg]
    """Four images whose left, middle and right thirds are three classes."""

    def __init__(self, classes: tuple[str, ...] = CLASSES, wrong: int | None = None) -> None:
        self.metainfo = {"classes": classes, "palette": [[i, i, i] for i in range(len(classes))]}
        self.wrong = wrong

    def full_init(self) -> None:
        """Nothing to read."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        label = (torch.arange(24) // 8).expand(16, 24).clone()
        label[:2] = 255
        image = label.clamp(max=3)[None] * 60.0 + torch.randn(
            3, 16, 24, generator=torch.Generator().manual_seed(index)
        )
        if self.wrong is not None:
            label[8, 8] = self.wrong
        (sample,) = make_samples(
            label[None],
            seg_map_path=f"labels/{index}.png",
            img_path=f"{index}.jpg",
            ori_shape=(16, 24),
            pad_shape=(16, 24),
        )
        return {"inputs": image, "data_samples": sample}


def runner_config(work_dir: Path) -> Config:
    """Return a complete config; the model is a one-convolution backbone of the host."""
    loader = {
        "batch_size": 2,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {"type": "StripesDataset"},
    }
    norm = {"type": "BN"}
    return Config(
        {
            "default_scope": "mmseg",
            "work_dir": str(work_dir),
            "model": {
                "type": "EncoderDecoder",
                "data_preprocessor": {
                    "type": "SegDataPreProcessor",
                    "size": (16, 24),
                    "mean": [60.0] * 3,
                    "std": [60.0] * 3,
                },
                "backbone": {
                    "type": "ResNet",
                    "depth": 18,
                    "norm_cfg": norm,
                    "base_channels": 8,
                    "strides": (1, 1, 1, 1),
                    "contract_dilation": True,
                },
                "decode_head": {
                    "type": "ProtoDecodeHead",
                    "decoder": "FCNHead",
                    "num_prototypes": 3,
                    "in_channels": 64,
                    "channels": 8,
                    "num_convs": 1,
                    "num_classes": 3,
                    "norm_cfg": norm,
                },
                "auxiliary_head": {
                    "type": "FCNHead",
                    "in_channels": 32,
                    "in_index": 2,
                    "channels": 8,
                    "num_convs": 1,
                    "num_classes": 3,
                    "norm_cfg": norm,
                },
                "test_cfg": {"mode": "whole"},
            },
            "train_dataloader": loader,
            "val_dataloader": loader,
            "test_dataloader": loader,
            "val_evaluator": {"type": "IoUMetric"},
            "test_evaluator": {"type": "IoUMetric"},
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 4, "val_interval": 4},
            "val_cfg": {},
            "test_cfg": {},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01}},
            "default_hooks": {
                "logger": {"type": "LoggerHook", "interval": 2, "log_metric_by_epoch": False},
                "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 2},
                "prototype": {"type": "PrototypeUpdateHook"},
            },
            "log_processor": {"by_epoch": False},
            "visualizer": {
                "type": "SegLocalVisualizer",
                "vis_backends": [{"type": "LocalVisBackend"}],
            },
            "randomness": {"seed": 0},
        }
    )


def make_runner(
    folder: Path, options: dict[str, Any] | None = None, *, hook: bool = True
) -> Runner:
    """Build a runner, with or without the update hook, with options merged into its config."""
    config = runner_config(folder / "run")
    if not hook:
        del config.default_hooks["prototype"]
    config.merge_from_dict(options or {})
    config.experiment_name = f"run_{id(config)}"
    return Runner.from_cfg(config)
