"""The softmax baseline of the paper's authors, HRNet-W48 on Cityscapes; a tool converts its file.

python tools/convert_authors_checkpoint.py CHECKPOINT -o softmax_hrnet_w48_authors

From tfzhou/ProtoSeg, commit 1c4a778: `HRNet_W48` in lib/models/nets/hrnet.py,
configs/cityscapes/H_48_D_4.json and scripts/cityscapes/hrnet/run_h_48_d_4.sh. SGD, 80k iterations,
total batch 8 and crops of 1024x512 are as in the config below. Not from there: augmentation is
MMSegmentation's, `conv_seg` has a bias, and the cross-entropy has no class weights, with which
MMSegmentation 1.2.2 fails on ignored pixels (the twin with prototypes has them).
"""

_base_ = "./softmax_hrnet_w48_cityscapes.py"
custom_imports = dict(imports=["mmseg_proto"], allow_failed_imports=False)
model = dict(
    # `input_mode` of their file: BGR stays BGR, and meets the mean and std of RGB in that order.
    data_preprocessor=dict(bgr_to_rgb=False),
    backbone=dict(type="HRNetAligned"),
    decode_head=dict(kernel_size=3, dropout_ratio=0.1, align_corners=True),
)
# segmentor/tools/optim_scheduler.py: power 0.9, down to 0.
param_scheduler = [dict(type="PolyLR", eta_min=0.0, power=0.9, begin=0, end=80000, by_epoch=False)]
