"""Decode heads that classify by the nearest prototype."""

from .classifier import PrototypeClassifier
from .proto_decode_head import ProtoDecodeHead

__all__ = ["ProtoDecodeHead", "PrototypeClassifier"]
