"""Cross-entropy and prototype losses divide by the same pixels: ignored ones change no ratio."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from mmengine.registry import init_default_scope
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from toy import make_samples

CLASSES, CHANNELS, WIDTH, LABELLED_ROWS = 4, 6, 3, 7
CE = {"type": "CrossEntropyLoss"}
SECOND_CE = {"type": "CrossEntropyLoss", "loss_name": "loss_second", "avg_non_ignore": True}
#: Rows of 3 pixels in all, 7 of which are labelled: 0, 30 and 90 % are ignored.
ROWS = (7, 10, 70)
VARIANTS: dict[str, dict[str, Any]] = {
    "the host's default": {},
    "labelled pixels": {"loss_decode": {**CE, "avg_non_ignore": True}},
    "class weights": {"loss_decode": {**CE, "class_weight": [1.0, 2.0, 0.5, 3.0]}},
    "a list": {"loss_decode": [{"type": "DiceLoss", "loss_name": "loss_dice"}, CE, SECOND_CE]},
    "drawn pixels": {"clustering": {"num_pixels": 16}},
    "equal pixels": {"loss_prototype": {"class_balance": 0.0}},
    "preset": {"preset": "paper"},
}


def build(**arguments: Any) -> Any:
    init_default_scope("mmseg")
    torch.manual_seed(0)
    config = {
        "type": "ProtoDecodeHead",
        "decoder": "FCNHead",
        "in_channels": CHANNELS,
        "channels": CHANNELS,
        "num_convs": 0,
        "concat_input": False,
        "norm_cfg": None,
        "num_classes": CLASSES,
        "num_prototypes": 3,
        # From the data, the start would depend on how many pixels there are.
        "seeding": {"source": "random"},
        **arguments,
    }
    head: Any = MODELS.build(config).double()
    head.attach_hook()
    return head


def pixels(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features ``(1, D, rows, 3)`` and labels; what is beyond 7 rows is ignored."""
    features = torch.randn(
        1, CHANNELS, 200, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    labels = torch.randint(0, 3, (1, 200, WIDTH), generator=torch.Generator().manual_seed(seed + 1))
    labels[:, LABELLED_ROWS:] = 255
    return features[:, :, :rows].clone().requires_grad_(), labels[:, :rows]


def losses_and_gradients(head: Any, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Losses, and the gradient of each with respect to the labelled features."""
    torch.manual_seed(1)  # of what is drawn
    losses = head.loss([features], make_samples(labels), {})
    numbers = {}
    for name in ("loss_ce", "loss_ppc", "loss_ppd"):
        (slope,) = torch.autograd.grad(losses[name], features, retain_graph=True)
        numbers[name] = losses[name].detach()
        numbers[f"slope of {name}"] = slope[:, :, :LABELLED_ROWS].norm()
    return numbers


def ratios(numbers: dict[str, Tensor]) -> Tensor:
    return torch.stack(
        [
            numbers[f"{kind}{name}"] / numbers[f"{kind}loss_ce"]
            for kind in ("", "slope of ")
            for name in ("loss_ppc", "loss_ppd")
        ]
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_ignored_pixels_change_no_ratio(name: str) -> None:
    numbers = [losses_and_gradients(build(**VARIANTS[name]), *pixels(rows)) for rows in ROWS]
    for other in numbers[1:]:
        torch.testing.assert_close(ratios(other), ratios(numbers[0]), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("loss", "share"),
    [
        ({}, 0.1),
        ({"loss_decode": {**CE, "avg_non_ignore": True}}, 1),
        # Where there is no plain cross-entropy, labelled pixels are the divisor.
        ({"loss_decode": {"type": "DiceLoss"}}, 1),
        ({"loss_decode": {**CE, "use_sigmoid": True}}, 1),
    ],
)
def test_what_prototype_losses_are_divided_by(loss: dict[str, Any], share: float) -> None:
    few, many = (
        build(**loss).loss([features], make_samples(labels), {})
        for features, labels in (pixels(7), pixels(70))
    )
    for name in ("loss_ppc", "loss_ppd"):
        assert many[name].item() == pytest.approx(share * few[name].item(), rel=1e-6)


def test_without_ignored_pixels_nothing_changes_to_the_bit() -> None:
    default, labelled = (
        losses_and_gradients(build(**VARIANTS[name]), *pixels(7))
        for name in ("the host's default", "labelled pixels")
    )
    for name in ("loss_ppc", "slope of loss_ppc", "loss_ppd", "slope of loss_ppd"):
        assert torch.equal(default[name], labelled[name]), name


def test_the_host_s_default_divides_by_all_pixels() -> None:
    """What the prototype losses follow, asked of the host's own head."""
    init_default_scope("mmseg")
    config = dict(in_channels=6, channels=6, num_convs=0, concat_input=False, num_classes=4)
    host: Any = FCNHead(**config, dropout_ratio=0).double()
    losses = []
    for rows in (7, 70):
        features, labels = pixels(rows)
        losses.append(host.loss([features], make_samples(labels), {})["loss_ce"].item())
    assert losses[1] == pytest.approx(0.1 * losses[0], rel=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_without_labels_costs_nothing(name: str) -> None:
    features, labels = pixels(7)
    numbers = losses_and_gradients(build(**VARIANTS[name]), features, torch.full_like(labels, 255))
    assert all(float(value) == 0 for value in numbers.values())


def test_pixels_of_a_class_without_prototypes_count_as_ignored() -> None:
    head = build()
    features, labels = pixels(7)
    with_class = losses_and_gradients(head, features, labels)
    head.prototype_classifier.bank.alive[1] = 0
    head.prototype_classifier.seeder.refresh()
    without = losses_and_gradients(head, features, labels)
    ignored = losses_and_gradients(head, features, torch.where(labels == 1, 255, labels))
    assert ratios(without).tolist() == ratios(ignored).tolist() != ratios(with_class).tolist()


def _ratios_of_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=3)
    kept = {}
    for name in ("the host's default", "labelled pixels", "drawn pixels"):
        runs = []
        for shares in ((7, 7, 7), (7, 10, 70)):
            head = build(**VARIANTS[name])
            runs.append(ratios(losses_and_gradients(head, *pixels(shares[rank], seed=rank))))
        kept[name] = torch.stack(runs)
    torch.save(kept, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_ranks_with_unequal_shares_of_ignored_pixels(tmp_path: Path) -> None:
    spawn(_ratios_of_rank, (str(tmp_path),), nprocs=3)
    for rank in range(3):
        for name, (few, many) in torch.load(tmp_path / f"{rank}.pth", weights_only=True).items():
            torch.testing.assert_close(many, few, rtol=1e-6, atol=0, msg=f"{name}, rank {rank}")
