"""Metrics beside those of the host."""

from mmseg_proto import _needs_host  # noqa: F401

from .class_iou_metric import ClassIoUMetric
from .unknown_pixel_metric import UnknownPixelMetric

__all__ = ["ClassIoUMetric", "UnknownPixelMetric"]
