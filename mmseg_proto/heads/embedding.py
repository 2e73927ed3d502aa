"""From decoder features to unit-norm pixel embeddings."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmseg_proto.ops import matmul_dtype, unit_layer_norm

from .authors import RowNorm
from .settings import ProjectionSettings


class PixelEmbedding(nn.Module):
    """Optional projection, optional norm, then l2 normalisation over channels.

    Args:
        in_channels: Channels of the decoder's features.
        projection: Settings of the projection; None for no projection.
        feature_norm: mmcv config of a norm layer over channels, such as ``dict(type='LN')``; None
            for no norm.

    Raises:
        TypeError: If `feature_norm` is no norm config.
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
            if projection.normalize:
                layers.append(RowNorm())
            self.projection = nn.Sequential(*layers)
        self._by_row = projection is not None and projection.normalize
        self.norm: nn.Module = nn.Identity()
        if feature_norm is not None:
            if not isinstance(feature_norm, Mapping) or "type" not in feature_norm:
                raise TypeError(
                    "Expected `feature_norm` to be a norm config such as dict(type='LN'), or None, "
                    f"but got {feature_norm!r}."
                )
            self.norm = build_norm_layer(dict(feature_norm), self.channels)[1]

    @property
    def extent(self) -> Literal["pixel", "row", "image"]:
        """What the embedding of a pixel depends on: itself, its row, or the whole feature map."""
        if not isinstance(self.norm, (nn.LayerNorm, nn.Identity)):
            return "image"
        return "row" if self._by_row else "pixel"

    def forward(self, features: Tensor) -> Tensor:
        """Embed every pixel.

        Args:
            features: Decoder features, shape ``(B, in_channels, H, W)``.

        Returns:
            Tensor: Unit-norm embeddings, shape ``(B*H*W, channels)``, in the dtype of autocast
            where it is on, else in that of the features; norms are computed in at least fp32.
        """
        dtype, norm = matmul_dtype(features), self.norm
        features = self.projection(features)
        if isinstance(norm, nn.LayerNorm) and norm.weight is not None and norm.bias is not None:
            return unit_layer_norm(features, norm.weight, norm.bias, norm.eps, dtype)
        # Norms of half-precision vectors overflow from 256 on.
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        with torch.autocast(features.device.type, enabled=False):
            # Layer norm wants channels last; batch and group norms want them second.
            channels_last = isinstance(norm, nn.LayerNorm)
            if not channels_last:
                features = norm(features)
            pixels = features.permute(0, 2, 3, 1).flatten(0, 2)
            if channels_last:
                pixels = norm(pixels)
            return F.normalize(pixels, dim=1).to(dtype)
