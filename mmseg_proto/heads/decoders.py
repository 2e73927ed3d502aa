"""Which decoders can be swapped, and what they take."""

import difflib
import inspect
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import nn

from mmseg_proto.ops import expect_number

_EXAMPLES = "FCNHead, UPerHead or SegformerHead"
_K_NET = "K-Net's kernels are its classifier, refined for each image"
#: Heads of the host without a classifier over pixel features that prototypes could replace.
_REASONS = {
    "IterativeDecodeHead": _K_NET,
    "KernelUpdateHead": _K_NET,
    "Mask2FormerHead": "it predicts masks from queries",
    "MaskFormerHead": "it predicts masks from queries",
    "PointHead": "it classifies single points, by a `cls_seg` of its own",
    "STDCHead": "it learns edges that it draws from the labels, not the classes",
    "SegmenterMaskTransformerHead": (
        "its class queries are its classifier; SegmenterPatchHead is the same transformer without "
        "them and can be swapped, as can FCNHead, Segmenter's linear decoder"
    ),
    "SideAdapterCLIPHead": "it predicts masks from queries, whose classes CLIP tells",
    "VPDDepthHead": "it predicts depth",
}


def resolve_decoder(decoder: str | type | None) -> type:
    """Find the class of a decoder and make sure that prototypes can replace its classifier.

    Args:
        decoder: Name in the host's registry, or the class itself.

    Returns:
        type: A subclass of the host's `BaseDecodeHead` that classifies through `cls_seg`.

    Raises:
        TypeError: If `decoder` is missing or neither a name nor a class.
        ValueError: If the name is unknown or the decoder has no classifier to swap.
    """
    if decoder is None:
        raise TypeError(
            "Expected `decoder`, the decode head whose classifier is swapped, but got none. Add it "
            "to the head, e.g. dict(type='ProtoDecodeHead', decoder='SegformerHead')."
        )
    if isinstance(decoder, str):
        found = MODELS.get(decoder)
        if found is None:
            raise ValueError(_unknown_decoder(decoder))
        decoder = found
    if not isinstance(decoder, type):
        raise TypeError(
            f"Expected `decoder` to be a registry name or a class, but got {decoder!r}."
        )
    reason = _why_not(decoder)
    if reason:
        raise no_classifier_error(decoder.__name__, reason)
    return decoder


def no_classifier_error(name: str, reason: str) -> ValueError:
    """Return the error for a decoder without a classifier that could be swapped."""
    return ValueError(
        "Expected `decoder` to be a decode head with a softmax classifier over pixel features, "
        f"but {name} has none to swap: {reason}. Keep {name} as it is, or use a decoder such as "
        f"{_EXAMPLES}."
    )


def accepted_arguments(decoder: type) -> set[str]:
    """Collect the argument names that the constructor of a decoder takes.

    Follows ``**kwargs`` to the constructors of its base classes, as the host's heads do.
    """
    names: set[str] = set()
    for cls in decoder.__mro__:
        init = cls.__dict__.get("__init__")
        if init is None:
            continue
        parameters = list(inspect.signature(init).parameters.values())[1:]
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        names |= {p.name for p in parameters if p.kind not in variadic}
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return names


def default_argument(decoder: type, name: str) -> Any:
    """Find the default that a decoder, or a base class of it, has for an argument.

    Raises:
        KeyError: If none of them names it.
    """
    for cls in decoder.__mro__:
        init = cls.__dict__.get("__init__")
        parameters = {} if init is None else inspect.signature(init).parameters
        if name in parameters:
            return parameters[name].default
    raise KeyError(name)


def check_arguments(decoder: type, arguments: dict[str, Any], own: set[str]) -> None:
    """Refuse arguments that neither the decoder nor the prototype head knows.

    Args:
        decoder: Class of the decoder.
        arguments: Arguments meant for the decoder.
        own: Names of the prototype head's own arguments, for suggestions.

    Raises:
        TypeError: Naming the unknown arguments and near matches.
    """
    known = accepted_arguments(decoder)
    unknown = sorted(set(arguments) - known)
    if not unknown:
        return
    names = known | own
    hints = [m for name in unknown for m in difflib.get_close_matches(name, names, 1, cutoff=0.7)]
    suggestion = f" Did you mean {', '.join(hints)}?" if hints else ""
    raise TypeError(
        f"Expected arguments of {decoder.__name__} or of ProtoDecodeHead "
        f"({', '.join(sorted(own))}), but got unknown {', '.join(unknown)}.{suggestion}"
    )


