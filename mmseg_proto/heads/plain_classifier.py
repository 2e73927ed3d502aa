"""What a prototype classifier computes in inference, in operations that every runtime knows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_proto.ops.nearest import FLOOR
from mmseg_proto.ops.unit_norm import SMALLEST_NORM

from .classifier import PrototypeClassifier
from .embedding import PixelEmbedding


def unit_embeddings(embedding: PixelEmbedding, features: Tensor) -> Tensor:
    """Embed every pixel as `embedding` does, in inference and fp32.

    Args:
        embedding: The embedding, in evaluation mode.
        features: Decoder features, shape ``(B, in_channels, H, W)``.

    Returns:
        Tensor: Unit-norm embeddings as a map, shape ``(B, channels, H, W)``.
    """
    features, norm = embedding.projection(features), embedding.norm
    if not isinstance(norm, nn.LayerNorm):
        return F.normalize(norm(features), dim=1)
    pixels = norm(features.permute(0, 2, 3, 1))
    length = torch.linalg.vector_norm(pixels, dim=3, keepdim=True)
    short = length < SMALLEST_NORM
    # As the classifier has it, a pixel without a direction is 0 and not noise of unit length.
    units = torch.where(short, 0.0, pixels / torch.where(short, 1.0, length))
    return units.permute(0, 3, 1, 2)


class PlainClassifier(nn.Module):
    """Takes the place of a `PrototypeClassifier` in a model that is exported.

    Cosines of all pixels with all prototypes are stored here, and there are no custom operators.

    Args:
        classifier: The classifier, in evaluation mode. It is left as it is, and its embedding is
            shared.
        fused: Whether prototypes are the weight of a 1x1 convolution with the scale of the logits
            in it, instead of a matrix product. Defaults to False.
    """

    weight: Tensor
    floor: Tensor

    def __init__(self, classifier: PrototypeClassifier, *, fused: bool = False) -> None:
        super().__init__()
        # Under the name by which the decode head asks for it.
        self.embedding = classifier.embedding
        score_scale = classifier.score_scale
        self.score_norm = None if score_scale.is_factor else score_scale
        self.shape, self.fused = classifier.bank.shape, fused
        factor = score_scale.factor()
        alive = classifier.bank.alive_mask
        scale = torch.ones(1) if factor is None else factor.detach().float().cpu()
        # What does not exist has the smallest cosine, whatever the pixel: no weight but a bias.
        weight = torch.where(alive[..., None], classifier.bank.directions, 0.0).flatten(0, 1)
        floor = torch.where(alive, 0.0, FLOOR).flatten()
        self.scale = 1.0 if fused else float(scale)
        folded = scale.to(weight) if fused else torch.ones_like(weight[:1, 0])
        weight, floor = weight * folded, floor * folded
        self.register_buffer(
            "weight", weight[..., None, None] if fused else weight.t().contiguous()
        )
        self.register_buffer("floor", floor)

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits.

        Args:
            features: Decoder features, shape ``(B, D', H, W)``.

        Returns:
            Tensor: Logits with shape ``(B, C, H, W)``.
        """
        units = unit_embeddings(self.embedding, features)
        if self.fused:
            scores = F.conv2d(units, self.weight, self.floor).unflatten(1, self.shape).amax(dim=2)
        else:
            cosines = units.permute(0, 2, 3, 1) @ self.weight + self.floor
            best = cosines.unflatten(3, self.shape).amax(dim=4)
            scores = (best * self.scale).permute(0, 3, 1, 2)
        if self.score_norm is not None:
            # Over classes, hence after the maximum: it cannot be folded into the prototypes.
            scores = self.score_norm(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        logits: Tensor = scores
        return logits
