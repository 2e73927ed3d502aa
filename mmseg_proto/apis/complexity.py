"""Parameters, buffers and FLOPs of a model with softmax and with prototypes, side by side."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.heads.decoders import last_head
from mmseg_proto.heads.proto_decode_head import own_arguments

from .config_swap import is_swapped, last_stage, swap_config
from .loading import build_bare


class Complexity(NamedTuple):
    """What a model costs.

    Attributes:
        learnable: Learnable parameters of backbone, neck and decode head.
        classifier: Those of them that classify: `conv_seg`, or the score scale, norm and
            projection of prototypes.
        auxiliary: Learnable parameters of auxiliary heads, of use in training only.
        buffers: Numbers in buffers, prototypes among them.
        flops: Multiply-adds of inference on one image, auxiliary heads apart.
    """

    learnable: int
    classifier: int
    auxiliary: int
    buffers: int
    flops: int


def compare_complexity(cfg: Config, size: tuple[int, int]) -> dict[str, Complexity]:
    """Count what a model costs with softmax and with prototypes.

    Args:
        cfg: Config of either; its twin is made from it.
        size: Height and width of the image.

    Returns:
        dict[str, Complexity]: ``softmax`` and ``prototypes``.

    Raises:
        ValueError: If the config has no decode head that can be swapped.
    """
    last = last_stage((cfg.get("model") or {}).get("decode_head") or {})
    twin = Config(cfg.to_dict())
    if is_swapped(last):
        _set_last_head(twin.model, _unswapped(last))
        softmax, prototypes = twin, cfg
    else:
        swapped = last_stage(swap_config(cfg).child["model"]["decode_head"])
        _set_last_head(twin.model, {**last, **swapped})
        softmax, prototypes = cfg, twin
    init_default_scope(cfg.get("default_scope") or "mmseg")
    return {
        "softmax": _complexity(softmax.model, size),
        "prototypes": _complexity(prototypes.model, size),
    }


def _unswapped(head: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the softmax head that a swapped one was made from."""
    own = {"decoder", *own_arguments()}
    kept = {key: value for key, value in head.items() if key not in own}
    return {**kept, "type": head["decoder"]}


def _set_last_head(model: Any, head: Any) -> None:
    if isinstance(model.decode_head, list):
        model.decode_head[-1] = head
    else:
        model.decode_head = head


def _complexity(model_config: Any, size: tuple[int, int]) -> Complexity:
    # Weights are counted, not used.
    model = build_bare(model_config)
    learnable = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    auxiliary = sum(n for name, n in learnable.items() if name.startswith("auxiliary_head"))
    last = last_head(model)
    proto = isinstance(last, ProtoDecodeHead)
    classifier: Any = last.prototype_classifier if proto else last.conv_seg
    return Complexity(
        sum(learnable.values()) - auxiliary,
        sum(p.numel() for p in classifier.parameters() if p.requires_grad),
        auxiliary,
        sum(buffer.numel() for buffer in model.buffers()),
        _flops(model, size),
    )


def _flops(model: nn.Module, size: tuple[int, int]) -> int:
    def nearest(inputs: list[Any], outputs: list[Any]) -> int:
        pixels, channels = inputs[0].type().sizes()
        prototypes = inputs[1].type().sizes()[0]
        return int(pixels * channels * prototypes)

    def unit_norm(inputs: list[Any], outputs: list[Any]) -> int:
        # As many as the counter takes for a layer norm.
        return int(5 * torch.Size(inputs[0].type().sizes()).numel())

    analyzer = FlopAnalyzer(model, (torch.zeros(1, 3, *size),))
    analyzer.set_op_handle(
        **{"prim::PythonOp._Nearest": nearest, "prim::PythonOp._UnitLayerNorm": unit_norm}
    )
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    # What it says about tracing is for those who count new operators.
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return int(analyzer.total())
    finally:
        logger.setLevel(level)
