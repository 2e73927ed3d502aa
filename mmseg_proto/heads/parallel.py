"""The collectives of a prototype head, through mmengine.

Rule: every rank runs the same collectives in the same order, whatever its pixels are. No call
below may stand under an `if` that depends on the data of one rank.
"""

import torch
from mmengine import dist
from torch import Tensor


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks; the tensor itself in a single process."""
    if dist.get_world_size() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total, "sum")
    return total


def concatenate_ranks(tensor: Tensor, dim: int) -> Tensor:
    """Return the tensors of all ranks, of equal shape, side by side in the order of ranks."""
    return torch.cat(dist.all_gather(tensor.contiguous()), dim=dim)


def from_first_rank(tensor: Tensor) -> Tensor:
    """Return the tensor as rank 0 has it."""
    # Gloo of older PyTorch sends no bool.
    sent = tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor.contiguous()
    dist.broadcast(sent, src=0)
    return sent.to(tensor.dtype)


def classes_that_differ(tensor: Tensor) -> dict[int, list[int]]:
    """Compare a tensor with rank 0's, bit by bit.

    Every rank gets the same answer, so that all of them can act on it together.

    Args:
        tensor: One row for each class, shape ``(C, ...)``, fp32.

    Returns:
        dict[int, list[int]]: Ranks that differ, and their classes that do.
    """
    bits = tensor.detach().contiguous().view(torch.int32).flatten(1).to(torch.int64)
    # Weighted by place, so that values that change places are told apart.
    places = torch.arange(1, bits.shape[1] + 1, device=bits.device)
    sums = dist.all_gather((bits * places).sum(dim=1))
    differ = {rank: (own != sums[0]).nonzero().flatten().tolist() for rank, own in enumerate(sums)}
    return {rank: classes for rank, classes in differ.items() if classes}
