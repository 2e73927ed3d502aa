"""Prototypes from a pass over the training data before the first iteration."""

from itertools import islice
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.utils.data import DataLoader


def kmeans_centres(points: Tensor, clusters: int, seed: int) -> Tensor:
    """Cluster points by SciPy's k-means with a k-means++ start.

    Args:
        points: Unit vectors on the CPU, shape ``(P, D)``, P at least `clusters`.
        clusters: Number of clusters, at least 1.
        seed: Seed of the start.

    Returns:
        Tensor: Centres of the clusters that have points, shape ``(M, D)`` with M of at most
        `clusters`, fp32, not normalised.
    """
    # Among fewer distinct points than clusters, some clusters stay empty.
    clusters = min(clusters, len(torch.unique(points, dim=0)))
    _, members = kmeans2(points.double().numpy(), clusters, iter=25, minit="++", seed=seed)
    members = torch.from_numpy(members).long()
    return torch.stack([points[members == i].mean(dim=0) for i in members.unique()])


@torch.no_grad()
def seed_by_kmeans(runner: Runner, model: Any, head: Any) -> None:
    """Seed a head that asks for it from a pass over the training data.

    Does nothing to a head that has prototypes already, as after resuming.

    Args:
        runner: Runner whose training data is looked at; the order of its own loader stays.
        model: The unwrapped segmentor.
        head: `ProtoDecodeHead` of it.
    """
    seeder = head.prototype_classifier.seeder
    if seeder.settings.source != "kmeans" or head.prototype_classifier.bank.alive_mask.any():
        return
    runner.logger.info(f"Seeding prototypes from {seeder.settings.batches} batches by k-means.")
    generator = torch.Generator().manual_seed(seeder.settings.seed)
    drawn = []
    was_training = model.training
    model.eval()
    for batch in islice(_loader(runner, seeder.settings.seed), seeder.settings.batches):
        data = model.data_preprocessor(batch, True)
        pixels = head.embed(model.extract_feat(data["inputs"]), data["data_samples"])
        drawn.append(seeder.draw(*pixels, generator))
    model.train(was_training)
    candidates, mask = (torch.cat(parts, dim=1) for parts in zip(*drawn, strict=True))
    seeder.seed_from_clusters(candidates, mask, kmeans_centres)


def _loader(runner: Runner, seed: int) -> DataLoader[Any]:
    # Not the runner's own: its sampler is endless and would go on from where this pass ends.
    own = runner.train_dataloader
    return DataLoader(
        own.dataset,
        batch_size=own.batch_size,
        sampler=DefaultSampler(own.dataset, shuffle=True, seed=seed),
        collate_fn=own.collate_fn,
    )
