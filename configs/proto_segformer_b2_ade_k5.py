"""Ablation of proto_segformer_b2_ade: 5 prototypes per class."""

_base_ = "./proto_segformer_b2_ade.py"
model = dict(decode_head=dict(num_prototypes=5))
