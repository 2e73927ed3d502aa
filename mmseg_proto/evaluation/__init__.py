"""Metrics beside those of the host."""

from .class_iou_metric import ClassIoUMetric
from .unknown_pixel_metric import UnknownPixelMetric

__all__ = ["ClassIoUMetric", "UnknownPixelMetric"]
