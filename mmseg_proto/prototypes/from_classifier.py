"""Prototypes from a trained linear classifier and the features that it sees, without training.

Clusters of plain features lose 5 to 10 points of mIoU, because distances between features weigh
what the classifier learned to ignore. So pixels are embedded by what the classifier makes of them,
and a smaller part that tells looks apart, and cluster centres lean towards the direction in which
the classifier sees their class.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class ClassifierEmbedding(NamedTuple):
    """A linear map after which cosines with class directions rank classes as the classifier does.

    Attributes:
        weight: Its matrix, shape ``(D', D)``.
        bias: Its offset, shape ``(D',)``.
        directions: Unit-norm direction of each class, shape ``(C, D')``.
    """

    weight: Tensor
    bias: Tensor
    directions: Tensor


@torch.no_grad()
def classifier_embedding(
    weight: Tensor, bias: Tensor, features: Tensor, looks: int = 64, share: float = 0.3
) -> ClassifierEmbedding:
    """Make an embedding of the logits of a classifier, and of the looks within a class.

    The first ``C - 1`` channels are the logits less their mean, which softmax does not see, in an
    orthonormal basis; the others are the principal components of the features. The cosine with the
    direction of a class is its centred logit over the length of the embedding, so that the
    directions alone, as prototypes, classify every pixel as the classifier does.

    Args:
        weight: Weight of the classifier, shape ``(C, D)``.
        bias: Its bias, shape ``(C,)``.
        features: Features of pixels of all classes, shape ``(N, D)``, N at least 2.
        looks: Principal components to keep, at least 1; no more than there are. Defaults to 64.
        share: Length of the part for looks, on average, as a part of that for classes. Defaults
            to 0.3.

    Returns:
        ClassifierEmbedding: The map, D' of C - 1 and the components, in fp32.
    """
    weight, bias, features = weight.float(), bias.float(), features.float()
    classes = len(weight)
    # Rows span what is orthogonal to the vector of ones.
    basis = torch.linalg.qr(torch.eye(classes)[:, 1:] - 1 / classes).Q.T
    mean = features.mean(dim=0)
    looks = min(looks, *features.shape)
    # Eigenvalues rise.
    covariance = torch.cov(features.T).reshape(features.shape[1], features.shape[1])
    components = torch.linalg.eigh(covariance).eigenvectors
    by_class, by_look = basis @ weight, components.flip(1).T[:looks]
    offset = basis @ bias
    length = (features @ by_class.T + offset).norm(dim=1).mean().clamp(min=1e-12)
    spread = ((features - mean) @ by_look.T).norm(dim=1).mean().clamp(min=1e-12)
    by_class, offset = by_class / length, offset / length
    by_look = by_look * (share / spread)
    directions = F.normalize(basis.T, dim=1)
    return ClassifierEmbedding(
        torch.cat([by_class, by_look]),
        torch.cat([offset, -by_look @ mean]),
        F.pad(directions, (0, looks)),
    )


def lean(centres: Tensor, direction: Tensor, weight: float) -> Tensor:
    """Lean the centres of a class towards its direction.

    Args:
        centres: Cluster centres, shape ``(K, D)``.
        direction: Unit-norm direction of the class, shape ``(D,)``.
        weight: Weight of the direction, at least 0; centres weigh 1 after normalisation.

    Returns:
        Tensor: Unit-norm prototypes, shape ``(K, D)``.
    """
    return F.normalize(F.normalize(centres, dim=1) + weight * direction, dim=1)


@torch.no_grad()
def fit_scale(scores: Tensor, labels: Tensor, low: float, high: float) -> float:
    """Find the scale that makes the best probabilities of cosines.

    Args:
        scores: Largest cosine of each class, shape ``(N, C)``; -inf where a class has none.
        labels: Class of each pixel, shape ``(N,)``.
        low: Smallest scale, above 0.
        high: Largest scale.

    Returns:
        float: The scale with the lowest cross-entropy among 200 evenly spaced logarithms.
    """
    scales = torch.linspace(math.log(low), math.log(high), 200).exp()
    losses = torch.stack([F.cross_entropy(scores * scale, labels) for scale in scales])
    return float(scales[losses.argmin()])
