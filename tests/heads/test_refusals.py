from typing import Any

import pytest
from mmengine.registry import init_default_scope
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS

import mmseg_proto  # noqa: F401

BASE = {"type": "ProtoDecodeHead", "in_channels": 8, "channels": 16, "num_classes": 4}


class NeverCallsItsClassifier(BaseDecodeHead):
    """Mentions `cls_seg` in a method that its forward pass does not use."""

    def unused(self, feat: Any) -> Any:
        return self.cls_seg(feat)

    def forward(self, inputs: Any) -> Any:
        return inputs[0][:, : self.num_classes]


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


def test_decoder_that_never_classifies_is_named_at_the_first_loss() -> None:
    import torch
    from toy import make_samples

    init_default_scope("mmseg")
    head = MODELS.build({**BASE, "decoder": NeverCallsItsClassifier})
    head.attach_hook()
    with pytest.raises(ValueError, match="NeverCallsItsClassifier .* never called `cls_seg`"):
        head.loss([torch.rand(1, 8, 4, 4)], make_samples(torch.zeros(1, 4, 4).long()), {})
