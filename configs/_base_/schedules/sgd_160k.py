"""SGD at 0.01 with polynomial decay: MMSegmentation's schedule for convolutional backbones."""

_base_ = "./loop_160k.py"
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0005),
)
param_scheduler = [
    dict(type="PolyLR", eta_min=1e-4, power=0.9, begin=0, end=160000, by_epoch=False)
]
