"""From cosines to logits."""

import math

import torch
from torch import Tensor, nn

from .settings import ScaleSettings


class ScoreScale(nn.Module):
    """Turn class scores in [-1, 1] into logits.

    Args:
        settings: One scalar, learned or fixed, or the authors' LayerNorm.
        num_classes: Number of classes C, of interest to the LayerNorm alone.
    """

    log_scale: Tensor

    def __init__(self, settings: ScaleSettings, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.norm = nn.LayerNorm(num_classes) if settings.kind == "layer_norm" else None
        if self.norm is None:
            # As a logarithm, steps of the optimiser are relative; shape (1,) suits every optimiser.
            log_scale = torch.tensor([math.log(settings.init)])
            if settings.learnable:
                self.log_scale = nn.Parameter(log_scale)
            else:
                self.register_buffer("log_scale", log_scale)

    def factor(self) -> Tensor | None:
        """Return the scalar, shape ``(1,)``; None for the LayerNorm, which is no factor."""
        return None if self.norm is not None else self.log_scale.exp()

    def forward(self, scores: Tensor) -> Tensor:
        """Make logits of scores that have met the :meth:`factor`, if there is one.

        Args:
            scores: Class scores, shape ``(N, C)``; in [-1, 1] times the factor.

        Returns:
            Tensor: Logits of the same shape and dtype.
        """
        if self.norm is None:
            return scores
        logits: Tensor = self.norm(scores.to(self.norm.weight.dtype)).to(scores.dtype)
        return logits

    def clamp(self) -> None:
        """Keep a learned scalar within its bounds; call it after each optimiser step."""
        if self.norm is None and self.settings.learnable:
            bounds = self.settings
            self.log_scale.data.clamp_(math.log(bounds.min), math.log(bounds.max))

    def value(self) -> Tensor:
        """Return the scale: the scalar, or the mean weight of the LayerNorm, shape ``()``."""
        if self.norm is not None:
            return self.norm.weight.detach().mean()
        return self.log_scale.detach().exp().squeeze()
