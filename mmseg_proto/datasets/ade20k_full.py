"""ADE20K-full: the classes of the whole release, ranked by how many pixels they have."""

import json
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS, TRANSFORMS

LABEL_FOLDER = "annotations_ranked"
IGNORED = 65535  # 255 is a class here


@DATASETS.register_module()
class ADE20KFullDataset(BaseSegDataset):
    """The most frequent classes of ADE20K-full, as `tools/convert_ade20k_full.py` writes them.

    Labels are PNG files of 16 bits that hold the rank of the class, 0 for the most frequent one,
    and 65535 for what is ignored. Load them with `LoadWideAnnotations`, and set `ignore_index`
    (head, metric, `RandomCrop`) and `seg_pad_val` to 65535: 255 is a class here.

    Source: Zhou et al., "Semantic understanding of scenes through the ADE20K dataset", IJCV 2019.

    Args:
        num_classes: Take this many of the most frequent classes; pixels of the others are ignored.
            Defaults to None: all classes that the converter found.
        split: 'training' or 'validation'. Defaults to 'training'.
        data_root: Folder of the release, which holds ``images/`` and, once converted,
            ``annotations_ranked/``.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset` (pipeline, test_mode, ...).

    Raises:
        FileNotFoundError: If the release has not been converted.
        ValueError: If `split` is unknown, or there are fewer than `num_classes` classes.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        split: str = "training",
        data_root: str = "data/ADE20K_2021_17_01",
        **kwargs: Any,
    ) -> None:
        if split not in ("training", "validation"):
            raise ValueError(f"Expected `split` to be 'training' or 'validation', got {split!r}.")
        names = _class_names(Path(data_root, LABEL_FOLDER, "classes.json"))
        if num_classes is not None and not 0 < num_classes <= len(names):
            raise ValueError(
                f"Expected `num_classes` to be from 1 to {len(names)}, the number of classes that "
                f"the converter found in {data_root}, but got {num_classes}."
            )
        kept = len(names) if num_classes is None else num_classes
        self._other_classes = dict.fromkeys(range(kept, len(names)), IGNORED)
        super().__init__(
            ann_file=f"{LABEL_FOLDER}/{split}.txt",
            data_root=data_root,
            data_prefix={
                "img_path": f"images/ADE/{split}",
                "seg_map_path": f"{LABEL_FOLDER}/{split}",
            },
            metainfo={"classes": tuple(names[:kept])},
            ignore_index=IGNORED,
            **kwargs,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Lists the pairs that were converted; classes that are not taken map to 65535."""
        samples: list[dict[str, Any]] = super().load_data_list()
        for sample in samples:
            sample["label_map"] = self._other_classes
        return samples


def _class_names(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the converter's list of classes at {path}, but it is not there. Convert the "
            "release first: python tools/convert_ade20k_full.py FOLDER_OF_THE_RELEASE"
        )
    return [entry["name"] for entry in json.loads(path.read_text(encoding="utf-8"))]


@TRANSFORMS.register_module()
class LoadWideAnnotations(LoadAnnotations):
    """Loads label maps of 8 or 16 bits; the host's transform cuts every label down to 8.

    Adds ``gt_seg_map``, shape ``(H, W)``, uint16. Takes no `reduce_zero_label`; the `label_map` of
    the data set is applied.

    Args:
        imdecode_backend: Backend of :func:`mmcv.imfrombytes`. Defaults to 'pillow'.
        backend_args: Arguments of the file backend. Defaults to None.
    """

    def __init__(
        self, imdecode_backend: str = "pillow", backend_args: dict[str, Any] | None = None
    ) -> None:
        super().__init__(imdecode_backend=imdecode_backend, backend_args=backend_args)

    def _load_seg_map(self, results: dict[str, Any]) -> None:
        data = fileio.get(results["seg_map_path"], backend_args=self.backend_args)
        labels = mmcv.imfrombytes(data, flag="unchanged", backend=self.imdecode_backend)
        if labels.ndim != 2 or labels.min() < 0 or labels.max() > IGNORED:
            raise ValueError(
                f"Expected {results['seg_map_path']} to hold one channel of labels from 0 to "
                f"{IGNORED}, but got shape {labels.shape} with values from {labels.min()} to "
                f"{labels.max()}."
            )
        if results.get("label_map"):
            new_labels = np.arange(IGNORED + 1, dtype=np.uint16)
            new_labels[list(results["label_map"])] = list(results["label_map"].values())
            labels = new_labels[labels]
        results["gt_seg_map"] = labels.astype(np.uint16)
        results["seg_fields"].append("gt_seg_map")
