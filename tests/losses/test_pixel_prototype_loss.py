from typing import Any

import pytest
import reference
import torch
from toy import make_problem

from mmseg_proto.losses import (
    PixelPrototypeLoss,
    pixel_prototype_contrast,
    pixel_prototype_distance,
    pixel_weights,
)
from mmseg_proto.ops import nearest_prototypes


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("tau", [0.1, 1.0, 0.02])
def test_matches_reference(tau: float, balance: float) -> None:
    problem = make_problem()
    assignment = torch.where(problem.labels == 3, 0, torch.arange(40) % 4)
    labels = torch.where(problem.labels == 4, -1, problem.labels)
    result = nearest_prototypes(
        problem.embeddings, problem.prototypes, problem.alive, labels, temperature=tau
    )
    assert result.own_similarity is not None
    assert result.log_partition is not None
    positive = result.own_similarity.gather(1, assignment[:, None]).squeeze(1)
    weights = pixel_weights(labels, 5, balance)
    contrast = pixel_prototype_contrast(positive, result.log_partition, weights, tau)
    distance = pixel_prototype_distance(positive, weights)
    arguments = (problem.embeddings, labels, assignment, problem.prototypes)
    expected = reference.contrast(*arguments, problem.alive, tau, balance)
    assert float(contrast) == pytest.approx(expected)
    assert float(distance) == pytest.approx(reference.distance(*arguments, balance))
    # The module is the functions with weights.
    losses = PixelPrototypeLoss(0.3, 0.7, tau, class_balance=balance)(
        positive, result.log_partition, labels, 5
    )
    torch.testing.assert_close(losses["loss_ppc"], 0.3 * contrast)
    torch.testing.assert_close(losses["loss_ppd"], 0.7 * distance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_temperature_losses_are_those_of_the_release(dtype: torch.dtype) -> None:
    """tau=1, no scale and given assignments; their losses are written as they define them."""
    problem = make_problem()
    labels = torch.where(problem.labels == 4, -1, problem.labels)
    classes, per_class, channels = problem.prototypes.shape
    assignment = torch.arange(len(labels)) % per_class
    alive = torch.ones(classes, per_class, dtype=torch.bool)
    ours = problem.embeddings.detach().to(dtype).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    prototypes = problem.prototypes.detach().to(dtype)
    prototypes = torch.nn.functional.normalize(prototypes, dim=-1)

    result = nearest_prototypes(ours, prototypes, alive, labels, temperature=1.0)
    assert result.own_similarity is not None
    assert result.log_partition is not None
    positive = result.own_similarity.gather(1, assignment[:, None]).squeeze(1)
    weights = pixel_weights(labels, classes)
    contrast = pixel_prototype_contrast(positive, result.log_partition, weights, 1.0)
    distance = pixel_prototype_distance(positive, weights)

    # Theirs: one logit for each of all C*K prototypes, target c*K+k, -1 for ignored pixels.
    logits = theirs @ prototypes.reshape(-1, channels).T
    target = torch.where(labels >= 0, labels * per_class + assignment, -1)
    release_ppc = torch.nn.functional.cross_entropy(logits, target, ignore_index=-1)
    valid = target != -1
    own = logits[valid].gather(1, target[valid][:, None])
    release_ppd = (1 - own).pow(2).mean()

    assert contrast.item() == pytest.approx(release_ppc.item(), abs=1e-6)
    assert distance.item() == pytest.approx(release_ppd.item(), abs=1e-6)
    (contrast + distance).backward()
    (release_ppc + release_ppd).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-6)


def test_no_valid_pixel_gives_zero_loss_and_gradient() -> None:
    positive = torch.tensor([0.5, torch.nan], requires_grad=True)
    partition = torch.tensor([1.0, torch.inf], requires_grad=True)
    losses = PixelPrototypeLoss()(positive, partition, torch.tensor([-1, -1]), 3)
    total = losses["loss_ppc"] + losses["loss_ppd"]
    assert total.item() == 0
    total.backward()
    assert positive.grad is not None
    torch.testing.assert_close(positive.grad, torch.zeros(2))


def test_large_cosines_over_small_temperature_stay_finite() -> None:
    positive = torch.tensor([1.0])
    log_partition = torch.tensor([1 / 0.001])
    contrast = pixel_prototype_contrast(positive, log_partition, torch.ones(1), 0.001)
    assert float(contrast) == pytest.approx(0.0, abs=1e-4)


def test_warm_up_grows_linearly_to_the_full_weights() -> None:
    loss = PixelPrototypeLoss(contrast_weight=2.0, distance_weight=4.0, warmup_iterations=3)
    positive, log_partition = torch.zeros(5), torch.ones(5)
    labels = torch.zeros(5, dtype=torch.long)
    ramp = [
        [float(x) for x in loss(positive, log_partition, labels, 1, iteration).values()]
        for iteration in range(5)
    ]
    expected = [[2 * share, 4 * share] for share in (0.25, 0.5, 0.75, 1.0, 1.0)]
    torch.testing.assert_close(torch.tensor(ramp), torch.tensor(expected))


def test_balance_gives_small_classes_more_weight() -> None:
    labels = torch.tensor([0, 0, 0, 0, -1, 2])
    for balance, of_large in [(0.0, 0.8), (0.5, 4**0.5 / (4**0.5 + 1)), (1.0, 0.5)]:
        weights = pixel_weights(labels, 4, balance)
        expected = [of_large / 4] * 4 + [0, 1 - of_large]
        torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contrast_weight": -1}, "at least 0, but got -1"),
        ({"distance_weight": -0.1}, "at least 0, but got 0.1 and -0.1"),
        ({"temperature": 0}, "`temperature` to be above 0, but got 0"),
        ({"class_balance": 1.5}, "`class_balance` to be between 0 and 1, but got 1.5"),
        ({"warmup_iterations": -1}, "`warmup_iterations` to be at least 0, but got -1"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixelPrototypeLoss(**arguments)