def check_labels_of_config(num_classes: Any, ignore_index: Any) -> None:
    """Refuse a number of classes or an ignored label on which the host would stumble later.

    Raises:
        TypeError: If either is no whole number.
        ValueError: If there is no class.
    """
    expect_number("num_classes", num_classes, whole=True)
    if ignore_index is not None:
        expect_number("ignore_index", ignore_index, whole=True)
    if num_classes < 1:
        raise ValueError(f"Expected `num_classes` to be at least 1, but got {num_classes}.")


def refuse_binary(out_channels: int | None, num_classes: int | None) -> None:
    """Refuse a head that predicts one sigmoid channel.

    Raises:
        ValueError: If it does.
    """
    if out_channels == 1 or (out_channels is None and num_classes == 1):
        raise ValueError(
            "Expected one output channel per class, but got a binary head with out_channels=1: a "
            "single sigmoid channel has no background prototypes. Set num_classes=2 and "
            "out_channels=2 (with use_sigmoid=False in loss_decode), so that background and "
            "foreground each get prototypes."
        )


def last_head(model: nn.Module) -> Any:
    """Return the decode head of a segmentor that predicts: of a cascade, its last stage."""
    head: Any = model.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def without_conv_seg(init_cfg: Any) -> Any:
    """Drop what an `init_cfg` says about `conv_seg`, which exists no more."""
    if isinstance(init_cfg, list | tuple):
        kept = [without_conv_seg(item) for item in init_cfg]
        return [item for item in kept if item is not None] or None
    if not init_cfg or "override" not in init_cfg:
        return init_cfg
    overrides = init_cfg["override"]
    single = isinstance(overrides, Mapping)
    kept = [o for o in ([overrides] if single else overrides) if o.get("name") != "conv_seg"]
    rest = {key: value for key, value in init_cfg.items() if key != "override"}
    if kept:
        return {**rest, "override": kept[0] if single else kept}
    # Without a layer, the config was there for its overrides alone.
    return rest if "layer" in rest else None


def _unknown_decoder(name: str) -> str:
    heads = [key for key, cls in MODELS.module_dict.items() if _is_decode_head(cls)]
    close = difflib.get_close_matches(name, heads, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Examples: {_EXAMPLES}."
    return (
        f"Expected `decoder` to be the registry name of a decode head, but got {name!r}. {hint} "
        "A head of your own must be imported by `custom_imports` first."
    )


def _is_decode_head(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, BaseDecodeHead)


def _why_not(decoder: type) -> str | None:
    """Return why a decoder cannot be swapped, or None if nothing speaks against it."""
    for cls in decoder.__mro__:
        if cls.__name__ in _REASONS and cls.__module__.startswith("mmseg."):
            return _REASONS[cls.__name__]
        if any("cls_seg" in names for names in _names_used(cls)):
            break  # whatever it comes from, it classifies by `cls_seg` itself
    if not _is_decode_head(decoder):
        return "it is not a decode head of MMSegmentation (BaseDecodeHead)"
    if decoder.cls_seg is not BaseDecodeHead.cls_seg:  # type: ignore[attr-defined]
        return "it classifies by a `cls_seg` of its own"
    own_classes = [
        cls for cls in decoder.__mro__ if _is_decode_head(cls) and cls is not BaseDecodeHead
    ]
    if not any("cls_seg" in names for cls in own_classes for names in _names_used(cls)):
        return "its predictions do not come from `cls_seg`"
    return None


def _names_used(cls: type) -> Iterator[tuple[str, ...]]:
    """Yield the attribute names that the functions of a class use."""
    functions = [item for item in vars(cls).values() if isinstance(item, FunctionType)]
    pending = [function.__code__ for function in functions]
    while pending:
        code = pending.pop()
        yield code.co_names
        pending += [const for const in code.co_consts if isinstance(const, CodeType)]
