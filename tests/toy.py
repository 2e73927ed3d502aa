"""Small inputs that several tests share."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_proto.heads.classifier import PrototypeClassifier
from mmseg_proto.heads.embedding import PixelEmbedding
from mmseg_proto.heads.score_scale import ScalarScale
from mmseg_proto.heads.seeder import PrototypeSeeder
from mmseg_proto.heads.settings import (
    ClusteringSettings,
    ScaleSettings,
    SeedingSettings,
    UpdateSettings,
)
from mmseg_proto.prototypes import PrototypeBank


class Problem(NamedTuple):
    """Random pixels and prototypes with every corner in them."""

    embeddings: Tensor
    labels: Tensor
    prototypes: Tensor
    alive: Tensor


def make_problem(
    pixels: int = 40, classes: int = 5, places: int = 4, channels: int = 6, seed: int = 0
) -> Problem:
    """Make a problem; class 1 is absent, class 2 has two pixels, the last but one lacks a place.

    The last class has no prototype at all, and every seventh pixel is ignored.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(
        torch.randn(pixels, channels, generator=generator, dtype=torch.float64), dim=1
    )
    prototypes = F.normalize(
        torch.randn(classes, places, channels, generator=generator, dtype=torch.float64), dim=2
    )
    labels = torch.randint(0, classes, (pixels,), generator=generator)
    labels[(labels == 1) | (labels == 2)] = 0
    labels[[3, 4]] = 2
    labels[::7] = -1
    alive = torch.ones(classes, places, dtype=torch.bool)
    alive[classes - 2, 1] = False
    alive[-1] = False
    return Problem(embeddings, labels, prototypes * alive[..., None], alive)


def make_samples(labels: Tensor, **metainfo: Any) -> list[SegDataSample]:
    """Wrap label maps ``(B, H, W)`` as the host does."""
    samples = []
    for label in labels:
        sample = SegDataSample(metainfo=dict(metainfo, img_shape=tuple(label.shape)))
        sample.gt_sem_seg = PixelData(data=label[None])
        samples.append(sample)
    return samples


def make_classifier(
    num_classes: int,
    num_prototypes: int = 3,
    channels: int = 16,
    decay: float = 0.999,
    feature_norm: dict[str, Any] | None = None,
    **clustering: Any,
) -> PrototypeClassifier:
    """Make a classifier without a decoder."""
    bank = PrototypeBank(num_classes, num_prototypes, channels, decay)
    return PrototypeClassifier(
        PixelEmbedding(channels, None, feature_norm),
        bank,
        ScalarScale(ScaleSettings()),
        PrototypeSeeder(bank, SeedingSettings()),
        ClusteringSettings(**clustering),
        UpdateSettings(),
    )
