"""Stateless tensor operations: torch in, torch out, no host framework."""

from .arguments import expect_flag, expect_number
from .assignment import ASSIGNMENTS, assign_prototypes
from .labels import sample_labels
from .nearest import NearestPrototypes, nearest_prototypes
from .precision import matmul_dtype
from .sampling import BalancedDraw, draw_balanced
from .segments import segment_count, segment_sum
from .sinkhorn import within_class_sinkhorn
from .territories import Territories, find_territories
from .unit_norm import unit_layer_norm
from .winners import winning_prototypes

__all__ = [
    "ASSIGNMENTS",
    "BalancedDraw",
    "NearestPrototypes",
    "Territories",
    "assign_prototypes",
    "draw_balanced",
    "expect_flag",
    "expect_number",
    "find_territories",
    "matmul_dtype",
    "nearest_prototypes",
    "sample_labels",
    "segment_count",
    "segment_sum",
    "unit_layer_norm",
    "winning_prototypes",
    "within_class_sinkhorn",
]
