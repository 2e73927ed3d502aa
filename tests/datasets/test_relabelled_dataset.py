"""Classes renamed, merged, left out, unknown, and still without labels."""

from typing import Any

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

import mmseg_proto  # noqa: F401

PIPELINE = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
SCENES = {"type": "SyntheticScenes", "length": 3, "pipeline": PIPELINE}


def labels_of(settings: dict[str, Any]) -> list[Any]:
    init_default_scope("mmseg")
    dataset = DATASETS.build(settings)
    return [dataset[index]["gt_seg_map"] for index in range(len(dataset))]


def build(classes: list[str], sources: list[str | None], **options: Any) -> Any:
    init_default_scope("mmseg")
    dataset = {**SCENES, **options.pop("inner", {})}
    return DATASETS.build(
        {
            "type": "RelabelledDataset",
            "dataset": dataset,
            "classes": classes,
            "sources": sources,
            **options,
        }
    )


def test_every_label_goes_where_it_should() -> None:
    known = list(DATASETS.build(SCENES).metainfo["classes"])
    first, second, third, fourth, *_ = known
    changed = build(["new", "both", "both", "one"], [None, first, third, fourth], unknown=[second])
    assert changed.metainfo["classes"] == ("new", "both", "one")
    # The colours of the first source of each.
    palette = dict(zip(known, DATASETS.build(SCENES).metainfo["palette"], strict=True))
    assert changed.metainfo["palette"] == [[0, 0, 0], palette[first], palette[fourth]]
    expected = {0: 1, 1: 254, 2: 1, 3: 2}
    for before, index in zip(labels_of(SCENES), range(3), strict=True):
        after = changed[index]["gt_seg_map"]
        for value in np.unique(before):
            assert (after[before == value] == expected.get(int(value), 255)).all()


def test_it_goes_on_from_a_subset_of_the_classes() -> None:
    known = list(DATASETS.build(SCENES).metainfo["classes"])
    inner = {"metainfo": {"classes": known[2:5]}}
    changed = build(["a", "b"], [known[4], known[2]], inner=inner, palette=[[1, 2, 3], [4, 5, 6]])
    assert changed.metainfo["palette"] == [[1, 2, 3], [4, 5, 6]]
    for before, index in zip(labels_of(SCENES), range(3), strict=True):
        after = changed[index]["gt_seg_map"]
        assert (after[before == 4] == 0).all()
        assert (after[before == 2] == 1).all()
        assert (after[(before != 4) & (before != 2)] == 255).all()


@pytest.mark.parametrize(
    ("sources", "unknown"),
    [(["sky"], []), (["nobody", None], []), (["sky", "sky"], []), (["sky", None], ["sky"])],
)
def test_sources_that_are_wrong_are_named(sources: list[str | None], unknown: list[str]) -> None:
    with pytest.raises(ValueError, match="Expected one source for each of 2 classes"):
        build(["a", "b"], sources, unknown=unknown)


def test_what_is_no_data_set_of_the_host_is_refused() -> None:
    inner = {"type": "CachedDataset", "dataset": SCENES, "num_cached": 1}
    with pytest.raises(TypeError, match="to be a BaseSegDataset, but got CachedDataset"):
        build([], [], inner=inner)
