from typing import Any

import pytest
import torch

from mmseg_proto.heads.build import build_score_scale
from mmseg_proto.heads.settings import ScaleSettings

SCORES = torch.linspace(-1, 1, 12).view(4, 3)


def build(**settings: Any) -> Any:
    return build_score_scale(ScaleSettings(**settings), num_classes=3)


def test_scalar_multiplies_and_is_one_parameter_whatever_the_classes() -> None:
    scale = build(init=7.0)
    factor = scale.factor()
    assert factor is not None
    torch.testing.assert_close(factor, torch.tensor([7.0]))
    assert scale(SCORES) is SCORES
    assert float(scale.value()) == pytest.approx(7.0)
    assert [p.numel() for p in scale.parameters()] == [1]


def test_fixed_scalar_has_no_parameter_but_is_saved() -> None:
    scale = build(learnable=False)
    scale.clamp()
    assert not list(scale.parameters())
    assert list(scale.state_dict()) == ["log_scale"]


def test_learned_scalar_stays_within_its_bounds() -> None:
    scale = build(min=2.0, max=20.0)
    for wild, bound in ((9.0, 20.0), (-9.0, 2.0)):
        scale.log_scale.data.fill_(wild)
        scale.clamp()
        assert float(scale.value()) == pytest.approx(bound)


def test_layer_norm_standardises_the_scores_of_each_pixel() -> None:
    scale = build(kind="layer_norm")
    scale.clamp()
    assert scale.factor() is None
    logits = scale(SCORES)
    centred = SCORES - SCORES.mean(1, keepdim=True)
    expected = centred / (SCORES.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(logits, expected)
    assert sum(p.numel() for p in scale.parameters()) == 2 * 3
    assert float(scale.value()) == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "temperature"}, r"\('scalar', 'layer_norm'\), but got 'temperature'"),
        ({"min": 0.0}, "0 < min <= init <= max"),
        ({"init": 200.0}, "init=200.0"),
    ],
)
def test_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScaleSettings(**settings)
