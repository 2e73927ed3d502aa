"""MLP Swin-B on Cityscapes, softmax: total batch 8 (8 GPUs x 1 image), 160k iterations.

MMSegmentation publishes none: data, crops, batch and test are those of SegFormer on Cityscapes.
"""

_base_ = [
    "./_base_/models/segformer-mlp_swin-b.py",
    "./_base_/datasets/cityscapes_1024x1024.py",
    "./_base_/schedules/adamw_160k.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    decode_head=dict(num_classes=19),
    test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(768, 768)),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            absolute_pos_embed=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
            head=dict(lr_mult=10.0),
        ),
    )
)
train_dataloader = dict(batch_size=1, num_workers=4)
auto_scale_lr = dict(enable=False, base_batch_size=8)
