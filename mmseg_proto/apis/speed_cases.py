"""What the speed benchmark measures of ops and classifiers, beside their peers."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_proto.losses import (
    pixel_prototype_contrast,
    pixel_prototype_distance,
    pixel_weights,
)
from mmseg_proto.ops import assign_prototypes, nearest_prototypes
from mmseg_proto.prototypes import collect_statistics, move_prototypes

from .speed_peers import authors_sinkhorn, authors_step, vectorised_step

Functions = dict[str, Callable[[], object]]

_TEMPERATURE, _DECAY = 0.1, 0.999


def op_cases(
    device: torch.device, pixels: int, classes: int, places: int, channels: int
) -> Functions:
    """Make the streamed op, whole steps of its peers, and the matrix products they all contain.

    Args:
        device: Device.
        pixels: Number of pixels N.
        classes: Number of classes C.
        places: Prototypes per class K.
        channels: Channels D.

    Returns:
        Functions: ``three matmuls`` is what no exact step can beat: similarities, again in the
        backward pass, and the gradient. ``streamed op`` is scores, own similarities and
        log-partition, and back. The others are whole steps: clustering, both losses, the update,
        and back.
    """
    generator = torch.Generator().manual_seed(0)
    embeddings = F.normalize(torch.randn(pixels, channels, generator=generator), dim=1)
    embeddings = embeddings.to(device).requires_grad_()
    prototypes = F.normalize(torch.randn(classes, places, channels, generator=generator), dim=2)
    prototypes = prototypes.to(device)
    labels = torch.randint(0, classes, (pixels,), generator=generator).to(device)
    slope = torch.randn(pixels, classes, generator=generator).to(device)
    alive = torch.ones(classes, places, dtype=torch.bool, device=device)

    def matmuls() -> None:
        flat = prototypes.flatten(0, 1)
        with torch.no_grad():
            similarity = embeddings @ flat.t()
            torch.mm(embeddings, flat.t(), out=similarity)
            similarity @ flat

    def streamed() -> None:
        scores, own, partition = nearest_prototypes(
            embeddings, prototypes, alive, labels, temperature=_TEMPERATURE
        )
        assert own is not None
        assert partition is not None
        torch.autograd.grad([scores, partition.sum() - own.sum()], embeddings, [slope, None])

    def whole(step: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> Callable[[], None]:
        def run() -> None:
            scores, loss, _ = step(embeddings, prototypes, labels, _TEMPERATURE, _DECAY)
            torch.autograd.grad([scores, loss], embeddings, [slope, None])

        return run

    return {
        "three matmuls": matmuls,
        "streamed op": streamed,
        "step, ours": whole(our_step),
        "step, vectorised": whole(vectorised_step),
        "step, authors'": whole(authors_step),
    }


def our_step(
    embeddings: Tensor, prototypes: Tensor, labels: Tensor, temperature: float, decay: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the same step with the functions of this package.

    Arguments and results are those of :func:`authors_step`.
    """
    shape = prototypes.shape[:2]
    alive = torch.ones(shape, dtype=torch.bool, device=labels.device)
    scores, own, partition = nearest_prototypes(
        embeddings, prototypes, alive, labels, temperature=temperature
    )
    assert own is not None
    assert partition is not None
    index = assign_prototypes(own.detach(), labels, alive).target
    positive = own.gather(1, index[:, None]).squeeze(1)
    weights = pixel_weights(labels, shape[0])
    loss = pixel_prototype_contrast(positive, partition, weights, temperature)
    loss = loss + pixel_prototype_distance(positive, weights)
    right = torch.where(scores.argmax(dim=1) == labels, labels, -1)
    statistics = collect_statistics(
        embeddings.detach(), right, index, labels, own.argmax(dim=1), (shape[0], shape[1])
    )
    return scores, loss, move_prototypes(prototypes, statistics.sums, statistics.counts, decay)


