"""SegFormer MiT-B4 on ADE20K-full, the 150 most frequent classes, softmax."""

_base_ = "./softmax_segformer_b4_ade_full847.py"
num_classes = 150
model = dict(decode_head=dict(num_classes=num_classes))
train_dataloader = dict(dataset=dict(num_classes=num_classes))
val_dataloader = dict(dataset=dict(num_classes=num_classes))
test_dataloader = val_dataloader
