"""The demo, prototypes: the softmax demo with its classifier swapped."""

_base_ = "./softmax_demo_synthetic.py"
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(decode_head=dict(type="ProtoDecodeHead", decoder="SegformerHead"))
default_hooks = dict(
    prototype=dict(type="PrototypeUpdateHook"), checkpoint=dict(type="AtomicCheckpointHook")
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))))
