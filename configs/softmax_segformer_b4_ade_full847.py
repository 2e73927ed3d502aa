"""SegFormer MiT-B4 on ADE20K-full, 847 classes, softmax: batch 16 (8 GPUs x 2 images), 160k.

MMSegmentation publishes none: the recipe is that of ADE20K. Labels have 16 bits.
"""

_base_ = [
    "./_base_/models/segformer_mit-b4.py",
    "./_base_/datasets/ade20k_full.py",
    "./_base_/schedules/adamw_160k.py",
    "./_base_/default_runtime.py",
]
# Data set and loading of labels are ours even where the head is not.
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
num_classes = 847
model = dict(
    data_preprocessor=dict(size=(512, 512), seg_pad_val=65535),
    decode_head=dict(num_classes=num_classes, ignore_index=65535),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(pos_block=dict(decay_mult=0.0), head=dict(lr_mult=10.0)),
    )
)
train_dataloader = dict(batch_size=2, num_workers=2, dataset=dict(num_classes=num_classes))
val_dataloader = dict(dataset=dict(num_classes=num_classes))
test_dataloader = val_dataloader
auto_scale_lr = dict(enable=False, base_batch_size=16)
