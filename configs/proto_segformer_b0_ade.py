"""SegFormer MiT-B0 on ADE20K, prototypes: total batch 16 (8 GPUs x 2 images), 160k iterations."""

_base_ = "./softmax_segformer_b0_ade.py"
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(decode_head=dict(type="ProtoDecodeHead", decoder="SegformerHead"))
default_hooks = dict(
    prototype=dict(type="PrototypeUpdateHook"), checkpoint=dict(type="AtomicCheckpointHook")
)
# The longest matching key wins, so the tenfold rate of `head` has to be repeated here.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(log_scale=dict(lr_mult=10.0, decay_mult=0.0)))
)
