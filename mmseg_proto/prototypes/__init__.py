"""Prototypes: their state, how they start, how they move and how they fare."""

from .bank import PrototypeBank, move_prototypes
from .health import (
    class_health,
    drift,
    intra_class_cosine,
    largest_cosine,
    live_share,
    usage_perplexity,
)
from .seeding import NO_CANDIDATE, draw_candidates, extend_by_kmeans_plus_plus
from .statistics import PrototypeStatistics, collect_statistics

__all__ = [
    "NO_CANDIDATE",
    "PrototypeBank",
    "PrototypeStatistics",
    "class_health",
    "collect_statistics",
    "draw_candidates",
    "drift",
    "extend_by_kmeans_plus_plus",
    "intra_class_cosine",
    "largest_cosine",
    "live_share",
    "move_prototypes",
    "usage_perplexity",
]
