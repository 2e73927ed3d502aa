"""Long runs of hostile batches: nothing becomes NaN, and prototypes stay on the sphere."""

from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor
from toy import make_samples

import mmseg_proto  # noqa: F401

CLASSES, CHANNELS = 5, 6
CONFIG = {
    "type": "ProtoDecodeHead",
    "decoder": "FCNHead",
    "in_channels": CHANNELS,
    "channels": 8,
    "num_convs": 1,
    "concat_input": False,
    "num_classes": CLASSES,
    "num_prototypes": 4,
    "norm_cfg": {"type": "GN", "num_groups": 2},
}


def hostile_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features and labels of random sizes and kinds, each kind sooner or later with each other."""

    def pick(*options: Any) -> Any:
        return options[int(torch.randint(len(options), (), generator=generator))]

    shape = (pick(1, 2), CHANNELS, pick(1, 2, 5), pick(1, 3, 6))
    features = torch.randn(shape, generator=generator) * pick(0.0, 1e-20, 1e-3, 1.0, 1e4, 1e18)
    if pick(True, False, False):
        spoilt = torch.rand(shape, generator=generator) < pick(0.01, 0.5, 1.0)
        features = features.masked_fill(spoilt, pick(torch.nan, torch.inf, -torch.inf))
    elif pick(True, False, False):
        features = features[:, :, :1, :1].expand(shape).clone()  # all pixels alike
    factor = pick(1, 4)
    size = (shape[0], shape[2] * factor, shape[3] * factor)
    labels = torch.randint(0, CLASSES, size, generator=generator)
    kind = pick("all", "one class", "two pixels", "ignored", "holes")
    if kind == "one class":
        labels[:] = pick(0, CLASSES - 1)
    elif kind == "two pixels":
        labels[:] = 255
        labels.view(-1)[:2] = pick(1, 3)
    elif kind == "ignored":
        labels[:] = 255
    elif kind == "holes":
        labels[torch.rand(size, generator=generator) < 0.5] = 255
    return features, labels


def run(steps: int, **options: Any) -> Any:
    """Train on hostile batches; the optimiser skips a step of non-finite gradients, as AMP does."""
    init_default_scope("mmseg")
    generator = torch.Generator().manual_seed(0)
    head = MODELS.build({**CONFIG, **options})
    head.init_weights()
    head.attach_hook()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01)
    classifier = head.prototype_classifier
    bank = classifier.bank
    for step in range(steps):
        features, labels = hostile_batch(generator)
        classifier.begin_step(step)
        optimizer.zero_grad()
        losses = head.loss([features], make_samples(labels), {})
        for key in ("loss_ppc", "loss_ppd"):
            assert losses[key].isfinite(), (step, key)
        sum(value for key, value in losses.items() if "loss" in key).backward()
        gradients = [parameter.grad for parameter in head.parameters()]
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
        if finite:
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
        classifier.end_step(update=finite or step % 2 == 0)
        for name, buffer in bank.named_buffers():
            assert buffer.isfinite().all(), (step, name)
        lengths = bank.prototypes.norm(dim=2)
        torch.testing.assert_close(lengths, bank.alive, rtol=0, atol=1e-5)
    return head


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clustering": {"num_pixels": 7}, "update": {"pixels": "correct", "clock": 2}},
        {"seeding": {"source": "random", "revive_interval": 20}, "decay": 0.5},
        {"projection": {"normalize": True}, "feature_norm": None},
    ],
    ids=["defaults", "sampled", "revived", "projection"],
)
def test_hostile_batches(options: dict[str, Any]) -> None:
    head = run(400, **options)
    classifier = head.prototype_classifier
    assert classifier.bank.alive_mask.any(dim=1).all()
    assert classifier.bank.updates.sum() > 100
    assert classifier.take_nonfinite() > 0
    assert classifier.take_nonfinite() == 0


@pytest.mark.slow
def test_ten_thousand_hostile_batches() -> None:
    assert run(10_000).prototype_classifier.bank.updates.max() > 1000


def test_one_image_of_one_pixel_with_more_prototypes_than_pixels() -> None:
    init_default_scope("mmseg")
    head = MODELS.build(CONFIG)
    head.attach_hook()
    classifier = head.prototype_classifier
    features = torch.randn(1, CHANNELS, 1, 1, generator=torch.Generator().manual_seed(0))
    for step in range(3):
        classifier.begin_step(step)
        losses = head.loss([features], make_samples(torch.full((1, 4, 4), 2)), {})
        sum(value for key, value in losses.items() if "loss" in key).backward()
        classifier.end_step(update=True)
        assert all(value.isfinite().all() for value in losses.values())
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
    assert classifier.bank.alive_mask.sum(dim=1).tolist() == [0, 0, 1, 0, 0]
