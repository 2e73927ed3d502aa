"""From decoder features to unit-norm pixel embeddings."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from .settings import ProjectionSettings


class PixelEmbedding(nn.Module):
    """Optional projection, optional norm, then l2 normalisation over channels.

    Args:
        in_channels: Channels of the decoder's features.
        projection: Settings of the projection; None for no projection.
        feature_norm: mmcv config of a norm layer over channels, such as ``dict(type='LN')``; None
            for no norm.
    """

    def __init__(
        self,
        in_channels: int,
        projection: ProjectionSettings | None = None,
        feature_norm: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.channels = in_channels
        self.projects = projection is not None
        self.projection: nn.Module = nn.Identity()
        if projection is not None:
            self.channels = projection.out_channels or in_channels
            layers: list[nn.Module] = []
            for _ in range(projection.num_layers - 1):
                layers += [nn.Conv2d(in_channels, in_channels, 1), nn.ReLU(inplace=True)]
            layers.append(nn.Conv2d(in_channels, self.channels, 1))
            self.projection = nn.Sequential(*layers)
        self.norm: nn.Module = nn.Identity()
        if feature_norm is not None:
            self.norm = build_norm_layer(dict(feature_norm), self.channels)[1]

    def forward(self, features: Tensor) -> Tensor:
        """Embed every pixel.

        Args:
            features: Decoder features, shape ``(B, in_channels, H, W)``.

        Returns:
            Tensor: Unit-norm embeddings in fp32 (fp64 for fp64), shape ``(B*H*W, channels)``.
        """
        features = self.projection(features)
        # Norms of half-precision vectors overflow from 256 on.
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        with torch.autocast(features.device.type, enabled=False):
            # Layer norm wants channels last; batch and group norms want them second.
            channels_last = isinstance(self.norm, nn.LayerNorm)
            if not channels_last:
                features = self.norm(features)
            pixels = features.permute(0, 2, 3, 1).flatten(0, 2)
            if channels_last:
                pixels = self.norm(pixels)
            return F.normalize(pixels, dim=1)
