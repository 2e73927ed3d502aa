"""The recipes: published softmax recipes, and their twins with prototypes, on all data sets."""

import argparse
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmengine
import mmseg
import pytest
import readme
import torch
from data_folders import make_folder, tiny_options
from mmengine.config import Config, DictAction
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from recipe_names import ABLATIONS, AUTHORS, CONFIGS, DATA_SETS, FULL, OTHERS, PAPER, RECIPES

import mmseg_proto

HOST_CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs"
PUBLISHED = {
    "fcn_r101_ade": "fcn/fcn_r101-d8_4xb4-160k_ade20k-512x512.py",
    "fcn_r101_cityscapes": "fcn/fcn_r101-d8_4xb2-80k_cityscapes-512x1024.py",
    "fcn_r50_ade": "fcn/fcn_r50-d8_4xb4-160k_ade20k-512x512.py",
    "fcn_r50_cityscapes": "fcn/fcn_r50-d8_4xb2-80k_cityscapes-512x1024.py",
    "hrnet_w48_ade": "hrnet/fcn_hr48_4xb4-160k_ade20k-512x512.py",
    "hrnet_w48_cityscapes": "hrnet/fcn_hr48_4xb2-80k_cityscapes-512x1024.py",
    "segformer_b0_ade": "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py",
    "segformer_b0_cityscapes": "segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py",
    "segformer_b2_ade": "segformer/segformer_mit-b2_8xb2-160k_ade20k-512x512.py",
    "segformer_b2_cityscapes": "segformer/segformer_mit-b2_8xb1-160k_cityscapes-1024x1024.py",
    "segformer_b4_ade": "segformer/segformer_mit-b4_8xb2-160k_ade20k-512x512.py",
    "segformer_b4_cityscapes": "segformer/segformer_mit-b4_8xb1-160k_cityscapes-1024x1024.py",
    "upernet_swin_b_ade": (
        "swin/swin-base-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py"
    ),
    "upernet_swin_t_ade": (
        "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py"
    ),
}
SMALL = ("camvid", "demo_synthetic", "lite0_camvid")
COCO_SIBLING = "pspnet/pspnet_r101-d8_4xb4-40k_coco-stuff10k-512x512.py"
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
    config = Config.fromfile(CONFIGS / f"{name}.py", import_custom_modules=False)
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


def _published(path: str) -> dict[str, Any]:
    if not (HOST_CONFIGS / path).exists():
        pytest.skip(f"the installed mmsegmentation ships no {path}")
    loaded: dict[str, Any] = Config.fromfile(HOST_CONFIGS / path).to_dict()
    return loaded


@pytest.mark.parametrize("name", PUBLISHED)
def test_softmax_is_the_published_recipe(name: str) -> None:
    ours, theirs = _load(f"softmax_{name}"), _published(PUBLISHED[name])
    for key in RECIPE_KEYS:
        assert _comparable(ours.get(key)) == _comparable(theirs.get(key)), key
    # The one addition: MMSegmentation states the total batch size in the file's name only.
    gpus, images = map(int, re.findall(r"_(\d+)xb(\d+)-", PUBLISHED[name])[0])
    assert ours["auto_scale_lr"] == dict(enable=False, base_batch_size=gpus * images)
    assert ours["train_dataloader"]["batch_size"] == images


def _without_batch(config: dict[str, Any]) -> dict[str, Any]:
    """Data, evaluators and TTA of a config, without how many images and workers a process has."""
    keys = ("train_dataloader", "val_dataloader", "test_dataloader", "val_evaluator")
    kept = {key: dict(config[key]) for key in keys}
    for loader in keys[:3]:
        kept[loader].pop("batch_size")
        kept[loader].pop("num_workers")
    return {**kept, "tta_pipeline": config["tta_pipeline"]}


