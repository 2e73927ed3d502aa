"""FCN ResNet-101 on ADE20K, prototypes: total batch 16 (4 GPUs x 4 images), 160k iterations."""

_base_ = "./softmax_fcn_r101_ade.py"
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(decode_head=dict(type="ProtoDecodeHead", decoder="FCNHead"))
default_hooks = dict(
    prototype=dict(type="PrototypeUpdateHook"), checkpoint=dict(type="AtomicCheckpointHook")
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))))
