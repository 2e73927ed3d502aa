"""Every decode head of the host: the smallest arguments and features it can be trained with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

#: Channels and sides of a pyramid, from fine to coarse.
PYRAMID = ((8, 16), (16, 8), (32, 4), (64, 2))
CLASSES = 4


def single(channels: int = 16, side: int = 12) -> list[Tensor]:
    """One feature map of two images."""
    return [torch.randn(2, channels, side, side)]


def pyramid() -> list[Tensor]:
    """Four feature maps of two images, each half as large as the one before."""
    return [torch.randn(2, channels, side, side) for channels, side in PYRAMID]


def tokens_of_levels() -> list[list[Tensor]]:
    """What a vision transformer hands on: patches and class token of four layers."""
    return [[torch.randn(2, 16, 4, 4), torch.randn(2, 16)] for _ in range(4)]


@dataclass(frozen=True)
class DecoderCase:
    """A decoder that can be swapped.

    Attributes:
        arguments: What its constructor needs beside those of `head_config`.
        features: Makes features for it.
        training_features: Makes those for training, where they differ.
        needs: Class of mmcv's compiled ops without which it cannot be built; None for none.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    features: Callable[[], Any] = single
    training_features: Callable[[], Any] | None = None
    needs: str | None = None


_LEVELS = {"in_channels": [channels for channels, _ in PYRAMID], "in_index": [0, 1, 2, 3]}
_COARSE = {"in_channels": [32, 64], "in_index": [2, 3]}
_OHEM = {"type": "OhemCrossEntropy", "thres": 0.9, "min_kept": 100}

SWAPPED: dict[str, DecoderCase] = {
    "ANNHead": DecoderCase({**_COARSE, "project_channels": 8}, pyramid),
    "APCHead": DecoderCase(),
    "ASPPHead": DecoderCase(),
    "CCHead": DecoderCase(needs="CrissCrossAttention"),
    "DAHead": DecoderCase({"pam_channels": 8}),
    "DDRHead": DecoderCase(
        {"loss_decode": [_OHEM] * 2},
        lambda: single()[0],
        lambda: (single(8)[0], single()[0]),
    ),
    "DMHead": DecoderCase(),
    "DNLHead": DecoderCase(),
    "DPTHead": DecoderCase(
        {
            "in_index": [0, 1, 2, 3],
            "input_transform": "multiple_select",
            "in_channels": (16, 16, 16, 16),
            "embed_dims": 16,
            "post_process_channels": [4, 8, 16, 16],
        },
        tokens_of_levels,
    ),
    "DepthwiseSeparableASPPHead": DecoderCase(
        {"c1_in_channels": 8, "c1_channels": 4, "in_index": 1}, pyramid
    ),
    "DepthwiseSeparableFCNHead": DecoderCase(),
    "EMAHead": DecoderCase({"ema_channels": 16, "num_bases": 4, "num_stages": 2}),
    "EncHead": DecoderCase({**_COARSE, "num_codes": 4, "add_lateral": True}, pyramid),
    "FCNHead": DecoderCase(),
    "FPNHead": DecoderCase({**_LEVELS, "feature_strides": [4, 8, 16, 32]}, pyramid),
    "GCHead": DecoderCase(),
    "ISAHead": DecoderCase({"isa_channels": 8, "down_factor": (4, 4)}),
    "LRASPPHead": DecoderCase(
        {
            "in_channels": (8, 16, 16),
            "in_index": (0, 1, 2),
            "input_transform": "multiple_select",
            "branch_channels": (4, 8),
        },
        lambda: [torch.randn(2, c, s, s) for c, s in ((8, 128), (16, 128), (16, 64))],
    ),
    "LightHamHead": DecoderCase(
        {**_LEVELS, "ham_channels": 16, "ham_kwargs": {"MD_R": 4}}, pyramid
    ),
    "NLHead": DecoderCase(),
    "OCRHead": DecoderCase({"ocr_channels": 8}),
    "PIDHead": DecoderCase(
        {
            "loss_decode": [
                {"type": "CrossEntropyLoss"},
                _OHEM,
                {"type": "BoundaryLoss", "loss_weight": 20.0},
                _OHEM,
            ]
        },
        lambda: single()[0],
        lambda: (single(8)[0], single()[0], single(8)[0]),
    ),
    "PSAHead": DecoderCase({"mask_size": (12, 12)}, needs="PSAMask"),
    "PSPHead": DecoderCase(),
    "SETRMLAHead": DecoderCase(
        {**_LEVELS, "in_channels": (16, 16, 16, 16), "mla_channels": 4},
        lambda: [torch.randn(2, 16, 4, 4) for _ in range(4)],
    ),
    "SETRUPHead": DecoderCase({"num_convs": 2}),
    "SegformerHead": DecoderCase(_LEVELS, pyramid),
    "SegmenterPatchHead": DecoderCase(
        {"num_layers": 1, "num_heads": 2, "embed_dims": 8, "norm_cfg": {"type": "LN"}}
    ),
    "UPerHead": DecoderCase(_LEVELS, pyramid),
}

#: Heads of this package.
OWN = {
    "SegmenterPatchHead": "Segmenter's transformer without class queries, a head of this package"
}


def head_config(name: str, **arguments: Any) -> dict[str, Any]:
    """Config of a small swapped head."""
    return {
        "type": "ProtoDecodeHead",
        "decoder": name,
        "in_channels": 16,
        "channels": 16,
        "num_classes": CLASSES,
        "num_prototypes": 3,
        "norm_cfg": {"type": "BN"},
        **SWAPPED[name].arguments,
        **arguments,
    }


#: What has no classifier over pixel features, and words of the reason that users read.
REFUSED = {
    "IterativeDecodeHead": "K-Net's kernels are its classifier",
    "KernelUpdateHead": "K-Net's kernels are its classifier",
    "Mask2FormerHead": "predicts masks from queries",
    "MaskFormerHead": "predicts masks from queries",
    "PointHead": "classifies single points",
    "STDCHead": "learns edges",
    "SegmenterMaskTransformerHead": "class queries are its classifier",
    "SideAdapterCLIPHead": "predicts masks from queries",
    "VPDDepthHead": "predicts depth",
}


def table() -> str:
    """Markdown table of all decode heads, as docs/decoders.md prints it."""
    lines = ["| decoder | verdict |", "| --- | --- |"]
    for name in sorted({*SWAPPED, *REFUSED}):
        if name in REFUSED:
            verdict = f"refused: {REFUSED[name]}"
        elif SWAPPED[name].needs:
            verdict = f"swapped, where mmcv has its compiled ops (`{SWAPPED[name].needs}`)"
        else:
            verdict = f"swapped: {OWN[name]}" if name in OWN else "swapped"
        lines.append(f"| `{name}` | {verdict} |")
    return "\n".join(lines) + "\n"
