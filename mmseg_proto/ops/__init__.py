"""Stateless tensor operations: torch in, torch out, no host framework."""

from .assignment import ASSIGNMENTS, assign_prototypes
from .labels import sample_labels
from .nearest import NearestPrototypes, nearest_prototypes
from .segments import segment_sum
from .sinkhorn import within_class_sinkhorn

__all__ = [
    "ASSIGNMENTS",
    "NearestPrototypes",
    "assign_prototypes",
    "nearest_prototypes",
    "sample_labels",
    "segment_sum",
    "within_class_sinkhorn",
]
