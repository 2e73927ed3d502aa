import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image
from rich.console import Console

from mmseg_proto.apis import accuracy_benchmark
from mmseg_proto.apis.accuracy_arms import OF_PROTOTYPES, SHARED, parse_arm
from mmseg_proto.apis.accuracy_runs import Budget, build_config, run_to_file
from mmseg_proto.configs import config_root
from mmseg_proto.datasets import CamVidDataset

ARMS = [
    "softmax",
    "prototypes",
    *(f"softmax+{change}" for change in SHARED),
    *(f"prototypes+{change}" for change in [*SHARED, *OF_PROTOTYPES]),
]


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A folder like CamVid's train split with two noisy frames of each sequence."""
    root = tmp_path / "camvid"
    random = np.random.default_rng(0)
    for folder in ("train", "trainannot"):
        (root / folder).mkdir(parents=True)
    for sequence in ("0001TP", "0006R0", "0016E5"):
        for frame in ("00001", "00002"):
            image = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            labels = random.integers(0, 12, (6, 8), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
            Image.fromarray(image).save(root / "train" / f"{sequence}_{frame}.png")
            Image.fromarray(labels).save(root / "trainannot" / f"{sequence}_{frame}.png")
    return root


def config_of(name: str, budget: Budget, tmp_path: Path, seed: int = 0) -> Any:
    return build_config(
        config_root(), parse_arm(name), budget, seed, Path("camvid"), tmp_path / "run"
    )


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_builds(name: str, tmp_path: Path) -> None:
    cfg = config_of(name, Budget(40), tmp_path)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope("mmseg"):
        MODELS.build(cfg.model)


def test_every_change_changes_something(tmp_path: Path) -> None:
    # The rate that the config has already is there to be named all the same.
    arms = set(ARMS) - {"softmax+lr-0.006", "prototypes+lr-0.006"}
    texts = {config_of(name, Budget(40), tmp_path).dump() for name in arms}
    assert len(texts) == len(arms)


def test_changes_add_up(tmp_path: Path) -> None:
    head = config_of("prototypes+k-5+ce-ppc+correct-only", Budget(40), tmp_path).model.decode_head
    assert head.num_prototypes == 5
    assert head.loss_prototype == {"contrast_weight": 0.1, "distance_weight": 0.0}
    assert head["update"] == {"pixels": "correct"}


def test_tuning_never_sees_val(tmp_path: Path) -> None:
    cfg = config_of("prototypes", Budget(40, hold_out="0006R0"), tmp_path)
    train, val = (cfg[f"{part}_dataloader"].dataset.dataset for part in ("train", "val"))
    assert train.split == val.split == "train"
    assert val.sequences == ["0006R0"]
    assert set(train.sequences) == {"0001TP", "0016E5"}


def test_the_final_run_takes_all_of_train_and_validates_on_val(tmp_path: Path) -> None:
    cfg = config_of("softmax", Budget(40), tmp_path, seed=3)
    train, val = (cfg[f"{part}_dataloader"].dataset.dataset for part in ("train", "val"))
    assert (train.split, val.split) == ("train", "val")
    assert "sequences" not in train
    assert cfg.randomness.seed == 3
    assert cfg.param_scheduler[0].end == cfg.train_cfg.max_iters == 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 3}, "at least 4, but got 3"),
        ({"hold_out": "0016"}, "`hold_out` to be one of .* but got '0016'"),
    ],
)
def test_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget(**settings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prototype", r"begin with one of \['softmax', 'prototypes'\], but got 'prototype'"),
        ("softmax+k-5", r"changes in 'softmax\+k-5' to be among lr-0.0015.* but got 'k-5'"),
        ("prototypes+k-5+k-1", r"'k-1' sets again: model.decode_head.num_prototypes"),
    ],
)
def test_what_is_no_arm_is_named_before_anything_runs(
    name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        accuracy_benchmark.run_all(
            config_root(), tmp_path, tmp_path, ["softmax", name], [0], Budget(4), 1, Console()
        )


def test_a_result_is_read_back_and_not_made_twice(tmp_path: Path) -> None:
    budget = Budget(40)
    file = accuracy_benchmark.result_file(tmp_path, budget, "prototypes+k-5", 2)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"seed": 2, "curve": [{"mIoU": 1.0}]}), encoding="utf-8")
    out = StringIO()
    accuracy_benchmark.run_all(
        config_root(), tmp_path, tmp_path, ["prototypes+k-5"], [2], budget, 1, Console(file=out)
    )
    assert out.getvalue() == ""  # nothing ran
    results = accuracy_benchmark.read_results(tmp_path, budget)
    assert results == {"prototypes+k-5": {2: {"seed": 2, "curve": [{"mIoU": 1.0}]}}}


def test_a_run_leaves_its_curve_and_its_health(tmp_path: Path, camvid: Path) -> None:
    file = tmp_path / "results" / "prototypes.json"
    budget = Budget(4, hold_out="0006R0")
    run_to_file(
        file, 1, config_root(), parse_arm("prototypes"), budget, 0, camvid, tmp_path / "work"
    )
    result = json.loads(file.read_text(encoding="utf-8"))
    assert [point["iteration"] for point in result["curve"]] == [1, 2, 3, 4]
    assert {"mIoU", "IoU/sky", "IoU/bicyclist"} <= set(result["curve"][-1])
    assert result["budget"] == {"iterations": 4, "hold_out": "0006R0"}
    assert [point["iteration"] for point in result["health"]] == [1, 2, 3, 4]
    assert all(0 < point["live_share"] <= 1 for point in result["health"])
    assert set(result["validation_perplexity"]) == set(CamVidDataset.METAINFO["classes"])
    assert all(1 <= number <= 10 for number in result["validation_perplexity"].values())
    assert not list(file.parent.glob("*.part"))
