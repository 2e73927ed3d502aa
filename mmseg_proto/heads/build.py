"""From the arguments of a prototype head to its parts."""

from collections.abc import Mapping, Set
from typing import Any

from mmseg_proto.prototypes import PrototypeBank

from .authors import LayerNormScale
from .classifier import PrototypeClassifier
from .decoders import accepted_arguments, default_argument
from .embedding import PixelEmbedding
from .ignore_safe_cross_entropy import average_over_labelled
from .presets import FilledPreset, fill_preset
from .score_scale import ScalarScale, ScoreScale
from .seeder import PrototypeSeeder
from .settings import (
    ClusteringSettings,
    ProjectionSettings,
    ScaleSettings,
    SeedingSettings,
    UpdateSettings,
    read_settings,
)


def apply_preset(
    preset: str | None, decoder: type, given: Mapping[str, Any], own: Set[str]
) -> tuple[FilledPreset, list[str]]:
    """Fill the arguments of a head by a preset, its cross-entropy among them.

    Args:
        preset: Name of the preset; None for none.
        decoder: Class of the decoder.
        given: Arguments of the config.
        own: Names of the arguments that are not the decoder's.

    Returns:
        tuple[FilledPreset, list[str]]: The arguments and what was done, and the types of losses
        that the preset leaves alone.

    Raises:
        ValueError: If the preset is unknown.
    """
    filled = fill_preset(preset, given)
    if preset is None:
        return filled, []
    arguments = filled.arguments
    # What is meant for decoders and this one does not take; the log must not name it either.
    for key in (filled.filled.keys() & arguments.keys()) - own - accepted_arguments(decoder):
        del arguments[key], filled.filled[key]
    losses = arguments.get("loss_decode", default_argument(decoder, "loss_decode"))
    arguments["loss_decode"], others = average_over_labelled(losses)
    if arguments["loss_decode"] != losses:
        filled.filled["loss_decode.avg_non_ignore"] = True
    return filled, others


def build_score_scale(settings: ScaleSettings, num_classes: int) -> ScoreScale:
    """Build what turns cosines into logits.

    Args:
        settings: Which, and with what.
        num_classes: Number of classes.

    Returns:
        ScoreScale: A scalar or a LayerNorm.
    """
    return LayerNormScale(num_classes) if settings.kind == "layer_norm" else ScalarScale(settings)


def build_classifier(
    in_channels: int,
    num_classes: int,
    num_prototypes: int,
    *,
    projection: Mapping[str, Any] | None,
    feature_norm: Mapping[str, Any] | None,
    score_scale: Mapping[str, Any] | None,
    clustering: Mapping[str, Any] | None,
    seeding: Mapping[str, Any] | None,
    decay: float,
    update: Mapping[str, Any] | None,
) -> PrototypeClassifier:
    """Build a classifier from the nested dicts of a config.

    Args:
        in_channels: Channels of the decoder's features.
        num_classes: Number of classes.
        num_prototypes: Prototypes per class.
        projection: See `ProtoDecodeHead`, as all that follows.
        feature_norm: Config of the norm before l2 normalisation.
        score_scale: Settings of the scale.
        clustering: Settings of the within-class clustering.
        seeding: Settings of how prototypes start.
        decay: Weight of the old prototype in each update.
        update: Settings of what moves the prototypes.

    Returns:
        PrototypeClassifier: The classifier.

    Raises:
        TypeError: If a setting is unknown or of another type.
        ValueError: If one is out of range.
    """
    settings = None
    if projection is not None:
        settings = read_settings(ProjectionSettings, projection, "projection")
    embedding = PixelEmbedding(in_channels, settings, feature_norm)
    update_settings = read_settings(UpdateSettings, update, "update")
    bank = PrototypeBank(
        num_classes, num_prototypes, embedding.channels, decay, update_settings.clock
    )
    return PrototypeClassifier(
        embedding,
        bank,
        build_score_scale(read_settings(ScaleSettings, score_scale, "score_scale"), num_classes),
        PrototypeSeeder(bank, read_settings(SeedingSettings, seeding, "seeding")),
        read_settings(ClusteringSettings, clustering, "clustering"),
        update_settings,
    )
