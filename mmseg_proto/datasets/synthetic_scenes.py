"""The embedded data set: no files, no download, the same bytes on every machine."""

from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .synthetic import CLASSES, PALETTE, SceneAddress


@DATASETS.register_module()
class SyntheticScenes(BaseSegDataset):
    """Street scenes drawn on demand, in which every class has three or four distinct looks.

    Its entries name images and label maps as ``synthetic://...`` paths, which MMEngine's file layer
    draws when they are read: pipelines, hooks and metrics are those of any data set
    (`LoadImageFromFile`, `LoadAnnotations`, `SegVisualizationHook`). Borders between surfaces carry
    the ignored label 255.

    Args:
        split: 'train' or 'val'; no scene is in both.
        length: Number of scenes, at least 1.
        size: Height and width in pixels, each at least 32.
        seed: Which world is drawn; the splits stay disjoint under every seed.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset` (pipeline, metainfo, ...).

    Raises:
        ValueError: If ``split`` is unknown.
        ValueError: If ``length`` is under 1.
        ValueError: If ``size`` is not two numbers, or one is under 32.
        ValueError: If ``seed`` is negative.
    """

    METAINFO = {"classes": CLASSES, "palette": [list(colour) for colour in PALETTE]}

    def __init__(
        self,
        split: str = "train",
        length: int = 400,
        size: tuple[int, int] = (64, 96),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if length < 1:
            raise ValueError(f"Expected `length` to be at least 1, but got {length}.")
        if len(size) != 2:
            raise ValueError(f"Expected `size` to be (height, width), but got {size}.")
        if seed < 0:
            raise ValueError(f"Expected `seed` to be at least 0, but got {seed}.")
        self._addresses = [SceneAddress(split, seed, *size, number) for number in range(length)]
        self._addresses[0].validate()
        super().__init__(img_suffix=".png", **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the scenes as MMSegmentation lists files."""
        return [
            {
                "img_path": address.path("images"),
                "seg_map_path": address.path("labels"),
                "label_map": self.label_map,
                "reduce_zero_label": self.reduce_zero_label,
                "seg_fields": [],
            }
            for address in self._addresses
        ]
