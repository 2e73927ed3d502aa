"""The slow, obvious oracle: the paper's equations as loops over pixels, classes and prototypes.

Written from the equations (Zhou et al., CVPR 2022) and from nothing of the fast code. All in
double precision, one pixel, class or prototype at a time.
"""

import math

import torch
from torch import Tensor


def sinkhorn_of_one_class(similarity: Tensor, kappa: float, iterations: int) -> Tensor:
    """Assign the pixels of one class, eq. 8-10: ``(N_c, K)`` to ``L^T`` of that shape.

    L = diag(u) exp(P^T X / kappa) diag(v), with L^T 1_K = 1 and L 1 = N_c / K.
    """
    num_pixels, num_prototypes = similarity.shape
    kernel = [
        [math.exp(float(similarity[n, k]) / kappa) for n in range(num_pixels)]
        for k in range(num_prototypes)
    ]
    u = [1.0] * num_prototypes

    def pixel_factors() -> list[float]:
        return [
            1.0 / sum(u[k] * kernel[k][n] for k in range(num_prototypes)) for n in range(num_pixels)
        ]

    v = pixel_factors()
    for _ in range(iterations):
        for k in range(num_prototypes):
            u[k] = (num_pixels / num_prototypes) / sum(
                kernel[k][n] * v[n] for n in range(num_pixels)
            )
        v = pixel_factors()
    plan = [[u[k] * kernel[k][n] * v[n] for k in range(num_prototypes)] for n in range(num_pixels)]
    return torch.tensor(plan, dtype=torch.float64).reshape(num_pixels, num_prototypes)


def within_class_sinkhorn(
    similarity: Tensor, labels: Tensor, alive: Tensor, kappa: float, iterations: int
) -> Tensor:
    """Run the above class by class over the prototypes that exist; zero rows elsewhere."""
    plan = torch.zeros(similarity.shape, dtype=torch.float64)
    for c in range(alive.shape[0]):
        pixels = [n for n in range(len(labels)) if labels[n] == c]
        places = [k for k in range(alive.shape[1]) if alive[c, k]]
        if pixels and places:
            part = similarity[pixels][:, places].double()
            solved = sinkhorn_of_one_class(part, kappa, iterations)
            for row, n in enumerate(pixels):
                for column, k in enumerate(places):
                    plan[n, k] = solved[row, column]
    return plan


def unit_layer_norm(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the channels of ``(B, D, H, W)``, then unit length: ``(B*H*W, D)``."""
    rows = []
    for image in features.double():
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                pixel = [float(value) for value in image[:, i, j]]
                mean = sum(pixel) / len(pixel)
                variance = sum((value - mean) ** 2 for value in pixel) / len(pixel)
                normed = [
                    (value - mean) / math.sqrt(variance + eps) * float(w) + float(b)
                    for value, w, b in zip(pixel, weight, bias, strict=True)
                ]
                length = math.sqrt(sum(value**2 for value in normed))
                rows.append([value / length for value in normed])
    return torch.tensor(rows, dtype=torch.float64)


def class_scores(embeddings: Tensor, prototypes: Tensor, alive: Tensor) -> Tensor:
    """Cosine of the nearest existing prototype of each class, the negative of eq. 5's minimum."""
    scores = torch.full((len(embeddings), len(prototypes)), -1.0, dtype=torch.float64)
    for n, embedding in enumerate(embeddings.double()):
        for c in range(len(prototypes)):
            cosines = [
                float(embedding @ prototypes[c, k].double())
                for k in range(prototypes.shape[1])
                if alive[c, k]
            ]
            if cosines:
                scores[n, c] = max(cosines)
    return scores


def contrast(
    embeddings: Tensor,
    labels: Tensor,
    assignment: Tensor,
    prototypes: Tensor,
    alive: Tensor,
    tau: float,
    class_balance: float,
) -> float:
    """PPC, eq. 11, averaged over pixels with a label of at least 0."""
    terms = {}
    for n, label in enumerate(labels.tolist()):
        if label < 0:
            continue
        embedding = embeddings[n].double()
        positive = math.exp(float(embedding @ prototypes[label, assignment[n]].double()) / tau)
        total = sum(
            math.exp(float(embedding @ prototypes[c, k].double()) / tau)
            for c in range(alive.shape[0])
            for k in range(alive.shape[1])
            if alive[c, k]
        )
        terms[n] = -math.log(positive / total)
    return balanced_mean(terms, labels, class_balance)


def balanced_mean(terms: dict[int, float], labels: Tensor, class_balance: float) -> float:
    """Mean of the terms of pixels, weighed by the size of their class to the power -balance."""
    sizes = [labels.tolist().count(label) for label in labels.tolist()]
    weights = {n: sizes[n] ** -class_balance for n in terms}
    total = sum(weights.values())
    return sum(weights[n] * terms[n] for n in terms) / total if terms else 0.0


def distance(
    embeddings: Tensor,
    labels: Tensor,
    assignment: Tensor,
    prototypes: Tensor,
    class_balance: float,
) -> float:
    """PPD, eq. 12, averaged over pixels with a label of at least 0."""
    terms = {}
    for n, label in enumerate(labels.tolist()):
        if label >= 0:
            positive = float(embeddings[n].double() @ prototypes[label, assignment[n]].double())
            terms[n] = (1 - positive) ** 2
    return balanced_mean(terms, labels, class_balance)


def unit(vector: Tensor) -> Tensor:
    """Divide a vector by its length."""
    return vector / math.sqrt(sum(float(x) ** 2 for x in vector))


def moved_prototypes(
    prototypes: Tensor, embeddings: Tensor, labels: Tensor, assignment: Tensor, mu: float
) -> Tensor:
    """Update, eq. 14: ``p <- mu p + (1 - mu) ibar``, kept at unit norm."""
    moved = prototypes.double().clone()
    for c in range(prototypes.shape[0]):
        for k in range(prototypes.shape[1]):
            own = [
                embeddings[n].double()
                for n in range(len(labels))
                if labels[n] == c and assignment[n] == k
            ]
            if own:
                mean = unit(sum(own, torch.zeros_like(own[0])) / len(own))
                moved[c, k] = unit(mu * moved[c, k] + (1 - mu) * mean)
    return moved
