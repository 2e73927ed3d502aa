"""Which losses belong into `loss_prototype`, and which into `loss_decode`."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmseg.registry import MODELS
from torch import nn

from mmseg_proto.losses import PixelPrototypeLoss

from .settings import refuse_unknown_keys

# Here rather than on the class, which knows nothing of the host.
MODELS.register_module(module=PixelPrototypeLoss)


def build_prototype_loss(config: Mapping[str, Any] | None) -> PixelPrototypeLoss:
    """Build the prototype losses of a head.

    Args:
        config: Its `loss_prototype`; None for the defaults.

    Returns:
        PixelPrototypeLoss: The losses.

    Raises:
        TypeError: If `config` is no dict, has a key that the losses have not, or builds other ones.
    """
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(f"Expected `loss_prototype` to be a dict, but got {config!r}.")
    config = {"type": "PixelPrototypeLoss", **(config or {})}
    loss = MODELS.get(config["type"]) if isinstance(config["type"], str) else config["type"]
    if loss is PixelPrototypeLoss:
        known = sorted(inspect.signature(loss).parameters)
        refuse_unknown_keys(config.keys() - {"type"}, known, "loss_prototype")
    built = MODELS.build(config)
    if not isinstance(built, PixelPrototypeLoss):
        raise TypeError(
            "Expected `loss_prototype` to be a PixelPrototypeLoss or a subclass of it, but got "
            f"{type(built).__name__}. Losses of the logits belong into `loss_decode`."
        )
    return built


def refuse_prototype_losses(loss_decode: nn.Module) -> None:
    """Refuse prototype losses where the host gives logits to a loss.

    Args:
        loss_decode: The losses that the decoder built.

    Raises:
        TypeError: If there are prototype losses among them.
    """
    if any(isinstance(module, PixelPrototypeLoss) for module in loss_decode.modules()):
        raise TypeError(
            "Expected `loss_decode` to hold losses of the logits, but got PixelPrototypeLoss. Put "
            "its settings into `loss_prototype`, and leave cross-entropy in `loss_decode`."
        )
