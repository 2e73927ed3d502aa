"""SegFormer with a MiT-B0 backbone; the config on top sets crop size and classes."""

_base_ = "./segformer_mit-b4.py"
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/"
            "mit_b0_20220624-7e0fe6dd.pth",
        ),
        embed_dims=32,
        num_layers=[2, 2, 2, 2],
    ),
    decode_head=dict(in_channels=[32, 64, 160, 256]),
)
