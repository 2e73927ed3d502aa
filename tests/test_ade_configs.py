"""The ADE20K configs: published softmax recipes, and their twins with prototypes."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmseg
import pytest
import torch
from ade_folder import make_ade_folder, tiny_options
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules

CONFIGS = Path(__file__).parents[1] / "configs"
HOST_CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs"
PUBLISHED = {
    "segformer_b4": "segformer/segformer_mit-b4_8xb2-160k_ade20k-512x512.py",
    "upernet_swin_b": "swin/swin-base-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
    "fcn_r101": "fcn/fcn_r101-d8_4xb4-160k_ade20k-512x512.py",
    "hrnet_w48": "hrnet/fcn_hr48_4xb4-160k_ade20k-512x512.py",
}
# What the host's Runner and its test script read; the rest of a config is helper variables.
RECIPE_KEYS = (
    "default_hooks",
    "default_scope",
    "env_cfg",
    "log_level",
    "log_processor",
    "model",
    "optim_wrapper",
    "param_scheduler",
    "test_cfg",
    "test_dataloader",
    "test_evaluator",
    "train_cfg",
    "train_dataloader",
    "tta_model",
    "tta_pipeline",
    "val_cfg",
    "val_dataloader",
    "val_evaluator",
    "visualizer",
)


def _load(name: str) -> dict[str, Any]:
    config = Config.fromfile(CONFIGS / f"{name}_ade.py", import_custom_modules=False)
    loaded: dict[str, Any] = config.to_dict()
    return loaded


def _comparable(value: Any) -> Any:
    """Drop what says nothing (None, {}), and the host of model-zoo addresses."""
    if isinstance(value, dict):
        items = {key: _comparable(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not None and item != {}}
    if isinstance(value, list | tuple):
        return type(value)(_comparable(item) for item in value)
    if isinstance(value, str):
        return re.sub(r"^https://[^/]+/", "", value)
    return value


@pytest.mark.parametrize("name", PUBLISHED)
def test_softmax_is_the_published_recipe(name: str) -> None:
    published = HOST_CONFIGS / PUBLISHED[name]
    if not published.exists():
        pytest.skip(f"the installed mmsegmentation ships no {PUBLISHED[name]}")
    ours, theirs = _load(f"softmax_{name}"), Config.fromfile(published).to_dict()
    for key in RECIPE_KEYS:
        assert _comparable(ours.get(key)) == _comparable(theirs.get(key)), key
    # The one addition: MMSegmentation states the total batch size in the file's name only.
    gpus, images = map(int, re.findall(r"_(\d+)xb(\d+)-", PUBLISHED[name])[0])
    assert ours["auto_scale_lr"] == dict(enable=False, base_batch_size=gpus * images)
    assert ours["train_dataloader"]["batch_size"] == images


@pytest.mark.parametrize("name", PUBLISHED)
def test_twins_differ_in_the_head_alone(name: str) -> None:
    expected = _load(f"softmax_{name}")
    head = expected["model"]["decode_head"]
    head.update(type="ProtoDecodeHead", decoder=head["type"])
    expected["custom_imports"] = dict(imports=["mmseg_proto"], allow_failed_imports=False)
    expected["default_hooks"]["prototype"] = dict(type="PrototypeUpdateHook")
    paramwise = expected["optim_wrapper"].setdefault("paramwise_cfg", {})
    custom_keys = paramwise.setdefault("custom_keys", {})
    custom_keys["log_scale"] = dict(custom_keys.get("head", {}), decay_mult=0.0)
    assert _load(f"proto_{name}") == expected


@pytest.fixture
def _host_scope() -> Iterator[None]:
    """Make the host's registries the default, and put the default back afterwards."""
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def _build(kind: str, name: str, num_classes: int = 150) -> tuple[Any, Config]:
    config = Config.fromfile(CONFIGS / f"{kind}_{name}_ade.py")
    config.model.decode_head.num_classes = num_classes
    return MODELS.build(config.model), config


def _learnable(kind: str, name: str, num_classes: int) -> int:
    model, _ = _build(kind, name, num_classes)
    return sum(
        parameter.numel()
        for key, parameter in model.named_parameters()
        if parameter.requires_grad and not key.startswith("auxiliary_head.")
    )


@pytest.mark.usefixtures("_host_scope")
@pytest.mark.parametrize("name", PUBLISHED)
def test_prototypes_cost_no_learnable_parameters(name: str) -> None:
    of_150_classes = _learnable("proto", name, 150)
    assert of_150_classes == _learnable("proto", name, 19)
    assert of_150_classes < _learnable("softmax", name, 19) < _learnable("softmax", name, 150)


def _optimiser_settings(kind: str, name: str) -> dict[str, tuple[float, float]]:
    model, config = _build(kind, name)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }


@pytest.mark.usefixtures("_host_scope")
@pytest.mark.parametrize("name", PUBLISHED)
def test_scale_is_not_decayed_and_all_else_is_optimised_alike(name: str) -> None:
    softmax, proto = _optimiser_settings("softmax", name), _optimiser_settings("proto", name)
    classifier = {key for key in softmax if key.startswith("decode_head.conv_seg.")}
    head_rate, _ = softmax["decode_head.conv_seg.weight"]
    assert proto["decode_head.prototype_classifier.score_scale.log_scale"] == (head_rate, 0.0)
    for key in softmax.keys() - classifier:
        assert proto[key] == softmax[key], key


def _mim(command: str, *arguments: str, cwd: Path) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "mim", command, "mmsegmentation", *arguments],
        cwd=cwd,
        # One thread: OpenMP's barriers stall by seconds when other processes share the cores.
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:]
    return run.stdout


def test_segformer_trains_and_tests_through_mim(tmp_path: Path) -> None:
    config = str(CONFIGS / "proto_segformer_b4_ade.py")
    options = tiny_options(make_ade_folder(tmp_path))
    log = _mim("train", config, "--work-dir", "work", *options, cwd=tmp_path)
    losses = [float(value) for value in re.findall(r" loss: (\S+)", log)]
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)

    checkpoint = tmp_path / "work" / "iter_3.pth"
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    bank = {key.rsplit(".", 1)[-1]: value for key, value in state.items() if ".bank." in key}
    assert 0 < bank["alive"].sum() < bank["alive"].numel()  # the few classes seen, and no others
    assert bank["updates"].sum() > 0

    log = _mim("test", config, "--checkpoint", str(checkpoint), *options, cwd=tmp_path)
    assert re.search(r"mIoU: \d+\.\d+", log)
