"""What the speed benchmark measures of whole models, softmax beside prototypes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_proto.heads import ProtoDecodeHead

from .speed_cases import Functions

#: Name to config and what is changed about it.
WHOLE_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "segformer_b0": (
        "segformer_b4",
        {
            "backbone.embed_dims": 32,
            "backbone.num_layers": [2, 2, 2, 2],
            "decode_head.in_channels": [32, 64, 160, 256],
        },
    ),
    "segformer_b4": ("segformer_b4", {}),
    "upernet_swin_b": ("upernet_swin_b", {}),
    "fcn_r101": ("fcn_r101", {}),
    "hrnet_w48": ("hrnet_w48", {}),
}


def training_cases(
    configs: Path, name: str, device: torch.device, batch: int, size: int, amp: str | None
) -> Functions:
    """Make whole training steps of a model, optimiser included, with softmax and prototypes.

    Args:
        configs: Folder of the packaged configs.
        name: One of `WHOLE_MODELS`.
        device: Device.
        batch: Images a step.
        size: Height and width of an image.
        amp: Dtype of autocast, such as ``'float16'``; None for none.
    """
    inputs, samples = _images(device, batch, size)
    return {
        arm: _training_step(_model(configs, arm, name, device).train(), inputs, samples, amp)
        for arm in ("softmax", "proto")
    }


def _training_step(
    model: Any, inputs: Tensor, samples: list[SegDataSample], amp: str | None
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    head, step = model.decode_head, 0
    if isinstance(head, ProtoDecodeHead):
        head.attach_hook()

    def run() -> None:
        nonlocal step
        if isinstance(head, ProtoDecodeHead):
            head.prototype_classifier.begin_step(step)
        with _autocast(inputs.device, amp):
            losses = model.loss(inputs, samples)
        sum(value for key, value in losses.items() if "loss" in key).backward()
        optimizer.step()
        optimizer.zero_grad()
        if isinstance(head, ProtoDecodeHead):
            head.prototype_classifier.end_step(update=True)
        step += 1

    return run


def inference_cases(
    configs: Path, name: str, device: torch.device, batch: int, size: int, amp: str | None
) -> Functions:
    """Make whole inference, from normalised images to label maps, with softmax and prototypes.

    Arguments are those of :func:`training_cases`.
    """
    inputs, samples = _images(device, batch, size)

    def predicting(model: Any) -> Callable[[], None]:
        @torch.no_grad()
        def run() -> None:
            with _autocast(device, amp):
                model.predict(inputs, samples)

        return run

    return {
        arm: predicting(_model(configs, arm, name, device).eval()) for arm in ("softmax", "proto")
    }


def _autocast(device: torch.device, amp: str | None) -> torch.autocast:
    dtype = None if amp is None else getattr(torch, amp)
    return torch.autocast(device.type, dtype=dtype, enabled=amp is not None)


def _model(configs: Path, arm: str, name: str, device: torch.device) -> Any:
    init_default_scope("mmseg")
    config, changes = WHOLE_MODELS[name]
    cfg = Config.fromfile(configs / f"{arm}_{config}_ade.py")
    changes = {**changes, "pretrained": None, "backbone.init_cfg": None}
    if arm == "proto":
        changes["decode_head.seeding"] = {"source": "random"}
    cfg.merge_from_dict({f"model.{key}": value for key, value in changes.items()})
    return revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)


def _images(device: torch.device, batch: int, size: int) -> tuple[Tensor, list[SegDataSample]]:
    """Random images whose labels come in patches, about twenty classes each."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 3, size, size, generator=generator).to(device)
    meta = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), (size, size))
    samples = []
    for _ in range(batch):
        patches = torch.randint(0, 150, (5, 4), generator=generator).float()[None, None]
        label = F.interpolate(patches, (size, size), mode="nearest")[0].long().to(device)
        sample = SegDataSample(metainfo={**meta, "padding_size": [0, 0, 0, 0]})
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return inputs, samples
