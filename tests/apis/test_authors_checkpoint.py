"""Converted checkpoints of the authors give what the authors' own code gives.

The numbers are from tests/golden/make_authors_numbers.py, which ran tfzhou/ProtoSeg, commit
1c4a778, with weights and inputs made by rule.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from golden import rules
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch import Tensor

import mmseg_proto.heads.classifier
from mmseg_proto.apis.authors_checkpoint import (
    Converted,
    convert_authors_checkpoint,
    output_paths,
    write_converted,
)
from mmseg_proto.apis.export_formats import opened, write
from mmseg_proto.apis.export_model import plain_copy, whole_logits

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
State = dict[str, Tensor]
Golden = dict[str, Any]
#: Double precision; the file is fp32, and so are the lengths of its prototypes after conversion.
DOUBLE, SINGLE = (torch.float64, 1e-6), (torch.float32, 1e-4)


def _golden(name: str) -> Golden:
    numbers = dict(np.load(rules.HERE / f"authors_{name}.npz"))
    assert str(numbers.pop("commit")).startswith(rules.COMMIT)
    return numbers


def _build(config: Any) -> Any:
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = revert_sync_batchnorm(MODELS.build(config))
    # The host's HRNet returns nothing here.
    model.eval()
    return model


@pytest.fixture(scope="module")
def released() -> State:
    """Weights of the authors' network with prototypes, under their names."""
    config = Config.fromfile(CONFIGS / "proto_hrnet_w48_authors_cityscapes.py")
    return rules.released_weights(_build(config.model.backbone))


def _convert(weights: State, folder: Path) -> Converted:
    """Convert a file as they save it, which has more beside the weights."""
    path = folder / "released.pth"
    torch.save(
        {"state_dict": weights, "epoch": 1, "iteration": 80000, "config_dict": {"gpu": [0]}}, path
    )
    return convert_authors_checkpoint(path, CONFIGS)


