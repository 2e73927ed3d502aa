"""What the prototype ops are measured against: the authors' algorithm, and a vectorised one.

Both give the losses of the paper; neither is used for anything but benchmarks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_proto.ops import segment_sum, within_class_sinkhorn


def authors_step(
    embeddings: Tensor, prototypes: Tensor, labels: Tensor, temperature: float, decay: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Make a step as the release does: all similarities twice, clustering class by class.

    It is `prototype_learning` and the losses of tfzhou/ProtoSeg, commit 1c4a778, but for the argmax
    of the plan in place of a sample. Tests compare it with what that code gave.

    Args:
        embeddings: Unit-norm embeddings, shape ``(N, D)``.
        prototypes: Unit-norm prototypes, shape ``(C, K, D)``.
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[0, C)``.
        temperature: tau of PPC.
        decay: mu of the update.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Class scores ``(N, C)``, sum of PPC and PPD, and the moved
        prototypes.
    """
    num_classes, num_prototypes = prototypes.shape[:2]
    masks = torch.einsum("nd,kmd->nmk", embeddings, prototypes)
    scores = masks.amax(dim=1)
    similarity = embeddings @ prototypes.flatten(0, 1).t()
    predicted = scores.argmax(dim=1)
    targets = labels.clone()
    moved = prototypes.clone()
    for c in range(num_classes):
        mine = labels == c
        if not mine.any():
            continue
        plan = authors_sinkhorn(masks[mine, :, c].detach())
        index = plan.argmax(dim=1)
        one_hot = F.one_hot(index, num_prototypes).to(embeddings)
        right = (predicted == labels)[mine].to(embeddings)[:, None]
        pixels = embeddings[mine].detach() * right
        counts = (one_hot * right).sum(dim=0)
        if counts.sum() > 0:
            mean = F.normalize(one_hot.t() @ pixels, dim=1)
            new = F.normalize(decay * prototypes[c] + (1 - decay) * mean, dim=1)
            moved[c, counts > 0] = new[counts > 0]
        targets[mine] = index + num_prototypes * c
    contrast = F.cross_entropy(similarity / temperature, targets)
    distance = (1 - similarity.gather(1, targets[:, None])).square().mean()
    return scores, contrast + distance, moved


def authors_sinkhorn(similarity: Tensor, kappa: float = 0.05, iterations: int = 3) -> Tensor:
    """Balance the assignments of one class, plainly.

    Args:
        similarity: Cosine of its pixels with its prototypes, shape ``(n, K)``.
        kappa: Weight of the entropy term. Defaults to 0.05.
        iterations: Sinkhorn-Knopp iterations. Defaults to 3.

    Returns:
        Tensor: Plan, shape ``(n, K)``; rows add up to 1.
    """
    plan = torch.exp(similarity / kappa).t()
    prototypes, pixels = plan.shape
    plan = plan / plan.sum()
    for _ in range(iterations):
        plan = plan / plan.sum(dim=1, keepdim=True) / prototypes
        plan = plan / plan.sum(dim=0, keepdim=True) / pixels
    return (plan * pixels).t()


def vectorised_step(
    embeddings: Tensor, prototypes: Tensor, labels: Tensor, temperature: float, decay: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the same step for all classes at once, keeping all similarities for autograd.

    Arguments and results are those of :func:`authors_step`.
    """
    num_classes, num_prototypes = prototypes.shape[:2]
    similarity = embeddings @ prototypes.flatten(0, 1).t()
    scores = similarity.unflatten(1, (num_classes, num_prototypes)).amax(dim=2)
    columns = labels[:, None] * num_prototypes + torch.arange(num_prototypes, device=labels.device)
    own = similarity.gather(1, columns)
    alive = torch.ones(prototypes.shape[:2], dtype=torch.bool, device=labels.device)
    index = within_class_sinkhorn(own.detach(), labels, alive).argmax(dim=1)
    targets = labels * num_prototypes + index
    right = torch.where(scores.argmax(dim=1) == labels, targets, -1)
    sums = segment_sum(embeddings.detach(), right, num_classes * num_prototypes)
    mean = F.normalize(sums, dim=1).view_as(prototypes)
    moved = F.normalize(decay * prototypes + (1 - decay) * mean, dim=2)
    moved = torch.where(mean.abs().sum(dim=2, keepdim=True) > 0, moved, prototypes)
    contrast = F.cross_entropy(similarity / temperature, targets)
    distance = (1 - similarity.gather(1, targets[:, None])).square().mean()
    return scores, contrast + distance, moved
