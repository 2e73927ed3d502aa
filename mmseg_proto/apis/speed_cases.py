"""What the speed benchmark measures: ops, classifiers and whole models beside their peers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.losses import (
    pixel_prototype_contrast,
    pixel_prototype_distance,
    pixel_weights,
)
from mmseg_proto.ops import assign_prototypes, nearest_prototypes
from mmseg_proto.prototypes import collect_statistics, move_prototypes

from .speed_peers import authors_sinkhorn, authors_step, vectorised_step

Functions = dict[str, Callable[[], object]]

#: Name to config and what is changed about it.
WHOLE_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "segformer_b0": (
        "segformer_b4",
        {
            "backbone.embed_dims": 32,
            "backbone.num_layers": [2, 2, 2, 2],
            "decode_head.in_channels": [32, 64, 160, 256],
        },
    ),
    "segformer_b4": ("segformer_b4", {}),
    "upernet_swin_b": ("upernet_swin_b", {}),
    "fcn_r101": ("fcn_r101", {}),
    "hrnet_w48": ("hrnet_w48", {}),
}
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
    index = assign_prototypes(own.detach(), labels, alive)
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


def training_cases(
    configs: Path, name: str, device: torch.device, batch: int, size: int, amp: str | None
) -> Functions:
    """Make whole training steps of a model, optimiser included, with softmax and prototypes.

    Args:
        configs: Folder of the packaged configs.
        name: One of `WHOLE_MODELS`.
        device: Device.
        batch: Images a step.
        size: Height and width of an image.
        amp: Dtype of autocast, such as ``'float16'``; None for none.
    """
    inputs, samples = _images(device, batch, size)
    return {
        arm: _training_step(_model(configs, arm, name, device).train(), inputs, samples, amp)
        for arm in ("softmax", "proto")
    }


def _training_step(
    model: Any, inputs: Tensor, samples: list[SegDataSample], amp: str | None
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    head, step = model.decode_head, 0

    def run() -> None:
        nonlocal step
        if isinstance(head, ProtoDecodeHead):
            head.attach_hook() if step == 0 else None
            head.prototype_classifier.begin_step(step)
        with _autocast(inputs.device, amp):
            losses = model.loss(inputs, samples)
        sum(value for key, value in losses.items() if "loss" in key).backward()
        optimizer.step()
        optimizer.zero_grad()
        if isinstance(head, ProtoDecodeHead):
            head.prototype_classifier.end_step(update=True)
        step += 1

    return run


def inference_cases(
    configs: Path, name: str, device: torch.device, batch: int, size: int, amp: str | None
) -> Functions:
    """Make whole inference, from normalised images to label maps, with softmax and prototypes.

    Arguments are those of :func:`training_cases`.
    """
    inputs, samples = _images(device, batch, size)

    def predicting(model: Any) -> Callable[[], None]:
        @torch.no_grad()
        def run() -> None:
            with _autocast(device, amp):
                model.predict(inputs, samples)

        return run

    return {
        arm: predicting(_model(configs, arm, name, device).eval()) for arm in ("softmax", "proto")
    }


def _autocast(device: torch.device, amp: str | None) -> torch.autocast:
    dtype = None if amp is None else getattr(torch, amp)
    return torch.autocast(device.type, dtype=dtype, enabled=amp is not None)


def _model(configs: Path, arm: str, name: str, device: torch.device) -> Any:
    init_default_scope("mmseg")
    config, changes = WHOLE_MODELS[name]
    cfg = Config.fromfile(configs / f"{arm}_{config}_ade.py")
    changes = {**changes, "pretrained": None, "backbone.init_cfg": None}
    if arm == "proto":
        changes["decode_head.seeding"] = {"source": "random"}
    cfg.merge_from_dict({f"model.{key}": value for key, value in changes.items()})
    return revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)


def _images(device: torch.device, batch: int, size: int) -> tuple[Tensor, list[SegDataSample]]:
    """Random images whose labels come in patches, about twenty classes each."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 3, size, size, generator=generator).to(device)
    meta = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), (size, size))
    samples = []
    for _ in range(batch):
        patches = torch.randint(0, 150, (5, 4), generator=generator).float()[None, None]
        label = F.interpolate(patches, (size, size), mode="nearest")[0].long().to(device)
        sample = SegDataSample(metainfo={**meta, "padding_size": [0, 0, 0, 0]})
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return inputs, samples
