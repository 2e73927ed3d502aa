"""A second face of a trained segmentor, whose predictions say which prototypes are nearest."""

from functools import cache
from typing import Any

from mmseg.models.segmentors import EncoderDecoder

from .proto_encoder_decoder import _PrototypeOutputs, expect_cosines


def explaining_view(model: Any) -> Any:
    """Look at a segmentor with prototypes in another way, without a copy of its weights.

    The view has the modules and parameters of the model itself, whatever becomes of them: move,
    train or load one and the other follows. The model stays what it is.

    Args:
        model: An `EncoderDecoder`, a `CascadeEncoderDecoder` or a subclass, not wrapped for several
            GPUs, with a `ProtoDecodeHead`.

    Returns:
        Any: The view. Its predictions have the fields of `ProtoEncoderDecoder` and
        `class_winners`, ``(C, H, W)`` int16: the number in its class of each class's nearest
        prototype, -1 for a class that has none.

    Raises:
        TypeError: If `model` is no such segmentor, or has no prototypes.
        ValueError: If its logits are no cosines times a factor.
    """
    if not isinstance(model, EncoderDecoder):
        hint = ", which wraps one: give its `module`" if hasattr(model, "module") else ""
        raise TypeError(
            "Expected `model` to be an EncoderDecoder or a CascadeEncoderDecoder, but got "
            f"{type(model).__name__}{hint}."
        )
    expect_cosines(model)
    kind: Any = type(model)
    view: Any = object.__new__(_view_class(kind))
    # Where a runner compiles a model, it puts functions before the methods that they call.
    own = {key: item for key, item in vars(model).items() if not callable(getattr(kind, key, None))}
    unknown_below = getattr(model, "unknown_below", None)
    vars(view).update(own, unknown_below=unknown_below, _windows=[], class_winners=True)
    return view


@cache
def _view_class(kind: Any) -> type:
    bases = (kind,) if issubclass(kind, _PrototypeOutputs) else (_PrototypeOutputs, kind)
    return type(f"Explaining{kind.__name__.removeprefix('Explaining')}", bases, {})
