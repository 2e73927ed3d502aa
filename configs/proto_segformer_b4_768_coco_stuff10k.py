"""SegFormer MiT-B4 on COCO-Stuff, prototypes, the decoder 768 wide as in the paper."""

_base_ = "./proto_segformer_b4_coco_stuff10k.py"
model = dict(decode_head=dict(channels=768))
