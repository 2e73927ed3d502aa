import pytest
import torch
import torch.nn.functional as F
from mmseg.models.losses import CrossEntropyLoss, DiceLoss
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mmseg_proto.heads.ignore_safe_cross_entropy import (
    IgnoreSafeCrossEntropyLoss,
    repair_cross_entropy,
)

WEIGHT = [1.0, 2.0, 0.5]


@pytest.mark.parametrize(
    ("class_weight", "avg_non_ignore"), [(WEIGHT, True), (WEIGHT, False), (None, True)]
)
def test_equals_torch_with_ignored_pixels(
    class_weight: list[float] | None, avg_non_ignore: bool
) -> None:
    host = CrossEntropyLoss(
        class_weight=class_weight, avg_non_ignore=avg_non_ignore, loss_weight=0.4
    )
    loss = repair_cross_entropy(host)
    assert isinstance(loss, IgnoreSafeCrossEntropyLoss)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    weight = None if class_weight is None else torch.tensor(class_weight)
    expected = 0.4 * F.cross_entropy(logits, labels, weight, ignore_index=255)
    torch.testing.assert_close(loss(logits, labels, ignore_index=255), expected)
    assert loss.loss_name == "loss_ce"
    everything = torch.full_like(labels, 255)
    assert float(loss(logits, everything, ignore_index=255)) == 0


def test_counting_pixels_reads_nothing_on_the_cpu() -> None:
    host = CrossEntropyLoss(avg_non_ignore=True)
    with FakeTensorMode():
        logits, labels = torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.int64)
        repair_cross_entropy(host)(logits, labels, ignore_index=255)
        with pytest.raises(DataDependentOutputException):
            host(logits, labels, ignore_index=255)


def test_no_reduction_is_left_to_the_host() -> None:
    loss = IgnoreSafeCrossEntropyLoss(class_weight=WEIGHT)
    logits, labels = torch.randn(2, 3, 4), torch.randint(0, 3, (2, 4))
    labels[0, 0] = 255
    expected = F.cross_entropy(
        logits, labels, torch.tensor(WEIGHT), ignore_index=255, reduction="none"
    )
    torch.testing.assert_close(
        loss(logits, labels, ignore_index=255, reduction_override="none"), expected
    )


def test_other_losses_are_left_alone() -> None:
    plain, sigmoid = CrossEntropyLoss(), CrossEntropyLoss(use_sigmoid=True, class_weight=WEIGHT)
    losses = nn.ModuleList([plain, sigmoid, DiceLoss(), CrossEntropyLoss(class_weight=WEIGHT)])
    repaired = repair_cross_entropy(losses)
    assert isinstance(repaired, nn.ModuleList)
    assert list(repaired)[:3] == list(losses)[:3]
    assert isinstance(repaired[3], IgnoreSafeCrossEntropyLoss)
