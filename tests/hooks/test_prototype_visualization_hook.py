"""Pictures during validation, by a real Runner."""

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from toy_runner import CLASSES, make_runner

from mmseg_proto import PrototypeVisualizationHook
from mmseg_proto.segmentors import explaining_view
from mmseg_proto.visualization.explanation import explanation_of, image_of
from mmseg_proto.visualization.explanation_picture import draw_explanation

HOOK = {"type": "PrototypeVisualizationHook", "interval": 1, "classes": 2, "prototypes": 2}


@pytest.fixture(autouse=True)
def _images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's images have relative paths; these are files there."""
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        picture = np.random.default_rng(number).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        # Without loss, whatever the suffix.
        Path(f"{number}.jpg").write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def run(folder: Path, options: dict[str, Any] | None = None) -> Any:
    runner = make_runner(folder, options)
    runner.train()
    return runner


def pictures(runner: Any) -> dict[str, Path]:
    return {path.name: path for path in Path(runner.log_dir).rglob("prototypes/*.png")}


def test_pictures_of_a_training_run(tmp_path: Path) -> None:
    runner = run(tmp_path, {"default_hooks.prototype_visualization": HOOK})
    found = pictures(runner)
    # Two batches of two images, after iteration 4 of 4.
    assert set(found) == {"0_4.png", "2_4.png"}
    # Nothing moved since: the picture is that of the model at the end.
    data = runner.val_dataloader.dataset[2]
    batch = {"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]}
    runner.model.eval()
    with torch.no_grad():
        (sample,) = explaining_view(runner.model).test_step(batch)
    scale = float(runner.model.decode_head.prototype_classifier.score_scale.value())
    explanation = explanation_of(
        sample, image_of("2.jpg"), scale, CLASSES, palette=[[i, i, i] for i in range(3)]
    )
    expected = draw_explanation(explanation, classes=2, prototypes=2)
    read: Any = cv2.imread(str(found["2_4.png"]))
    drawn = read[..., ::-1]
    assert drawn.shape == expected.shape
    assert (np.abs(drawn.astype(int) - expected).max(axis=2) > 2).mean() < 0.01


def test_a_run_is_the_same_with_the_hook(tmp_path: Path) -> None:
    found = []
    for name, options in (
        ("without", {}),
        ("with", {"default_hooks.prototype_visualization": HOOK}),
    ):
        runner = run(tmp_path / name, {**options, "train_cfg.val_interval": 2})
        lines = next(Path(runner.log_dir).rglob("scalars.json")).read_text().splitlines()
        metrics = [json.loads(line) for line in lines if "mIoU" in line]
        weights = runner.model.state_dict()
        found.append(([line["mIoU"] for line in metrics], weights))
    assert len(found[0][0]) == 2
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][key], found[1][1][key]) for key in found[0][1])


def test_interval_and_test(tmp_path: Path) -> None:
    options = {"default_hooks.prototype_visualization": {**HOOK, "interval": 3}}
    loader = {"test_dataloader.batch_size": 1, "test_cfg.fp16": True}
    runner = run(tmp_path, {**options, **loader, "train_cfg.val_interval": 100})
    # The last iteration is always validated.
    assert set(pictures(runner)) == {"0_4.png"}
    pictures(runner)["0_4.png"].unlink()
    runner.test()
    assert set(pictures(runner)) == {"0_4.png", "3_4.png"}


def test_an_image_that_is_gone_is_left_out(tmp_path: Path) -> None:
    Path("0.jpg").unlink()
    runner = run(tmp_path, {"default_hooks.prototype_visualization": HOOK})
    assert set(pictures(runner)) == {"2_4.png"}
    log = next(Path(runner.log_dir).glob("*.log")).read_text()
    assert "PrototypeVisualizationHook leaves an image out." in log
    assert "0.jpg" in log


def test_tensorboard(tmp_path: Path) -> None:
    events_of = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    backends = [{"type": "TensorboardVisBackend"}]
    options = {"default_hooks.prototype_visualization": HOOK, "visualizer.vis_backends": backends}
    runner = run(tmp_path, options)
    runner.visualizer.close()
    (events,) = Path(runner.log_dir).rglob("events.out.tfevents.*")
    accumulator = events_of.EventAccumulator(str(events)).Reload()
    assert accumulator.Tags()["images"] == ["prototypes/0", "prototypes/2"]
    (image,) = accumulator.Images("prototypes/0")
    assert image.step == 4
    assert image.width > 700


def test_a_softmax_model_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, {"default_hooks.prototype_visualization": HOOK})
    runner.model.decode_head = runner.model.auxiliary_head
    with pytest.raises(TypeError, match="to be a ProtoDecodeHead, but got FCNHead"):
        runner.call_hook("before_run")


@pytest.mark.parametrize("name", ["interval", "classes", "prototypes"])
def test_wrong_numbers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{name}` to be at least 1, but got 0"):
        PrototypeVisualizationHook(**{name: 0})
    wrong: Any = {name: "5"}
    with pytest.raises(TypeError, match=f"`{name}`"):
        PrototypeVisualizationHook(**wrong)
