"""The host's segmentors, whose predictions also say how sure they are, and which prototype won."""

from typing import TYPE_CHECKING, Any

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.heads.decoders import last_head
from mmseg_proto.ops import expect_number

from .window import Window, name_class_winners, name_winners, places_before_resizing

if TYPE_CHECKING:
    from mmseg.models.segmentors import EncoderDecoder as _Segmentor
else:
    # Each subclass brings its own segmentor as the second base.
    _Segmentor = object


class _PrototypeOutputs(_Segmentor):
    """What both segmentors do beside those of the host.

    Attributes:
        class_winners: Whether predictions also have the field `class_winners`, ``(C, H, W)``
            int16: the number in its class of each class's nearest prototype, -1 for a class that
            has none.
    """

    class_winners: bool = False

    def __init__(self, *args: Any, unknown_below: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if unknown_below is not None:
            expect_number("unknown_below", unknown_below)
        self.unknown_below = unknown_below
        expect_cosines(self)
        self._windows: list[Window] = []

    def encode_decode(self, inputs: Tensor, batch_img_metas: Any) -> Tensor:
        """Compute logits of an image or window, and keep which prototypes won in it.

        Args:
            inputs: Images, shape ``(B, 3, H, W)``.
            batch_img_metas: Their meta information.

        Returns:
            Tensor: Logits, shape ``(B, C, H, W)``.
        """
        seen: list[Tensor] = []
        classifier = last_head(self).prototype_classifier
        handle = classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            logits: Tensor = super().encode_decode(inputs, batch_img_metas)
        finally:
            handle.remove()
        height, width = logits.shape[-2:]
        winners = classifier.winners(seen[-1])
        # Which part of the image it is, `slide_inference` alone knows.
        self._windows.append(Window(0, 0, height, width, winners))
        return logits

    def slide_inference(self, inputs: Tensor, batch_img_metas: Any) -> Tensor:
        """Compute logits window by window, as the host does, and note where each window is.

        Args:
            inputs: Images, shape ``(B, 3, H, W)``.
            batch_img_metas: Their meta information.

        Returns:
            Tensor: Logits, shape ``(B, C, H, W)``.
        """
        logits: Tensor = super().slide_inference(inputs, batch_img_metas)
        corners = [
            (top, left)
            for top in _starts(inputs.shape[2], self.test_cfg.crop_size[0], self.test_cfg.stride[0])
            for left in _starts(
                inputs.shape[3], self.test_cfg.crop_size[1], self.test_cfg.stride[1]
            )
        ]
        self._windows = [
            window._replace(top=top, left=left)
            for window, (top, left) in zip(self._windows, corners, strict=True)
        ]
        return logits

    def predict(self, inputs: Tensor, data_samples: Any = None) -> Any:
        """Predict, as the host does, with what prototypes say besides.

        Args:
            inputs: Images, shape ``(B, 3, H, W)``.
            data_samples: Their samples. Defaults to None.

        Returns:
            list[SegDataSample]: With the fields that the class names.
        """
        self._windows = []
        samples = super().predict(inputs, data_samples)
        windows, self._windows = self._windows, []
        for number, sample in enumerate(samples):
            own = [window._replace(winners=window.winners[number]) for window in windows]
            self._describe(sample, own, inputs.shape[2:] if data_samples is None else None)
        return samples

    @torch.no_grad()
    def _describe(self, sample: Any, windows: list[Window], size: Any) -> None:
        """Write the fields of one image into its sample."""
        scale = last_head(self).prototype_classifier.score_scale.value()
        cosines = sample.seg_logits.data / scale
        first, second = cosines.topk(2, dim=0).values
        labels = sample.pred_sem_seg.data[0]
        canvas = (
            max(window.top + window.height for window in windows),
            max(window.left + window.width for window in windows),
        )
        meta = {} if size is not None else sample.metainfo
        rows, columns = places_before_resizing(meta, canvas, labels.shape, self.align_corners)
        number = name_winners(labels, windows, rows, columns)
        places = last_head(self).prototype_classifier.bank.shape[1]
        fields = {
            "max_cosine": first[None],
            "margin": (first - second)[None],
            "prototype_id": (labels * places + number)[None].to(torch.int32),
        }
        if self.unknown_below is not None:
            fields["unknown"] = (first < self.unknown_below)[None]
        if self.class_winners:
            fields["class_winners"] = name_class_winners(windows, rows, columns)
        sample.set_data({name: PixelData(data=data) for name, data in fields.items()})


@MODELS.register_module()
class ProtoEncoderDecoder(_PrototypeOutputs, EncoderDecoder):
    """`EncoderDecoder` that says how sure it is, and why.

    A prediction has these fields beside `seg_logits` and `pred_sem_seg`, all ``(1, H, W)``:

    - `max_cosine`: cosine with the nearest prototype of the predicted class, in [-1, 1];
    - `margin`: how much larger that is than with the runner-up class, in [0, 2];
    - `prototype_id`: the prototype that won, ``class * K + k``;
    - `unknown`: whether `max_cosine` is below `unknown_below`, where that is given.

    Cosines come from the logits, so they are averaged over windows and resized as the host does;
    the winner is that of the feature pixel below, in overlapping windows of the last one.
    Test-time augmentation merges logits alone: there the fields are lost.

    Args:
        *args: Arguments of the host's class.
        unknown_below: Cosine below which a pixel is unknown. Defaults to None: no such field.
        **kwargs: Arguments of the host's class, by name.

    Raises:
        TypeError: If the last decode head is no `ProtoDecodeHead`.
        ValueError: If its logits are no cosines times a factor.
    """


@MODELS.register_module()
class ProtoCascadeEncoderDecoder(_PrototypeOutputs, CascadeEncoderDecoder):
    """`ProtoEncoderDecoder` for cascades, with the same fields and arguments."""


def expect_cosines(model: Any) -> None:
    """Refuse a segmentor whose logits are no scaled cosines with prototypes.

    Args:
        model: The segmentor.

    Raises:
        TypeError: If its last decode head is no `ProtoDecodeHead`.
        ValueError: If its logits are no cosines times a factor.
    """
    head = last_head(model)
    if not isinstance(head, ProtoDecodeHead):
        raise TypeError(
            f"Expected the decode head of {type(model).__name__} to be a ProtoDecodeHead, but "
            f"got {type(head).__name__}. Softmax models have no prototypes to tell of."
        )
    classifier: Any = head.prototype_classifier
    if not classifier.score_scale.is_factor:
        raise ValueError(
            f"Expected `score_scale.kind` to be 'scalar' in the head of {type(model).__name__}, "
            "but it is 'layer_norm', after which nobody knows the cosines."
        )


def _starts(size: int, crop: int, stride: int) -> list[int]:
    """Where windows start along one side, as the host slides them."""
    count = max(size - crop + stride - 1, 0) // stride + 1
    return [max(min(index * stride + crop, size) - crop, 0) for index in range(count)]
