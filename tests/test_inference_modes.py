"""Sliding windows and test-time augmentation of the host, with a head of prototypes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from toy_runner import runner_config

SIZE = (16, 24)


@pytest.fixture
def model_config(tmp_path: Path) -> Any:
    """The toy's model, all prototypes there from the start."""
    torch.manual_seed(0)
    init_default_scope("mmseg")
    config = runner_config(tmp_path).model
    config.decode_head.seeding = {"source": "random"}
    return config


@pytest.fixture
def image() -> Tensor:
    return torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(1))


def sample_of(flip: str | None = None) -> SegDataSample:
    meta: dict[str, Any] = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), SIZE)
    flipped = {"flip": flip is not None, "flip_direction": flip}
    paths = {"img_path": "0.jpg", "seg_map_path": None}
    return SegDataSample(metainfo={**meta, **flipped, **paths, "padding_size": [0, 0, 0, 0]})


@torch.no_grad()
def test_slide_averages_the_logits_of_windows(model_config: Any, image: Tensor) -> None:
    model_config.test_cfg = {"mode": "slide", "crop_size": (16, 16), "stride": (8, 8)}
    model = MODELS.build(model_config).eval()
    (found,) = model.predict(image[None], [sample_of()])
    left, right = (
        model.encode_decode(image[None, :, :, at : at + 16], [{"img_shape": (16, 16)}])[0]
        for at in (0, 8)
    )
    middle = (left[:, :, 8:] + right[:, :, :8]) / 2
    expected = torch.cat([left[:, :, :8], middle, right[:, :, 8:]], dim=2)
    torch.testing.assert_close(found.seg_logits.data, expected)
    assert expected.std() > 0


@torch.no_grad()
def test_test_time_augmentation_averages_probabilities(model_config: Any, image: Tensor) -> None:
    model = MODELS.build({"type": "SegTTAModel", "module": model_config}).eval()
    views, flips = [image, image.flip(2)], (None, "horizontal")
    batch = {
        "inputs": [[view] for view in views],
        "data_samples": [[sample_of(flip)] for flip in flips],
    }
    (found,) = model.test_step(batch)
    whole = [
        model.module.test_step({"inputs": [view], "data_samples": [sample_of()]})[0].seg_logits.data
        for view in views
    ]
    mean = (whole[0].softmax(0) + whole[1].flip(2).softmax(0)) / 2
    assert torch.equal(found.pred_sem_seg.data, mean.argmax(0, keepdim=True))
    assert len(found.pred_sem_seg.data.unique()) > 1
