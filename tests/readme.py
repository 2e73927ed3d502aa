"""The README as data: what it tells users to type."""

import re
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.M | re.S)


def swap_snippet(base: str, decoder: str) -> str:
    """Return the swap of the README with base config and decoder filled in."""
    (snippet,) = (block for block in code_blocks("python") if "_base_ =" in block)
    filled = snippet.replace("my_existing_segformer_config.py", base)
    return filled.replace("SegformerHead", decoder)


def pure_python_snippet(module: str) -> str:
    """Return the swap for configs in pure Python with the module of the base filled in."""
    (snippet,) = (block for block in code_blocks("python") if "read_base()" in block)
    return snippet.replace("my_existing_segformer_config", module)


def swap_options() -> list[str]:
    """Return the options of the swap by command line alone."""
    (command,) = (
        line
        for block in code_blocks("bash")
        for line in block.splitlines()
        if "mmseg_proto.ProtoDecodeHead" in line
    )
    return command.split("--cfg-options")[1].split()
