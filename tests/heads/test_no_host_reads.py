"""A training step never waits for the device, and never loops over classes.

PyTorch's fake tensors have no values: whatever reads one on the host (`item`, `nonzero`, a boolean
index) raises, which stands in for a GPU here.
"""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from toy import make_classifier

from mmseg_proto import PixelPrototypeLoss
from mmseg_proto.heads.classifier import PrototypeClassifier


class CountOperations(TorchDispatchMode):
    """Counts the tensor operations that run inside the context."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def complete_classifier(num_classes: int) -> PrototypeClassifier:
    """Make a classifier that looks for no prototypes to seed."""
    classifier = make_classifier(num_classes, feature_norm={"type": "LN"})
    classifier.seeder._complete = True
    return classifier


def train_step(classifier: PrototypeClassifier) -> None:
    """Make a whole step; inside `FakeTensorMode` all that it makes is fake."""
    features = torch.zeros(2, 16, 8, 8, requires_grad=True)
    labels = torch.zeros(2 * 8 * 8, dtype=torch.int64)
    loss = PixelPrototypeLoss(class_balance=1.0)
    classifier.begin_step(0)
    classifier.seed_if_due(features, labels)
    logits, pixels = classifier.forward_labelled(features, labels, loss.temperature)
    positive = classifier.assign(pixels, keep=True)
    classes = classifier.bank.shape[0]
    losses = loss(positive, pixels.log_partition, pixels.labels, classes)
    sum(losses.values(), logits.mean()).backward()
    classifier.end_step(update=True)


def test_a_step_reads_nothing_on_the_host() -> None:
    with FakeTensorMode():
        train_step(complete_classifier(5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_never_waits_for_a_gpu() -> None:
    with torch.device("cuda"):
        classifier = complete_classifier(5).cuda()
        train_step(classifier)  # the first one sets up libraries
        torch.cuda.set_sync_debug_mode("error")
        try:
            train_step(classifier)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_what_reads_on_the_host_would_be_noticed() -> None:
    reads = (DataDependentOutputException, DynamicOutputShapeException)
    with FakeTensorMode():
        classifier = make_classifier(5)  # it seeds, which may read
        with pytest.raises(reads):
            train_step(classifier)


def test_operations_do_not_grow_with_classes() -> None:
    counts = []
    for num_classes in (2, 200):
        classifier = complete_classifier(num_classes)
        with CountOperations() as operations:
            train_step(classifier)
        counts.append(operations.count)
    assert counts[0] == counts[1] > 50
