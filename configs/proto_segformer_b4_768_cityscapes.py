"""SegFormer MiT-B4 on Cityscapes, prototypes, the decoder 768 wide as in the paper."""

_base_ = "./proto_segformer_b4_cityscapes.py"
model = dict(decode_head=dict(channels=768))
