"""What is wrong with a data set is found before anything is trained on it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ade_release import make_release
from data_folders import LAYOUTS, make_folder
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from recipe_names import CONFIGS

from mmseg_proto.apis.ade20k_full import convert_ade20k_full
from mmseg_proto.apis.dataset_check import as_data, check_datasets, draw_frequencies


@pytest.fixture(autouse=True)
def _own_scope() -> Any:
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def _config(data_set: str, root: Path) -> Config:
    config = Config.fromfile(CONFIGS / f"proto_segformer_b0_{data_set}.py")
    for split in ("train", "val"):
        config[f"{split}_dataloader"].dataset.data_root = str(root)
    return config


@pytest.mark.parametrize("data_set", LAYOUTS)
def test_a_good_data_set_has_no_problem_and_the_right_counts(data_set: str, tmp_path: Path) -> None:
    root = make_folder(data_set, tmp_path)
    layout = LAYOUTS[data_set]
    train, val = check_datasets(_config(data_set, root), workers=2)
    assert (train.pairs, val.pairs) == (4, 2)
    assert train.problems == val.problems == []
    labels = [np.array(Image.open(root / layout.label("train", index))) for index in range(4)]
    values, counts = np.unique(np.stack(labels).astype(int), return_counts=True)
    expected = dict(zip((values - layout.values.start).tolist(), counts.tolist(), strict=True))
    ignored = expected.pop(layout.ignored - layout.values.start)
    assert train.ignored == ignored
    assert {i: n for i, n in enumerate(train.pixels.tolist()) if n} == expected
    for index, images in enumerate(train.images.tolist()):
        assert images == sum((label == index + layout.values.start).any() for label in labels)


def test_every_kind_of_problem_is_named_with_its_file(tmp_path: Path) -> None:
    root = make_folder("cityscapes", tmp_path, train=9)
    layout = LAYOUTS["cityscapes"]
    images = [root / layout.image("train", index) for index in range(9)]
    labels = [root / layout.label("train", index) for index in range(9)]
    labels[0].unlink()
    labels[1].write_bytes(labels[1].read_bytes()[:60])
    images[2].write_bytes(images[2].read_bytes()[:-100])
    labels[3].write_text("no picture")
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(labels[4])
    wrong = np.zeros((64, 80), dtype=np.uint8)
    wrong[0, :7] = (19, 20, 21, 22, 33, 34, 254)
    Image.fromarray(wrong).save(labels[5])
    Image.new("RGB", (80, 64)).save(labels[6])
    Image.fromarray(np.zeros((64, 80), dtype=np.uint16)).save(labels[7])
    train, _ = check_datasets(_config("cityscapes", root))
    said = dict(problem.rsplit(": ", 1) for problem in train.problems)
    assert said.pop(str(labels[0])) == "missing"
    assert said.pop(str(labels[1])).startswith("damaged (")
    assert said.pop(str(images[2])).startswith("damaged (")
    assert said.pop(str(labels[3])) == "no picture"
    assert said.pop(str(labels[4])) == "8x8, but its image 80x64"
    assert said.pop(str(labels[5])) == (
        "labels 19, 20, 21, 22, 33 and more, expected 0 to 18 or 255"
    )
    assert said.pop(str(labels[6])) == "3 channels, expected one"
    assert said.pop(str(labels[7])).startswith("16 bits, of which LoadAnnotations keeps 8")
    assert not said


def test_reduce_zero_label_is_seen_as_training_sees_it(tmp_path: Path) -> None:
    """One label too many in ADE20K's convention, and the same files without the convention."""
    root = make_folder("ade", tmp_path)
    path = root / LAYOUTS["ade"].label("train", 0)
    label = np.array(Image.open(path))
    label[0, 0] = 151
    Image.fromarray(label).save(path)
    train, _ = check_datasets(_config("ade", root))
    assert train.problems == [f"{path}: labels 150, expected 0 to 149 or 255"]


def test_classes_against_the_head(tmp_path: Path) -> None:
    config = _config("cityscapes", make_folder("cityscapes", tmp_path))
    config.model.decode_head.num_classes = 21
    train, _ = check_datasets(config)
    assert train.problems == ["CityscapesDataset has 19 classes, but num_classes is 21"]


def test_wide_labels_and_wrappers(tmp_path: Path) -> None:
    release = make_release(tmp_path, tile=2)
    convert_ade20k_full(release)
    config = Config.fromfile(CONFIGS / "proto_segformer_b4_ade_full847.py")
    for split in ("train", "val"):
        loader = config[f"{split}_dataloader"]
        loader.dataset.data_root = str(release)
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = {"type": "RepeatDataset", "dataset": inner, "times": 3}
    train, val = check_datasets(config)
    assert (train.pairs, val.pairs) == (6, 6)
    assert train.problems == val.problems == []
    assert train.pixels[256:].sum() > 0


def test_the_plot_has_a_bar_for_each_split(tmp_path: Path) -> None:
    reports = check_datasets(_config("cityscapes", make_folder("cityscapes", tmp_path)))
    reports[0] = reports[0]._replace(classes=("$\\frac{", *reports[0].classes[1:]))
    draw_frequencies(reports, tmp_path / "plot.png")
    assert len(np.unique(np.array(Image.open(tmp_path / "plot.png").convert("RGB")))) > 2
    assert as_data(reports[0])["classes"][1]["name"] == "sidewalk"


def test_what_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    config = _config("ade", make_folder("ade", tmp_path))
    with pytest.raises(ValueError, match="to have a extra_dataloader"):
        check_datasets(config, splits=["extra"])
    config.train_dataloader.dataset.pipeline.pop(1)
    with pytest.raises(ValueError, match="by a LoadAnnotations in its pipeline, but found none"):
        check_datasets(config)


def test_command_exits_with_1_where_something_is_wrong(tmp_path: Path) -> None:
    root = make_folder("ade", tmp_path)
    config = tmp_path / "mine.py"
    config.write_text(_config("ade", root).pretty_text)
    command = [sys.executable, str(CONFIGS.parent / "tools" / "check_dataset.py"), str(config)]

    def run(*options: str) -> Any:
        environment = {**os.environ, "PYTHONPATH": str(CONFIGS.parent)}
        return subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=False
        )

    good = run("--json", "--workers", "1")
    assert good.returncode == 0, good.stderr
    assert [report["pairs"] for report in json.loads(good.stdout)] == [4, 2]
    (root / LAYOUTS["ade"].label("train", 0)).unlink()
    bad = run("--splits", "train", "--workers", "2")
    assert bad.returncode == 1
    assert "ADE_train_00000001.png: missing" in bad.stdout.replace("\n", "")
    assert "1 problems in 4 pairs" in bad.stderr
