"""The modes named after the authors' release do what their own code did with the same numbers.

The numbers are from tests/golden/make_authors_numbers.py, which ran tfzhou/ProtoSeg, commit
1c4a778.
"""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from golden import rules
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from scipy import stats
from torch import Tensor
from toy import make_samples

from mmseg_proto.heads import classifier as classifier_module
from mmseg_proto.heads.build import build_classifier
from mmseg_proto.heads.classifier import PrototypeClassifier
from mmseg_proto.heads.presets import PRESETS
from mmseg_proto.losses import PixelPrototypeLoss
from mmseg_proto.ops import assign_prototypes, sample_gumbel, within_class_sinkhorn
from mmseg_proto.ops.assignment import Assignment

CLASSES, PLACES, CHANNELS = rules.STEP_SHAPE


def _golden(name: str) -> Any:
    numbers = np.load(rules.HERE / f"authors_{name}.npz")
    assert str(numbers["commit"]).startswith(rules.COMMIT)
    return numbers


@pytest.mark.parametrize("pixels", rules.PLANS)
def test_plan_after_three_iterations(pixels: int) -> None:
    golden = _golden("plans")
    plan = within_class_sinkhorn(
        rules.cosines(pixels),
        torch.zeros(pixels, dtype=torch.int64),
        torch.ones(1, PLACES, dtype=torch.bool),
        iterations=3,
        start="prototypes",
    )
    every = 10 if pixels > 1000 else 1
    np.testing.assert_allclose(plan[::every], golden[f"plan_{pixels}"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(plan.argmax(dim=1), golden[f"targets_{pixels}"])


def test_draws_of_one_plan_have_their_frequencies() -> None:
    golden = _golden("plans")
    plan = torch.from_numpy(golden[f"plan_{rules.DRAWN}"])
    exists = torch.ones_like(plan, dtype=torch.bool)
    torch.manual_seed(0)
    drawn = torch.stack([sample_gumbel(plan, exists) for _ in range(rules.DRAWS)])
    counts = torch.nn.functional.one_hot(drawn, PLACES).sum(dim=0).numpy()
    # A plan that were taken for probabilities would leave most of these counts near 0.
    assert golden["counts"].min() > 1000
    for ours, theirs in zip(counts, golden["counts"], strict=True):
        assert stats.chi2_contingency([ours, theirs]).pvalue > 1e-4


def _classifier(decay: float, **other: dict[str, Any]) -> PrototypeClassifier:
    """A classifier by the preset, from given embeddings on, with the prototypes of the rule."""
    settings = {
        key: {**PRESETS["authors"][key], **other.get(key, {})}
        for key in ("score_scale", "clustering", "seeding", "update")
    }
    made = build_classifier(
        CHANNELS, CLASSES, PLACES, projection=None, feature_norm=None, decay=decay, **settings
    ).double()
    _fill(made)
    return made


def _fill(classifier: Any) -> None:
    weight, bias = rules.score_norm()
    classifier.score_scale.norm.load_state_dict({"weight": weight, "bias": bias})
    # All exist from a random start.
    assert classifier.bank.alive_mask.all()
    classifier.bank.prototypes.copy_(rules.start())


def _twenty_updates(
    classifier: PrototypeClassifier, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """Prototypes after each step ``(20, C, K, D)`` and targets of its pixels ``(20, N)``."""
    seen: list[Assignment] = []

    def assign(*args: Any, noise: Tensor, **kwargs: Any) -> Assignment:
        seen.append(assign_prototypes(*args, noise=noise, **kwargs))
        return seen[-1]

    moved, targets = [], []
    for number in range(rules.STEPS):
        step = rules.training_step(number)
        labels = step.labels.flatten()
        with_noise = functools.partial(assign, noise=step.noise)
        monkeypatch.setattr(classifier_module, "assign_prototypes", with_noise)
        _, pixels = classifier.forward_labelled(step.embeddings, labels, temperature=1.0)
        classifier.assign(pixels, keep=True)
        classifier.end_step(update=True)
        moved.append(classifier.bank.prototypes.clone())
        targets.append(torch.where(labels < 0, -1, labels * PLACES + seen[-1].target))
    return torch.stack(moved), torch.stack(targets)


@pytest.mark.parametrize(("speed", "decay", "every"), [("fast", 0.9, 1), ("slow", 0.999, 19)])
def test_twenty_updates_in_a_row(
    speed: str, decay: float, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = _golden("updates")
    moved, targets = _twenty_updates(_classifier(decay), monkeypatch)
    np.testing.assert_array_equal(targets, golden[f"{speed}_targets"])
    expected = golden[f"{speed}_prototypes"]
    np.testing.assert_allclose(moved[::every], expected, rtol=0, atol=1e-6)
    # The corners are in it: a class that stands still, and one with too few pixels that moves.
    travelled = np.abs(expected[-1] - rules.start().numpy()).max(axis=(1, 2))
    assert travelled[rules.NEVER_RIGHT] < 1e-12
    assert travelled[rules.FEW] > 1e-3


@pytest.mark.parametrize(
    "other",
    [
        dict(clustering=dict(assign="argmax")),
        dict(clustering=dict(start="pixels")),
        dict(clustering=dict(few_pixels="nearest")),
        dict(update=dict(pixels="all")),
        dict(update=dict(pixels="correct_or_all")),
    ],
)
def test_any_other_setting_leads_elsewhere(
    other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, _ = _twenty_updates(_classifier(0.9, **other), monkeypatch)
    assert np.abs(moved[-1].numpy() - _golden("updates")["fast_prototypes"][-1]).max() > 1e-3


def test_contrast_and_distance_with_ignored_pixels() -> None:
    golden = _golden("losses")
    logits, targets = rules.loss_problem()
    loss = PixelPrototypeLoss(1.0, 1.0, temperature=1.0, class_balance=0.0)
    losses = loss(
        logits.gather(1, targets.clamp(min=0)[:, None]).squeeze(1),
        logits.logsumexp(dim=1),
        targets.div(PLACES, rounding_mode="floor"),
        4,
    )
    assert float(losses["loss_ppc"]) == pytest.approx(float(golden["ppc"]), abs=1e-6)
    assert float(losses["loss_ppd"]) == pytest.approx(float(golden["ppd"]), abs=1e-6)


def test_whole_loss_of_a_step_by_the_preset() -> None:
    """Cross-entropy with class weights, PPC and PPD, at their weights, with ignored pixels."""
    golden = _golden("losses")
    with DefaultScope.overwrite_default_scope("mmseg"):
        head = MODELS.build(
            dict(
                type="ProtoDecodeHead",
                decoder="FCNHead",
                preset="authors",
                in_channels=CHANNELS,
                channels=CHANNELS,
                num_convs=0,
                concat_input=False,
                num_classes=CLASSES,
                align_corners=True,
                # What is given are embeddings.
                projection=None,
                feature_norm=None,
                dropout_ratio=0,
                loss_decode=dict(type="CrossEntropyLoss", class_weight=list(rules.CLASS_WEIGHTS)),
            )
        ).double()
    _fill(head.prototype_classifier)
    head.attach_hook()
    step = rules.training_step(0)
    features = step.embeddings.clone().requires_grad_()
    labels = rules.larger(step.labels)
    samples = make_samples(labels.masked_fill(labels < 0, 255))
    losses = head.loss([features], samples, None)
    loss = losses["loss_ce"] + losses["loss_ppc"] + losses["loss_ppd"]
    assert loss.item() == pytest.approx(float(golden["whole"]), abs=1e-6)
    loss.backward()
    assert features.grad is not None
    np.testing.assert_allclose(features.grad, golden["whole_gradient"], rtol=1e-5, atol=1e-9)
