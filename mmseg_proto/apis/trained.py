"""A trained model as users name it: by its config and its checkpoint."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from numpy.typing import NDArray

from mmseg_proto.heads.decoders import last_head
from mmseg_proto.visualization.overlay import prototype_colours

from .loading import load


@dataclass(frozen=True)
class Trained:
    """A model that was trained.

    Attributes:
        name: What it is called in tables and pictures.
        config: Its config.
        checkpoint: Its checkpoint.
    """

    name: str
    config: Path
    checkpoint: Path

    def load(self, device: str = "cpu") -> tuple[Config, Any]:
        """Load it.

        Args:
            device: Where the model is to be. Defaults to 'cpu'.

        Returns:
            tuple[Config, Any]: The config, and the segmentor in evaluation mode.
        """
        cfg = Config.fromfile(self.config)
        return cfg, load(self.checkpoint, cfg, device)


def name_models(
    models: Sequence[tuple[Path, Path]], names: Sequence[str] | None = None
) -> list[Trained]:
    """Name models after their configs, with their checkpoints where configs are alike.

    Args:
        models: Config and checkpoint of each.
        names: Other names for them. Defaults to None: none.

    Returns:
        list[Trained]: The models.
    """
    if names is None:
        names = [config.stem for config, _ in models]
    if len(set(names)) < len(names):
        names = [
            f"{name} ({checkpoint.stem})"
            for name, (_, checkpoint) in zip(names, models, strict=True)
        ]
    return [Trained(name, *model) for name, model in zip(names, models, strict=True)]


def classes_of(model: Any) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Return names and colours of the classes that a segmentor knows.

    Args:
        model: The segmentor.

    Returns:
        tuple: Names of the C classes, their numbers where the checkpoint does not say; and RGB
        colours ``(C, 3)``.
    """
    meta = getattr(model, "dataset_meta", None) or {}
    names = tuple(map(str, meta.get("classes") or range(last_head(model).num_classes)))
    palette = meta.get("palette")
    if palette is None or len(palette) != len(names):
        return names, prototype_colours(len(names))
    return names, np.asarray(palette, dtype=np.uint8)


def find_classes(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Look classes up by their names.

    Args:
        names: The names, each counted once.
        known: Names of the C classes of a model.

    Returns:
        list[int]: Their numbers in [0, C), in the order of `names`.

    Raises:
        ValueError: If there is no such class.
    """
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known)
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise ValueError(f"Expected one of the classes {list(known)}, but got {name!r}.{hint}")
    return [list(known).index(name) for name in dict.fromkeys(names)]


def expect_same_classes(known: Mapping[str, Sequence[str]]) -> None:
    """Refuse to compare what does not speak of the same classes.

    Args:
        known: Name of a model or a data set to its classes, in their order.

    Raises:
        ValueError: If they differ.
    """
    (name, classes), *others = known.items()
    for other, found in others:
        if tuple(found) != tuple(classes):
            raise ValueError(
                f"Expected the same classes in the same order, but {name} has {len(classes)} and "
                f"{other} {len(found)}: {_first_difference(classes, found)}."
            )


def _first_difference(one: Sequence[str], other: Sequence[str]) -> str:
    for number, pair in enumerate(zip(one, other, strict=False)):
        if pair[0] != pair[1]:
            return f"class {number} is {pair[0]!r} in one and {pair[1]!r} in the other"
    longer = max(one, other, key=len)
    return f"only one has {longer[min(len(one), len(other))]!r}"
