"""FCN ResNet-50 on ADE20K, softmax: total batch 16 (4 GPUs x 4 images), 160k iterations."""

_base_ = [
    "./_base_/models/fcn_r50-d8.py",
    "./_base_/datasets/ade20k.py",
    "./_base_/schedules/sgd_160k.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
