"""FCN ResNet-50 on COCO-Stuff, softmax: batch 16 (4 GPUs x 4 images), 80k iterations.

MMSegmentation publishes none: the recipe is that of ADE20K, over 80k iterations.
"""

_base_ = [
    "./_base_/models/fcn_r50-d8.py",
    "./_base_/datasets/coco_stuff10k.py",
    "./_base_/schedules/sgd_80k.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=171),
    auxiliary_head=dict(num_classes=171),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
