"""Non-learnable prototypes in place of the softmax classifier of any MMSegmentation decoder.

Importing the package registers its modules in MMSegmentation's own registries.
"""

from mmseg_proto._host import require_host
from mmseg_proto.version import __version__

# Before anything that imports the host: its own errors do not say what to install.
require_host()

from mmseg_proto.backbones import EfficientNetLite0, HRNetAligned  # noqa: E402
from mmseg_proto.datasets import (  # noqa: E402
    ADE20KFullDataset,
    CachedDataset,
    CamVidDataset,
    LoadWideAnnotations,
    SyntheticScenes,
    relabelled_dataset,
)
from mmseg_proto.evaluation import ClassIoUMetric, UnknownPixelMetric  # noqa: E402
from mmseg_proto.heads import ProtoDecodeHead, SegmenterPatchHead  # noqa: E402
from mmseg_proto.hooks import (  # noqa: E402
    AtomicCheckpointHook,
    PrototypeUpdateHook,
    RandomStateHook,
)
from mmseg_proto.hooks.checkpoint_globals import allow_checkpoint_globals  # noqa: E402
from mmseg_proto.losses import PixelPrototypeLoss  # noqa: E402
from mmseg_proto.segmentors import (  # noqa: E402
    ProtoCascadeEncoderDecoder,
    ProtoEncoderDecoder,
)

allow_checkpoint_globals()

__all__ = [
    "ADE20KFullDataset",
    "AtomicCheckpointHook",
    "CachedDataset",
    "CamVidDataset",
    "ClassIoUMetric",
    "EfficientNetLite0",
    "HRNetAligned",
    "LoadWideAnnotations",
    "PixelPrototypeLoss",
    "ProtoCascadeEncoderDecoder",
    "ProtoDecodeHead",
    "ProtoEncoderDecoder",
    "PrototypeUpdateHook",
    "RandomStateHook",
    "SegmenterPatchHead",
    "SyntheticScenes",
    "UnknownPixelMetric",
    "__version__",
    "relabelled_dataset",
]
