"""One training step with ``preset='paper'``, against equations 5 to 14 of the paper in NumPy.

Nothing of the package but the head under test; loops and plain formulas, double precision.
"""

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from numpy.typing import NDArray
from toy import make_samples

Array = NDArray[np.float64]
CLASSES, PLACES, CHANNELS, WIDTH = 4, 3, 6, 5
KAPPA, TAU, LAMBDA = 0.05, 0.1, 0.01


def unit(vectors: Array) -> Array:
    normed: Array = vectors / np.sqrt((vectors**2).sum(-1, keepdims=True))
    return normed


def converged_plan(cosines: Array) -> Array:
    """The plan of eq. 8 to 10 for the pixels of a class ``(n, K)``, scaled until nothing moves."""
    plan = np.exp(cosines / KAPPA)
    pixels, places = plan.shape
    for _ in range(4_000):
        plan = plan / plan.sum(axis=0) * (pixels / places)
        plan = plan / plan.sum(axis=1, keepdims=True)
    assert np.abs(plan.sum(axis=0) - pixels / places).max() < 1e-12
    return plan


def by_hand(
    features: Array, labels: NDArray[np.int64], prototypes: Array, decay: float
) -> dict[str, Any]:
    """Losses and moved prototypes, eq. 5 to 14, of features ``(N, D)``; label 255 is ignored."""
    pixels = unit(features)
    counted = [n for n in range(len(labels)) if labels[n] != 255]
    cosines = np.einsum("nd,ckd->nck", pixels, prototypes)
    entropy, contrast, distance = [], [], []
    assigned = {}
    for c in range(CLASSES):
        own = [n for n in counted if labels[n] == c]
        if own:
            plan = converged_plan(cosines[own, c])
            assigned.update({n: int(row.argmax()) for n, row in zip(own, plan, strict=True)})
    for n in counted:
        scores = cosines[n].max(axis=1)  # eq. 5, as a similarity
        entropy.append(-scores[labels[n]] + np.log(np.exp(scores).sum()))  # eq. 6, 7
        positive = cosines[n, labels[n], assigned[n]]
        contrast.append(-positive / TAU + np.log(np.exp(cosines[n] / TAU).sum()))  # eq. 11
        distance.append((1 - positive) ** 2)  # eq. 12
    moved = prototypes.copy()
    for c in range(CLASSES):
        for k in range(PLACES):
            own = [n for n, place in assigned.items() if (labels[n], place) == (c, k)]
            if own:  # eq. 14
                mean = unit(pixels[own].mean(axis=0))
                moved[c, k] = unit(decay * prototypes[c, k] + (1 - decay) * mean)
    return {
        "loss_ce": np.mean(entropy),
        "loss_ppc": LAMBDA * np.mean(contrast),
        "loss_ppd": LAMBDA * np.mean(distance),
        "prototypes": moved,
    }


@pytest.mark.parametrize("decay", [None, 0.7])
@pytest.mark.parametrize("ignored_rows", [0, 6])
def test_a_step_is_the_paper(ignored_rows: int, decay: float | None) -> None:
    init_default_scope("mmseg")
    given = {} if decay is None else {"decay": decay}
    head: Any = MODELS.build(
        {
            "type": "ProtoDecodeHead",
            "decoder": "FCNHead",
            "in_channels": CHANNELS,
            "channels": CHANNELS,
            "num_convs": 0,
            "concat_input": False,
            "norm_cfg": None,
            "num_classes": CLASSES,
            "preset": "paper",
            "num_prototypes": PLACES,
            # The equations ask for the solution, not for three steps towards it.
            "clustering": {"iterations": 4_000},
            **given,
        }
    ).double()
    random = np.random.RandomState(0)
    rows = 14 + ignored_rows
    features = random.standard_normal((rows, WIDTH, CHANNELS))
    labels = random.randint(0, 2, (rows, WIDTH))
    labels[0, :2] = 2  # two pixels for three prototypes: the plan decides here too
    # Class 3 never occurs.
    labels[14:] = 255
    assert (labels == 255).mean() == pytest.approx(0.3 if ignored_rows else 0)
    before = head.prototype_classifier.bank.prototypes.numpy().copy()
    assert np.abs(np.linalg.norm(before, axis=2) - 1).max() < 1e-6
    before = unit(before)
    head.prototype_classifier.bank.prototypes.copy_(torch.from_numpy(before))
    expected = by_hand(
        features.reshape(-1, CHANNELS), labels.ravel(), before, 0.999 if decay is None else decay
    )

    head.attach_hook()
    head.prototype_classifier.begin_step(0)
    inputs = torch.from_numpy(features).permute(2, 0, 1)[None].requires_grad_()
    losses = head.loss([inputs], make_samples(torch.from_numpy(labels)[None]), {})
    head.prototype_classifier.end_step(update=True)
    for name in ("loss_ce", "loss_ppc", "loss_ppd"):
        assert losses[name].item() == pytest.approx(expected[name], rel=1e-6), name
    moved = head.prototype_classifier.bank.prototypes.numpy()
    np.testing.assert_allclose(moved, expected["prototypes"], rtol=0, atol=1e-8)
    assert np.abs(moved - before).max() > 1e-5
