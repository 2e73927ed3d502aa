"""Ablation of proto_segformer_b2_ade: 1 prototype per class."""

_base_ = "./proto_segformer_b2_ade.py"
model = dict(decode_head=dict(num_prototypes=1))
