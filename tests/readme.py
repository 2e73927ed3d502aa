"""The README and the pages of docs/ as data: what they tell users to type."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Text of each page by its path in the repository.
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/api/*.md")])
}
TEXT = PAGES["README.md"]


def code_blocks(language: str, text: str = TEXT) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def table_rows(first_column: str, text: str = TEXT) -> list[list[str]]:
    """Return the cells of the table whose head starts with a column."""
    _, _, rest = text.partition(f"\n| {first_column} |")
    rows = []
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def commands(text: str) -> list[str]:
    """Return the lines of shell blocks and commands in running text, continued lines joined."""
    blocks = "\n".join(code_blocks("(?:bash|shell)", text)).replace("\\\n", " ").splitlines()
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    inline = re.findall(r"`([^`]+)`", rest)
    return [re.sub(r"\s+", " ", line.partition(" #")[0]).strip() for line in [*blocks, *inline]]


def swap_snippet(base: str, decoder: str) -> str:
    """Return the swap of the README with base config and decoder filled in."""
    (snippet,) = (block for block in code_blocks("python") if "_base_ =" in block)
    filled = snippet.replace("my_existing_segformer_config.py", base)
    return filled.replace("SegformerHead", decoder)


def pure_python_snippet(module: str) -> str:
    """Return the swap for configs in pure Python with the module of the base filled in."""
    blocks = code_blocks("python", PAGES["docs/swap.md"])
    (snippet,) = (block for block in blocks if "read_base()" in block)
    return snippet.replace("my_existing_segformer_config", module)


def swap_options() -> list[str]:
    """Return the options of the swap by command line alone."""
    found = commands(PAGES["docs/swap.md"])
    (command,) = (line for line in found if "mmseg_proto.ProtoDecodeHead" in line)
    return command.split("--cfg-options")[1].split()