@pytest.mark.parametrize("model", PAPER + OTHERS)
def test_coco_stuff_has_the_published_data_and_the_schedule_of_ade(model: str) -> None:
    ours, ade = _load(f"softmax_{model}_coco_stuff10k"), _load(f"softmax_{model}_ade")
    sibling = _published(COCO_SIBLING)
    assert _comparable(_without_batch(ours)) == _comparable(_without_batch(sibling))
    for config in (ours, ade):
        config["model"]["decode_head"].pop("num_classes")
        (config["model"].get("auxiliary_head") or {}).pop("num_classes", None)
        for schedule in config["param_scheduler"]:
            schedule["end"] = schedule["end"] / config["train_cfg"]["max_iters"]
    # The warm-up has a length of its own; all else ends with the training.
    assert {schedule["end"] for schedule in ours["param_scheduler"]} <= {1.0, 1500 / 80000}
    ours["param_scheduler"][0]["end"] = ade["param_scheduler"][0]["end"]
    for key in ("model", "optim_wrapper", "param_scheduler", "auto_scale_lr"):
        assert _comparable(ours[key]) == _comparable(ade[key]), key
    assert ours["train_cfg"]["max_iters"] == 80000
    assert ours["train_dataloader"]["batch_size"] == ade["train_dataloader"]["batch_size"]
    assert ours["auto_scale_lr"]["base_batch_size"] == 16


@pytest.mark.parametrize("model", ["upernet_swin_b", "upernet_swin_t", "mlp_swin_b"])
def test_swin_on_cityscapes_has_the_recipe_of_segformer(model: str) -> None:
    ours, sibling = _load(f"softmax_{model}_cityscapes"), _load("softmax_segformer_b4_cityscapes")
    for config in (ours, sibling):
        for part in ("backbone", "decode_head", "auxiliary_head"):
            config["model"].pop(part, None)
        keys = config["optim_wrapper"]["paramwise_cfg"]["custom_keys"]
        for of_a_model in ("head", "pos_block", "absolute_pos_embed"):
            keys.pop(of_a_model, None)
        keys.pop("relative_position_bias_table", None)
    for key in (*RECIPE_KEYS, "auto_scale_lr"):
        assert _comparable(ours.get(key)) == _comparable(sibling.get(key)), key


@pytest.mark.parametrize("size", FULL)
def test_full_ade_has_the_recipe_of_ade_and_one_number_of_classes(size: int) -> None:
    ours, ade = _load(f"softmax_segformer_b4_ade_full{size}"), _load("softmax_segformer_b4_ade")
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        assert ours[loader]["dataset"]["num_classes"] == size
    head = ours["model"]["decode_head"]
    assert (head.pop("num_classes"), head.pop("ignore_index")) == (size, 65535)
    ade["model"]["decode_head"].pop("num_classes")
    ade["model"]["data_preprocessor"]["seg_pad_val"] = 65535
    for key in ("model", "optim_wrapper", "param_scheduler", "train_cfg", "auto_scale_lr"):
        assert ours[key] == ade[key], key
    for split in ("train", "val"):
        theirs = str(ade[f"{split}_dataloader"]["dataset"]["pipeline"])
        theirs = theirs.replace(
            "'LoadAnnotations', 'reduce_zero_label': True", "'LoadWideAnnotations'"
        )
        theirs = theirs.replace("_ratio': 0.75", "_ratio': 0.75, 'ignore_index': 65535")
        assert str(ours[f"{split}_dataloader"]["dataset"]["pipeline"]) == theirs
    assert ours["val_evaluator"] == dict(ade["val_evaluator"], ignore_index=65535)


@pytest.mark.parametrize("name", [*RECIPES, *(f"segformer_b4_ade_full{size}" for size in FULL)])
def test_twins_differ_in_the_head_alone(name: str) -> None:
    expected = _load(f"softmax_{name}")
    head = expected["model"]["decode_head"]
    head.update(type="ProtoDecodeHead", decoder=head["type"])
    expected["custom_imports"] = dict(imports=["mmseg_proto"], allow_failed_imports=False)
    expected["default_hooks"]["prototype"] = dict(type="PrototypeUpdateHook")
    # Same settings; what is saved is the same too.
    expected["default_hooks"]["checkpoint"]["type"] = "AtomicCheckpointHook"
    paramwise = expected["optim_wrapper"].setdefault("paramwise_cfg", {})
    custom_keys = paramwise.setdefault("custom_keys", {})
    custom_keys["log_scale"] = dict(custom_keys.get("head", {}), decay_mult=0.0)
    assert _load(f"proto_{name}") == expected


