"""Ablation of proto_segformer_b2_ade: cross-entropy and contrast (PPC)."""

_base_ = "./proto_segformer_b2_ade.py"
model = dict(decode_head=dict(loss_prototype=dict(distance_weight=0.0)))
