from typing import Any

import pytest
from mmengine.registry import init_default_scope
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS

from mmseg_proto import PixelPrototypeLoss

BASE = {"type": "ProtoDecodeHead", "in_channels": 8, "channels": 16, "num_classes": 4}


class NeverCallsItsClassifier(BaseDecodeHead):
    """Mentions `cls_seg` in a method that its forward pass does not use."""

    def unused(self, feat: Any) -> Any:
        return self.cls_seg(feat)

    def forward(self, inputs: Any) -> Any:
        return inputs[0][:, : self.num_classes]


class OwnLoss(PixelPrototypeLoss):
    """Takes one more argument."""

    def __init__(self, own_argument: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own_argument = own_argument


def test_a_loss_of_your_own_takes_its_own_arguments() -> None:
    init_default_scope("mmseg")
    own = {"type": OwnLoss, "own_argument": 3}
    head = MODELS.build({**BASE, "decoder": "FCNHead", "loss_prototype": own})
    assert head.loss_prototype.own_argument == 3


def test_decoder_that_never_classifies_is_named_at_the_first_loss() -> None:
    import torch
    from toy import make_samples

    init_default_scope("mmseg")
    head = MODELS.build({**BASE, "decoder": NeverCallsItsClassifier})
    head.attach_hook()
    with pytest.raises(ValueError, match="NeverCallsItsClassifier .* never called `cls_seg`"):
        head.loss([torch.rand(1, 8, 4, 4)], make_samples(torch.zeros(1, 4, 4).long()), {})
