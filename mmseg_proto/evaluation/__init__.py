"""Metrics beside those of the host."""

from .class_iou_metric import ClassIoUMetric

__all__ = ["ClassIoUMetric"]
