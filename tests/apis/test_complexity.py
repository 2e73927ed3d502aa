import json
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from toy_runner import runner_config

from mmseg_proto.apis.complexity import compare_complexity

# The toy's head: 8 channels, 3 classes, 3 prototypes each, 16x24 pixels at stride 4.
CHANNELS, CLASSES, PLACES, PIXELS = 8, 3, 3, 4 * 6


def softmax_config(tmp_path: Path) -> Config:
    cfg = runner_config(tmp_path)
    cfg.model.decode_head.type = cfg.model.decode_head.pop("decoder")
    del cfg.model.decode_head["num_prototypes"]
    return cfg


def test_only_the_classifier_differs(tmp_path: Path) -> None:
    found = compare_complexity(runner_config(tmp_path), (16, 24))
    softmax, prototypes = found["softmax"], found["prototypes"]
    assert softmax.classifier == CHANNELS * CLASSES + CLASSES
    assert prototypes.classifier == 2 * CHANNELS + 1  # LayerNorm and scale
    assert (
        softmax.learnable - softmax.classifier == prototypes.learnable - prototypes.classifier > 0
    )
    assert softmax.auxiliary == prototypes.auxiliary > 0
    assert prototypes.buffers - softmax.buffers >= CLASSES * PLACES * CHANNELS
    extra = PIXELS * CHANNELS * CLASSES * (PLACES - 1) + 5 * PIXELS * CHANNELS
    assert prototypes.flops - softmax.flops == extra


def test_twin_of_a_softmax_config_is_swapped(tmp_path: Path) -> None:
    cfg = runner_config(tmp_path)
    cfg.model.decode_head.num_prototypes = 10  # the default
    of_softmax = compare_complexity(softmax_config(tmp_path), (16, 24))
    assert of_softmax == compare_complexity(cfg, (16, 24))


def test_learnable_parameters_do_not_grow_with_classes(tmp_path: Path) -> None:
    cfg = runner_config(tmp_path)
    few = compare_complexity(cfg, (16, 24))["prototypes"]
    cfg.model.decode_head.num_classes = 847
    many = compare_complexity(cfg, (16, 24))["prototypes"]
    assert few.learnable == many.learnable
    assert few.buffers < many.buffers


@pytest.mark.parametrize("name", ["softmax_demo_synthetic.py", "proto_demo_synthetic.py"])
def test_command(name: str, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tools/model_complexity.py", f"configs/{name}", "--json"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["prototypes"]["learnable"] < found["softmax"]["learnable"]
