"""MLP Swin-B on COCO-Stuff, softmax: batch 16 (8 GPUs x 2 images), 80k iterations.

MMSegmentation publishes none: the recipe is that of ADE20K, over 80k iterations.
"""

_base_ = [
    "./_base_/models/segformer-mlp_swin-b.py",
    "./_base_/datasets/coco_stuff10k.py",
    "./_base_/schedules/adamw_80k.py",
    "./_base_/default_runtime.py",
]
model = dict(data_preprocessor=dict(size=(512, 512)), decode_head=dict(num_classes=171))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            absolute_pos_embed=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
            head=dict(lr_mult=10.0),
        ),
    )
)
train_dataloader = dict(batch_size=2, num_workers=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)
