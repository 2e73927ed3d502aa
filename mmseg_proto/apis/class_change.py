"""Another set of classes for a model: what becomes of its config and of its weights."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.registry import DATASETS
from torch import Tensor

from mmseg_proto.heads.score_scale import ScoreScale

from .config_swap import is_swapped, last_stage
from .feature_sample import innermost

_BANK = ".prototype_classifier.bank."
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


class ClassChange(NamedTuple):
    """New classes, by what they were.

    Attributes:
        names: Names of the new classes, C' of them.
        sources: Index of each among the old classes; None for a new one.
        old_names: Names of the C old classes.
        palette: Colour of each new class, RGB in [0, 255].
        places: Prototypes that a class can have from now on, at least as many as before; None
            for as many.
    """

    names: tuple[str, ...]
    sources: tuple[int | None, ...]
    old_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    places: int | None = None


def change_config(cfg: Config, change: ClassChange, notes: list[str]) -> dict[str, Any]:
    """Make what a child config must say, so that its base has other classes.

    Args:
        cfg: The whole config, bases merged.
        change: The classes.
        notes: Gets what there is to say about it.

    Returns:
        dict[str, Any]: The child.

    Raises:
        ValueError: If the config weighs its classes by a file, or has a data set that is none of
            the host's.
    """
    child: dict[str, Any] = {"model": {}}
    for key in ("decode_head", "auxiliary_head"):
        heads = cfg.model.get(key)
        if isinstance(heads, list | tuple):
            child["model"][key] = [{**head, **_head(head, change)} for head in heads]
        elif heads:
            child["model"][key] = _head(heads, change)
    for name in _LOADERS:
        if cfg.get(name):
            dataset = _dataset(cfg[name]["dataset"], change, notes)
            child[name] = {"dataset": {"_delete_": True, **dataset}}
    return child


def _head(head: Mapping[str, Any], change: ClassChange) -> dict[str, Any]:
    """Settings of a head that depend on the classes."""
    count = len(change.names)
    settings: dict[str, Any] = {"num_classes": count}
    if change.places is not None and is_swapped(head):
        settings["num_prototypes"] = change.places
    if head.get("out_channels") is not None:
        settings["out_channels"] = count
    losses = head.get("loss_decode")
    if losses is None or count == len(change.old_names):
        return settings
    if isinstance(losses, list | tuple):
        settings["loss_decode"] = [{**loss, **_weights(loss, change)} for loss in losses]
    elif weights := _weights(losses, change):
        settings["loss_decode"] = weights
    return settings


def _weights(loss: Mapping[str, Any], change: ClassChange) -> dict[str, Any]:
    """Class weights of a loss; a new class weighs 1."""
    weights = loss.get("class_weight")
    if weights is None:
        return {}
    if not isinstance(weights, list | tuple):
        raise ValueError(
            f"Expected `class_weight` to be a list, which can be changed with the classes, but got "
            f"{weights!r}. Write its numbers into the config."
        )
    return {"class_weight": [1.0 if s is None else weights[s] for s in change.sources]}


def _dataset(settings: Mapping[str, Any], change: ClassChange, notes: list[str]) -> dict[str, Any]:
    """A data set with the new classes, inside whatever is around it."""
    settings = copy.deepcopy(dict(settings))
    if "datasets" in settings:
        parts = [_dataset(part, change, notes) for part in settings["datasets"]]
        return {**settings, "datasets": parts}
    if isinstance(settings.get("dataset"), Mapping) and settings["type"] != "RelabelledDataset":
        return {**settings, "dataset": _dataset(settings["dataset"], change, notes)}
    if settings["type"] == "RelabelledDataset":
        pairs = list(zip(settings["classes"], settings["sources"], strict=True))
        return {**settings, **_relabelled(change, pairs, notes)}
    kind = DATASETS.get(settings["type"]) if isinstance(settings["type"], str) else settings["type"]
    labelled = getattr(kind, "METAINFO", {}).get("classes")
    keep_their_names = all(
        s is None or change.old_names[s] == name
        for name, s in zip(change.names, change.sources, strict=True)
    )
    if labelled is not None and keep_their_names and set(change.names) <= set(labelled):
        metainfo = {**(settings.get("metainfo") or {}), "classes": change.names}
        metainfo.pop("palette", None)  # the data set knows its own colours
        return {**settings, "metainfo": metainfo}
    _note(notes, "The data sets do not know these names: a RelabelledDataset goes around them")
    pairs = [(name, name) for name in change.old_names]
    return {
        "type": "RelabelledDataset",
        "dataset": settings,
        **_relabelled(change, pairs, notes),
    }


def _relabelled(
    change: ClassChange, pairs: Sequence[tuple[str, str | None]], notes: list[str]
) -> dict[str, Any]:
    """Arguments of a `RelabelledDataset`, given old classes and what they stand for, maybe many."""
    classes, sources = [], []
    for name, source in zip(change.names, change.sources, strict=True):
        stands_for: list[str | None] = [None]
        if source is None:
            _note(notes, f"The data sets have no labels of {name}")
        else:
            stands_for = [labels for old, labels in pairs if old == change.old_names[source]]
        classes += [name] * len(stands_for)
        sources += stands_for
    palette = [list(colour) for colour in change.palette]
    return {"classes": classes, "sources": sources, "palette": palette}


def _note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)


def change_weights(
    old: Mapping[str, Tensor], model: torch.nn.Module, change: ClassChange, notes: list[str]
) -> dict[str, Tensor]:
    """Carry weights over to a model with other classes.

    What belongs to a class goes along with it, bit by bit; what belongs to a new one is zero.

    Args:
        old: Weights of the old model.
        model: The new model, for its shapes.
        change: The classes.
        notes: Gets what there is to say about it.

    Returns:
        dict[str, Tensor]: Weights of the new model.

    Raises:
        ValueError: If something depends on the classes that cannot be changed.
    """
    changes = change.sources != tuple(range(len(change.old_names)))
    if changes and any(isinstance(m, ScoreScale) and not m.is_factor for m in model.modules()):
        raise ValueError(
            "Expected `score_scale.kind` to be 'scalar', but it is 'layer_norm', which normalises "
            "over the classes: with others, all scores change."
        )
    new: dict[str, Tensor] = {}
    untrained = []
    for key, value in model.state_dict().items():
        if key not in old:
            raise ValueError(
                f"Expected a checkpoint of this config, but it lacks {key} of its weights."
            )
        by_class = _belongs_to_classes(key, old[key], value, change)
        if by_class:
            new[key] = _rows(old[key], change.sources)
            if _BANK in key:
                # Empty places at the end, where there are more than before.
                room = [0, 0] * (value.ndim - 2) + [0, value.shape[1] - old[key].shape[1]]
                new[key] = F.pad(new[key], room)
            elif None in change.sources:
                untrained.append(key.rpartition(".")[0])
        elif old[key].shape == value.shape:
            new[key] = old[key]
        else:
            raise ValueError(
                f"Expected what depends on the classes to have one row for each, but {key} is "
                f"{tuple(old[key].shape)} and would be {tuple(value.shape)}: this decoder cannot "
                "take other classes without training."
            )
    if untrained:
        names = ", ".join(sorted(set(untrained)))
        notes.append(f"Untrained for the new class, and of use to training alone: {names}")
    return new


def _belongs_to_classes(key: str, old: Tensor, new: Tensor, change: ClassChange) -> bool:
    """Whether the rows of a tensor are the classes."""
    if _BANK in key or ".conv_seg." in f".{key}":
        return True
    count = len(change.old_names)
    shrinks = old.ndim > 0 and old.shape[0] == count and new.shape[0] == len(change.names)
    return shrinks and old.shape != new.shape and old.shape[1:] == new.shape[1:]


def _rows(values: Tensor, sources: Sequence[int | None]) -> Tensor:
    rows = [torch.zeros_like(values[0]) if s is None else values[s] for s in sources]
    return torch.stack(rows)


def class_names(
    cfg: Config, meta: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours of the classes of a model.

    Args:
        cfg: Its config.
        meta: `meta` of its checkpoint; its `dataset_meta` comes first.

    Returns:
        tuple: Names, and as many colours.

    Raises:
        ValueError: If neither names them, or the model is none of prototypes.
    """
    head = last_stage(cfg.model.decode_head)
    if not is_swapped(head):
        raise ValueError(
            f"Expected a model with prototypes, but its decode head is a {head.get('type')}. "
            "tools/swap_checkpoint.py makes one of it, without training."
        )
    found = meta.get("dataset_meta") or _metainfo(cfg)
    names, palette = found.get("classes"), found.get("palette") or []
    if not names or len(names) != head["num_classes"]:
        raise ValueError(
            f"Expected the names of {head['num_classes']} classes in the checkpoint or in the "
            f"validation data set, but found {names}."
        )
    colours = [tuple(map(int, colour)) for colour in palette] + [(0, 0, 0)] * len(names)
    return tuple(names), tuple((r, g, b) for r, g, b in colours[: len(names)])


def _metainfo(cfg: Config) -> Mapping[str, Any]:
    inner = next(innermost(cfg.val_dataloader.dataset, keep="RelabelledDataset"))
    settings = {**inner, "lazy_init": True}
    found: Mapping[str, Any] = DATASETS.build(settings).metainfo
    return found
