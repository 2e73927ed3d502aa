"""What the README says is so."""

import inspect
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import readme
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import HOOKS, MODELS
from PIL import Image
from recipe_names import DATA_SETS, OTHERS, PAPER
from toy_runner import make_runner

from mmseg_proto import PixelPrototypeLoss, ProtoDecodeHead, PrototypeUpdateHook
from mmseg_proto.configs import config_root, list_configs
from mmseg_proto.heads.proto_decode_head import own_arguments
from mmseg_proto.heads.settings import (
    ClusteringSettings,
    ScaleSettings,
    SeedingSettings,
    UpdateSettings,
)


def test_settings_table_states_the_defaults() -> None:
    stated = {
        cells[0].strip("`"): eval(cells[1].strip("`"), {"dict": dict})  # noqa: S307
        for cells in readme.table_rows("argument", readme.PAGES["docs/settings.md"])
    }
    own = own_arguments()
    loss = inspect.signature(PixelPrototypeLoss).parameters
    nested: dict[str, dict[str, Any]] = {
        "loss_prototype": {"type": "PixelPrototypeLoss"} | {k: p.default for k, p in loss.items()},
        "clustering": asdict(ClusteringSettings()),
        "update": asdict(UpdateSettings()),
        "score_scale": asdict(ScaleSettings()),
        "seeding": asdict(SeedingSettings()),
    }
    assert set(stated) == set(own)
    for name, value in stated.items():
        assert value == nested.get(name, own[name]), name


def test_config_table_lists_what_is_packaged() -> None:
    rows = readme.table_rows("configs")
    names = [re.findall(r"`([a-z0-9_.A-Z]+)`", " | ".join(cells)) for cells in rows]
    models, data = set(PAPER + OTHERS), set(DATA_SETS)
    # The first row is a rule, made of the words in its other cells; dots stand for several names.
    assert set(names[0]) == {"proto_MODEL_DATA", "softmax_MODEL_DATA"} | models | data
    stated = {
        f"{kind}_{model}_{name}"
        for kind in ("proto", "softmax")
        for model in models
        for name in data
    }
    packaged = set(list_configs(config_root()))
    beginnings = [name.removesuffix("...") for row in names[1:] for name in row if "_" in name]
    for beginning in beginnings:
        found = {name for name in packaged if name.startswith(beginning)}
        assert found, beginning
        stated |= found
    assert packaged == stated


def test_decoders_are_those_of_their_page() -> None:
    def kind(verdict: str) -> str:
        return re.split(r", |: ", verdict)[0] + ("*" if "compiled ops" in verdict else "")

    expected: dict[str, set[str]] = {}
    for name, verdict in readme.table_rows("decoder", readme.PAGES["docs/decoders.md"]):
        expected.setdefault(kind(verdict), set()).add(name)
    stated: dict[str, set[str]] = {}
    for verdict, names in readme.table_rows("verdict"):
        stated.setdefault(kind(verdict), set()).update(re.findall(r"`\w+`", names))
    assert stated == expected
    of_the_host = len(expected["swapped"]) + len(expected["swapped*"]) - 1
    assert f"| {of_the_host} of MMSegmentation's decode heads" in readme.TEXT


def test_results_are_those_of_their_pages() -> None:
    measured = readme.table_rows("class | softmax | prototypes", readme.PAGES["docs/accuracy.md"])
    stated = readme.table_rows("class | `softmax_lite0_camvid` | `proto_lite0_camvid`")
    for found, said in zip(measured[:11], stated[:11], strict=True):
        assert found[0] == said[0]
        assert [float(cell) for cell in said[1:]] == pytest.approx(
            [float(cell) for cell in found[1:]], abs=0.0501
        )
    costs = readme.table_rows("model | training step, softmax", readme.PAGES["docs/performance.md"])
    ratios = [[re.sub(r" \(.*", "", row[0]), row[3], row[4], row[7], row[8]] for row in costs]
    costs = readme.table_rows("image 2x512x512")
    assert [[cell.removesuffix("x") for cell in row] for row in costs] == ratios


def test_swap_in_pure_python_builds(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(
        "from mmseg.models import FCNHead\n"
        "head = dict(type=FCNHead, in_channels=8, channels=8, num_classes=3)\n"
        "model = dict(decode_head=head)\n"
        "default_hooks = dict()\n"
    )
    (tmp_path / "child.py").write_text(readme.pure_python_snippet("base"))
    cfg = Config.fromfile(tmp_path / "child.py")
    init_default_scope("mmseg")
    assert isinstance(MODELS.build(cfg.model.decode_head), ProtoDecodeHead)
    assert isinstance(HOOKS.build(cfg.default_hooks.prototype), PrototypeUpdateHook)


def test_the_snippets_for_python_run(tmp_path: Path) -> None:
    """With another checkpoint, image and device."""
    pipeline = [{"type": "LoadImageFromFile"}, {"type": "PackSegInputs"}]
    runner = make_runner(tmp_path, {"test_pipeline": pipeline})
    runner.train()
    Image.new("RGB", (24, 16)).save(tmp_path / "street.png")
    made: dict[str, Any] = {}
    sections = {
        "From Python": "README.md",
        "How sure, and which prototype": "docs/after_training.md",
    }
    for section, page in sections.items():
        text = readme.PAGES[page].split(f"## {section}\n")[1]
        snippet = text.split("```python\n")[1].split("```")[0]
        assert "iter_160000.pth" in snippet
        assert "street.png" in snippet
        snippet = re.sub(r'"[^"]*iter_160000.pth"', repr(f"{runner.work_dir}/iter_4.pth"), snippet)
        snippet = snippet.replace("street.png", str(tmp_path / "street.png"))
        exec(compile(snippet.replace("cuda", "cpu"), page, "exec"), made)
    assert made["labels"].shape == (1, 16, 24)
    assert made["result"].prototype_id.data.shape == (1, 16, 24)
