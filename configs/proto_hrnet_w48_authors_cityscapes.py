"""The authors' own HRNet-W48 for Cityscapes, whose checkpoint a tool converts; to test with.

python tools/convert_authors_checkpoint.py CHECKPOINT -o proto_hrnet_w48_authors

What sets it apart from proto_hrnet_w48_cityscapes: corners are aligned everywhere, a 3x3
convolution makes the features, a projection the embedding, and scores meet a LayerNorm. Losses,
weights and class-weighted cross-entropy of their training are in their repository.
"""

_base_ = "./proto_hrnet_w48_cityscapes.py"
model = dict(
    backbone=dict(type="HRNetAligned"),
    decode_head=dict(
        kernel_size=3,
        dropout_ratio=0.1,
        align_corners=True,
        projection=dict(num_layers=2, normalize=True),
        score_scale=dict(kind="layer_norm"),
        seeding=dict(source="random"),
        update=dict(pixels="correct"),
        loss_prototype=dict(
            contrast_weight=0.01, distance_weight=0.001, temperature=1.0, class_balance=0.0
        ),
    ),
)
