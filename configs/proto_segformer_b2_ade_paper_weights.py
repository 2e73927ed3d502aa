"""Ablation of proto_segformer_b2_ade: settings of the paper."""

_base_ = "./proto_segformer_b2_ade.py"
model = dict(decode_head=dict(preset="paper"))
