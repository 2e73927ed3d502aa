"""UPerNet Swin-B on COCO-Stuff, prototypes: batch 16 (8 GPUs x 2 images), 80k iterations."""

_base_ = "./softmax_upernet_swin_b_coco_stuff10k.py"
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(decode_head=dict(type="ProtoDecodeHead", decoder="UPerHead"))
default_hooks = dict(
    prototype=dict(type="PrototypeUpdateHook"), checkpoint=dict(type="AtomicCheckpointHook")
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(log_scale=dict(decay_mult=0.0))))
