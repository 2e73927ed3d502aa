"""A model from its checkpoint alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, inference_model, init_model
from toy_runner import make_runner

from mmseg_proto.apis import load
from mmseg_proto.apis.loading import plain_config
from mmseg_proto.hooks.checkpoint_files import load_weights

PIPELINE = [{"type": "LoadImageFromFile"}, {"type": "PackSegInputs"}]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The second is where the host's inferencer looks; nothing is tested with it here.
    pipelines = {"test_pipeline": PIPELINE, "test_dataloader.dataset.pipeline": PIPELINE}
    runner = make_runner(tmp_path_factory.mktemp("run"), pipelines)
    runner.train()
    return Path(runner.work_dir) / "iter_4.pth"


def test_five_lines(checkpoint: Path) -> None:
    model = load(checkpoint)
    image = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    result = inference_model(model, image)
    assert result.pred_sem_seg.data.shape == (1, 16, 24)
    assert model.dataset_meta["classes"] == ("sky", "road", "car")
    assert not model.training
    sure = inference_model(load(checkpoint, confidence=True), image)
    assert torch.equal(sure.seg_logits.data, result.seg_logits.data)
    for field in (sure.max_cosine, sure.margin, sure.prototype_id):
        assert field.data.shape == (1, 16, 24)


def test_it_is_the_model_that_the_host_loads(checkpoint: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text(load_weights(checkpoint)["meta"]["cfg"])
    image = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    expected = inference_model(init_model(config, str(checkpoint), device="cpu"), image)
    for found in (load(checkpoint), load(checkpoint, config)):
        logits = inference_model(found, image).seg_logits.data
        assert torch.equal(logits, expected.seg_logits.data)
    inferencer = MMSegInferencer(str(config), str(checkpoint), device="cpu")
    predicted = inferencer(image)["predictions"]
    assert np.array_equal(predicted, expected.pred_sem_seg.data[0].numpy())


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch trace')",
        "import os",
        "model = __import__('os').system('touch trace')",
        "model = dict(a=[open('trace', 'w')])",
        "model = {**dict(a=1)}",
        "model = dict(type='subprocess.Popen', args='touch trace')",
        "model = [dict(a={'type': 'os.system', 'command': 'touch trace'})]",
        "model = (lambda: 1)()",
        "a.b = 1",
        "model = dict(",
        "model = " + "[" * 5000,
    ],
)
def test_a_config_that_is_more_than_data_is_refused_and_not_run(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"meta": {"cfg": text}, "state_dict": {}}, tmp_path / "attack.pth")
    with pytest.raises(ValueError, match="config in the checkpoint to be plain values, but found"):
        load(tmp_path / "attack.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["attack.pth"]


@pytest.mark.parametrize("name", ["proto_segformer_b4_ade", "softmax_demo_synthetic"])
def test_configs_are_read_as_the_host_reads_them(name: str, repository: Path) -> None:
    cfg = Config.fromfile(repository / "configs" / f"{name}.py", import_custom_modules=False)
    read = plain_config(cfg.pretty_text).to_dict()
    expected: Any = cfg.to_dict()
    expected.pop("custom_imports", None)
    assert read == expected


def test_what_is_missing_is_named(tmp_path: Path, checkpoint: Path) -> None:
    saved = load_weights(checkpoint)
    bare = tmp_path / "bare.pth"
    torch.save({"state_dict": saved["state_dict"]}, bare)
    with pytest.raises(ValueError, match=r"to hold its config.* Give it: load\(checkpoint, config"):
        load(bare)
    torch.save({"meta": saved["meta"], "state_dict": {"x": torch.ones(1)}}, bare)
    with pytest.raises(ValueError, match=r"weights of the config .* missing .* 1 are unknown"):
        load(bare)
