import subprocess
import sys
from pathlib import Path
from typing import Any

import mmseg
import pytest
from mmengine.config import Config

from mmseg_proto.apis.config_swap import swap_config, write_swap

HOST_CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs"
HEAD = {"type": "FCNHead", "in_channels": 8, "channels": 8, "num_classes": 3}


def config(**parts: Any) -> dict[str, Any]:
    return {"default_scope": "mmseg", "model": {"decode_head": dict(HEAD)}, **parts}


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def test_only_the_head_changes(tmp_path: Path) -> None:
    stock = HOST_CONFIGS / "segformer" / "segformer_mit-b0_8xb2-160k_ade20k-512x512.py"
    out = tmp_path / "made" / "swapped.py"
    notes = write_swap(stock, out)
    assert notes[0] == "SegformerHead classifies by prototypes now"
    before, after = Config.fromfile(stock).to_dict(), Config.fromfile(out).to_dict()
    assert after.pop("custom_imports") == {
        "imports": ["mmseg_proto"],
        "allow_failed_imports": False,
    }
    assert after["default_hooks"].pop("prototype") == {"type": "PrototypeUpdateHook"}
    scale = after["optim_wrapper"]["paramwise_cfg"]["custom_keys"].pop("log_scale")
    assert scale == {"lr_mult": 10.0, "decay_mult": 0.0}  # the head's rate there
    head = after["model"]["decode_head"]
    assert (head["type"], head.pop("decoder")) == ("ProtoDecodeHead", "SegformerHead")
    head["type"] = "SegformerHead"
    assert after == before
    assert [file.name for file in out.parent.iterdir()] == ["swapped.py"]


def test_cascades_are_written_whole(tmp_path: Path) -> None:
    stock = HOST_CONFIGS / "ocrnet" / "ocrnet_hr18_4xb4-160k_ade20k-512x512.py"
    write_swap(stock, tmp_path / "swapped.py")
    before = Config.fromfile(stock).model.decode_head
    first, last = Config.fromfile(tmp_path / "swapped.py").model.decode_head
    assert first == before[0]
    assert last == {**before[1], "type": "ProtoDecodeHead", "decoder": "OCRHead"}


def test_imports_and_hooks_of_the_base_stay(tmp_path: Path) -> None:
    base = write(
        tmp_path / "base.py",
        "custom_imports = dict(imports='json', allow_failed_imports=True)\n"
        "custom_hooks = [dict(type='EMAHook')]\n"
        "default_hooks = dict(logger=dict(type='LoggerHook'))\n"
        f"model = dict(decode_head={HEAD})\n",
    )
    notes = write_swap(base, tmp_path / "swapped.py")
    assert "custom_imports of the base are listed again: json" in notes
    cfg = Config.fromfile(tmp_path / "swapped.py")
    assert cfg.custom_imports == {"imports": ["json", "mmseg_proto"], "allow_failed_imports": True}
    assert cfg.custom_hooks == [{"type": "EMAHook"}]
    assert set(cfg.default_hooks) == {"logger", "prototype"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"log_scale": {"decay_mult": 0.0}}),
        ({"norm": {"decay_mult": 0.0}}, {"log_scale": {"decay_mult": 0.0}}),
        (
            {"head": {"lr_mult": 10.0}},
            {"log_scale": {"lr_mult": 10.0, "decay_mult": 0.0}},
        ),
        # Longer than `log_scale`, it would win over it.
        (
            {"decode_head": {"lr_mult": 5.0, "decay_mult": 2.0}},
            {"score_scale.log_scale": {"lr_mult": 5.0, "decay_mult": 0.0}},
        ),
    ],
)
def test_scale_keeps_the_rate_of_its_head_and_does_not_decay(
    keys: dict[str, Any], expected: dict[str, Any]
) -> None:
    wrapper = {"optimizer": {"type": "SGD"}, "paramwise_cfg": {"custom_keys": keys}}
    child = swap_config(config(optim_wrapper=wrapper)).child
    assert child["optim_wrapper"]["paramwise_cfg"]["custom_keys"] == expected


def test_constructors_without_custom_keys_get_none() -> None:
    wrapper = {"constructor": "LearningRateDecayOptimizerConstructor", "paramwise_cfg": {}}
    assert "optim_wrapper" not in swap_config(config(optim_wrapper=wrapper)).child


def test_modules_that_cannot_be_imported_are_told() -> None:
    notes = swap_config(config(custom_imports={"imports": ["no_such_module"]})).notes
    assert any("custom_imports fail on this machine" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset_type = 'ADE20KDataset'", "a `decode_head`, but found none"),
        (f"model = dict(decode_head={ {**HEAD, 'type': 'MaskFormerHead'} })", "masks from queries"),
        (f"model = dict(decode_head={ {**HEAD, 'type': 'ProtoDecodeHead'} })", "nothing to swap"),
        (f"model = dict(decode_head={ {**HEAD, 'num_classes': 1} })", "a binary head"),
        (f"model = dict(decode_head={ {**HEAD, 'chanels': 1} })", "unknown chanels. Did you mean"),
        ("model = dict(", "a config that can be read"),
        ("_base_ = './missing.py'", "a config that can be read"),
        (
            "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n",
            "one in pure Python, which takes the swap itself",
        ),
    ],
)
def test_nothing_is_written_where_nothing_can_be_swapped(
    tmp_path: Path, text: str, message: str
) -> None:
    base = write(tmp_path / "base.py", text)
    with pytest.raises((ValueError, TypeError), match=message):
        write_swap(base, tmp_path / "swapped.py")
    assert [file.name for file in tmp_path.iterdir()] == ["base.py"]


@pytest.mark.slow
def test_command(tmp_path: Path, repository: Path) -> None:
    base = write(tmp_path / "base.py", f"model = dict(decode_head={HEAD})")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        tool = str(repository / "tools" / "swap_config.py")
        return subprocess.run(
            [sys.executable, tool, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("base.py", "-o", "new.py")
    assert done.stdout.startswith("new.py is written. FCNHead classifies by prototypes now.")
    text = (tmp_path / "new.py").read_text(encoding="utf-8")
    assert text.startswith("_base_ = './base.py'\n")
    again = run("base.py", "-o", "new.py")
    assert "Nothing was written. Expected a new file, but new.py is there" in again.stderr
    assert run("base.py", "-o", "new.py", "--force").returncode == 0
    assert "another file" in run("base.py", "-o", "base.py", "--force").stderr
    assert "there is no file nowhere.py" in run("nowhere.py", "-o", "x.py").stderr
    assert base.read_text(encoding="utf-8") == f"model = dict(decode_head={HEAD})"
