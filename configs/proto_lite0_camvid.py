"""CamVid with an ImageNet EfficientNet-Lite0, prototypes: the softmax config, swapped."""

_base_ = "./softmax_lite0_camvid.py"
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(decode_head=dict(type="ProtoDecodeHead", decoder="SegformerHead"))
default_hooks = dict(
    prototype=dict(type="PrototypeUpdateHook"), checkpoint=dict(type="AtomicCheckpointHook")
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))))
