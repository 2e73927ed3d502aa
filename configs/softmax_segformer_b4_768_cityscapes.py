"""SegFormer MiT-B4 on Cityscapes, softmax, the decoder 768 wide as in the paper."""

_base_ = "./softmax_segformer_b4_cityscapes.py"
model = dict(decode_head=dict(channels=768))
