"""Stateless tensor operations: torch in, torch out, no host framework."""

from .arguments import expect_flag, expect_number
from .assignment import (
    ASSIGNMENTS,
    FEW_PIXELS,
    Assignment,
    assign_prototypes,
    sample_gumbel,
)
from .labels import LABEL_SAMPLINGS, sample_labels
from .nearest import NearestPrototypes, nearest_prototypes
from .precision import matmul_dtype
from .sampling import BalancedDraw, draw_balanced
from .segments import segment_count, segment_sum
from .sinkhorn import SINKHORN_STARTS, within_class_sinkhorn
from .territories import Territories, find_territories
from .unit_norm import unit_layer_norm
from .winners import winning_prototypes

__all__ = [
    "ASSIGNMENTS",
    "FEW_PIXELS",
    "LABEL_SAMPLINGS",
    "SINKHORN_STARTS",
    "Assignment",
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
    "sample_gumbel",
    "sample_labels",
    "segment_count",
    "segment_sum",
    "unit_layer_norm",
    "winning_prototypes",
    "within_class_sinkhorn",
]
