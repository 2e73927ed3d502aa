"""Ablation of proto_segformer_b2_ade: cross-entropy and distance (PPD)."""

_base_ = "./proto_segformer_b2_ade.py"
model = dict(decode_head=dict(loss_prototype=dict(contrast_weight=0.0)))
