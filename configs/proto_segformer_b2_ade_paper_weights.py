"""Ablation of proto_segformer_b2_ade: loss weights of the paper."""

_base_ = "./proto_segformer_b2_ade.py"
model = dict(
    decode_head=dict(
        loss_prototype=dict(contrast_weight=0.01, distance_weight=0.01, class_balance=0.0)
    )
)
