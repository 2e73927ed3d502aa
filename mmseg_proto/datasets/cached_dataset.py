"""A data set kept in memory after the deterministic part of its pipeline."""

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.dataset import Compose
from mmseg.registry import DATASETS


@DATASETS.register_module()
class CachedDataset:
    """Keep every sample in memory as the first transforms of the pipeline leave it.

    For small data on slow machines: decoding happens once, random transforms still happen every
    time. Each worker process keeps its own copy, so use it with ``num_workers=0`` or
    ``persistent_workers=True``.

    Args:
        dataset: Config of the data set, or the data set itself, with its whole pipeline.
        num_cached: How many of its first transforms are deterministic and kept, at least 1;
            None keeps the result of all of them. Defaults to None.

    Raises:
        ValueError: If `num_cached` is below 1 or above the number of transforms.
    """

    def __init__(self, dataset: Any, num_cached: int | None = None) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
        transforms = self.dataset.pipeline.transforms
        if num_cached is not None and not 1 <= num_cached <= len(transforms):
            raise ValueError(
                f"Expected `num_cached` in [1, {len(transforms)}], the number of transforms of "
                f"{type(self.dataset).__name__}, but got {num_cached}."
            )
        self._first = Compose(transforms[:num_cached])
        self._rest = Compose([] if num_cached is None else transforms[num_cached:])
        self._cache: dict[int, Any] = {}

    @property
    def metainfo(self) -> dict[str, Any]:
        """Meta information of the data set."""
        info: dict[str, Any] = self.dataset.metainfo
        return info

    def full_init(self) -> None:
        """Load what the data set has put off."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if index not in self._cache:
            self._cache[index] = self._first(self.dataset.get_data_info(index))
        # Transforms and models write into what they get.
        return self._rest(copy.deepcopy(self._cache[index]))
