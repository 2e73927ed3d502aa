"""The module that is exported: from images to logits or labels, and nothing else."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.model import revert_sync_batchnorm
from mmseg.models.utils import resize
from torch import Tensor, nn

from mmseg_proto.heads import PrototypeClassifier
from mmseg_proto.heads.decoders import last_head
from mmseg_proto.heads.plain_classifier import PlainClassifier


class ShippedModel(nn.Module):
    """A copy of a segmentor whose forward pass takes a tensor and gives one.

    Args:
        segmentor: Segmentor of the host, which stays as it is.
        fused: Whether prototypes become a 1x1 convolution. Defaults to False.
        normalize: Whether to do what the data preprocessor does with channels, mean and standard
            deviation. Defaults to False: images are normalised already.
        argmax: Whether to give labels instead of logits. Defaults to False.
        multiple: Of what heights and widths are a multiple; the file then refuses others. Defaults
            to 1.

    Raises:
        ValueError: If there are no prototypes to fuse, the model has a single channel, or there is
            nothing to normalise by.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        segmentor: Any,
        *,
        fused: bool = False,
        normalize: bool = False,
        argmax: bool = False,
        multiple: int = 1,
    ) -> None:
        super().__init__()
        _check_classes(segmentor)
        self.segmentor = plain_copy(segmentor, fused=fused)
        self.normalize, self.argmax, self.multiple = normalize, argmax, multiple
        preprocessor = segmentor.data_preprocessor
        self.swaps_channels = swaps_channels(preprocessor)
        if normalize:
            if not getattr(preprocessor, "_enable_normalize", False):
                raise ValueError(
                    "Expected a data_preprocessor with mean and std, which --normalize puts into "
                    "the file, but the config has none. Leave --normalize out."
                )
            self.register_buffer("mean", preprocessor.mean.detach().cpu().clone())
            self.register_buffer("std", preprocessor.std.detach().cpu().clone())

    def forward(self, images: Tensor) -> Tensor:
        """Segment images.

        Args:
            images: fp32, shape ``(B, 3, H, W)``, normalised unless `normalize` is on.

        Returns:
            Tensor: Logits ``(B, C, H, W)``, or with `argmax` labels ``(B, H, W)``, int64.
        """
        if self.multiple > 1:
            images = _of_multiples(images, self.multiple)
        if self.normalize:
            ordered = images.flip(1) if self.swaps_channels else images
            images = (ordered - self.mean) / self.std
        logits = whole_logits(self.segmentor, images)
        return logits.argmax(dim=1) if self.argmax else logits


def whole_logits(segmentor: Any, images: Tensor) -> Tensor:
    """Segment normalised images in one piece, as ``test_cfg=dict(mode='whole')`` does.

    Args:
        segmentor: Segmentor of the host.
        images: Normalised images, shape ``(B, 3, H, W)``.

    Returns:
        Tensor: Logits at the size of the images, shape ``(B, C, H, W)``.
    """
    size = images.shape[2:]
    logits: Tensor = segmentor.encode_decode(images, [{"img_shape": size, "ori_shape": size}])
    return logits


def plain_copy(segmentor: Any, *, fused: bool = False) -> Any:
    """Copy a segmentor for inference on the CPU, without custom operators.

    Args:
        segmentor: Segmentor of the host, which stays as it is.
        fused: Whether prototypes become a 1x1 convolution. Defaults to False.

    Returns:
        Any: The copy, in evaluation mode and without auxiliary heads.

    Raises:
        ValueError: If there are no prototypes to fuse.
    """
    copied = copy.deepcopy(segmentor).cpu().float()
    # Formats with parameters of their own would carry them, though only training needs them.
    copied.auxiliary_head = None
    found = False
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if isinstance(child, PrototypeClassifier):
                setattr(module, name, PlainClassifier(child, fused=fused))
                found = True
    if fused and not found:
        raise ValueError(
            "Expected a prototype model, whose prototypes --fused makes a convolution of, but this "
            f"{type(last_head(segmentor)).__name__} classifies by a convolution already. Leave "
            "--fused out."
        )
    return revert_sync_batchnorm(copied).eval().requires_grad_(False)


@contextmanager
def unchecked_resizing() -> Iterator[None]:
    """Lets the host's `resize` warn of no sizes: looking at them makes constants of them."""
    kept = resize.__defaults__
    resize.__defaults__ = (*kept[:-1], False)
    try:
        yield
    finally:
        resize.__defaults__ = kept


def _of_multiples(images: Tensor, multiple: int) -> Tensor:
    """Return images as they are; runtimes fail at other sizes, which they would take for these.

    Exporters rely on what they are told of sizes, but nothing that they write checks it.
    """
    batch, channels, height, width = images.shape
    blocks = (height // multiple, multiple, width // multiple, multiple)
    return images.reshape(batch, channels, *blocks).reshape(batch, channels, height, width)


def has_shifted_windows(segmentor: nn.Module) -> bool:
    """Whether a model has Swin's windows, which are cut by numbers and not by symbols."""
    return any(type(module).__name__ == "ShiftWindowMSA" for module in segmentor.modules())


def _check_classes(segmentor: Any) -> None:
    head = last_head(segmentor)
    if head.out_channels == 1:
        raise ValueError(
            "Expected a model with a channel for each class, but this one has a single channel "
            "with a threshold, which is not exported. Train it with out_channels=2."
        )


def swaps_channels(preprocessor: Any) -> bool:
    """Whether a data preprocessor turns BGR into RGB; the families name that differently."""
    given = vars(preprocessor)
    return bool(given.get("_channel_conversion", given.get("channel_conversion", False)))
