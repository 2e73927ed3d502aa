"""SegFormer MiT-B4 on ADE20K, prototypes, the decoder 768 wide as in the paper."""

_base_ = "./proto_segformer_b4_ade.py"
model = dict(decode_head=dict(channels=768))