@pytest.mark.parametrize("data_set", DATA_SETS)
@pytest.mark.parametrize("kind", ["softmax", "proto"])
def test_the_segformer_of_the_paper_differs_in_the_width_of_its_decoder_alone(
    kind: str, data_set: str
) -> None:
    expected = _load(f"{kind}_segformer_b4_{data_set}")
    expected["model"]["decode_head"]["channels"] = 768
    assert _load(f"{kind}_segformer_b4_768_{data_set}") == expected


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_differ_in_what_they_name_alone(name: str) -> None:
    expected = _load("proto_segformer_b2_ade")
    expected["model"]["decode_head"].update(ABLATIONS[name])
    assert _load(f"proto_segformer_b2_ade_{name}") == expected


def test_every_config_is_tested() -> None:
    tested = {f"{kind}_{name}" for kind in ("softmax", "proto") for name in RECIPES}
    tested |= {
        f"{kind}_segformer_b4_ade_full{size}" for kind in ("softmax", "proto") for size in FULL
    }
    tested |= {f"proto_segformer_b2_ade_{name}" for name in ABLATIONS}
    # The others are run by test_end_to_end and test_demo_tool.
    small = {f"{kind}_{name}" for kind in ("softmax", "proto") for name in SMALL}
    authors = {f"{kind}_{AUTHORS}" for kind in ("softmax", "proto")}
    assert {path.stem for path in CONFIGS.glob("*.py")} == tested | small | authors


def test_the_metafile_tells_of_every_config() -> None:
    """What `mim search` shows, and no weights or results of anything."""
    metafile = mmengine.load(CONFIGS / "metafile.yml")
    entries = {entry["Name"]: entry for entry in metafile["Models"]}
    assert set(entries) == {path.stem for path in CONFIGS.glob("*.py")}
    collections = {entry["Name"] for entry in metafile["Collections"]}
    for name, entry in entries.items():
        assert set(entry) == {"Name", "In Collection", "Config", "Metadata"}
        assert entry["Config"] == f"configs/{name}.py"
        assert entry["In Collection"] in collections
        config = Config.fromfile(CONFIGS / f"{name}.py", import_custom_modules=False)
        scale = config.get("auto_scale_lr")
        batch = scale.base_batch_size if scale else config.train_dataloader.batch_size
        assert entry["Metadata"]["Batch Size"] == batch
        assert entry["Metadata"]["Iterations"] == config.train_cfg.max_iters
    index = mmengine.load(CONFIGS.parent / "model-index.yml")
    assert index == mmengine.load(Path(mmseg_proto.__file__).parent / ".mim" / "model-index.yml")
    assert index == {"Import": ["configs/metafile.yml"]}


@pytest.fixture
def _host_scope() -> Iterator[None]:
    """Make the host's registries the default, and put the default back afterwards."""
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def _build(kind: str, name: str, num_classes: int = 150) -> tuple[Any, Config]:
    config = Config.fromfile(CONFIGS / f"{kind}_{name}.py")
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
@pytest.mark.parametrize("name", [f"{model}_ade" for model in PAPER])
def test_prototypes_cost_no_learnable_parameters(name: str) -> None:
    of_150_classes = _learnable("proto", name, 150)
    assert of_150_classes == _learnable("proto", name, 19)
    assert of_150_classes < _learnable("softmax", name, 19) < _learnable("softmax", name, 150)


def _numbers(column: str, row: str) -> list[int]:
    """Numbers in a row of a table of docs/recipes.md."""
    text = (CONFIGS.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
    table = re.search(rf"^\| {column} \|.*?\n\n", text, flags=re.M | re.S)
    assert table
    (line,) = (line for line in table[0].splitlines() if line.startswith(f"| `{row}` |"))
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]{5,}", line)]


