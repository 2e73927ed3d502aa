"""Writes the config that puts prototypes in place of the classifier of an existing one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from mmseg.registry import MODELS

from mmseg_proto.heads.decoders import refuse_binary, resolve_decoder

from .whole_files import expect_new_file

_HEAD, _HOOK, _PACKAGE = "ProtoDecodeHead", "PrototypeUpdateHook", "mmseg_proto"
#: Names that stand for the score scale in `custom_keys`, the shortest first.
_SCALE_KEYS = ("log_scale", "score_scale.log_scale", "prototype_classifier.score_scale.log_scale")


class Swap(NamedTuple):
    """A config that swaps, and what there is to say about it.

    Attributes:
        child: What the new config says on top of its base.
        notes: What was done, in words for the user.
    """

    child: dict[str, Any]
    notes: list[str]


def last_stage(head: Any) -> Any:
    """Return the config of the decode head that predicts: of a cascade, its last stage."""
    return head[-1] if isinstance(head, list | tuple) else head


def is_swapped(head: Mapping[str, Any]) -> bool:
    """Whether the config of a decode head is one of prototypes, by its name or a dotted one."""
    return str(head.get("type")).rpartition(".")[2] == _HEAD


def swap_config(cfg: Mapping[str, Any]) -> Swap:
    """Make what a child config must say to swap the decoder of its base.

    Args:
        cfg: The whole config, bases merged.

    Returns:
        Swap: The child and notes on it.

    Raises:
        ValueError: If there is no decode head, or it cannot be swapped.
    """
    head = (cfg.get("model") or {}).get("decode_head")
    if not head:
        raise ValueError(
            "Expected a segmentation model with a `decode_head`, but found none. Give a whole "
            "config, not one of its `_base_` parts."
        )
    init_default_scope(cfg.get("default_scope") or "mmseg")
    notes: list[str] = []
    _import_custom(cfg.get("custom_imports") or {}, notes)
    stages = [dict(stage) for stage in head] if isinstance(head, list | tuple) else [dict(head)]
    last = stages[-1]
    decoder = last.get("type")
    if is_swapped(last):
        raise ValueError(
            f"Expected a softmax decoder, but the decode head is a {_HEAD} already: there is "
            "nothing to swap."
        )
    resolve_decoder(decoder)
    refuse_binary(last.get("out_channels"), last.get("num_classes"))
    notes.insert(0, f"{decoder} classifies by prototypes now")
    swapped: Any = {"type": _HEAD, "decoder": decoder}
    if isinstance(head, list | tuple):
        swapped = [*stages[:-1], {**last, **swapped}]
        notes.append("The head is a cascade: its stages are written out, the last one swapped")
    child: dict[str, Any] = {
        "custom_imports": _imports(cfg.get("custom_imports") or {}, notes),
        "model": {"decode_head": swapped},
        "default_hooks": {"prototype": {"type": _HOOK}},
    }
    keys = _scale_without_decay(cfg.get("optim_wrapper") or {}, len(stages) - 1, head, notes)
    if keys:
        child["optim_wrapper"] = {"paramwise_cfg": {"custom_keys": keys}}
    if cfg["model"].get("auxiliary_head"):
        notes.append("The auxiliary head stays softmax")
    return Swap(child, notes)


def _imports(given: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Imports of the base and ours: those of a child replace those of its base."""
    imports = given.get("imports") or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    if imports:
        notes.append(f"custom_imports of the base are listed again: {', '.join(imports)}")
    return {
        "imports": [*(name for name in imports if name != _PACKAGE), _PACKAGE],
        "allow_failed_imports": bool(given.get("allow_failed_imports", False)),
    }


