"""Non-learnable prototypes in place of the softmax classifier of any MMSegmentation decoder.

Importing the package registers its modules in MMSegmentation's own registries. Without
MMSegmentation there are its pure PyTorch parts: `ops`, `prototypes` and `losses`.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from mmseg_proto._host import find_host, require_host
from mmseg_proto.losses import PixelPrototypeLoss
from mmseg_proto.version import __version__

if TYPE_CHECKING or find_host():
    from mmseg_proto.backbones import EfficientNetLite0, HRNetAligned
    from mmseg_proto.datasets import (
        ADE20KFullDataset,
        CachedDataset,
        CamVidDataset,
        LoadWideAnnotations,
        SyntheticScenes,
    )
    from mmseg_proto.evaluation import ClassIoUMetric, UnknownPixelMetric
    from mmseg_proto.heads import ProtoDecodeHead, SegmenterPatchHead
    from mmseg_proto.hooks import (
        AtomicCheckpointHook,
        PrototypeUpdateHook,
        PrototypeVisualizationHook,
        RandomStateHook,
    )
    from mmseg_proto.hooks.checkpoint_globals import allow_checkpoint_globals
    from mmseg_proto.segmentors import ProtoCascadeEncoderDecoder, ProtoEncoderDecoder

    allow_checkpoint_globals()
else:

    def __getattr__(name: str) -> Any:
        """Says what to install when a name is asked for that is bound to the host."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        require_host()
        # A host that was installed since, as in a notebook.
        return getattr(importlib.reload(sys.modules[__name__]), name)


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
    "PrototypeVisualizationHook",
    "RandomStateHook",
    "SegmenterPatchHead",
    "SyntheticScenes",
    "UnknownPixelMetric",
    "__version__",
]
