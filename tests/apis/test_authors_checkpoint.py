"""The authors' HRNet-W48 gives the same logits after its conversion."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from authors_hrnet import AuthorsNet
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_proto.apis.authors_checkpoint import (
    Converted,
    convert_authors_checkpoint,
    output_paths,
    write_converted,
)

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "proto_hrnet_w48_authors_cityscapes.py"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of the authors' model, made by one pass of it."""
    made: State = {}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        AuthorsNet(made)(torch.randn(1, 3, 32, 32, dtype=torch.float64))
    return made


def _release(state: State) -> dict[str, Any]:
    """The file as they save it: `module.`, the projection twice, and more beside the weights."""
    released = {f"module.{key}": value for key, value in state.items()}
    for key, value in state.items():
        if key.startswith("proj_head.proj."):
            released["module." + key.replace(".proj.", ".mlp2.")] = value
    return {"state_dict": released, "epoch": 1, "iteration": 80000, "config_dict": {"gpu": [0]}}


def _build(config: Config) -> Any:
    with DefaultScope.overwrite_default_scope("mmseg"):
        return revert_sync_batchnorm(MODELS.build(config.model)).double().eval()


@pytest.fixture(scope="module")
def converted(state: State, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    path = tmp_path_factory.mktemp("authors") / "released.pth"
    torch.save(_release(state), path)
    return convert_authors_checkpoint(path, Config.fromfile(CONFIG))


def test_logits_equal_the_original(state: State, converted: Converted, tmp_path: Path) -> None:
    paths = output_paths(tmp_path / "ours")
    write_converted(converted, paths)
    model = _build(converted.config)
    load_checkpoint(model, str(paths[1]), strict=True)
    for size in ((64, 96), (69, 91)):
        image = torch.randn(2, 3, *size, dtype=torch.float64)
        with torch.no_grad():
            expected = AuthorsNet(dict(state))(image)
            logits = model.decode_head(model.extract_feat(image))
        assert logits.shape == expected.shape
        assert expected.std() > 0.5
        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)


def test_the_host_s_own_hrnet_gives_other_features(converted: Converted) -> None:
    """Why there is a backbone of our own."""
    other = Config(converted.config.to_dict())
    other.model.backbone.type = "HRNet"
    models = [_build(config) for config in (converted.config, other)]
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        for model in models:
            model.load_state_dict(converted.state)
        aligned, host = (model.backbone(image)[0] for model in models)
    assert (aligned - host).abs().max() > 0.1


def test_numbers_of_classes_and_prototypes_come_from_the_checkpoint(tmp_path: Path) -> None:
    made: State = {}
    with torch.no_grad():
        AuthorsNet(made, classes=7, prototypes=3)(torch.randn(1, 3, 32, 32, dtype=torch.float64))
    path = tmp_path / "released.pth"
    torch.save(made, path)
    converted = convert_authors_checkpoint(path, Config.fromfile(CONFIG))
    head = converted.config.model.decode_head
    assert (head.num_classes, head.num_prototypes) == (7, 3)
    assert any("7 classes" in note for note in converted.notes)


def _without(key: str) -> Any:
    return lambda state: state.pop(key)


def _differing_copy(state: State) -> None:
    state["proj_head.mlp2.0.bias"] = state["proj_head.proj.0.bias"] + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("prototypes"), "`prototypes` of three dimensions"),
        (_without("feat_norm.weight"), r"1 missing \(decode_head.*embedding.norm.weight\)"),
        (
            lambda state: state.update({"backbone.incre_modules.0.weight": torch.ones(1)}),
            r"1 unknown \(backbone.incre_modules.0.weight\)",
        ),
        (
            lambda state: state.update({"backbone.conv1.weight": torch.ones(1)}),
            r"1 of another shape \(backbone.conv1.weight\)",
        ),
        (_differing_copy, "two copies of the projection to be equal, but proj_head.mlp2.0.bias"),
    ],
)
def test_other_checkpoints_are_refused(
    state: State, change: Any, message: str, tmp_path: Path
) -> None:
    changed = dict(state)
    change(changed)
    torch.save({f"module.{key}": value for key, value in changed.items()}, tmp_path / "it.pth")
    with pytest.raises(ValueError, match=message):
        convert_authors_checkpoint(tmp_path / "it.pth", Config.fromfile(CONFIG))


class _Attack:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trace}",)


def test_a_malicious_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "config_dict": _Attack(tmp_path / "trace")}, tmp_path / "it.pth")
    with pytest.raises(ValueError, match="nothing in it was run"):
        convert_authors_checkpoint(tmp_path / "it.pth", Config.fromfile(CONFIG))
    assert not (tmp_path / "trace").exists()


def test_command_writes_a_config_that_loads_and_overwrites_nothing(
    state: State, tmp_path: Path
) -> None:
    torch.save(_release(state), tmp_path / "released.pth")
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
