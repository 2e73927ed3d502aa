from typing import Any

import numpy as np
import pytest
import torch
from mmseg.registry import DATASETS

import mmseg_proto  # noqa: F401

LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]


def scenes(pipeline: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "SyntheticScenes", "split": "train", "length": 3, "pipeline": pipeline}


def build(**arguments: Any) -> Any:
    return DATASETS.build({"type": "CachedDataset", **arguments})


def test_gives_what_the_data_set_gives_and_loads_once() -> None:
    config = scenes([*LOAD, {"type": "PackSegInputs"}])
    plain, cached = DATASETS.build(config), build(dataset=config)
    assert len(cached) == 3
    assert cached.metainfo == plain.metainfo
    first = cached[1]
    cached.dataset.get_data_info = None  # whatever loads again now fails
    for sample in (first, cached[1]):
        assert torch.equal(sample["inputs"], plain[1]["inputs"])
        assert torch.equal(
            sample["data_samples"].gt_sem_seg.data, plain[1]["data_samples"].gt_sem_seg.data
        )


def test_who_writes_into_a_sample_does_not_reach_the_cache() -> None:
    cached = build(dataset=scenes(LOAD), num_cached=2)
    before = cached[0]["img"].copy()
    cached[0]["img"][:] = 0
    assert np.array_equal(cached[0]["img"], before)


def test_random_transforms_stay_random() -> None:
    crop = {"type": "RandomCrop", "crop_size": (16, 16)}
    cached = build(dataset=scenes([*LOAD, crop]), num_cached=2)
    assert len({cached[0]["img"].tobytes() for _ in range(10)}) > 1


@pytest.mark.parametrize("num_cached", [0, 3])
def test_errors(num_cached: int) -> None:
    with pytest.raises(ValueError, match=rf"\[1, 2\].* SyntheticScenes, but got {num_cached}"):
        build(dataset=scenes(LOAD), num_cached=num_cached)
