"""Functions that `torch.compile` takes as they are."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])


def opaque(fake: Callable[..., Any]) -> Callable[[_Function], _Function]:
    """Hide the inside of a function from `torch.compile`, which would unroll its loops.

    The function becomes a custom operator of PyTorch: eager calls, compiled graphs and fake
    tensors all know it, and nothing breaks a graph. PyTorch before 2.4 has no such operators;
    there the function stays plain.

    Args:
        fake: From the same arguments to empty outputs of the right shapes and dtypes.

    Returns:
        Callable: A decorator for functions of tensors with annotated arguments. What they return
        must not share memory with their arguments.
    """

    def decorate(function: _Function) -> _Function:
        if not hasattr(torch.library, "custom_op"):
            return function
        name = f"mmseg_proto::{function.__name__.strip('_')}"
        operator: Any = torch.library.custom_op(name, function, mutates_args=())
        operator.register_fake(fake)
        made: _Function = operator
        return made

    return decorate
