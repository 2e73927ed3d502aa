"""The decode head that swaps the softmax classifier of any decoder for prototypes."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_proto.ops import sample_labels
from mmseg_proto.prototypes import PrototypeBank

from .classifier import LabelledPixels, PrototypeClassifier
from .decoders import (
    check_arguments,
    check_labels_of_config,
    no_classifier_error,
    refuse_binary,
    resolve_decoder,
    without_conv_seg,
)
from .embedding import PixelEmbedding
from .ignore_safe_cross_entropy import repair_class_weighted_losses
from .prototype_losses import build_prototype_loss, refuse_prototype_losses
from .score_scale import ScoreScale
from .seeder import PrototypeSeeder
from .settings import (
    ClusteringSettings,
    ProjectionSettings,
    ScaleSettings,
    SeedingSettings,
    UpdateSettings,
    read_settings,
)

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
        num_prototypes: int = 10,
        projection: Mapping[str, Any] | None = None,
        feature_norm: Mapping[str, Any] | None = _LAYER_NORM,
        score_scale: Mapping[str, Any] | None = None,
        loss_prototype: Mapping[str, Any] | None = None,
        clustering: Mapping[str, Any] | None = None,
        seeding: Mapping[str, Any] | None = None,
        decay: float = 0.999,
        update: Mapping[str, Any] | None = None,
        **decoder_arguments: Any,
    ) -> None:
        own = set(inspect.signature(ProtoDecodeHead.__init__).parameters)
        check_arguments(
            resolve_decoder(decoder), decoder_arguments, own - {"self", "decoder_arguments"}
        )
        check_labels_of_config(
            decoder_arguments.get("num_classes"), decoder_arguments.get("ignore_index")
        )
        refuse_binary(decoder_arguments.get("out_channels"), decoder_arguments.get("num_classes"))
        super().__init__(**decoder_arguments)
        self._remove_softmax_classifier()
        refuse_prototype_losses(self.loss_decode)
        self.loss_decode: nn.Module = repair_class_weighted_losses(self.loss_decode)
        self.loss_prototype = build_prototype_loss(loss_prototype)
        settings = None
        if projection is not None:
            settings = read_settings(ProjectionSettings, projection, "projection")
        embedding = PixelEmbedding(self.channels, settings, feature_norm)
        update_settings = read_settings(UpdateSettings, update, "update")
        bank = PrototypeBank(
            self.num_classes, num_prototypes, embedding.channels, decay, update_settings.clock
        )
        self.prototype_classifier = PrototypeClassifier(
            embedding,
            bank,
            ScoreScale(read_settings(ScaleSettings, score_scale, "score_scale"), self.num_classes),
            PrototypeSeeder(bank, read_settings(SeedingSettings, seeding, "seeding")),
            read_settings(ClusteringSettings, clustering, "clustering"),
            update_settings,
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
        height, width = feat.shape[-2:]
        labels = sample_labels(self._labels, (height, width), self.align_corners).flatten()
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
        height, width = features.shape[-2:]
        labels = self._class_labels(batch_data_samples)
        labels = sample_labels(labels, (height, width), self.align_corners).flatten()
        return classifier.embedding(features), labels

    def _class_labels(self, batch_data_samples: Any) -> Tensor:
        """Labels at full size, ``(B, H, W)``, -1 for what is no class."""
        labels, *_ = self._stacked(batch_data_samples)
        counts = (labels >= 0) & (labels < self.num_classes)
        if self.ignore_index is not None:
            counts &= labels != self.ignore_index
        return labels.masked_fill(~counts, -1).squeeze(1)

    def _prototype_losses(self) -> dict[str, Tensor]:
        pixels = self._pixels
        if pixels is None:
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
        return losses

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
            exists = self.prototype_classifier.bank.alive_mask.any(dim=1)
            inside = (labels >= 0) & (labels < self.num_classes)
            missing = inside & ~exists[torch.where(inside, labels, 0)]
            labels = labels.masked_fill(missing, self.ignore_index)
        return (labels, *others) if others else labels

    def _remove_softmax_classifier(self) -> None:
        name = type(self).__bases__[1].__name__
        if "conv_seg" not in self._modules:
            raise no_classifier_error(name, "it builds no `conv_seg`")
        refuse_binary(self.out_channels, self.num_classes)
        del self.conv_seg
        self.init_cfg: Any = without_conv_seg(self.init_cfg)


@cache
def _swapped_class(decoder: type) -> type:
    """Make the subclass of a decoder that classifies by prototypes."""
    namespace = {"__module__": __name__, "__doc__": ProtoDecodeHead.__doc__}
    return type(decoder)(f"Proto{decoder.__name__}", (ProtoDecodeHead, decoder), namespace)


def _empty_head(decoder: type) -> ProtoDecodeHead:
    """Return a head whose state is filled in by unpickling or copying."""
    cls: type[ProtoDecodeHead] = _swapped_class(decoder)
    return cls.__new__(cls)
