"""Prototypes in place of a softmax classifier on plain PyTorch: ``python plain_pytorch.py``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_proto.losses import PixelPrototypeLoss
from mmseg_proto.ops import assign_prototypes, nearest_prototypes
from mmseg_proto.prototypes import PrototypeBank, collect_statistics, seed_from_pixels


def draw(count: int) -> tuple[Tensor, Tensor]:
    """Draw noisy cells of any colour; the class is their pattern: none, rows, columns, chequers."""
    y, x = torch.meshgrid(torch.arange(32) // 2 % 2, torch.arange(32) // 2 % 2, indexing="ij")
    patterns, cell = torch.stack([0 * x, y, x, x ^ y]), torch.arange(32) // 8
    labels = torch.randint(4, (count, 4, 4))[:, cell][:, :, cell]
    colours = torch.rand(count, 3, 4, 4)[:, :, cell][:, :, :, cell]
    images = colours + patterns.gather(0, labels)[:, None]
    return images + 0.7 * torch.randn_like(images), labels.flatten()


def embed(network: nn.Module, images: Tensor) -> Tensor:
    """Embed pixels as unit vectors, ``(B*H*W, D)``."""
    return F.normalize(network(images).permute(0, 2, 3, 1).flatten(0, 2), dim=1)


torch.manual_seed(0)
first, second = nn.Conv2d(3, 32, 5, padding=2), nn.Conv2d(32, 32, 5, padding=2)
network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(32, 16, 1))
network.log_scale = log_scale = nn.Parameter(torch.tensor([10.0]).log())
bank = PrototypeBank(num_classes=4, num_prototypes=5, channels=16, decay=0.99)
loss_prototype, generator = PixelPrototypeLoss(), torch.Generator().manual_seed(0)
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)

# Under DDP `reduce` returns the sum of a tensor over all ranks, as all_reduce makes of a clone.
for _ in range(120):
    images, labels = draw(4)
    pixels = embed(network, images)
    seed_from_pixels(bank, pixels, labels, generator)  # under DDP: pixels gathered from all ranks
    scores, own, log_partition = nearest_prototypes(
        pixels, bank.directions, bank.alive_mask, labels, scale=log_scale.exp()
    )
    assert own is not None  # labels were given
    assert log_partition is not None
    chosen = assign_prototypes(own, labels, bank.alive_mask).target  # under DDP: reduce=reduce
    positive = own.gather(1, chosen[:, None]).squeeze(1)
    losses = loss_prototype(positive, log_partition, labels, num_classes=4)
    optimizer.zero_grad()
    (F.cross_entropy(scores, labels) + losses["loss_ppc"] + losses["loss_ppd"]).backward()
    optimizer.step()
    bank.accumulate(collect_statistics(pixels, labels, chosen, labels, own.argmax(1), bank.shape))
    bank.update()  # under DDP: reduce=reduce

network.eval().requires_grad_(False)
images, labels = draw(64)
scores = nearest_prototypes(embed(network, images), bank.directions, bank.alive_mask).class_scores
confusion = torch.bincount(labels * 4 + scores.argmax(dim=1), minlength=16).view(4, 4)
hits = confusion.diag()
miou = (hits / (confusion.sum(dim=0) + confusion.sum(dim=1) - hits)).mean()
print(f"accuracy {hits.sum() / len(labels):.1%}, mIoU {miou:.1%}")
