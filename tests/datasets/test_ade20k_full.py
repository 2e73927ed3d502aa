"""ADE20K-full as a data set: which classes, which pixels, and labels beyond 255."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ade_release import make_release
from mmengine.config import Config
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image

from mmseg_proto.apis.ade20k_full import convert_ade20k_full
from mmseg_proto.datasets.ade20k_full import ADE20KFullDataset


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_release(tmp_path_factory.mktemp("ade"), tile=2, train=3, val=3, objects=400)
    convert_ade20k_full(folder)
    return folder


def _load(release: Path, num_classes: int | None, split: str = "training") -> tuple[Any, Any]:
    pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadWideAnnotations")]
    data: Any = DATASETS.build(
        dict(
            type="ADE20KFullDataset",
            data_root=str(release),
            split=split,
            num_classes=num_classes,
            pipeline=pipeline,
        )
    )
    return data, data[0]


def _ranks(sample: dict[str, Any]) -> Any:
    return np.array(Image.open(sample["seg_map_path"]))


@pytest.mark.parametrize("split", ["training", "validation"])
def test_all_classes(release: Path, split: str) -> None:
    data, sample = _load(release, None, split)
    assert len(data) == 3
    assert len(data.metainfo["classes"]) == len(data.metainfo["palette"]) > 300
    assert sample["gt_seg_map"].dtype == np.uint16
    np.testing.assert_array_equal(sample["gt_seg_map"], _ranks(sample))
    assert 255 < np.delete(np.unique(sample["gt_seg_map"]), -1).max() < 400
    assert sample["img"].shape == (*sample["gt_seg_map"].shape, 3)


def test_the_most_frequent_classes_are_kept_and_the_others_ignored(release: Path) -> None:
    data, sample = _load(release, 150)
    everything, _ = _load(release, None)
    assert data.metainfo["classes"] == everything.metainfo["classes"][:150]
    ranks = _ranks(sample)
    np.testing.assert_array_equal(sample["gt_seg_map"], np.where(ranks < 150, ranks, 65535))
    assert (ranks[ranks < 65535] >= 150).any()


def test_labels_survive_the_pipelines_of_the_config(release: Path, repository: Path) -> None:
    config = Config.fromfile(repository / "configs" / "_base_" / "datasets" / "ade20k_full.py")
    for loader in (config.train_dataloader, config.val_dataloader):
        for step in loader.dataset.pipeline:
            if "scale" in step:
                step.scale = (256, 64)
            if "crop_size" in step:
                step.crop_size = (48, 48)
        loader.dataset.data_root = str(release)
        packed = DATASETS.build(loader.dataset)[0]
        ranks = _ranks(packed["data_samples"].metainfo)
        labels = packed["data_samples"].gt_sem_seg.data
        assert labels.max() == 65535
        assert set(labels.unique().tolist()) <= set(np.unique(ranks).tolist())
        assert (labels[labels < 65535] > 255).any()


def test_labels_of_8_bits_load_too(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    Image.fromarray(np.array([[3, 255]], dtype=np.uint8)).save(path)
    load = TRANSFORMS.build(dict(type="LoadWideAnnotations"))
    results = load(dict(seg_map_path=str(path), seg_fields=[], label_map=None))
    assert results["gt_seg_map"].tolist() == [[3, 255]]


def test_a_colour_image_is_no_label_map(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    Image.new("RGB", (4, 3)).save(path)
    load = TRANSFORMS.build(dict(type="LoadWideAnnotations"))
    with pytest.raises(ValueError, match=r"one channel of labels .* got shape \(3, 4, 3\)"):
        load(dict(seg_map_path=str(path), seg_fields=[]))


def test_wrong_arguments_are_named(release: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tools/convert_ade20k_full\.py"):
        ADE20KFullDataset(data_root=str(tmp_path))
    with pytest.raises(ValueError, match="`num_classes` to be from 1 to"):
        ADE20KFullDataset(data_root=str(release), num_classes=847)
    with pytest.raises(ValueError, match="'training' or 'validation', got 'train'"):
        ADE20KFullDataset(data_root=str(release), split="train")
