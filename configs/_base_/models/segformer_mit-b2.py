"""SegFormer with a MiT-B2 backbone; the config on top sets crop size and classes."""

_base_ = "./segformer_mit-b4.py"
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/"
            "mit_b2_20220624-66e8bf70.pth",
        ),
        num_layers=[3, 4, 6, 3],
    ),
)
