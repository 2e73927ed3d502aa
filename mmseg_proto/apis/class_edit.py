"""Classes are added to a trained prototype model, removed, renamed and split, without training."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_proto.heads.decoders import last_head
from mmseg_proto.hooks.checkpoint_files import load_weights

from .class_change import ClassChange, change_config, change_weights, class_names
from .config_swap import last_stage, write_child
from .loading import build_bare
from .new_class import NewClassSettings, seed_new_class
from .trained import find_classes
from .whole_files import written_whole

Colour = tuple[int, int, int]


class EditedCheckpoint(NamedTuple):
    """What was written.

    Attributes:
        config: The new config.
        checkpoint: The new checkpoint.
        change: The classes.
        notes: What was done, in words.
    """

    config: Path
    checkpoint: Path
    change: ClassChange
    notes: list[str]


@dataclass(frozen=True)
class Target:
    """A trained model, and where to put what is made of it.

    Args:
        config: Config of the model.
        checkpoint: Its checkpoint.
        out: Folder for the new config and checkpoint, which get the old config's name.
        device: Where images are looked at. Defaults to 'cpu'.
        force: Whether files that are there may be overwritten. Defaults to False.
    """

    config: Path
    checkpoint: Path
    out: Path
    device: str = "cpu"
    force: bool = False


def add_class(
    target: Target,
    name: str,
    settings: NewClassSettings = NewClassSettings(),  # noqa: B008 - immutable
    *,
    colour: Colour | None = None,
) -> EditedCheckpoint:
    """Give a model a class more, whose prototypes come from a few labelled images.

    The prototypes of the other classes stay as they are, bit by bit.

    Args:
        target: The model.
        name: Name of the new class, among the labels of the training data unless the settings say
            where else its images are.
        settings: Which images, and how prototypes are made of them.
        colour: Its colour, RGB in [0, 255]. Defaults to None: one that is far from all others.

    Returns:
        EditedCheckpoint: What was written.

    Raises:
        FileExistsError: If a file is there that would be overwritten.
        ValueError: If there is such a class already, or no pixel of it.
    """

    def fill(cfg: Config, model: Any, change: ClassChange) -> str:
        return seed_new_class(cfg, model, name, settings)

    places = settings.num_prototypes
    return _edit(target, lambda old: _with(old, name, colour)._replace(places=places), fill)


def split_class(
    target: Target,
    name: str,
    old_name: str,
    prototypes: Sequence[int],
    *,
    colour: Colour | None = None,
) -> EditedCheckpoint:
    """Make some of the prototypes of a class a class of their own.

    Every prototype stays as it is, bit by bit: what was of the old class is of one of the two.

    Args:
        target: The model.
        name: Name of the new class.
        old_name: Name of the class that is split.
        prototypes: Which of its prototypes leave it, by their numbers from 0; at least one, and not
            all.
        colour: Colour of the new class, RGB in [0, 255]. Defaults to None: one that is far from
            all others.

    Returns:
        EditedCheckpoint: What was written.

    Raises:
        FileExistsError: If a file is there that would be overwritten.
        ValueError: If there is a class of the new name or none of the old one, or no prototype of
            such a number, or no other would stay.
    """

    def change(old: ClassChange) -> ClassChange:
        find_classes([old_name], old.names)
        return _with(old, name, colour)

    def fill(cfg: Config, model: Any, change: ClassChange) -> str:
        bank = last_head(model).prototype_classifier.bank
        bank.hand_over(change.names.index(old_name), prototypes, len(change.names) - 1)
        return f"Prototypes {', '.join(map(str, prototypes))} of {old_name} are {name} now"

    return _edit(target, change, fill)


def remove_class(target: Target, name: str) -> EditedCheckpoint:
    """Take a class out of a model; its labels are ignored from then on.

    Args:
        target: The model.
        name: Name of the class.

    Returns:
        EditedCheckpoint: What was written.

    Raises:
        FileExistsError: If a file is there that would be overwritten.
        ValueError: If there is no such class, or no two others.
    """

    def change(old: ClassChange) -> ClassChange:
        (gone,) = find_classes([name], old.names)
        if len(old.names) < 3:
            raise ValueError(
                f"Expected at least two classes beside {name}, but there are {list(old.names)}."
            )
        kept = [index for index in range(len(old.names)) if index != gone]
        return _chosen(old, [old.names[i] for i in kept], kept)

    return _edit(target, change)


def rename_class(target: Target, name: str, new_name: str) -> EditedCheckpoint:
    """Give a class of a model another name.

    Args:
        target: The model.
        name: Name of the class.
        new_name: What it shall be called.

    Returns:
        EditedCheckpoint: What was written.

    Raises:
        FileExistsError: If a file is there that would be overwritten.
        ValueError: If there is no such class, or one of the new name.
    """

    def change(old: ClassChange) -> ClassChange:
        (renamed,) = find_classes([name], old.names)
        _expect_new(old, new_name)
        names = list(old.names)
        names[renamed] = new_name
        return _chosen(old, names, range(len(names)))

    return _edit(target, change)


def _edit(
    target: Target,
    change_of: Callable[[ClassChange], ClassChange],
    fill: Callable[[Config, Any, ClassChange], str] | None = None,
) -> EditedCheckpoint:
    """Change the classes of a model, and write it when all is done."""
    written = target.out / target.config.name, target.out / f"{target.config.stem}.pth"
    read = {target.config.resolve(), target.checkpoint.resolve()}
    for path in written:
        if path.exists() and (not target.force or path.resolve() in read):
            raise FileExistsError(
                f"Expected a new file, but {path} is there. Name another folder, or overwrite "
                "what is in it with --force."
            )
    loaded = load_weights(target.checkpoint)
    meta, weights = dict(loaded.get("meta") or {}), loaded.get("state_dict", loaded)
    cfg = Config.fromfile(target.config)
    init_default_scope(cfg.get("default_scope") or "mmseg")
    names, palette = class_names(cfg, meta)
    change = change_of(ClassChange(names, tuple(range(len(names))), names, palette))
    notes: list[str] = []
    change = _roomy(cfg, change)
    child = change_config(cfg, change, notes)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, target.config.name)
        write_child(target.config, draft, child)
        new = Config.fromfile(draft)
    model = build_bare(new.model)
    model.load_state_dict(change_weights(weights, model, change, notes))
    if fill is not None:
        notes.append(fill(new, model.to(target.device), change))
    data_set = {**(meta.get("dataset_meta") or {}), "classes": change.names}
    data_set.update(palette=[list(colour) for colour in change.palette])
    data_set.pop("label_map", None)  # of the old classes
    meta.update(dataset_meta=data_set, cfg=new.pretty_text)
    target.out.mkdir(parents=True, exist_ok=True)
    # The config last: it is what is used first.
    with written_whole(written[1]) as part:
        torch.save({"meta": meta, "state_dict": model.cpu().state_dict()}, part)
    write_child(target.config, written[0], child)
    return EditedCheckpoint(*written, change, notes)


def _roomy(cfg: Config, change: ClassChange) -> ClassChange:
    """See to it that no prototype loses its place where a class is to have fewer."""
    before = last_stage(cfg.model.decode_head).get("num_prototypes", 10)
    return change._replace(places=max(change.places or 0, before))


def _expect_new(old: ClassChange, name: str) -> None:
    if name in old.names or not name.strip():
        raise ValueError(
            f"Expected a name that none of the classes has, but got {name!r}: {list(old.names)}."
        )


def _chosen(old: ClassChange, names: Sequence[str], sources: Sequence[int]) -> ClassChange:
    palette = tuple(old.palette[index] for index in sources)
    return ClassChange(tuple(names), tuple(sources), old.old_names, palette)


def _with(old: ClassChange, name: str, colour: Colour | None) -> ClassChange:
    """Put a class without a source behind the others."""
    _expect_new(old, name)
    return ClassChange(
        (*old.names, name),
        (*old.sources, None),
        old.old_names,
        (*old.palette, colour or _far_colour(old.palette)),
    )


def _far_colour(palette: Sequence[Colour]) -> Colour:
    """Colour that is furthest from the nearest of those that are taken."""
    levels = (0, 64, 128, 192, 255)
    colours = [(r, g, b) for r in levels for g in levels for b in levels]
    return max(colours, key=lambda new: min((math.dist(new, old) for old in palette), default=0))
