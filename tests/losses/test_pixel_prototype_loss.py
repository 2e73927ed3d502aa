from typing import Any

import pytest
import reference
import torch
from toy import make_problem

from mmseg_proto.losses import (
    PixelPrototypeLoss,
    pixel_prototype_contrast,
    pixel_prototype_distance,
)
from mmseg_proto.ops import nearest_prototypes


@pytest.mark.parametrize("tau", [0.1, 1.0, 0.02])
def test_matches_reference(tau: float) -> None:
    problem = make_problem()
    assignment = torch.where(problem.labels == 3, 0, torch.arange(40) % 4)
    labels = torch.where(problem.labels == 4, -1, problem.labels)
    result = nearest_prototypes(
        problem.embeddings, problem.prototypes, problem.alive, labels, temperature=tau
    )
    assert result.own_similarity is not None
    assert result.log_partition is not None
    positive = result.own_similarity.gather(1, assignment[:, None]).squeeze(1)
    contrast = pixel_prototype_contrast(positive, result.log_partition, labels >= 0, tau)
    distance = pixel_prototype_distance(positive, labels >= 0)
    arguments = (problem.embeddings, labels, assignment, problem.prototypes)
    assert float(contrast) == pytest.approx(reference.contrast(*arguments, problem.alive, tau))
    assert float(distance) == pytest.approx(reference.distance(*arguments))
    # The module is the functions with weights.
    losses = PixelPrototypeLoss(0.3, 0.7, tau)(positive, result.log_partition, labels >= 0)
    torch.testing.assert_close(losses["loss_ppc"], 0.3 * contrast)
    torch.testing.assert_close(losses["loss_ppd"], 0.7 * distance)


def test_no_valid_pixel_gives_zero_loss_and_gradient() -> None:
    positive = torch.tensor([0.5, torch.nan], requires_grad=True)
    partition = torch.tensor([1.0, torch.inf], requires_grad=True)
    losses = PixelPrototypeLoss()(positive, partition, torch.zeros(2, dtype=torch.bool))
    total = losses["loss_ppc"] + losses["loss_ppd"]
    assert total.item() == 0
    total.backward()
    assert positive.grad is not None
    torch.testing.assert_close(positive.grad, torch.zeros(2))


def test_large_cosines_over_small_temperature_stay_finite() -> None:
    positive = torch.tensor([1.0])
    log_partition = torch.tensor([1 / 0.001])
    contrast = pixel_prototype_contrast(positive, log_partition, positive > 0, 0.001)
    assert float(contrast) == pytest.approx(0.0, abs=1e-4)


def test_warm_up_grows_linearly_to_the_full_weights() -> None:
    loss = PixelPrototypeLoss(contrast_weight=2.0, distance_weight=4.0, warmup_iterations=3)
    positive, log_partition = torch.zeros(5), torch.ones(5)
    valid = torch.ones(5, dtype=torch.bool)
    ramp = [
        [float(x) for x in loss(positive, log_partition, valid, iteration).values()]
        for iteration in range(5)
    ]
    expected = [[2 * share, 4 * share] for share in (0.25, 0.5, 0.75, 1.0, 1.0)]
    torch.testing.assert_close(torch.tensor(ramp), torch.tensor(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contrast_weight": -1}, "at least 0, but got -1"),
        ({"distance_weight": -0.1}, "at least 0, but got 0.01 and -0.1"),
        ({"temperature": 0}, "`temperature` to be above 0, but got 0"),
        ({"warmup_iterations": -1}, "`warmup_iterations` to be at least 0, but got -1"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixelPrototypeLoss(**arguments)
