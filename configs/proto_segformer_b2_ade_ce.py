"""Ablation of proto_segformer_b2_ade: cross-entropy alone."""

_base_ = "./proto_segformer_b2_ade.py"
model = dict(decode_head=dict(loss_prototype=dict(contrast_weight=0.0, distance_weight=0.0)))
