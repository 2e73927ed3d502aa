"""A trained model as users name it: by its config and its checkpoint."""

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


def name_models(models: list[tuple[Path, Path]]) -> list[Trained]:
    """Name models after their configs, and after their checkpoints where configs are alike.

    Args:
        models: Config and checkpoint of each.

    Returns:
        list[Trained]: The models.
    """
    stems = [config.stem for config, _ in models]
    alike = len(set(stems)) < len(stems)
    return [
        Trained(f"{config.stem} ({checkpoint.stem})" if alike else config.stem, config, checkpoint)
        for config, checkpoint in models
    ]


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
