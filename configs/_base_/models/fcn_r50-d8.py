"""FCN with a dilated ResNet-50 (stride 8); the config on top sets crop size and classes."""

_base_ = "./fcn_r101-d8.py"
model = dict(pretrained="open-mmlab://resnet50_v1c", backbone=dict(depth=50))
