from typing import Any

import pytest
from mmseg.models.decode_heads import FCNHead, SegformerHead, UPerHead

from mmseg_proto.heads.decoders import accepted_arguments, resolve_decoder, without_conv_seg

CONV_SEG = {"name": "conv_seg"}
OTHER = {"name": "convs", "std": 1.0}
NORMAL = {"type": "Normal", "std": 0.01}


@pytest.mark.parametrize(
    ("init_cfg", "expected"),
    [
        (None, None),
        ({**NORMAL, "layer": "Conv2d"}, {**NORMAL, "layer": "Conv2d"}),
        ({**NORMAL, "override": CONV_SEG}, None),
        ({**NORMAL, "layer": "Conv2d", "override": CONV_SEG}, {**NORMAL, "layer": "Conv2d"}),
        ({**NORMAL, "override": [CONV_SEG, OTHER]}, {**NORMAL, "override": [OTHER]}),
        ({**NORMAL, "override": OTHER}, {**NORMAL, "override": OTHER}),
        (
            [{**NORMAL, "layer": "Linear"}, {**NORMAL, "override": CONV_SEG}],
            [{**NORMAL, "layer": "Linear"}],
        ),
        ([{**NORMAL, "override": CONV_SEG}], None),
    ],
)
def test_init_cfg_forgets_conv_seg_and_nothing_else(init_cfg: Any, expected: Any) -> None:
    assert without_conv_seg(init_cfg) == expected


@pytest.mark.parametrize("decoder", [FCNHead, UPerHead, SegformerHead])
def test_arguments_are_those_of_the_whole_line_of_constructors(decoder: type) -> None:
    assert resolve_decoder(decoder.__name__) is resolve_decoder(decoder) is decoder
    assert {"in_channels", "num_classes", "loss_decode", "sampler"} <= accepted_arguments(decoder)


def test_own_arguments_of_a_decoder_are_known() -> None:
    assert "pool_scales" in accepted_arguments(UPerHead)
    assert "pool_scales" not in accepted_arguments(FCNHead)
