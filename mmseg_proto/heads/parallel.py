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
    tensor = tensor.contiguous()
    dist.broadcast(tensor, src=0)
    return tensor
