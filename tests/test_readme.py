"""What the README says is so."""

import inspect
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import readme
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import HOOKS, MODELS
from PIL import Image
from recipe_names import DATA_SETS, OTHERS, PAPER
from toy_runner import make_runner

from mmseg_proto import PixelPrototypeLoss, ProtoDecodeHead, PrototypeUpdateHook
from mmseg_proto.configs import config_root, list_configs
from mmseg_proto.heads.settings import (
    ClusteringSettings,
    ScaleSettings,
    SeedingSettings,
    UpdateSettings,
)


def table_rows(first_column: str) -> list[list[str]]:
    """Return the cells of the table whose head starts with a column."""
    _, _, rest = readme.TEXT.partition(f"| {first_column} |")
    rows = []
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_settings_table_states_the_defaults() -> None:
    stated = {
        cells[0].strip("`"): eval(cells[1].strip("`"), {"dict": dict})  # noqa: S307
        for cells in table_rows("argument")
    }
    parameters = inspect.signature(ProtoDecodeHead.__init__).parameters
    loss = inspect.signature(PixelPrototypeLoss).parameters
    nested: dict[str, dict[str, Any]] = {
        "loss_prototype": {"type": "PixelPrototypeLoss"} | {k: p.default for k, p in loss.items()},
        "clustering": asdict(ClusteringSettings()),
        "update": asdict(UpdateSettings()),
        "score_scale": asdict(ScaleSettings()),
        "seeding": asdict(SeedingSettings()),
    }
    own = set(parameters) - {"self", "decoder", "decoder_arguments"}
    assert set(stated) == own
    for name, value in stated.items():
        assert value == nested.get(name, parameters[name].default), name


def test_config_table_lists_what_is_packaged() -> None:
    rows = table_rows("configs")
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


def test_every_config_that_is_named_exists(repository: Path) -> None:
    packaged = set(list_configs(config_root()))
    for text in (readme.TEXT, (repository / "docs" / "recipes.md").read_text(encoding="utf-8")):
        for name in re.findall(r"\b((?:proto|softmax)_[a-z0-9_]+)\.py", text):
            assert name in packaged, name


def test_every_packaged_name_and_make_target_exists(repository: Any) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z-]+)", readme.TEXT))
    assert {"demo", "test", "setup"} <= targets
    for target in targets - {"are"}:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


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
    for section in ("From Python", "How sure, and which prototype"):
        snippet = readme.TEXT.split(f"## {section}")[1].split("```python\n")[1].split("```")[0]
        assert "iter_160000.pth" in snippet
        assert "street.png" in snippet
        snippet = re.sub(r'"[^"]*iter_160000.pth"', repr(f"{runner.work_dir}/iter_4.pth"), snippet)
        snippet = snippet.replace("street.png", str(tmp_path / "street.png"))
        exec(compile(snippet.replace("cuda", "cpu"), "README.md", "exec"), made)
    assert made["labels"].shape == (1, 16, 24)
    assert made["result"].prototype_id.data.shape == (1, 16, 24)


def test_the_options_of_tools_are_there(repository: Path) -> None:
    helps: dict[str, str] = {}
    for line in "\n".join(readme.code_blocks("bash")).splitlines():
        found = re.match(r"python (tools/\w+\.py)(.*)", line)
        if not found:
            continue
        tool, rest = found[1], found[2].partition(" #")[0]
        if tool not in helps:
            command = [sys.executable, str(repository / tool), "--help"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            helps[tool] = done.stdout
        for option in re.findall(r" (--?[a-z][a-z-]*)", rest):
            assert re.search(rf"(^|[ ,]){option}\b", helps[tool], flags=re.M), (tool, option)
    assert {"tools/add_class.py", "tools/swap_checkpoint.py"} <= helps.keys()
