import re
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


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "Expected `decoder`.* but got none. Add it"),
        ({"decoder": "SegformrHead"}, ValueError, "'SegformrHead'. Did you mean SegformerHead"),
        ({"decoder": 3}, TypeError, "registry name or a class, but got 3"),
        ({"decoder": "MixVisionTransformer"}, ValueError, "not a decode head of MMSegmentation"),
        ({"decoder": "PointHead"}, ValueError, "a `cls_seg` of its own. Keep PointHead"),
        (
            {"decoder": "SegmenterMaskTransformerHead"},
            ValueError,
            "class queries are its classifier",
        ),
        (
            {"decoder": "FCNHead", "num_prototype": 3},
            TypeError,
            "num_prototype. Did you mean num_prototypes",
        ),
        (
            {"decoder": "FCNHead", "pool_scales": (1,)},
            TypeError,
            "of FCNHead .* unknown pool_scales",
        ),
        ({"decoder": "FCNHead", "num_prototypes": 0}, ValueError, "`num_prototypes` .* but got 0"),
        ({"decoder": "FCNHead", "decay": 2}, ValueError, "`decay` .* but got 2"),
        (
            {"decoder": "FCNHead", "out_channels": 1, "num_classes": 2},
            ValueError,
            "Set num_classes=2 and out_channels=2",
        ),
        ({"decoder": "FCNHead", "num_classes": 1}, ValueError, "binary head with out_channels=1"),
        (
            {"decoder": "FCNHead", "clustering": {"kapa": 1}},
            TypeError,
            r"keys of `clustering` .* got \['kapa'\]",
        ),
        (
            {"decoder": "FCNHead", "clustering": {"kappa": 0}},
            ValueError,
            "`clustering.kappa` to be above 0",
        ),
        (
            {"decoder": "FCNHead", "clustering": {"iterations": 0}},
            ValueError,
            "iterations` to be at least 1",
        ),
        (
            {"decoder": "FCNHead", "clustering": {"assign": "soft"}},
            ValueError,
            "`clustering.assign` to be one of .* but got 'soft'",
        ),
        (
            {"decoder": "FCNHead", "update": {"pixels": "wrong"}},
            ValueError,
            "`update.pixels` to be 'all' or 'correct', but got 'wrong'",
        ),
        (
            {"decoder": "FCNHead", "update": {"clock": 1}},
            ValueError,
            "`update.clock` to be above 1, but got 1",
        ),
        (
            {"decoder": "FCNHead", "seeding": {"revive_interval": 0}},
            ValueError,
            "`seeding.revive_interval` to be at least 1 or None, but got 0",
        ),
        (
            {"decoder": "FCNHead", "clustering": {"num_pixels": 0}},
            ValueError,
            "`clustering.num_pixels` to be at least 1 or None, but got 0",
        ),
        (
            {"decoder": "FCNHead", "clustering": 3},
            TypeError,
            "`clustering` to be a dict .* but got 3",
        ),
        (
            {"decoder": "FCNHead", "seeding": {"source": "kmean"}},
            ValueError,
            "'kmeans' or 'random', but got 'kmean'",
        ),
        ({"decoder": "FCNHead", "seeding": {"candidates": 0}}, ValueError, "candidates >= 1"),
        ({"decoder": "FCNHead", "score_scale": {"init": 0.5}}, ValueError, "min <= init <= max"),
        ({"decoder": "FCNHead", "projection": {"num_layers": 0}}, ValueError, "num_layers >= 1"),
    ],
)
def test_bad_configs_say_what_to_do(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    init_default_scope("mmseg")
    with pytest.raises(error, match=message):
        MODELS.build({**BASE, **arguments})


#: What the command line and `mim gridsearch` make of numbers, and other wrong types and names.
WRONG = [
    ({"decay": "high"}, "`decay` to be a number, but got 'high' (str)"),
    ({"decay": None}, "`decay` to be a number, but got None (NoneType)"),
    ({"num_prototypes": 2.5}, "`num_prototypes` to be a whole number above 0, but got 2.5"),
    ({"num_prototypes": "5"}, "`num_prototypes` to be a whole number above 0, but got '5'"),
    ({"num_classes": "4"}, "`num_classes` to be a whole number, but got '4' (str)"),
    ({"num_classes": None}, "`num_classes` to be a whole number, but got None (NoneType)"),
    ({"num_classes": -3}, "`num_classes` to be at least 1, but got -3"),
    ({"ignore_index": "255"}, "`ignore_index` to be a whole number, but got '255' (str)"),
    ({"clustering": {"kappa": "0.05"}}, "`clustering.kappa` to be a number, but got '0.05' (str)"),
    ({"clustering": {"kappa": float("nan")}}, "`clustering.kappa` to be a number, but got nan"),
    ({"clustering": {"iterations": 2.5}}, "`clustering.iterations` to be a whole number"),
    ({"clustering": {"num_pixels": "all"}}, "`clustering.num_pixels` to be a whole number"),
    ({"clustering": {"assign": 1}}, "`clustering.assign` to be a string, but got 1"),
    ({"score_scale": {"init": "10"}}, "`score_scale.init` to be a number, but got '10' (str)"),
    ({"score_scale": {"kind": "vector"}}, "to be 'scalar' or 'layer_norm', but got 'vector'"),
    ({"score_scale": {"learnable": "yes"}}, "`score_scale.learnable` to be True or False"),
    ({"score_scale": {"max": 5}}, "0 < min <= init <= max, but got min=1.0, init=10.0, max=5"),
    ({"seeding": {"seed": "x"}}, "`seeding.seed` to be a whole number, but got 'x' (str)"),
    ({"seeding": {"candidates": 2.5}}, "`seeding.candidates` to be a whole number"),
    ({"seeding": {"interval": 0}}, "interval >= 1"),
    ({"seeding": {"eager_iterations": -1}}, "eager_iterations >= 0"),
    ({"seeding": {"batch": 3}}, "keys of `seeding` to be among"),
    ({"update": {"clock": "2"}}, "`update.clock` to be a number, but got '2' (str)"),
    ({"update": "all"}, "`update` to be a dict with keys among ['pixels', 'clock']"),
    ({"projection": True}, "`projection` to be a dict with keys among"),
    ({"projection": {"out_channels": "256"}}, "`projection.out_channels` to be a whole number"),
    ({"projection": {"out_channels": 0}}, "out_channels >= 1"),
    ({"projection": {"normalize": 1}}, "`projection.normalize` to be True or False, but got 1"),
    ({"feature_norm": "LN"}, "such as dict(type='LN'), or None, but got 'LN'"),
    ({"feature_norm": {"eps": 1}}, "such as dict(type='LN'), or None, but got {'eps': 1}"),
    ({"loss_prototype": 3}, "`loss_prototype` to be a dict, but got 3"),
    ({"loss_prototype": {"contrast": 0.1}}, "keys of `loss_prototype` to be among"),
    ({"loss_prototype": {"temperature": "0.1"}}, "`loss_prototype.temperature` to be a number"),
    ({"loss_prototype": {"warmup_iterations": 1.5}}, "to be a whole number, but got 1.5 (float)"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_types_and_names_are_named_with_their_key(
    arguments: dict[str, Any], message: str
) -> None:
    init_default_scope("mmseg")
    with pytest.raises((TypeError, ValueError), match=re.escape(message)) as caught:
        MODELS.build({**BASE, "decoder": "FCNHead", **arguments})
    assert str(caught.value).startswith("Expected ")


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
