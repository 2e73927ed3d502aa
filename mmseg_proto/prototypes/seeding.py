"""Where prototypes start: on real embeddings, spread out as in k-means++.

Random starts lie far from the data, and with a decay of 0.999 they stay there for hundreds of
iterations. So a class gets its prototypes from the pixels it is first seen with.

Sources:
    [0] Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mmseg_proto.ops import segment_count

from .bank import PrototypeBank

#: Squared distances below this are rounding: such a candidate repeats a prototype.
_SAME = 1e-6
#: Pixels that one prototype stands for, below which candidates are scarce.
_PIXELS_PER_PROTOTYPE = 8
#: Part of the mean squared distance within a class that makes a scarce candidate a new look.
_NEW_LOOK = 0.25


#: Priority of a candidate that does not exist; it comes after all others.
NO_CANDIDATE = torch.iinfo(torch.int64).max


@torch.no_grad()
def seed_from_pixels(
    bank: PrototypeBank,
    embeddings: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    limit: int = 256,
) -> None:
    """Give prototypes to the classes among some pixels that lack some.

    Called with each batch before it is compared, so that every class in it has prototypes. Ranks
    that give the same pixels, and generators in the same state, get the same prototypes.

    Args:
        bank: The prototypes.
        embeddings: Unit-norm embeddings, shape ``(N, D)``; those that are not finite are left out.
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``; -1 leaves a pixel out.
        generator: Source of randomness, on the CPU.
        limit: Largest number of pixels a class to choose from, at least 1. Defaults to 256.
    """
    labels = torch.where(embeddings.isfinite().all(dim=1), labels, -1)
    present = segment_count(labels, bank.shape[0]) > 0
    classes = (present & ~bank.alive_mask.all(dim=1)).nonzero().squeeze(1)
    if len(classes):
        priority = torch.randperm(len(labels), generator=generator)
        candidates, places = draw_candidates(embeddings, labels, classes, limit, priority)
        seed_from_candidates(bank, classes, candidates, places != NO_CANDIDATE, generator)


def seed_from_candidates(
    bank: PrototypeBank,
    classes: Tensor,
    candidates: Tensor,
    mask: Tensor,
    generator: torch.Generator,
    patient: Tensor | None = None,
    share: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Fill free places of a bank by :func:`extend_by_kmeans_plus_plus`.

    Args:
        bank: The prototypes.
        classes: Classes to seed, shape ``(M,)``, int64.
        candidates: Unit-norm candidates of each, shape ``(M, P, D)``, fp32 on the CPU.
        mask: Which of them are real, shape ``(M, P)``, bool, on the CPU.
        generator: Source of randomness, on the CPU.
        patient: Which of the classes can wait for more looks, shape ``(M,)``, bool, on the CPU.
            Defaults to None: none.
        share: Returns a tensor as the first rank has it. Defaults to None: one process.
    """
    prototypes, alive = extend_by_kmeans_plus_plus(
        candidates,
        mask,
        bank.directions[classes].float().cpu(),
        bank.alive_mask[classes].cpu(),
        generator,
        patient,
    )
    if share is not None:
        prototypes, alive = share(prototypes), share(alive)
    bank.seed(classes, prototypes, alive)


@torch.no_grad()
def draw_candidates(
    embeddings: Tensor, labels: Tensor, classes: Tensor, limit: int, priority: Tensor
) -> tuple[Tensor, Tensor]:
    """Take the pixels of each class that come first, up to `limit` of them.

    Reads pixel counts on the host, so it belongs to the rare iterations in which seeding happens.

    Args:
        embeddings: Pixel embeddings, shape ``(N, D)``, unit norm.
        labels: Class of each pixel, shape ``(N,)``, int64 in ``[-1, C)``.
        classes: Classes to draw for, shape ``(M,)``, int64.
        limit: Largest number of pixels a class, at least 1.
        priority: Place of each pixel in a random order, shape ``(N,)``, int64, all different, on
            the CPU.

    Returns:
        tuple[Tensor, Tensor]: Candidates ``(M, limit, D)`` in fp32 on the CPU, zero where a class
        has fewer pixels, and their priorities ``(M, limit)``, rising, `NO_CANDIDATE` where there
        is none.
    """
    candidates = torch.zeros(len(classes), limit, embeddings.shape[1])
    places = torch.full((len(classes), limit), NO_CANDIDATE)
    order = priority.argsort()
    shuffled = labels.cpu()[order]
    by_class = torch.argsort(shuffled, stable=True)
    ranked = shuffled[by_class].contiguous()
    first = torch.searchsorted(ranked, classes.cpu())
    size = torch.searchsorted(ranked, classes.cpu(), right=True) - first
    real = torch.arange(limit) < size[:, None]
    position = (first[:, None] + torch.arange(limit))[real]
    pixels = order[by_class[position]]
    candidates[real] = embeddings[pixels.to(embeddings.device)].float().cpu()
    places[real] = priority[pixels]
    return candidates, places


