"""The decode head that swaps the softmax classifier of any decoder for prototypes."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_proto.ops import LABEL_SAMPLINGS, sample_labels

from .build import apply_preset, build_classifier
from .classifier import LabelledPixels
from .decoders import (
    check_arguments,
    check_labels_of_config,
    no_classifier_error,
    refuse_binary,
    resolve_decoder,
    without_conv_seg,
)
from .ignore_safe_cross_entropy import averages_over_all, repair_cross_entropy
from .prototype_losses import build_prototype_loss, refuse_prototype_losses
from .settings import expect_choice

if TYPE_CHECKING:
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead as _Decoder
else:
    # Each subclass brings its own decoder as the second base.
    _Decoder = object

_LAYER_NORM = {"type": "LN"}
_HOOK_LINE = "default_hooks = dict(prototype=dict(type='PrototypeUpdateHook'))"


@MODELS.register_module()
class ProtoDecodeHead(_Decoder):
    """Any decode head of MMSegmentation with prototypes in place of its softmax classifier.

    Building it makes a subclass of the named decoder: parameter names, `isinstance` and the
    decoder's own losses stay as they are, and softmax checkpoints load by their old names. The
    decoder's `conv_seg` is gone, `cls_seg` gives the scaled cosine of the nearest prototype of
    each class.

    Training needs the `PrototypeUpdateHook`, which moves the prototypes after each step.

    Args:
        decoder: Registry name or class of the decode head to swap.
        preset: ``'paper'`` or ``'authors'``: settings of the paper, or of the authors' release,
            wherever the config does not give any, key by key inside nested dicts; they let each
            plain cross-entropy average over labelled pixels too. Defaults to None.
        num_prototypes: Prototypes per class, at least 1. Defaults to 10.
        projection: Optional 1x1 convolutions before the embedding, a dict with `out_channels`,
            `num_layers` and `normalize`. Defaults to None: the decoder's features are the
            embedding, and the decoder's `dropout_ratio` is not applied to them.
        feature_norm: Norm over channels before l2 normalisation, an mmcv norm config or None.
            Defaults to ``dict(type='LN')``.
        score_scale: Scale from cosines to logits, a dict with `kind`, `init`, `learnable`, `min`
            and `max`. Defaults to one learned scalar that starts at 10.
        loss_prototype: Config of the prototype losses. Defaults to
            ``dict(type='PixelPrototypeLoss')``.
        clustering: Within-class clustering, a dict with `kappa`, `iterations`,
            `assign` and `num_pixels`.
        seeding: How prototypes start, a dict with `source`, `candidates`,
            `eager_iterations`, `interval` and `seed`.
        decay: Weight of the old prototype in each update (mu in eq. 14). Defaults to 0.999.
        update: What moves the prototypes besides, a dict with `pixels` and `clock`.
        label_sampling: How labels come to the size of the feature map, ``'nearest-exact'`` or
            ``'nearest'``. Defaults to ``'nearest-exact'``.
        **decoder_arguments: Everything that the named decoder takes.

    Raises:
        TypeError: If the decoder is missing or an argument is unknown.
        ValueError: If the decoder has no classifier to swap, predicts one channel
            (``out_channels=1``), or a setting is out of range.
    """

    def __new__(cls, *, decoder: str | type | None = None, **kwargs: Any) -> "ProtoDecodeHead":
        """Make an instance of the subclass of the named decoder."""
        if issubclass(cls, BaseDecodeHead):
            made: ProtoDecodeHead = super().__new__(cls)
        else:
            made = super().__new__(_swapped_class(resolve_decoder(decoder)))
        return made

    def __init__(
        self,
        *,
        decoder: str | type,
        preset: str | None = None,
        **arguments: Any,
    ) -> None:
        kind = resolve_decoder(decoder)
        filled, other_losses = apply_preset(preset, kind, arguments, own_arguments().keys())
        self._build(kind, **filled.arguments)
        self._preset = preset, filled, other_losses

    def _build(
        self,
        decoder: type,
        *,
        num_prototypes: int = 10,
        projection: Mapping[str, Any] | None = None,
        feature_norm: Mapping[str, Any] | None = _LAYER_NORM,
        score_scale: Mapping[str, Any] | None = None,
        loss_prototype: Mapping[str, Any] | None = None,
        clustering: Mapping[str, Any] | None = None,
        seeding: Mapping[str, Any] | None = None,
        decay: float = 0.999,
        update: Mapping[str, Any] | None = None,
        label_sampling: str = "nearest-exact",
        **decoder_arguments: Any,
    ) -> None:
        check_arguments(decoder, decoder_arguments, {"decoder", *own_arguments()})
        check_labels_of_config(
            decoder_arguments.get("num_classes"), decoder_arguments.get("ignore_index")
        )
        refuse_binary(decoder_arguments.get("out_channels"), decoder_arguments.get("num_classes"))
        super().__init__(**decoder_arguments)
        self._remove_softmax_classifier()
        refuse_prototype_losses(self.loss_decode)
        self.loss_decode: nn.Module = repair_cross_entropy(self.loss_decode)
        self._averages_over_all = averages_over_all(self.loss_decode)
        self.loss_prototype = build_prototype_loss(loss_prototype)
        expect_choice("label_sampling", label_sampling, LABEL_SAMPLINGS)
        self.label_sampling = label_sampling
        self.prototype_classifier = build_classifier(
            self.channels,
            self.num_classes,
            num_prototypes,
            projection=projection,
            feature_norm=feature_norm,
            score_scale=score_scale,
            clustering=clustering,
            seeding=seeding,
            decay=decay,
            update=update,
        )
        # Looked up once: decoders put it in different places, and signatures break compiled graphs.
        taken = list(inspect.signature(super().loss).parameters)
        self._samples_place = taken.index("batch_data_samples") - 1
        self._hook_attached = False
        self._labels: Tensor | None = None
        self._pixels: LabelledPixels | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the decoder's class, since the subclass has no importable name."""
        return _empty_head, (type(self).__bases__[1],), self.__dict__

    def preset_line(self, auxiliary: Sequence[str] = ()) -> str | None:
        """Say in one line what the preset set, what beat it, and what it leaves alone.

        Args:
            auxiliary: Other heads of the model.

        Returns:
            str | None: The line; None without a preset.
        """
        preset, filled, losses = self._preset
        if preset is None:
            return None
        sampler = [] if self.sampler is None else [type(self.sampler).__name__]
        return filled.line(preset, [*losses, *sampler, *auxiliary])

    def attach_hook(self) -> None:
        """Tell the head that somebody moves its prototypes after each step.

        Called by `PrototypeUpdateHook`. A training loop of your own calls it once, and then
        `prototype_classifier.begin_step` and `end_step` around each optimiser step.
        """
        self._hook_attached = True
        self.prototype_classifier.seeder.refresh()

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Score each pixel by its nearest prototype of each class.

        Args:
            feat: Decoder features, shape ``(B, channels, H, W)``.

        Returns:
            Tensor: Logits with shape ``(B, num_classes, H, W)``.
        """
        classifier = self.prototype_classifier
        # Right before l2 normalisation a zeroed channel turns the embedding away from where its
        # prototype has to be; it cost 2 mIoU in two trials. A projection learns to live with it.
        drops = self.dropout is not None and classifier.embedding.projects
        features = self.dropout(feat) if drops else feat
        if self._labels is None:
            logits: Tensor = classifier(features)
            return logits
        labels = self._labels_of_pixels(self._labels, feat)
        if self.training:
            # Seeds without dropout: a zeroed channel would stay zero in the prototype.
            classifier.seed_if_due(feat, labels)
        logits, self._pixels = classifier.forward_labelled(
            features, labels, self.loss_prototype.temperature
        )
        return logits

    def loss(self, inputs: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Compute the decoder's own losses and the prototype losses.

        Args:
            inputs: Features of the backbone.
            *args: What the decoder's `loss` takes besides, `batch_data_samples` among it.
            **kwargs: The same by name.

        Returns:
            dict[str, Tensor]: The decoder's losses, ``loss_ppc`` and ``loss_ppd``.

        Raises:
            RuntimeError: If the head is trained without `PrototypeUpdateHook`.
        """
        if self.training and not self._hook_attached:
            raise RuntimeError(
                "Expected a PrototypeUpdateHook, without which prototypes never move, but found "
                f"none. Add this line to the config: {_HOOK_LINE}"
            )
        by_name = "batch_data_samples" in kwargs
        samples = kwargs["batch_data_samples"] if by_name else args[self._samples_place]
        self._labels = self._class_labels(samples)
        try:
            losses: dict[str, Tensor] = super().loss(inputs, *args, **kwargs)
            losses.update(self._prototype_losses())
        finally:
            self._labels = self._pixels = None
        return losses

    @torch.no_grad()
    def embed(self, inputs: Any, batch_data_samples: Any) -> tuple[Tensor, Tensor]:
        """Embed labelled pixels; of a head in eval mode, so that nothing is dropped.

        Args:
            inputs: Features of the backbone.
            batch_data_samples: Samples with `gt_sem_seg`.

        Returns:
            tuple[Tensor, Tensor]: Unit-norm embeddings ``(N, D)`` and the class of each pixel at
            feature size ``(N,)``, -1 for ignored ones.
        """
        seen: list[Tensor] = []
        classifier = self.prototype_classifier
        handle = classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            self(inputs)
        finally:
            handle.remove()
        features = seen[-1]
        labels = self._labels_of_pixels(self._class_labels(batch_data_samples), features)
        return classifier.embedding(features), labels

    def _labels_of_pixels(self, labels: Tensor, features: Tensor) -> Tensor:
        """Labels ``(B, H, W)`` at the size of features ``(B, D, h, w)``: ``(B*h*w,)``."""
        height, width = features.shape[-2:]
        size = height, width
        return sample_labels(labels, size, self.align_corners, self.label_sampling).flatten()

    def _class_labels(self, batch_data_samples: Any) -> Tensor:
        """Labels at full size, ``(B, H, W)``, -1 for what is no class."""
        labels, *_ = self._stacked(batch_data_samples)
        counts = (labels >= 0) & (labels < self.num_classes)
        if self.ignore_index is not None:
            counts &= labels != self.ignore_index
        return labels.masked_fill(~counts, -1).squeeze(1)

    def _prototype_losses(self) -> dict[str, Tensor]:
        pixels = self._pixels
        if pixels is None or self._labels is None:
            name = type(self).__bases__[1].__name__
            raise no_classifier_error(name, "its forward pass never called `cls_seg`")
        classifier = self.prototype_classifier
        positive = classifier.assign(pixels, keep=self.training)
        losses: dict[str, Tensor] = self.loss_prototype(
            positive,
            pixels.log_partition,
            pixels.labels,
            self.num_classes,
            classifier.iteration,
            pixels.draw,
        )
        if self._averages_over_all:
            # By as many pixels as the cross-entropy divides by, so that ignored pixels do not
            # change their ratio.
            counted = (self._labels >= 0) & ~self._is_missing(self._labels)
            share = counted.sum() / counted.numel()
            losses = {name: loss * share for name, loss in losses.items()}
        return losses

    def _is_missing(self, labels: Tensor) -> Tensor:
        """Where the label is a class that has no prototype yet; bool, of the same shape."""
        inside = (labels >= 0) & (labels < self.num_classes)
        exists = self.prototype_classifier.bank.alive_mask.any(dim=1)
        missing: Tensor = inside & ~exists[torch.where(inside, labels, 0)]
        return missing

    def _stacked(self, batch_data_samples: Any) -> tuple[Tensor, ...]:
        """Stacked label maps, ``(B, 1, H, W)``, and what the decoder stacks beside: edges."""
        stacked: Any = super()._stack_batch_gt(batch_data_samples)
        return (stacked,) if isinstance(stacked, Tensor) else tuple(stacked)

    def _stack_batch_gt(self, batch_data_samples: Any) -> Any:
        """Stack label maps; a class that has no prototype yet is ignored.

        Such a class cannot be predicted, and its cross-entropy would only push pixels away from
        all others. It may be in the full label map and fall between the feature map's pixels.
        """
        labels, *others = self._stacked(batch_data_samples)
        if self._labels is not None and self.ignore_index is not None:
            labels = labels.masked_fill(self._is_missing(labels), self.ignore_index)
        return (labels, *others) if others else labels

    def _remove_softmax_classifier(self) -> None:
        name = type(self).__bases__[1].__name__
        if "conv_seg" not in self._modules:
            raise no_classifier_error(name, "it builds no `conv_seg`")
        refuse_binary(self.out_channels, self.num_classes)
        del self.conv_seg
        self.init_cfg: Any = without_conv_seg(self.init_cfg)


def own_arguments() -> dict[str, Any]:
    """Collect the arguments of a `ProtoDecodeHead` beside `decoder`, and their defaults."""
    parameters = inspect.signature(ProtoDecodeHead._build).parameters.values()
    named = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return {"preset": None, **named}


@cache
def _swapped_class(decoder: type) -> type:
    """Make the subclass of a decoder that classifies by prototypes."""
    namespace = {"__module__": __name__, "__doc__": ProtoDecodeHead.__doc__}
    return type(decoder)(f"Proto{decoder.__name__}", (ProtoDecodeHead, decoder), namespace)


def _empty_head(decoder: type) -> ProtoDecodeHead:
    """Return a head whose state is filled in by unpickling or copying."""
    cls: type[ProtoDecodeHead] = _swapped_class(decoder)
    return cls.__new__(cls)
