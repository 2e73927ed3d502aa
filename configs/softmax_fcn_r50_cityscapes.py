"""FCN ResNet-50 on Cityscapes, softmax: total batch 8 (4 GPUs x 2 images), 80k iterations."""

_base_ = [
    "./_base_/models/fcn_r50-d8.py",
    "./_base_/datasets/cityscapes.py",
    "./_base_/schedules/sgd_80k.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
)
auto_scale_lr = dict(enable=False, base_batch_size=8)
