"""What the authors' release (tfzhou/ProtoSeg, commit 1c4a778) does in a way of its own.

The rest of the package asks for properties: how far an embedding looks
(`PixelEmbedding.extent`) and whether logits are cosines times a factor (`ScoreScale.is_factor`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .score_scale import ScoreScale


class RowNorm(nn.Module):
    """l2 normalisation of each channel along each row of a feature map.

    The release normalises the last axis of ``(B, D, H, W)`` behind its projection (`ProjectionHead`
    in ``lib/models/modules/contrast.py``), which is the width. So its embeddings depend on the
    width of what the network is given: crop, padding and sliding window.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise.

        Args:
            features: Feature map, shape ``(B, D, H, W)``.

        Returns:
            Tensor: The same shape, in at least fp32.
        """
        wide = torch.promote_types(features.dtype, torch.float32)
        return F.normalize(features.to(wide), dim=3)


class LayerNormScale(ScoreScale):
    """LayerNorm over the scores of all classes, with two learned numbers a class.

    Named `mask_norm` in the release. After it nobody knows the cosines, and no class can be added
    without a change of all scores.

    Args:
        num_classes: Number of classes C.
    """

    is_factor = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_classes)

    def factor(self) -> None:
        """Return None: it is no factor."""

    def forward(self, scores: Tensor) -> Tensor:
        """Make logits of cosines.

        Args:
            scores: Class scores in [-1, 1], shape ``(..., C)``.

        Returns:
            Tensor: Logits of the same shape and dtype.
        """
        logits: Tensor = self.norm(scores.to(self.norm.weight.dtype)).to(scores.dtype)
        return logits

    def value(self) -> Tensor:
        """Return the mean weight of the LayerNorm, shape ``()``."""
        return self.norm.weight.detach().mean()
