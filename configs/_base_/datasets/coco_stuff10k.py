"""COCO-Stuff 10k: 171 classes, label 0 ignored, crops of 512x512; pipelines are ADE20K's."""

_base_ = "./ade20k.py"
data_root = "data/coco_stuff10k"
train_dataloader = dict(
    dataset=dict(
        type="COCOStuffDataset",
        data_root=data_root,
        reduce_zero_label=True,
        data_prefix=dict(img_path="images/train2014", seg_map_path="annotations/train2014"),
    )
)
val_dataloader = dict(
    dataset=dict(
        type="COCOStuffDataset",
        data_root=data_root,
        reduce_zero_label=True,
        data_prefix=dict(img_path="images/test2014", seg_map_path="annotations/test2014"),
    )
)
test_dataloader = val_dataloader
