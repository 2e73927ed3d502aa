"""A trained softmax model becomes prototypes without training."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from data_folders import make_folder, shrink
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis import init_model
from mmseg.registry import MODELS
from recipe_names import CONFIGS, DATA_SETS, PAPER
from short_runs import run_tool, train_briefly

from mmseg_proto.apis import load
from mmseg_proto.apis.checkpoint_swap import SwappedCheckpoint, SwapSettings, swap_checkpoint
from mmseg_proto.apis.feature_sample import Reservoir, draw_features
from mmseg_proto.apis.swap_comparison import compare
from mmseg_proto.hooks.checkpoint_files import load_weights

QUICK = SwapSettings(num_prototypes=4, pixels=300, images=20)


@pytest.fixture(scope="module")
def softmax(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Config and checkpoint of a small softmax model, trained for a moment."""
    folder = tmp_path_factory.mktemp("softmax")
    config = folder / "small.py"
    config.write_text(
        f"_base_ = {str(repository / 'configs' / 'softmax_demo_synthetic.py')!r}\n"
        "train_dataloader = dict(dataset=dict(length=40))\n"
        "val_dataloader = dict(dataset=dict(length=10))\n"
        "model = dict(backbone=dict(init_cfg=None), decode_head=dict(channels=32))\n"
    )
    return config, train_briefly(config)


@pytest.fixture(scope="module")
def swapped(softmax: tuple[Path, Path]) -> SwappedCheckpoint:
    return swap_checkpoint(*softmax, softmax[0].parent / "swapped", QUICK)


def test_it_keeps_what_softmax_knows(
    softmax: tuple[Path, Path], swapped: SwappedCheckpoint
) -> None:
    scores = compare(*softmax, swapped)
    assert scores["softmax"] > 10
    assert scores["swapped"] > scores["softmax"] - 6
    model = load(swapped.checkpoint)
    bank = model.decode_head.prototype_classifier.bank
    assert bank.alive_mask.any(dim=1).sum() >= 7
    torch.testing.assert_close(bank.prototypes.norm(dim=2), bank.alive, rtol=0, atol=1e-5)
    assert load_weights(swapped.checkpoint)["meta"]["dataset_meta"]["classes"]


def test_prototypes_that_lean_all_the_way_decide_as_softmax_does(
    softmax: tuple[Path, Path], tmp_path: Path
) -> None:
    made = swap_checkpoint(*softmax, tmp_path, replace(QUICK, lean=1e6))
    old, new = (
        init_model(str(config), str(checkpoint), device="cpu")
        for config, checkpoint in (softmax, made[:2])
    )
    image = torch.rand(1, 3, 64, 96) * 4 - 2
    with torch.no_grad():
        logits, cosines = (model.decode_head(model.extract_feat(image)) for model in (old, new))
    known = new.decode_head.prototype_classifier.bank.alive_mask.any(dim=1)
    assert (logits[:, known].argmax(1) == cosines[:, known].argmax(1)).float().mean() > 0.999


def test_training_goes_on_from_it(softmax: tuple[Path, Path], swapped: SwappedCheckpoint) -> None:
    scores = compare(*softmax, swapped, fine_tune_for=5)
    assert list(scores) == ["softmax", "swapped", "after 5 iterations"]
    tuned = load_weights(swapped.config.parent / "fine_tuned" / "iter_5.pth")["state_dict"]
    bank = "decode_head.prototype_classifier.bank"
    assert tuned[f"{bank}.updates"].max() == 5
    moved = (
        tuned[f"{bank}.prototypes"]
        - load_weights(swapped.checkpoint)["state_dict"][f"{bank}.prototypes"]
    )
    assert 0 < moved.abs().max() < 0.1


def test_the_reservoir_is_an_even_sample_of_bounded_size() -> None:
    counts = torch.zeros(60)
    for seed in range(300):
        reservoir = Reservoir(2, limit=10, seed=seed)
        for start in range(0, 60, 7):
            stop = min(60, start + 7)
            features = torch.arange(start, stop).float()[:, None]
            reservoir.add(features, torch.zeros(stop - start, dtype=torch.long))
        features, labels = reservoir.take()
        assert len(features) == 10
        assert labels.unique().tolist() == [0]
        counts[features[:, 0].long()] += 1
    # 50 expected each, standard deviation 6.5.
    assert counts.min() > 20
    assert counts.max() < 80


