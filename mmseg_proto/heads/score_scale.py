"""From cosines to logits."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from .settings import ScaleSettings


class ScoreScale(nn.Module):
    """What turns class scores in [-1, 1] into logits.

    Attributes:
        is_factor: Whether logits are the scores times :meth:`factor`, so that cosines can be told
            from them.
    """

    is_factor = True

    @abstractmethod
    def factor(self) -> Tensor | None:
        """Return the factor, shape ``(1,)``; None where there is none."""

    @abstractmethod
    def value(self) -> Tensor:
        """Return the scale as one number for the log, shape ``()``."""

    def forward(self, scores: Tensor) -> Tensor:
        """Make logits of scores that have met the :meth:`factor`, if there is one.

        Args:
            scores: Class scores, shape ``(..., C)``; in [-1, 1] times the factor.

        Returns:
            Tensor: Logits of the same shape and dtype.
        """
        return scores

    def clamp(self) -> None:
        """Keep what is learned within its bounds; call it after each optimiser step."""


class ScalarScale(ScoreScale):
    """One scalar for all classes, whatever their number.

    Args:
        settings: Where the scalar starts and stays, and whether it is learned.
    """

    log_scale: Tensor

    def __init__(self, settings: ScaleSettings) -> None:
        super().__init__()
        self.settings = settings
        # As a logarithm, steps of the optimiser are relative; shape (1,) suits every optimiser.
        log_scale = torch.tensor([math.log(settings.init)])
        if settings.learnable:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def factor(self) -> Tensor:
        """Return the scalar, shape ``(1,)``."""
        return self.log_scale.exp()

    def clamp(self) -> None:
        """Keep a learned scalar within its bounds; call it after each optimiser step."""
        if self.settings.learnable:
            bounds = self.settings
            self.log_scale.data.clamp_(math.log(bounds.min), math.log(bounds.max))

    def value(self) -> Tensor:
        """Return the scalar, shape ``()``."""
        return self.log_scale.detach().exp().squeeze()
