"""Segmenter's decoder without class queries, so that there is a classifier to swap."""

from typing import Any

from mmengine.model import constant_init, trunc_normal_init
from mmseg.models.decode_heads import SegmenterMaskTransformerHead
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SegmenterPatchHead(SegmenterMaskTransformerHead):
    """The transformer of Segmenter's mask decoder over patches alone, and a classifier on top.

    Segmenter's class queries go through the transformer beside the patches and are compared with
    them at its end: they are learned prototypes, one per class, that have looked at the image.
    Prototypes cannot look at it, so they take the place of the queries at the end and nothing takes
    it inside. As it is, the head has a linear classifier in that place; with ``decoder=
    'SegmenterPatchHead'`` a `ProtoDecodeHead` has prototypes there.

    Args:
        **kwargs: Arguments of :class:`mmseg.models.decode_heads.SegmenterMaskTransformerHead`;
            `channels` becomes `embed_dims`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        del self.cls_emb, self.classes_proj, self.mask_norm
        self.channels: int = self.patch_proj.out_features
        self.conv_seg = nn.Conv2d(self.channels, self.out_channels, kernel_size=1)

    def init_weights(self) -> None:
        """Initialise as Segmenter does."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_init(module, std=self.init_std, bias=0)
            elif isinstance(module, nn.LayerNorm):
                constant_init(module, val=1.0, bias=0.0)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Classify patches.

        Args:
            inputs: Features of the backbone.

        Returns:
            Tensor: Logits with shape ``(B, C, H, W)``.
        """
        features = self._transform_inputs(inputs)
        size = features.shape[2:]
        patches = self.dec_proj(features.flatten(2).transpose(1, 2))
        for layer in self.layers:
            patches = layer(patches)
        patches = self.patch_proj(self.decoder_norm(patches))
        logits: Tensor = self.cls_seg(patches.transpose(1, 2).unflatten(2, size))
        return logits
