"""80k training iterations, validated and saved every 8k."""

_base_ = "./loop_160k.py"
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