def classifier_cases(
    device: torch.device, classes: int, places: int, channels: int, batch: int, size: int
) -> Functions:
    """Make the way from features to logits, losses of prototypes, and back, beside softmax.

    Args:
        device: Device.
        classes: Number of classes C.
        places: Prototypes per class K.
        channels: Channels D of the features.
        batch: Number of feature maps.
        size: Height and width of a feature map; labels are of the same size.

    Returns:
        Functions: ``softmax`` is a 1x1 convolution; the cross-entropy is in neither.
    """
    torch.manual_seed(0)
    features = torch.randn(batch, channels, size, size, device=device, requires_grad=True)
    # Patches of one class, as in images.
    labels = torch.randint(0, classes, (batch, -(-size // 8), -(-size // 8)), device=device)
    labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :size, :size].flatten()
    slope = torch.randn(batch, classes, size, size, device=device)
    softmax = nn.Conv2d(channels, classes, 1).to(device)
    head = _head(channels, classes, places).to(device)
    classifier, loss = head.prototype_classifier, head.loss_prototype
    step = 0

    def convolve() -> None:
        softmax(features).backward(slope)
        features.grad = None
        softmax.zero_grad()

    def classify() -> None:
        nonlocal step
        classifier.begin_step(step)
        logits, pixels = classifier.forward_labelled(features, labels, _TEMPERATURE)
        positive = classifier.assign(pixels, keep=True)
        losses = loss(positive, pixels.log_partition, pixels.labels, classes)
        del pixels  # as the head does
        torch.autograd.backward([logits, sum(losses.values())], [slope, None])
        classifier.end_step(update=True)
        features.grad = None
        classifier.zero_grad()
        step += 1

    return {"softmax": convolve, "prototypes": classify}


def huge_image_cases(
    device: torch.device, classes: int, places: int, channels: int, height: int, width: int
) -> Functions:
    """Make inference from the features of one huge image to logits, beside softmax.

    Args:
        device: Device.
        classes: Number of classes C.
        places: Prototypes per class K.
        channels: Channels D of the features.
        height: Height of the features.
        width: Width of the features.
    """
    torch.manual_seed(0)
    features = torch.randn(1, channels, height, width, device=device)
    softmax = nn.Conv2d(channels, classes, 1).to(device)
    classifier = _head(channels, classes, places).to(device).prototype_classifier

    def inferring(module: nn.Module) -> Callable[[], None]:
        @torch.no_grad()
        def run() -> None:
            module(features)

        return run

    return {"softmax": inferring(softmax), "prototypes": inferring(classifier)}


def _head(channels: int, classes: int, places: int) -> Any:
    """Build a head for its classifier; its decoder is not used."""
    init_default_scope("mmseg")
    return MODELS.build(
        {
            "type": "ProtoDecodeHead",
            "decoder": "FCNHead",
            "num_convs": 0,
            "concat_input": False,
            "in_channels": channels,
            "channels": channels,
            "num_classes": classes,
            "num_prototypes": places,
            # All prototypes exist from the start, as in the long run.
            "seeding": {"source": "random"},
        }
    )


def clustering_cases(device: torch.device, pixels: int, classes: int, places: int) -> Functions:
    """Make the clustering of a batch, beside the authors' class by class.

    Args:
        device: Device.
        pixels: Number of pixels N.
        classes: Number of classes C.
        places: Prototypes per class K.
    """
    generator = torch.Generator().manual_seed(0)
    similarity = (0.3 * torch.randn(pixels, places, generator=generator)).clamp(-1, 1).to(device)
    labels = torch.randint(0, classes, (pixels,), generator=generator).to(device)
    alive = torch.ones(classes, places, dtype=torch.bool, device=device)

    def class_by_class() -> None:
        for c in range(classes):
            authors_sinkhorn(similarity[labels == c]).argmax(dim=1)

    return {
        "class by class": class_by_class,
        "all at once": lambda: assign_prototypes(similarity, labels, alive),
    }
