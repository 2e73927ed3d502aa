"""Segmentors whose predictions say more than the class."""

from .proto_encoder_decoder import ProtoCascadeEncoderDecoder, ProtoEncoderDecoder

__all__ = ["ProtoCascadeEncoderDecoder", "ProtoEncoderDecoder"]
