"""The demo, softmax: 400 iterations on synthetic scenes, about a minute on two CPU cores."""

_base_ = [
    "./_base_/models/demo_resnet18.py",
    "./_base_/datasets/synthetic_scenes.py",
    "./_base_/default_runtime.py",
]
# The data set is ours even where the head is not.
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(data_preprocessor=dict(size=(64, 96)), decode_head=dict(num_classes=8))
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.002, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [dict(type="PolyLR", eta_min=0.0, power=0.9, begin=0, end=400, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=400, val_interval=400)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=400, max_keep_ckpts=1),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="SegVisualizationHook"),
)
randomness = dict(seed=0)
