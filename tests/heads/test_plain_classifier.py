"""The classifier that is exported computes what the classifier computes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmseg_proto.heads.build import build_score_scale
from mmseg_proto.heads.classifier import PrototypeClassifier
from mmseg_proto.heads.embedding import PixelEmbedding
from mmseg_proto.heads.plain_classifier import PlainClassifier
from mmseg_proto.heads.seeder import PrototypeSeeder
from mmseg_proto.heads.settings import (
    ClusteringSettings,
    ProjectionSettings,
    ScaleSettings,
    SeedingSettings,
    UpdateSettings,
)
from mmseg_proto.prototypes import PrototypeBank

CLASSES, PLACES, CHANNELS = 4, 3, 6
VARIANTS: dict[str, dict[str, Any]] = {
    "layer norm": {"feature_norm": {"type": "LN"}},
    "no norm": {},
    "batch norm": {"feature_norm": {"type": "BN"}},
    "group norm": {"feature_norm": {"type": "GN", "num_groups": 2}},
    "layer norm without weights": {"feature_norm": {"type": "LN", "elementwise_affine": False}},
    "projection": {"projection": {"out_channels": 5, "num_layers": 2}},
    "projection twice": {
        "projection": {"out_channels": 5, "num_layers": 1, "normalize": True},
        "feature_norm": {"type": "LN"},
    },
    "authors": {"feature_norm": {"type": "LN"}, "scale": {"kind": "layer_norm"}},
    "fixed scale": {"scale": {"learnable": False, "init": 20.0}},
}


def make(
    feature_norm: dict[str, Any] | None = None,
    projection: dict[str, Any] | None = None,
    scale: dict[str, Any] | None = None,
) -> PrototypeClassifier:
    """A classifier with random weights; some prototypes are dead, and so is the last class."""
    settings = None if projection is None else ProjectionSettings(**projection)
    embedding = PixelEmbedding(CHANNELS, settings, feature_norm)
    bank = PrototypeBank(CLASSES, PLACES, embedding.channels, 0.999)
    alive = torch.ones(CLASSES, PLACES, dtype=torch.bool)
    alive[1, 1] = alive[2, :2] = alive[3] = False
    bank.seed(torch.arange(CLASSES), torch.randn(CLASSES, PLACES, embedding.channels), alive)
    # An average of prototypes, as EMAHook makes it, is shorter than 1.
    bank.prototypes.mul_(0.9)
    classifier = PrototypeClassifier(
        embedding,
        bank,
        build_score_scale(ScaleSettings(**(scale or {})), CLASSES),
        PrototypeSeeder(bank, SeedingSettings()),
        ClusteringSettings(),
        UpdateSettings(),
    )
    for module in classifier.modules():
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return classifier.eval()


def both(classifier: PrototypeClassifier, features: Tensor, *, fused: bool) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return classifier(features), PlainClassifier(classifier, fused=fused).eval()(features)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_it_computes_the_same(name: str, fused: bool) -> None:
    expected, found = both(make(**VARIANTS[name]), torch.randn(2, CHANNELS, 5, 7), fused=fused)
    assert found.shape == (2, CLASSES, 5, 7)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_a_class_without_prototypes_has_the_floor(fused: bool) -> None:
    _, found = both(make(scale={"init": 7.0}), torch.randn(1, CHANNELS, 3, 3), fused=fused)
    torch.testing.assert_close(found[:, 3], torch.full((1, 3, 3), -7.0))
    # Of a prototype that does not exist nothing can be told from one that is opposite.
    assert (found[:, :3] >= -7.0001).all()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("norm", [None, {"type": "LN"}])
def test_pixels_without_a_direction(norm: dict[str, Any] | None, fused: bool) -> None:
    classifier = make(feature_norm=norm)
    if norm is not None:
        nn.init.zeros_(classifier.embedding.norm.bias)  # type: ignore[arg-type]
    features = torch.randn(1, CHANNELS, 2, 2)
    features[:, :, 0, 0] = 0
    expected, found = both(classifier, features, fused=fused)
    assert torch.equal(expected[0, :3, 0, 0], torch.zeros(3))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_scale_is_in_the_convolution() -> None:
    classifier = make(scale={"init": 7.0})
    weight = PlainClassifier(classifier, fused=True).weight
    assert weight.shape == (CLASSES * PLACES, CHANNELS, 1, 1)
    alive = classifier.bank.alive_mask.flatten()
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), 7.0 * alive)


def test_the_classifier_stays_as_it_is() -> None:
    classifier = make(feature_norm={"type": "LN"})
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    PlainClassifier(classifier, fused=True)
    assert list(before) == list(classifier.state_dict())
    assert all(torch.equal(before[name], now) for name, now in classifier.state_dict().items())
