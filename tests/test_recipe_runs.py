"""Every recipe trains and validates on a tiny folder of its data set, at its model's full size."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ade_release import make_release
from data_folders import LAYOUTS, make_folder, shrink
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image
from recipe_names import ABLATIONS, AUTHORS, CONFIGS, DATA_SETS, FULL, OTHERS, PAPER

from mmseg_proto.apis.ade20k_full import convert_ade20k_full
from mmseg_proto.heads.presets import PRESETS


@pytest.fixture(autouse=True)
def _own_scope() -> Iterator[None]:
    """Leave the default scope as it was: a Runner sets it for the whole process."""
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def _train(kind: str, name: str, data_root: Path, folder: Path, **options: Any) -> Any:
    """Train two iterations and validate, with the Runner; checks losses and the metric."""
    config = Config.fromfile(CONFIGS / f"{kind}_{name}.py")
    config.merge_from_dict(options)
    shrink(config, data_root, folder / "work")
    runner = Runner.from_cfg(config)
    runner.train()
    losses = runner.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100
    return runner.model


def _classes_in(data_set: str, data_root: Path) -> set[int]:
    """Classes, as the model counts them, that the training labels of the folder hold."""
    layout = LAYOUTS[data_set]
    files = [data_root / layout.label("train", index) for index in range(4)]
    values = {int(value) for file in files for value in np.unique(np.array(Image.open(file)))}
    return {value - layout.values.start for value in values - {layout.ignored}}


def _check_prototypes(model: Any, classes: set[int]) -> None:
    classifier = model.decode_head.prototype_classifier
    seeded, moved = (
        set(numbers.any(dim=1).nonzero().flatten().tolist())
        for numbers in (classifier.bank.alive, classifier.bank.updates)
    )
    assert moved
    assert moved <= classes
    # All start at random where the paper's settings are asked for.
    everything = set(range(model.decode_head.num_classes))
    at_random = classifier.seeder.settings.source == "random"
    assert seeded == everything if at_random else seeded <= classes


#: Each model and each data set is in the quick tests, since all twelve take minutes.
QUICK = [(name, "ade") for name in PAPER]
QUICK += [("hrnet_w48", "cityscapes"), ("segformer_b4", "coco_stuff10k")]


@pytest.mark.parametrize(
    ("name", "data_set"),
    [
        pytest.param(*pair, marks=[] if pair in QUICK else [pytest.mark.slow])
        for pair in itertools.product(PAPER, DATA_SETS)
    ],
)
def test_the_twelve_recipes_run(name: str, data_set: str, tmp_path: Path) -> None:
    data_root = make_folder(data_set, tmp_path)
    model = _train("proto", f"{name}_{data_set}", data_root, tmp_path)
    _check_prototypes(model, _classes_in(data_set, data_root))


QUICK_PRESETS = [("authors", "hrnet_w48", "cityscapes"), ("paper", "segformer_b4", "ade")]


@pytest.mark.parametrize(
    ("preset", "name", "data_set"),
    [
        pytest.param(*case, marks=[] if case in QUICK_PRESETS else [pytest.mark.slow])
        for case in itertools.product(PRESETS, PAPER, DATA_SETS)
    ],
)
def test_the_twelve_recipes_run_with_a_preset(
    preset: str, name: str, data_set: str, tmp_path: Path
) -> None:
    data_root = make_folder(data_set, tmp_path)
    options = {"model.decode_head.preset": preset}
    model = _train("proto", f"{name}_{data_set}", data_root, tmp_path, **options)
    classes = _classes_in(data_set, data_root)
    if preset == "authors":
        # Right pixels alone move prototypes, and after two iterations there may be none.
        assert model.decode_head.prototype_classifier.bank.alive.all()
    else:
        _check_prototypes(model, classes)


@pytest.mark.slow
@pytest.mark.parametrize("data_set", DATA_SETS)
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_recipes_run(name: str, data_set: str, tmp_path: Path) -> None:
    data_root = make_folder(data_set, tmp_path)
    model = _train("proto", f"{name}_{data_set}", data_root, tmp_path)
    _check_prototypes(model, _classes_in(data_set, data_root))


@pytest.mark.slow
@pytest.mark.parametrize("data_set", DATA_SETS)
@pytest.mark.parametrize("name", PAPER + OTHERS)
def test_softmax_twins_run(name: str, data_set: str, tmp_path: Path) -> None:
    _train("softmax", f"{name}_{data_set}", make_folder(data_set, tmp_path), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_run(name: str, tmp_path: Path) -> None:
    data_root = make_folder("ade", tmp_path)
    model = _train("proto", f"segformer_b2_ade_{name}", data_root, tmp_path)
    _check_prototypes(model, _classes_in("ade", data_root))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["softmax", "proto"])
def test_the_authors_arrangement_runs(kind: str, tmp_path: Path) -> None:
    data_root = make_folder("cityscapes", tmp_path)
    _train(kind, AUTHORS, data_root, tmp_path)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A converted release in which more than 847 classes occur in both splits."""
    folder = make_release(tmp_path, tile=2)
    assert len(convert_ade20k_full(folder).classes) >= max(FULL)
    return folder


def test_847_classes_run(release: Path, tmp_path: Path) -> None:
    model = _train("proto", "segformer_b4_ade_full847", release, tmp_path)
    alive = model.decode_head.prototype_classifier.bank.alive.any(dim=1)
    # 255 is a class like any other here, and so are those above it.
    assert alive[256:].any()


@pytest.mark.slow
@pytest.mark.parametrize("size", FULL)
@pytest.mark.parametrize("kind", ["softmax", "proto"])
def test_large_vocabularies_run(kind: str, size: int, release: Path, tmp_path: Path) -> None:
    _train(kind, f"segformer_b4_ade_full{size}", release, tmp_path)