@torch.no_grad()
def extend_by_kmeans_plus_plus(
    candidates: Tensor,
    mask: Tensor,
    prototypes: Tensor,
    alive: Tensor,
    generator: torch.Generator,
    patient: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Fill the missing prototypes of each class from its candidates, far ones first.

    Each new prototype is a candidate, drawn with a probability in proportion to its squared
    distance from the nearest prototype of its class [0]. A class with fewer distinct
    candidates than free places leaves the rest of them free for a later call.

    Few candidates are likely of one look. A patient class takes no more than one of eight of them
    then (one at least), and such ones only that lie farther from its prototypes than half the
    typical distance within the class, so that looks that come later find places.

    Args:
        candidates: Unit-norm candidates, shape ``(M, P, D)``.
        mask: Which of them are real, shape ``(M, P)``, bool.
        prototypes: Prototypes so far, shape ``(M, K, D)``.
        alive: Which of them exist, shape ``(M, K)``, bool.
        generator: Source of randomness, on the device of `candidates`.
        patient: Which classes can wait for more looks, shape ``(M,)``, bool. Defaults to None:
            none.

    Returns:
        tuple[Tensor, Tensor]: Prototypes and their existence, shapes as given; existing ones
        unchanged.
    """
    prototypes, alive = prototypes.clone(), alive.clone()
    rows = torch.arange(len(candidates))
    free, least = _limits(candidates, mask, prototypes, alive, patient)
    for place in range(prototypes.shape[1]):
        cosine = torch.einsum("mpd,mkd->mpk", candidates, prototypes)
        # Squared Euclidean distance of unit vectors; everything is far from no prototype.
        distance = (2 - 2 * cosine).masked_fill(~alive[:, None, :], torch.inf).amin(dim=2)
        distance = distance.masked_fill(~alive.any(dim=1)[:, None], 1.0)
        weight = torch.where(mask & (distance > least[:, None]), distance, 0.0)
        possible = (weight.sum(dim=1) > 0) & ~alive[:, place] & (free > 0)
        # A row of zeros cannot be drawn from; its draw is not used.
        weight = torch.where(possible[:, None], weight, 1.0)
        drawn = torch.multinomial(weight, 1, generator=generator).squeeze(1)
        chosen = candidates[rows, drawn]
        prototypes[:, place] = torch.where(possible[:, None], chosen, prototypes[:, place])
        alive[:, place] |= possible
        free -= possible.long()
    return prototypes, alive


def _limits(
    candidates: Tensor, mask: Tensor, prototypes: Tensor, alive: Tensor, patient: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Places that each class may fill, ``(M,)``, and the least squared distance of a new one."""
    size, places = mask.sum(dim=1), prototypes.shape[1]
    free = torch.full_like(size, places)
    least = torch.full(size.shape, _SAME)
    if patient is None:
        return free, least
    scarce = patient & (size < _PIXELS_PER_PROTOTYPE * places)
    points = torch.cat([candidates * mask[..., None], prototypes * alive[..., None]], dim=1)
    count = size + alive.sum(dim=1)
    # Mean over pairs of |a - b|^2 = 2 - 2ab, each with itself left out.
    dots = points.sum(dim=1).square().sum(dim=1) - count
    spread = 2 - 2 * dots / (count * (count - 1)).clamp(min=1)
    free = torch.where(scarce, (size // _PIXELS_PER_PROTOTYPE).clamp(min=1), free)
    return free, torch.where(scarce, (_NEW_LOOK * spread).clamp(min=_SAME), least)