@pytest.mark.usefixtures("_host_scope")
def test_a_large_vocabulary_costs_no_learnable_parameters() -> None:
    for size in FULL:
        name = f"segformer_b4_ade_full{size}"
        model, _ = _build("proto", name, size)
        buffers = sum(buffer.numel() for buffer in model.buffers())
        learnable = [_learnable(kind, name, size) for kind in ("softmax", "proto")]
        assert learnable[1] == 61_370_049
        assert [*learnable, buffers] == _numbers("`segformer_b4_ade_full`", str(size))


@pytest.mark.slow
@pytest.mark.usefixtures("_host_scope")
@pytest.mark.parametrize("name", PAPER + OTHERS)
def test_docs_state_the_parameters(name: str) -> None:
    counted = []
    for kind in ("softmax", "proto"):
        model, _ = _build(kind, f"{name}_ade")
        counted.append(_learnable(kind, f"{name}_ade", 150))
        if model.with_auxiliary_head:
            counted.append(sum(p.numel() for p in model.auxiliary_head.parameters()))
    assert _numbers(r"MODEL \| softmax", name) == counted


@pytest.mark.usefixtures("_host_scope")
@pytest.mark.parametrize(
    ("name", "millions"), [("fcn_r101", [68.6, 68.5]), ("segformer_b4_768", [64.1, 64.0])]
)
def test_sizes_are_those_that_the_paper_prints(name: str, millions: list[float]) -> None:
    """Softmax and prototypes, the auxiliary head counted."""
    models = [_build(kind, f"{name}_ade")[0] for kind in ("softmax", "proto")]
    counts = [sum(p.numel() for p in model.parameters() if p.requires_grad) for model in models]
    assert [round(count / 1e6, 1) for count in counts] == millions


def _calls_of_mim(block: str) -> list[list[str]]:
    """Words of each call of mim in a block of shell, loops unrolled by the shell."""
    script = f'mim() {{ echo "$*"; }}\n{block}'
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return [line.split() for line in run.stdout.splitlines()]


@pytest.mark.usefixtures("_host_scope")
def test_the_ablations_under_the_papers_settings_are_what_the_docs_say() -> None:
    (block,) = (
        block
        for block in readme.code_blocks("bash", readme.PAGES["docs/recipes.md"])
        if "preset=paper" in block
    )
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    parser.add_argument("--work-dir")
    found, folders = [], set()
    for _, _, name, *options in _calls_of_mim(block):
        given = parser.parse_args(options)
        folders.add(given.work_dir)
        config = Config.fromfile(CONFIGS / name)
        config.merge_from_dict(given.cfg_options)
        head = MODELS.build(config.model.decode_head)
        bank, losses = head.prototype_classifier.bank, head.loss_prototype
        weights = losses.contrast_weight, losses.distance_weight
        found.append((bank.shape[1], bank.decay, *weights))
        # Of the preset: prototypes from the start, a scale of 1, a mean over labelled pixels.
        assert bank.alive.all()
        assert float(head.prototype_classifier.score_scale.value()) == 1
        assert head.loss_decode.avg_non_ignore
    assert found == [
        *((k, 0.999, 0.01, 0.01) for k in (1, 5, 10, 20, 50)),
        *((10, mu, 0.01, 0.01) for mu in (0, 0.9, 0.99, 0.999, 0.9999)),
        *((10, 0.999, *weights) for weights in ((0, 0), (0.01, 0), (0, 0.01), (0.01, 0.01))),
    ]
    assert len(folders) == len(found)


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
@pytest.mark.parametrize("name", [f"{model}_ade" for model in PAPER])
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


@pytest.mark.slow
def test_segformer_trains_and_tests_through_mim(tmp_path: Path) -> None:
    config = str(CONFIGS / "proto_segformer_b4_ade.py")
    options = tiny_options(make_folder("ade", tmp_path))
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
