"""Two gloo processes against one: no unused parameter, equal prototypes, the same result."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from toy import make_samples

from mmseg_proto.hooks.checks import check_ranks_agree

CLASSES = ("sky", "road", "tree", "car")

CONFIG = {
    "type": "ProtoDecodeHead",
    "decoder": "FCNHead",
    "in_channels": 6,
    "channels": 8,
    "num_convs": 0,
    "concat_input": True,
    "num_classes": 4,
    "num_prototypes": 3,
    "dropout_ratio": 0.0,
    "norm_cfg": None,
}


class Trainable(nn.Module):
    """Sums the losses, as a segmentor does, so that DDP sees a forward pass."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = MODELS.build({**CONFIG, "in_channels": 8, **options})
        self.head.attach_hook()

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        losses = self.head.loss([features], make_samples(labels), {})
        return torch.stack([value for key, value in losses.items() if "loss" in key]).sum()


def batch(iteration: int) -> tuple[Tensor, Tensor]:
    """Four images; rank 0 gets one, on which class 2 is absent, rank 1 three."""
    generator = torch.Generator().manual_seed(iteration)
    features = torch.randn(4, 8, 6, 5, generator=generator)
    labels = torch.randint(0, 3, (4, 6, 5), generator=generator)
    labels[0][labels[0] == 2] = 255
    if iteration == 2:
        labels[0] = 255  # a rank without a single valid pixel
    return features, labels


def train(rank: int | None, **options: Any) -> tuple[Any, Tensor]:
    init_default_scope("mmseg")
    model = Trainable(**options)
    wrapped = model if rank is None else DistributedDataParallel(model)
    shares = {None: slice(None), 0: slice(0, 1), 1: slice(1, 4)}
    for iteration in range(3):
        features, labels = (part[shares[rank]] for part in batch(iteration))
        model.head.prototype_classifier.begin_step(iteration)
        wrapped.zero_grad()
        wrapped(features, labels).backward()
        assert all(p.grad is not None for p in model.parameters())
        model.head.prototype_classifier.end_step(update=True)
    return model.head.prototype_classifier.bank, next(model.parameters())


def run_rank(rank: int, folder: str, options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    bank, _ = train(rank, **options)
    torch.save(bank.state_dict(), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def run_two_ranks(folder: Path, **options: Any) -> list[dict[str, Tensor]]:
    spawn(run_rank, (str(folder), options), nprocs=2)
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


@pytest.mark.ddp
def test_ranks_agree_and_equal_one_process(tmp_path: Path) -> None:
    options = {"decay": 0.9}
    first, second = run_two_ranks(tmp_path, **options)
    bank, _ = train(None, **options)
    for name, value in bank.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-5)
    assert first["updates"][2].sum() > 0
    # Class 2 is absent on rank 0 in the first batch, class 3 everywhere.
    assert first["alive"].bool().any(1).tolist() == [True, True, True, False]


def compare_ranks(rank: int, folder: str) -> None:
    """Let rank 1 write to two classes of its bank alone, and write down what each rank says."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    bank, _ = train(rank, seeding={"source": "random"})
    head = SimpleNamespace(prototype_classifier=SimpleNamespace(bank=bank))
    check_ranks_agree(head, "decode_head", CLASSES)
    if rank == 1:
        bank.prototypes[1, 0, 0] += 1e-7
        bank.prototypes[3] = bank.prototypes[3].flip(0)  # the same values in other places
    try:
        check_ranks_agree(head, "decode_head", CLASSES)
    except RuntimeError as error:
        Path(folder, f"{rank}.txt").write_text(str(error))
    dist.destroy_process_group()


@pytest.mark.ddp
def test_a_rank_that_differs_is_named_on_all_ranks(tmp_path: Path) -> None:
    spawn(compare_ranks, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        said = (tmp_path / f"{rank}.txt").read_text()
        assert "differ from those of rank 0: rank 1 in road, car. Did ranks start" in said
