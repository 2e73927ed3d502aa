"""Which prototype of each class is nearest."""

import torch
from torch import Tensor

from .blocks import rows_of_a_block


@torch.no_grad()
def winning_prototypes(
    embeddings: Tensor, prototypes: Tensor, alive: Tensor, block_size: int | None = None
) -> Tensor:
    """Find the prototype of each class that is nearest to a pixel (the argmax of eq. 5).

    Args:
        embeddings: Unit-norm pixel embeddings, shape ``(N, D)``.
        prototypes: Unit-norm prototypes, shape ``(C, K, D)``.
        alive: Which prototypes exist, shape ``(C, K)``, bool; others win no pixel.
        block_size: Pixels a block; chosen from a memory budget by default.

    Returns:
        Tensor: Number of the prototype in its class, shape ``(N, C)``, int16 in [0, K); -1 for a
        class that has none.
    """
    size = block_size or rows_of_a_block(max(1, alive.numel()), embeddings.device)
    flat = prototypes.flatten(0, 1).to(embeddings.dtype).t()
    winners = torch.empty(len(embeddings), len(alive), dtype=torch.int16, device=embeddings.device)
    for start in range(0, len(embeddings), size):
        cosines = (embeddings[start : start + size] @ flat).unflatten(1, alive.shape)
        cosines = cosines.masked_fill(~alive, -torch.inf)
        winners[start : start + size] = cosines.argmax(dim=2).to(torch.int16)
    return winners.masked_fill_(~alive.any(dim=1), -1)
