"""Runtime of every config: scope, environment, visualiser, log and test-time augmentation."""

default_scope = "mmseg"
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
visualizer = dict(
    type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"
)
log_processor = dict(by_epoch=False)
log_level = "INFO"
tta_model = dict(type="SegTTAModel")