def _scale_without_decay(
    wrapper: Mapping[str, Any], stage: int, head: Any, notes: list[str]
) -> dict[str, Any]:
    """Entry of `custom_keys` for the score scale: the head's own settings, but no decay."""
    # Other constructors know no `custom_keys`; the host's spare vectors their decay anyway.
    if not wrapper or wrapper.get("constructor", "DefaultOptimWrapperConstructor") != (
        "DefaultOptimWrapperConstructor"
    ):
        return {}
    place = f"decode_head.{stage}" if isinstance(head, list | tuple) else "decode_head"
    name = f"{place}.{_SCALE_KEYS[-1]}"
    keys = (wrapper.get("paramwise_cfg") or {}).get("custom_keys") or {}
    # mmengine applies one key only, the longest one that is part of the name.
    matching = [key for key in sorted(sorted(keys), key=len, reverse=True) if key in name]
    settings = dict(keys[matching[0]]) if matching else {}
    longest = len(matching[0]) if matching else 0
    key = next(key for key in (*_SCALE_KEYS, name) if len(key) > longest or key == name)
    notes.append("The learned score scale does not decay")
    return {key: {**settings, "decay_mult": 0.0}}


def write_swap(
    existing: Path,
    out: Path,
    *,
    force: bool = False,
    head: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write the swap of an existing config, and make sure that its head can be built.

    Args:
        existing: Config of a softmax model. It is run, as any config that is read.
        out: Config to write; nothing is written if anything is wrong.
        force: Whether `out` may be overwritten. Defaults to False.
        head: Further settings of the prototype head. Defaults to None: none.

    Returns:
        list[str]: What was done.

    Raises:
        FileNotFoundError: If `existing` is not there.
        FileExistsError: If `out` is there, or is `existing`.
        ValueError: If the config cannot be read or its decoder not be swapped.
    """
    if not existing.is_file():
        raise FileNotFoundError(
            f"Expected a config, but there is no file {existing}. One of MMSegmentation's is "
            "fetched by `mim download mmsegmentation --config NAME --dest .`"
        )
    if out.resolve() == existing.resolve():
        raise FileExistsError("Expected another file for the swap than the config it builds on.")
    expect_new_file(out, force=force)
    cfg = _read(existing)
    swap = swap_config(cfg)
    last_stage(swap.child["model"]["decode_head"]).update(head or {})
    write_child(existing, out, swap.child)
    return swap.notes


def write_child(existing: Path, out: Path, child: Mapping[str, Any]) -> None:
    """Write a config on top of an existing one, once its decode head can be built.

    Args:
        existing: The config it builds on.
        out: Config to write, whole or not at all. Overwritten if it is there.
        child: What it says.
    """
    base = Path(os.path.relpath(existing.resolve(), out.resolve().parent)).as_posix()
    text = f"_base_ = {f'./{base}'!r}\n{Config(dict(child)).pretty_text}"
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f"{out.stem}.draft.py")
    try:
        draft.write_text(text, encoding="utf-8")
        written = Config.fromfile(draft, import_custom_modules=False)
        MODELS.build(last_stage(written.model.decode_head))
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _read(existing: Path) -> Config:
    try:
        if not Config._is_lazy_import(str(existing)):
            return Config.fromfile(existing, import_custom_modules=False)
    except Exception as error:  # a config is code and may fail in any way
        raise ValueError(
            f"Expected a config that can be read, but {existing} fails: {error}"
        ) from error
    raise ValueError(
        f"Expected a config with `_base_`, but {existing} is one in pure Python, which takes the "
        f"swap itself: `from {_PACKAGE} import {_HEAD}, {_HOOK}`, then `model['decode_head']"
        f".update(type={_HEAD}, decoder=model['decode_head']['type'])` and "
        f"`default_hooks.update(prototype=dict(type={_HOOK}))`."
    )


def _import_custom(given: Mapping[str, Any], notes: list[str]) -> None:
    """Import what may hold the user's own decoder; of no use to decoders of the host."""
    if not given.get("imports"):
        return
    try:
        import_modules_from_strings(**given)
    except ImportError as error:
        notes.append(f"Its custom_imports fail on this machine ({error})")
