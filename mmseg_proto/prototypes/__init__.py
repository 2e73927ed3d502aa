"""Prototypes: their state, how they start, how they move and how they fare."""

from .bank import PrototypeBank, move_prototypes
from .from_classifier import ClassifierEmbedding, classifier_embedding, fit_scale, lean
from .health import (
    class_health,
    drift,
    intra_class_cosine,
    largest_cosine,
    live_share,
    usage_perplexity,
)
from .new_class import fit_new_prototypes
from .portraits import PortraitTally, Sightings, closest_rivals
from .seeding import (
    NO_CANDIDATE,
    draw_candidates,
    extend_by_kmeans_plus_plus,
    seed_from_candidates,
    seed_from_pixels,
)
from .statistics import PrototypeStatistics, collect_statistics

__all__ = [
    "NO_CANDIDATE",
    "ClassifierEmbedding",
    "PortraitTally",
    "PrototypeBank",
    "PrototypeStatistics",
    "Sightings",
    "class_health",
    "classifier_embedding",
    "closest_rivals",
    "collect_statistics",
    "draw_candidates",
    "drift",
    "extend_by_kmeans_plus_plus",
    "fit_new_prototypes",
    "fit_scale",
    "intra_class_cosine",
    "largest_cosine",
    "lean",
    "live_share",
    "move_prototypes",
    "seed_from_candidates",
    "seed_from_pixels",
    "usage_perplexity",
]
