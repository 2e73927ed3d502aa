"""The embedded data set: the same everywhere, disjoint splits, every class in several looks."""

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.fileio import get
from mmengine.structures import PixelData
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmseg_proto.datasets import SyntheticScenes
from mmseg_proto.datasets.synthetic import (
    CLASSES,
    IGNORED,
    LOOKS,
    PALETTE,
    SceneAddress,
    read_scene,
)

PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "RandomFlip", "prob": 1.0},
    {"type": "PhotoMetricDistortion"},
    {"type": "PackSegInputs"},
]
LOADING = [*PIPELINE[:2], PIPELINE[-1]]
# Of the first 20 scenes of each split. A change here changes every figure measured on them.
FINGERPRINTS = {"train": "554df740f9d963c4", "val": "f5075d13fcd28ef8"}


def fingerprint(split: str) -> str:
    digest = hashlib.sha256()
    for number in range(20):
        for part in read_scene(SceneAddress(split, 0, 64, 96, number)):
            digest.update(part.tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("split", FINGERPRINTS)
def test_scenes_are_the_same_everywhere(split: str) -> None:
    assert fingerprint(split) == FINGERPRINTS[split]


def test_scenes_are_the_same_in_another_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from mmseg_proto.datasets.synthetic import SceneAddress, read_scene;"
        "image, labels = read_scene(SceneAddress('val', 3, 48, 64, 7));"
        # Not to stdout, which the host writes to as well.
        "Path(sys.argv[1]).write_bytes(image.tobytes() + labels.tobytes())"
    )
    file = tmp_path / "scene"
    subprocess.run([sys.executable, "-c", script, str(file)], check=True)
    image, labels = read_scene(SceneAddress("val", 3, 48, 64, 7))
    assert file.read_bytes() == image.tobytes() + labels.tobytes()


def test_no_scene_is_in_two_splits_or_under_two_seeds() -> None:
    seen = {
        read_scene(SceneAddress(split, seed, 64, 96, number))[0].tobytes()
        for split in ("train", "val")
        for seed in (0, 1)
        for number in range(50)
    }
    assert len(seen) == 200


def test_every_class_has_several_looks_and_is_drawn() -> None:
    assert set(LOOKS) == set(range(len(CLASSES))) == set(range(len(PALETTE)))
    assert all(3 <= len(set(looks)) <= 5 for looks in LOOKS.values())
    labels = np.stack([read_scene(SceneAddress("train", 0, 64, 96, n))[1] for n in range(100)])
    assert set(np.unique(labels)) == {*range(len(CLASSES)), IGNORED}
    assert 0.01 < (labels == IGNORED).mean() < 0.1
    scenes_with_signs = (labels == CLASSES.index("sign")).any(axis=(1, 2)).mean()
    assert 0.1 < scenes_with_signs < 0.7, "signs are meant to be rare"


def test_the_ordinary_pipeline_takes_a_scene() -> None:
    dataset = DATASETS.build(
        {"type": "SyntheticScenes", "split": "val", "length": 3, "pipeline": PIPELINE}
    )
    packed = dataset[2]
    image, labels = read_scene(SceneAddress("val", 0, 64, 96, 2))
    sample = packed["data_samples"]
    assert len(dataset) == 3
    assert packed["inputs"].shape == (3, 64, 96)
    assert sample.img_path == "synthetic://val/seed0/64x96/images/000002.png"
    assert sample.ori_shape == sample.img_shape == (64, 96)
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0].numpy(), labels[:, ::-1])
    plain = SyntheticScenes(split="val", length=3, pipeline=LOADING)[2]["inputs"]
    # BGR, as MMCV loads pictures.
    np.testing.assert_array_equal(plain.permute(1, 2, 0).numpy(), image[..., ::-1])


def test_a_subset_of_the_classes_ignores_the_others() -> None:
    dataset = SyntheticScenes(length=1, metainfo={"classes": ("ground", "sky")}, pipeline=LOADING)
    labels = read_scene(SceneAddress("train", 0, 64, 96, 0))[1]
    found = dataset[0]["data_samples"].gt_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(found == 0, labels == CLASSES.index("ground"))
    np.testing.assert_array_equal(found == 1, labels == CLASSES.index("sky"))
    assert (found[labels > 1] == IGNORED).all()
    assert dataset.metainfo["palette"] == [list(PALETTE[1]), list(PALETTE[0])]


def test_metric_and_visualisation_hook_take_a_scene(tmp_path: Path) -> None:
    dataset = SyntheticScenes(split="val", length=1, pipeline=LOADING)
    sample: SegDataSample = dataset[0]["data_samples"]
    sample.pred_sem_seg = PixelData(data=sample.gt_sem_seg.data.clamp(max=len(CLASSES) - 1))
    metric = IoUMetric(output_dir=str(tmp_path / "predictions"))
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [sample.to_dict()])
    assert (tmp_path / "predictions" / "000000.png").is_file()
    assert metric.compute_metrics(metric.results)["mIoU"] == 100

    visualizer: Any = SegLocalVisualizer.get_instance(
        "scenes", vis_backends=[{"type": "LocalVisBackend"}], save_dir=str(tmp_path)
    )
    visualizer.dataset_meta = dataset.metainfo
    runner: Any = SimpleNamespace(iter=0)  # one host family numbers its pictures by it
    SegVisualizationHook(draw=True, interval=1).after_test_iter(runner, 0, {}, [sample])
    assert list(tmp_path.rglob("test_000000*.png"))


def test_paths_read_as_png() -> None:
    address = SceneAddress("train", 5, 32, 40, 9)
    image, labels = read_scene(address)
    decoded: Any = cv2.imdecode(np.frombuffer(get(address.path("images")), np.uint8), 1)
    np.testing.assert_array_equal(decoded[..., ::-1], image)
    decoded = cv2.imdecode(np.frombuffer(get(address.path("labels")), np.uint8), -1)
    np.testing.assert_array_equal(decoded, labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, r"Expected `split` to be one of \('train', 'val'\), but got 'test'"),
        ({"length": 0}, "Expected `length` to be at least 1, but got 0"),
        ({"size": (64,)}, r"Expected `size` to be \(height, width\), but got \(64,\)"),
        ({"size": (16, 96)}, "Expected `size` to be at least 32 pixels .* but got 16x96"),
        ({"seed": -1}, "Expected `seed` to be at least 0, but got -1"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticScenes(**arguments)


def test_another_path_is_not_found() -> None:
    with pytest.raises(FileNotFoundError, match="but got synthetic://train/1.png"):
        get("synthetic://train/1.png")
