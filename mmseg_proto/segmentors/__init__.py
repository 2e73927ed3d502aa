"""Segmentors whose predictions say more than the class."""

from mmseg_proto import _needs_host  # noqa: F401

from .explaining_view import explaining_view
from .proto_encoder_decoder import ProtoCascadeEncoderDecoder, ProtoEncoderDecoder

__all__ = ["ProtoCascadeEncoderDecoder", "ProtoEncoderDecoder", "explaining_view"]
