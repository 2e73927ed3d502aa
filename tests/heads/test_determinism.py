"""The same step twice gives the same bits, also where PyTorch refuses what could differ."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from toy import make_classifier

from mmseg_proto import PixelPrototypeLoss


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    torch.use_deterministic_algorithms(True)
    yield torch.device(request.param)
    torch.use_deterministic_algorithms(False)


def train(device: torch.device, num_pixels: int | None) -> list[Tensor]:
    """Take two steps from the same start and return all that they made."""
    torch.manual_seed(0)
    features = torch.randn(2, 16, 24, 24)
    labels = torch.randint(-1, 7, (2 * 24 * 24,))
    classifier = make_classifier(7, feature_norm={"type": "LN"}, num_pixels=num_pixels).to(device)
    features, labels = features.to(device).requires_grad_(), labels.to(device)
    loss = PixelPrototypeLoss()
    made: list[Tensor] = []
    for step in range(2):
        classifier.begin_step(step)
        classifier.seed_if_due(features, labels)
        logits, pixels = classifier.forward_labelled(features, labels, loss.temperature)
        positive = classifier.assign(pixels, keep=True)
        losses = loss(positive, pixels.log_partition, pixels.labels, 7, draw=pixels.draw)
        total = sum(losses.values(), logits.square().mean())
        made += [logits, *torch.autograd.grad(total, [features, *classifier.parameters()])]
        classifier.end_step(update=True)
    return [*made, *classifier.bank.state_dict().values()]


@pytest.mark.parametrize("num_pixels", [None, 100])
def test_two_runs_are_equal_bit_by_bit(device: torch.device, num_pixels: int | None) -> None:
    first, second = (train(device, num_pixels) for _ in range(2))
    assert len(first) == len(second) > 8
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
