"""Presets fill what is not given, in the twelve recipes of the paper's table too."""

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import readme
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS
from recipe_names import CONFIGS, DATA_SETS, PAPER
from toy_runner import runner_config

from mmseg_proto.heads.presets import PRESETS, fill_preset
from mmseg_proto.heads.proto_decode_head import own_arguments


def _table() -> dict[str, dict[str, Any]]:
    """Preset to dotted key to value, as docs/settings.md has them."""
    stated: dict[str, dict[str, Any]] = {"paper": {}, "authors": {}}
    for key, paper, _, authors, _ in readme.table_rows("key", readme.PAGES["docs/settings.md"]):
        for preset, cell in (("paper", paper), ("authors", authors)):
            if cell:
                value = eval(cell.strip("`"), {"dict": dict})  # noqa: S307
                stated[preset][key.strip("`")] = value
    return stated


TABLE = _table()


def _nested(preset: str) -> dict[str, Any]:
    """The table's rows of the head, dotted keys made nested dicts."""
    nested: dict[str, Any] = {}
    for key, value in TABLE[preset].items():
        outer, _, inner = key.partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = value
        else:
            nested[key] = value
    del nested["loss_decode"]
    return nested


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_of_the_docs_is_what_is_set(preset: str) -> None:
    assert PRESETS[preset] == _nested(preset)
    assert TABLE[preset]["loss_decode.avg_non_ignore"] is True
    assert PRESETS[preset].keys() - {"dropout_ratio"} <= own_arguments().keys()


def test_keys_are_filled_one_by_one_and_what_is_given_stays() -> None:
    given = {
        "num_prototypes": 10,  # our default, and the preset's
        "decay": 0.9,
        "loss_prototype": {"contrast_weight": 0},
        "clustering": {"assign": "argmax"},  # our default, not the preset's
        "seeding": None,
    }
    filled = fill_preset("authors", given)
    assert filled.arguments["num_prototypes"] == 10
    assert filled.arguments["decay"] == 0.9
    assert filled.arguments["loss_prototype"] == {
        **{"contrast_weight": 0, "distance_weight": 0.001, "temperature": 1.0},
        **{"warmup_iterations": 0, "class_balance": 0.0},
    }
    assert filled.arguments["clustering"]["assign"] == "argmax"
    assert filled.arguments["clustering"]["start"] == "prototypes"
    assert filled.arguments["seeding"] is None
    assert filled.filled["clustering.start"] == "prototypes"
    assert not {"num_prototypes", "decay", "seeding", "clustering.assign"} & filled.filled.keys()
    assert filled.beaten == [
        "loss_prototype.contrast_weight=0 in place of 0.01",
        "clustering.assign='argmax' in place of 'gumbel'",
        "seeding=None in place of {'source': 'random'}",
        "decay=0.9 in place of 0.999",
    ]
    # The preset and what was given are left as they are.
    assert given["loss_prototype"] == {"contrast_weight": 0}
    filled.arguments["score_scale"]["kind"] = "changed"
    assert PRESETS["authors"]["score_scale"] == {"kind": "layer_norm"}


def test_without_a_preset_nothing_is_filled() -> None:
    assert fill_preset(None, {"decay": 0.9}) == ({"decay": 0.9}, {}, [])


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one of \('paper', 'authors'\) or None, but got 'ours'"):
        fill_preset("ours", {})


def _head(**arguments: Any) -> Any:
    init_default_scope("mmseg")
    config = dict(type="ProtoDecodeHead", decoder="FCNHead", in_channels=8, channels=8)
    return MODELS.build({**config, "num_classes": 4, "norm_cfg": None, **arguments})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [True]),
        ({"loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": False}}, [False]),
        ({"loss_decode": {"type": CrossEntropyLoss, "loss_weight": 0.4}}, [True]),
        ({"loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": True}}, [False]),
        (
            {
                "loss_decode": [
                    {"type": "mmseg.CrossEntropyLoss", "class_weight": [1.0, 2.0, 3.0, 4.0]},
                    {"type": "DiceLoss", "loss_name": "loss_dice"},
                ]
            },
            [True, None],
        ),
    ],
)
def test_plain_cross_entropies_average_over_labelled_pixels(
    given: dict[str, Any], expected: list[bool | None]
) -> None:
    losses = _head(preset="paper", **given).loss_decode
    losses = [losses] if hasattr(losses, "loss_name") else list(losses)
    assert [getattr(loss, "avg_non_ignore", None) for loss in losses] == expected


def test_the_log_says_once_what_was_set_what_beat_it_and_what_stays(
    tmp_path: Path,
) -> None:
    cfg = runner_config(tmp_path)
    cfg.merge_from_dict(
        {
            "model.decode_head.preset": "paper",
            "model.decode_head.decay": 0.9,
            "model.decode_head.sampler": {"type": "OHEMPixelSampler", "thresh": 0.7},
        }
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    (log,) = Path(runner.log_dir).glob("*.log")
    (line,) = [text for text in log.read_text().splitlines() if "preset='paper' set" in text]
    assert "decode_head: preset='paper' set projection=None, feature_norm=None, " in line
    assert "loss_prototype={'contrast_weight': 0.01, 'distance_weight': 0.01" in line
    assert "loss_decode.avg_non_ignore=True" in line
    # The toy's own three prototypes and the decay.
    assert (
        "given in the config and kept: num_prototypes=3 in place of 10, decay=0.9 in place of 0.999"
        in line
    )
    assert line.endswith("left as they are: OHEMPixelSampler, auxiliary FCNHead.")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("model", "data_set"), list(itertools.product([*PAPER, "segformer_b4_768"], DATA_SETS))
)
def test_the_twelve_recipes_take_a_preset_from_the_command_line(
    model: str, data_set: str, preset: str
) -> None:
    """Only the head is built; tests/test_recipe_runs.py trains with it."""
    cfg = Config.fromfile(CONFIGS / f"proto_{model}_{data_set}.py")
    given = dict(cfg.model.decode_head)
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    options = parser.parse_args(["--cfg-options", f"model.decode_head.preset={preset}"])
    cfg.merge_from_dict(options.cfg_options)
    init_default_scope("mmseg")
    head = MODELS.build(cfg.model.decode_head)
    classifier = head.prototype_classifier
    expected = _nested(preset)
    # What these recipes give themselves, of all that the preset sets.
    assert given.keys() & expected.keys() <= {"dropout_ratio"}
    dropout = given.get("dropout_ratio", expected.get("dropout_ratio", 0.1))
    assert (0 if head.dropout is None else head.dropout.p) == max(dropout, 0)
    assert classifier.bank.shape[1] == expected["num_prototypes"]
    assert classifier.bank.decay == expected["decay"]
    assert head.label_sampling == expected["label_sampling"]
    _has(head.loss_prototype, expected["loss_prototype"])
    _has(classifier.clustering, expected["clustering"])
    _has(classifier.update, expected["update"])
    _has(classifier.seeder.settings, expected["seeding"])
    assert classifier.bank.alive.all()
    embedding, scale = classifier.embedding, classifier.score_scale
    assert type(embedding.norm).__name__ == {"paper": "Identity", "authors": "LayerNorm"}[preset]
    assert embedding.extent == {"paper": "pixel", "authors": "row"}[preset]
    parameters = sum(p.numel() for p in scale.parameters())
    assert parameters == {"paper": 0, "authors": 2 * head.num_classes}[preset]
    assert float(scale.value()) == 1
    assert head.loss_decode.avg_non_ignore is True


def _has(settings: Any, expected: Mapping[str, Any]) -> None:
    assert {name: getattr(settings, name) for name in expected} == expected