def test_the_command_writes_json(softmax: tuple[Path, Path], tmp_path: Path) -> None:
    options = ["--images", 10, "--num-prototypes", 3, "--json", tmp_path / "report.json"]
    done = run_tool("swap_checkpoint", *softmax, "-o", tmp_path / "new", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads((tmp_path / "report.json").read_text())
    assert "swapped" in done.stdout
    assert set(said["mIoU"]) == {"softmax", "swapped"}
    assert Config.fromfile(said["config"]).model.decode_head.num_prototypes == 3
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["proto_small.pth", "proto_small.py"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("there", "Expected a new file, but .*proto_small.py is there. Overwrite it with --force"),
        ("checkpoint", "Expected a checkpoint at .*none.pth, but there is no such file"),
        ("foreign", "Expected a checkpoint of this config, but it lacks .* of its weights, first"),
        ("swapped", "the decode head is a ProtoDecodeHead already"),
    ],
)
def test_what_cannot_be_swapped_is_named_and_nothing_is_written(
    wrong: str, message: str, softmax: tuple[Path, Path], swapped: SwappedCheckpoint, tmp_path: Path
) -> None:
    config, checkpoint = softmax
    if wrong == "there":
        (tmp_path / "proto_small.py").write_text("mine")
    elif wrong == "checkpoint":
        checkpoint = tmp_path / "none.pth"
    elif wrong == "foreign":
        checkpoint = tmp_path / "foreign.pth"
        torch.save({"state_dict": {"weight": torch.ones(1)}}, checkpoint)
    else:
        config = swapped.config
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises((ValueError, OSError), match=message):
        swap_checkpoint(config, checkpoint, tmp_path, QUICK)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_of_a_cascade_the_last_stage_is_swapped_and_the_others_stay(
    repository: Path, tmp_path: Path
) -> None:
    config = tmp_path / "cascade.py"
    config.write_text(
        f"_base_ = {str(repository / 'configs' / 'softmax_demo_synthetic.py')!r}\n"
        "shared = dict(in_channels=[24, 40], in_index=[0, 1], input_transform='resize_concat',\n"
        "    channels=16, num_classes=8, norm_cfg=dict(type='BN'))\n"
        "model = dict(type='CascadeEncoderDecoder', num_stages=2,\n"
        "    backbone=dict(init_cfg=None),\n"
        "    decode_head=[dict(type='FCNHead', num_convs=1, **shared),\n"
        "                 dict(type='OCRHead', ocr_channels=8, **shared)],\n"
        "    auxiliary_head=dict(type='FCNHead', num_convs=0, concat_input=False,\n"
        "                        in_channels=40, in_index=1, channels=40, num_classes=8))\n"
        "del shared\n"
    )
    init_default_scope("mmseg")
    model = MODELS.build(Config.fromfile(config).model)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "cascade.pth")
    made = swap_checkpoint(
        config, tmp_path / "cascade.pth", tmp_path / "new", replace(QUICK, images=2)
    )
    old, new = model.state_dict(), load_weights(made.checkpoint)["state_dict"]
    gone = {"decode_head.1.conv_seg.weight", "decode_head.1.conv_seg.bias"}
    assert old.keys() - new.keys() == gone
    assert [key for key in old.keys() - gone if not torch.equal(old[key], new[key])] == []
    assert any(key.startswith("decode_head.1.prototype_classifier.bank") for key in new)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_prototypes": 0}, "Expected `num_prototypes` to be at least 1, but got 0"),
        ({"pixels": 1}, "Expected `pixels` to be at least 2, but got 1"),
        ({"lean": -0.5}, "Expected `lean` to be at least 0, but got -0.5"),
        ({"lean": "1"}, "Expected `lean` to be a number, but got '1'"),
        ({"images": 0}, "Expected `images` to be at least 1, but got 0"),
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SwapSettings(**wrong)


def test_padding_is_no_part_of_the_training_data(
    softmax: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padded from 64x96 to 128x128, features at stride 4 are 32x32, and 16x24 of them real."""
    cfg = Config.fromfile(softmax[0])
    cfg.model.data_preprocessor.test_cfg = {"size_divisor": 128}
    model = MODELS.build(cfg.model).eval()
    seen: list[int] = []
    monkeypatch.setattr(Reservoir, "add", lambda self, features, labels: seen.append(len(features)))
    monkeypatch.setattr(Reservoir, "take", lambda self: (torch.zeros(0), torch.zeros(0)))
    draw_features(cfg, model, 300, images=1)
    assert seen == [16 * 24]


@pytest.mark.slow
@pytest.mark.parametrize("data_set", DATA_SETS)
@pytest.mark.parametrize("name", PAPER)
def test_the_twelve_softmax_twins_can_be_swapped(name: str, data_set: str, tmp_path: Path) -> None:
    cfg = Config.fromfile(CONFIGS / f"softmax_{name}_{data_set}.py")
    shrink(cfg, make_folder(data_set, tmp_path), tmp_path / "work")
    cfg.dump(tmp_path / "twin.py")
    init_default_scope("mmseg")
    model = MODELS.build(cfg.model)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "twin.pth")
    settings = SwapSettings(num_prototypes=2, pixels=20, images=2)
    made = swap_checkpoint(tmp_path / "twin.py", tmp_path / "twin.pth", tmp_path / "new", settings)
    new = init_model(str(made.config), str(made.checkpoint), device="cpu")
    bank = new.decode_head.prototype_classifier.bank
    assert bank.alive_mask.any(dim=1).sum() >= 2
    found = model.state_dict()
    gone = {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}
    state = new.state_dict()
    assert [key for key in found.keys() - gone if not torch.equal(found[key], state[key])] == []