@pytest.fixture(scope="module")
def converted(released: State, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return _convert(released, tmp_path_factory.mktemp("authors"))


def _loaded(converted: Converted) -> Any:
    model = _build(converted.config.model)
    model.load_state_dict(converted.state)
    return model


@pytest.fixture(scope="module")
def model(converted: Converted) -> Any:
    return _loaded(converted)


@torch.no_grad()
def _logits(model: Any, case: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
    """Logits at the network's own output size."""
    logits: Tensor = model.decode_head(model.extract_feat(rules.image(*case).to(dtype)))
    return logits


@pytest.mark.parametrize(("dtype", "tolerance"), [DOUBLE, SINGLE])
def test_logits_of_the_network_with_prototypes(
    model: Any, dtype: torch.dtype, tolerance: float
) -> None:
    golden, model = _golden("logits"), copy.deepcopy(model).to(dtype)
    assert len(golden) == len(rules.LOGITS)
    for case in rules.LOGITS:
        expected = golden[rules.case_name(*case)]
        np.testing.assert_allclose(_logits(model, case, dtype), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [DOUBLE, SINGLE])
def test_logits_of_the_softmax_baseline(softmax: Any, dtype: torch.dtype, tolerance: float) -> None:
    golden, model = _golden("softmax"), copy.deepcopy(softmax).to(dtype)
    for case in rules.SOFTMAX:
        expected = golden[rules.case_name(*case)]
        np.testing.assert_allclose(_logits(model, case, dtype), expected, rtol=0, atol=tolerance)
    # Their softmax network resizes its logits to the image itself.
    with torch.no_grad():
        resized = whole_logits(model, rules.image(*rules.SOFTMAX[-1]).to(dtype))
    np.testing.assert_allclose(resized[:1], golden["resized"], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def softmax(released: State, tmp_path_factory: pytest.TempPathFactory) -> Any:
    converted = _convert(rules.softmax_weights(released), tmp_path_factory.mktemp("softmax"))
    assert any("last convolution is 0" in note for note in converted.notes)
    assert converted.config.model.decode_head.type == "FCNHead"
    return _loaded(converted)


def test_logits_in_strips(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips are whole rows, along which their network normalises."""
    case = rules.LOGITS[1]
    rows: list[int] = []
    embedding = model.decode_head.prototype_classifier.embedding
    handle = embedding.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[2]))
    # Five rows of both images.
    monkeypatch.setattr(mmseg_proto.heads.classifier, "_STRIP_NUMBERS", 5 * 2 * 720 * 25)
    logits = _logits(model, case, torch.float32)
    handle.remove()
    assert rows == [5, 5, 5, 2]
    np.testing.assert_allclose(logits, _golden("logits")[rules.case_name(*case)], atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "fused"), [("onnx", False), ("onnx", True), ("torchscript", False)]
)
def test_logits_of_exported_files_at_two_widths(
    model: Any, kind: str, fused: bool, tmp_path: Path
) -> None:
    """Of the head, from the joined features on: the rest is the host's."""
    head = plain_copy(model, fused=fused).decode_head
    join, head._transform_inputs = head._transform_inputs, lambda joined: joined
    for case in rules.LOGITS[:2]:
        with torch.no_grad():
            joined = join(model.extract_feat(rules.image(*case).float()))
        write(head, joined, tmp_path / "head", kind, multiple=None, opset=18)
        logits = opened(tmp_path / "head", kind)(joined)
        np.testing.assert_allclose(logits, _golden("logits")[rules.case_name(*case)], atol=1e-4)


def test_label_map_of_a_picture_through_both_loaders(converted: Converted, tmp_path: Path) -> None:
    """From the file to labels: the order of colours, their mean and deviation, and resizing."""
    golden = _golden("labels")
    # All classes are found by these, which does no harm to the other numbers.
    key = "decode_head.prototype_classifier.score_scale.norm.bias"
    state = {**converted.state, key: torch.from_numpy(golden["score_bias"])}
    paths = output_paths(tmp_path / "ours")
    write_converted(converted._replace(state=state), paths)
    for folder, name, pixels in (
        ("leftImg8bit", "leftImg8bit", rules.picture()),
        ("gtFine", "gtFine_labelTrainIds", golden["labels"]),
    ):
        city = tmp_path / folder / "val" / "bern"
        city.mkdir(parents=True)
        cv2.imwrite(str(city / f"bern_000000_000019_{name}.png"), pixels)
    height, width, _ = rules.PICTURE
    config = Config.fromfile(paths[0])
    config.merge_from_dict(
        {
            "load_from": str(paths[1]),
            "work_dir": str(tmp_path / "work"),
            "test_dataloader.num_workers": 0,
            "test_dataloader.persistent_workers": False,
            "test_dataloader.dataset.data_root": str(tmp_path),
            # Pictures of Cityscapes have the size that the config resizes to; this one has another.
            "test_dataloader.dataset.pipeline.1.scale": (width, height),
        }
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        runner = Runner.from_cfg(config)
        (batch,) = runner.test_dataloader
        inputs = runner.model.data_preprocessor(batch)["inputs"]
        np.testing.assert_allclose(inputs[0], golden["inputs"], rtol=0, atol=1e-5)
        metrics = runner.test()
    assert len(np.unique(golden["labels"])) > 10
    assert (metrics["mIoU"], metrics["aAcc"]) == (100.0, 100.0)


def test_the_host_s_own_hrnet_gives_other_features(model: Any, converted: Converted) -> None:
    """Why there is a backbone of our own."""
    host = _build({**converted.config.model.backbone, "type": "HRNet"})
    host.load_state_dict(model.backbone.state_dict())
    with torch.no_grad():
        other, ours = (net(rules.image(1, 1, 64, 64).float())[0] for net in (host, model.backbone))
    assert (other - ours).abs().max() > 0.1 * ours.abs().max()


def _hollow(released: State) -> State:
    """Weights of the same shapes, all 0, whose file is small."""
    return {key: value.new_zeros(()).expand(value.shape) for key, value in released.items()}


def test_numbers_of_classes_and_prototypes_come_from_the_checkpoint(
    released: State, tmp_path: Path
) -> None:
    weights = _hollow(released)
    weights["module.prototypes"] = torch.ones(7, 3, 720)
    weights["module.mask_norm.weight"] = weights["module.mask_norm.bias"] = torch.ones(7)
    converted = _convert(weights, tmp_path)
    head = converted.config.model.decode_head
    assert (head.num_classes, head.num_prototypes) == (7, 3)
    assert head.loss_decode.class_weight is None
    assert any("7 classes" in note for note in converted.notes)


def _other_network(state: State) -> None:
    del state["module.feat_norm.weight"]
    state["module.backbone.incre_modules.0.weight"] = torch.ones(1)
    state["module.backbone.conv1.weight"] = torch.ones(1)


def _differing_copy(state: State) -> None:
    state["module.proj_head.mlp2.0.bias"] = torch.ones(720)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("module.prototypes"),
            "`prototypes` of three dimensions or `cls_head.3.weight`",
        ),
        (
            _other_network,
            r"weights: 1 missing \(decode_head.*embedding.norm.weight\), "
            r"1 unknown \(backbone.incre_modules.0.weight\), "
            r"1 of another shape \(backbone.conv1.weight\)",
        ),
        (_differing_copy, "two copies of the projection to be equal, but proj_head.mlp2.0.bias"),
    ],
)
def test_other_checkpoints_are_refused(
    released: State, change: Any, message: str, tmp_path: Path
) -> None:
    changed = _hollow(released)
    change(changed)
    with pytest.raises(ValueError, match=message):
        _convert(changed, tmp_path)


class _Attack:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trace}",)


def test_a_malicious_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "config_dict": _Attack(tmp_path / "trace")}, tmp_path / "it.pth")
    with pytest.raises(ValueError, match="nothing in it was run"):
        convert_authors_checkpoint(tmp_path / "it.pth", CONFIGS)
    assert not (tmp_path / "trace").exists()


def test_command_writes_a_config_that_loads_and_overwrites_nothing(
    released: State, tmp_path: Path
) -> None:
    torch.save({"state_dict": _hollow(released)}, tmp_path / "released.pth")
    command = [
        *(sys.executable, str(ROOT / "tools" / "convert_authors_checkpoint.py")),
        *("released.pth", "-o", "out/ours"),
    ]

    def run() -> Any:
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    assert "mim test mmsegmentation out/ours.py --checkpoint out/ours.pth" in done.stdout
    config = Config.fromfile(tmp_path / "out" / "ours.py")
    assert config.model.backbone.type == "HRNetAligned"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ours.py", "ours.pth"}
    again = run()
    assert again.returncode == 1
    assert again.stderr.startswith("Nothing was written. Expected not to overwrite anything")
