"""Stateless tensor operations: torch in, torch out, no host framework."""

from .labels import sample_labels
from .nearest import NearestPrototypes, nearest_prototypes
from .segments import segment_sum
from .sinkhorn import within_class_sinkhorn

__all__ = [
    "NearestPrototypes",
    "nearest_prototypes",
    "sample_labels",
    "segment_sum",
    "within_class_sinkhorn",
]
