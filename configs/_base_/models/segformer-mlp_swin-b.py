"""SegFormer's plain MLP decoder, 768 wide, on a Swin-B backbone (window 7).

MMSegmentation publishes Swin under UPerNet only. Of the decoders that it has, this one at the width
that SegFormer's authors use gives the number of parameters that the prototype paper prints.
"""

_base_ = "./upernet_swin-b.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="SegformerHead",
        in_channels=[128, 256, 512, 1024],
        in_index=[0, 1, 2, 3],
        channels=768,
        dropout_ratio=0.1,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
