"""A trained linear classifier as prototypes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseg_proto.prototypes import classifier_embedding, fit_scale, lean


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 30),
    st.integers(1, 20),
    st.integers(2, 50),
    st.integers(1, 70),
    st.floats(0.0, 3.0),
    st.integers(0, 2**31),
)
def test_directions_classify_as_the_classifier_does(
    classes: int, channels: int, pixels: int, looks: int, share: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, channels, generator=generator)
    bias = torch.randn(classes, generator=generator)
    features = 3 * torch.randn(pixels, channels, generator=generator) + 1
    made = classifier_embedding(weight, bias, features, looks, share)
    embeddings = F.normalize(features @ made.weight.T + made.bias, dim=1)
    torch.testing.assert_close(made.directions.norm(dim=1), torch.ones(classes))
    logits = features @ weight.T + bias
    centred = logits - logits.mean(dim=1, keepdim=True)
    cosines = embeddings @ made.directions.T
    # Proportional, pixel by pixel.
    expected = centred * (cosines.norm(dim=1) / centred.norm(dim=1))[:, None]
    torch.testing.assert_close(cosines, expected, rtol=1e-3, atol=1e-4)


def test_looks_of_equal_logits_are_told_apart() -> None:
    weight, bias = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(2)
    features = torch.tensor([[2.0, 3.0], [2.0, -3.0], [-2.0, 3.0], [-2.0, -3.0]])
    made = classifier_embedding(weight, bias, features, share=0.5)
    embeddings = F.normalize(features @ made.weight.T + made.bias, dim=1)
    assert float(embeddings[0] @ embeddings[1]) < 0.9


def test_centres_lean_from_themselves_to_the_direction() -> None:
    centres = torch.randn(4, 6)
    direction = F.normalize(torch.ones(6), dim=0)
    torch.testing.assert_close(lean(centres, direction, 0.0), F.normalize(centres, dim=1))
    before = float((lean(centres, direction, 0.0) @ direction).mean())
    after = float((lean(centres, direction, 1.0) @ direction).mean())
    assert before < after < 1
    torch.testing.assert_close(lean(centres, direction, 1e6), direction.expand(4, -1))


def test_the_scale_is_that_of_the_lowest_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.rand(4000, 5, generator=generator) - 1
    labels = torch.multinomial((7 * scores).softmax(dim=1), 1, generator=generator).squeeze(1)
    assert fit_scale(scores, labels, 1, 100) == pytest.approx(7, rel=0.1)
    assert fit_scale(scores, labels, 10, 100) == pytest.approx(10)
