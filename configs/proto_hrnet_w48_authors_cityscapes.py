"""The authors' own HRNet-W48 with prototypes for Cityscapes, whose file a tool converts.

python tools/convert_authors_checkpoint.py CHECKPOINT -o proto_hrnet_w48_authors

From tfzhou/ProtoSeg, commit 1c4a778: `HRNet_W48_Proto` in lib/models/nets/hrnet.py,
configs/cityscapes/H_48_D_4_proto.json and scripts/cityscapes/hrnet/run_h_48_d_4_proto.sh. What a
head can be of it is in its preset; input, decoder, backbone and schedule are in the config below.
Not from there: augmentation is MMSegmentation's, and several GPUs cluster and move prototypes
together instead of each by itself.
"""

_base_ = "./softmax_hrnet_w48_authors_cityscapes.py"
model = dict(
    decode_head=dict(
        type="ProtoDecodeHead",
        decoder="FCNHead",
        preset="authors",
        # `ce_weight` of their file.
        loss_decode=dict(
            class_weight=[
                *(0.8373, 0.9180, 0.8660, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023),
                *(0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507),
            ]
        ),
    )
)
default_hooks = dict(
    prototype=dict(type="PrototypeUpdateHook"), checkpoint=dict(type="AtomicCheckpointHook")
)
