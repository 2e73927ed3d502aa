"""CamVid from scratch with a small ResNet, softmax: 1200 iterations, made for a CPU."""

_base_ = [
    "./_base_/models/resnet18_quarter_segformer.py",
    "./_base_/datasets/camvid.py",
    "./_base_/schedules/adamw_1200.py",
    "./_base_/default_runtime.py",
]
# The data set is ours even where the head is not.
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(data_preprocessor=dict(size=(192, 256)), decode_head=dict(num_classes=11))
optim_wrapper = dict(optimizer=dict(lr=0.005))
