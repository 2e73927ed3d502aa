"""SegFormer MiT-B4 on ADE20K-full, 847 classes, prototypes."""

_base_ = "./softmax_segformer_b4_ade_full847.py"
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(decode_head=dict(type="ProtoDecodeHead", decoder="SegformerHead"))
default_hooks = dict(
    prototype=dict(type="PrototypeUpdateHook"), checkpoint=dict(type="AtomicCheckpointHook")
)
# The longest matching key wins, so the tenfold rate of `head` has to be repeated here.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(log_scale=dict(lr_mult=10.0, decay_mult=0.0)))
)
