"""HRNet that resizes by corners, as the code bases do that came from its authors."""

from typing import Any

from mmseg.models.backbones import HRNet
from mmseg.models.backbones.hrnet import HRModule
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor


class _AlignedHRModule(HRModule):
    """Exchanges between resolutions in one step to the size that is wanted."""

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        if self.num_branches == 1:
            return [self.branches[0](x[0])]
        x = [branch(features) for branch, features in zip(self.branches, x, strict=True)]
        return [
            self.relu(sum(self._exchange(i, j, x) for j in range(len(x))))
            for i in range(len(self.fuse_layers))
        ]

    def _exchange(self, to: int, source: int, x: list[Tensor]) -> Tensor:
        if source == to:
            return x[source]
        layers = self.fuse_layers[to][source]
        if source < to:
            smaller: Tensor = layers(x[source])
            return smaller
        # All but the host's Upsample, whose size is another one where sides are odd.
        size = x[to].shape[2:]
        larger: Tensor = resize(
            layers[:-1](x[source]), size=size, mode="bilinear", align_corners=True
        )
        return larger


@MODELS.register_module()
class HRNetAligned(HRNet):
    """The host's HRNet with ``align_corners=True`` between its resolutions.

    The host resizes with ``align_corners=False``, whatever the head's `align_corners` says, so that
    weights that were trained the other way give other features there. Weights have the same names.

    Args:
        **kwargs: Arguments of :class:`mmseg.models.backbones.HRNet`.
    """

    def _make_stage(self, *args: Any, **kwargs: Any) -> Any:
        stage, channels = super()._make_stage(*args, **kwargs)
        for module in stage:
            # Same layers and names of weights, another forward pass.
            module.__class__ = _AlignedHRModule
        return stage, channels
