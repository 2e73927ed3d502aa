"""Numbers that show whether prototypes live: existence, use and diversity."""

import torch
import torch.nn.functional as F
from torch import Tensor


def live_share(alive: Tensor) -> Tensor:
    """Share of prototypes that exist.

    Args:
        alive: Which prototypes exist, shape ``(C, K)``, bool.

    Returns:
        Tensor: Share in [0, 1], shape ``(C,)``.
    """
    return alive.float().mean(dim=1)


def usage_perplexity(usage: Tensor) -> Tensor:
    """Effective number of prototypes that pixels of a class are nearest to.

    Measured on nearest-prototype wins. Clustering assigns equal shares by construction and
    would look perfect even if all prototypes of a class were one point.

    Args:
        usage: Wins of each prototype, or shares of them, shape ``(C, K)``, at least 0.

    Returns:
        Tensor: Perplexity in [1, K], shape ``(C,)``; NaN for a class never seen.
    """
    share = usage / usage.sum(dim=1, keepdim=True)
    entropy: Tensor = torch.special.entr(share).sum(dim=1)
    return entropy.exp()


def intra_class_cosine(prototypes: Tensor, alive: Tensor) -> Tensor:
    """Mean cosine between the prototypes of a class: near 1 when they have collapsed.

    Args:
        prototypes: Prototypes, shape ``(C, K, D)``.
        alive: Which of them exist, shape ``(C, K)``, bool.

    Returns:
        Tensor: Mean over pairs in [-1, 1], shape ``(C,)``; NaN for a class with fewer than two.
    """
    directions = F.normalize(prototypes, dim=-1) * alive[..., None]
    count = alive.sum(dim=1)
    # The sum over all pairs is the squared norm of the sum; each of the K own pairs is 1.
    pairs = directions.sum(dim=1).square().sum(dim=-1) - count
    return torch.where(count > 1, pairs / (count * (count - 1)), torch.nan)


def largest_cosine(prototypes: Tensor, alive: Tensor) -> Tensor:
    """Cosine of the two most similar prototypes of each class.

    Args:
        prototypes: Prototypes, shape ``(C, K, D)``.
        alive: Which of them exist, shape ``(C, K)``, bool.

    Returns:
        Tensor: Cosine in [-1, 1], shape ``(C,)``; NaN for a class with fewer than two.
    """
    directions = F.normalize(prototypes, dim=-1)
    cosine = directions @ directions.transpose(1, 2)
    pairs = alive[:, :, None] & alive[:, None, :]
    pairs &= ~torch.eye(alive.shape[1], dtype=torch.bool, device=alive.device)
    largest = cosine.masked_fill(~pairs, -torch.inf).amax(dim=(1, 2))
    return torch.where(alive.sum(dim=1) > 1, largest, torch.nan)


def class_health(prototypes: Tensor, alive: Tensor, usage: Tensor | None) -> dict[str, Tensor]:
    """Say how the prototypes of each class fare.

    Args:
        prototypes: Prototypes, shape ``(C, K, D)``.
        alive: Which of them exist, shape ``(C, K)``, bool.
        usage: Wins of each, or shares of them, shape ``(C, K)``; None where nobody counted.

    Returns:
        dict[str, Tensor]: ``live_share`` of the prototypes, ``perplexity`` of nearest-prototype
        wins (not without `usage`), mean ``cosine`` and ``largest_cosine`` between the prototypes
        of a class, each with shape ``(C,)`` and NaN where a class has none.
    """
    numbers = {"live_share": live_share(alive)}
    if usage is not None:
        numbers["perplexity"] = usage_perplexity(usage)
    numbers["cosine"] = intra_class_cosine(prototypes, alive)
    numbers["largest_cosine"] = largest_cosine(prototypes, alive)
    return numbers


def drift(before: Tensor, after: Tensor, alive: Tensor) -> Tensor:
    """How far prototypes have turned, as one minus the cosine with where they were.

    Args:
        before: Prototypes then, shape ``(C, K, D)``; zero where one did not exist.
        after: Prototypes now, same shape.
        alive: Which exist now, shape ``(C, K)``, bool.

    Returns:
        Tensor: Mean over the prototypes that existed then and exist now, in [0, 2], shape ``(C,)``;
        NaN for a class without any.
    """
    both = alive & (before.norm(dim=-1) > 0)
    turned = 1 - F.cosine_similarity(before, after, dim=-1)
    total = torch.where(both, turned, 0.0).sum(dim=1)
    count = both.sum(dim=1)
    return torch.where(count > 0, total / count, torch.nan)
