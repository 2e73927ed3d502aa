"""Decode heads that classify by the nearest prototype."""

from mmseg_proto import _needs_host  # noqa: F401

from .classifier import PrototypeClassifier
from .proto_decode_head import ProtoDecodeHead
from .segmenter_patch_head import SegmenterPatchHead

__all__ = ["ProtoDecodeHead", "PrototypeClassifier", "SegmenterPatchHead"]
