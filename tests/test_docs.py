"""Pages lead somewhere, and what they tell users to type is there."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import readme
from mmengine.config import Config
from readme import PAGES, ROOT
from test_layers import FLOORS

from mmseg_proto.configs import config_root, list_configs

TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
#: Options of mim, which runs the train.py and test.py of mmseg with options of its own beside.
_MIM_OPTIONS = {"--cfg-options", "--checkpoint", "--work-dir", "--gpus", "--search-args"}


@cache
def help_of(tool: str) -> str:
    command = [sys.executable, str(ROOT / "tools" / tool), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def called_tools() -> list[tuple[str, str]]:
    """Return tool and the rest of the line for every call of a tool on any page."""
    pattern = r"(?:python tools/(\w+)\.py|mim run mmseg_proto (\w+))(?: (.*))?$"
    lines = [line for text in PAGES.values() for line in readme.commands(text)]
    found = [match for line in lines if (match := re.match(pattern, line))]
    return [(f"{match[1] or match[2]}.py", match[3] or "") for match in found]


def test_every_tool_has_its_place_and_an_example() -> None:
    page = PAGES["docs/tools.md"]
    named = re.findall(r"\*\*`(\w+\.py)`\*\*", page)
    assert sorted(named) == TOOLS, "docs/tools.md should name each of tools/*.py once, in bold"
    examples = {Path(line.split()[1]).name for line in readme.commands(page) if "python" in line}
    assert examples == {*TOOLS, "NAME.py"}, "docs/tools.md should have an example of each"


@pytest.mark.parametrize("tool", TOOLS)
def test_the_options_of_tools_are_there(tool: str) -> None:
    calls = [rest for name, rest in called_tools() if name == tool]
    assert calls
    for rest in calls:
        for option in re.findall(r"(?:^| )(--?[a-z][a-z-]*)", rest):
            assert re.search(rf"(^|[ ,\[]){option}\b", help_of(tool), flags=re.M), option


def known(words: list[str]) -> bool:
    """Say whether there is what a command of make, mim or python names."""
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return bool(re.search(rf"^{words[1]}:", makefile, flags=re.M))
    if words[:2] == ["mim", "run"]:
        return f"{words[3]}.py" in TOOLS or words[3] == "NAME"
    if words[0] == "mim":
        return {word for word in words if word.startswith("--")} <= _MIM_OPTIONS
    if words[:2] == ["python", "-m"]:
        module = words[2].replace(".", "/").replace("mmseg_proto/examples", "examples")
        return (ROOT / f"{module}.py").is_file()
    return words[1] == "tools/NAME.py" or (ROOT / words[1]).is_file()


def test_the_other_commands_are_there() -> None:
    lines = [line.partition(" '")[0] for text in PAGES.values() for line in readme.commands(text)]
    calls = [line.split() for line in lines if re.match(r"(make|mim|python) \S+", line)]
    calls = [words for words in calls if len(words) > 3 or words[:2] != ["mim", "run"]]
    assert [words for words in calls if not known(words)] == []
    assert ["make", "docs"] in calls


def test_every_config_that_is_named_exists() -> None:
    packaged = set(list_configs(config_root()))
    for page, text in PAGES.items():
        for name in re.findall(r"\b((?:proto|softmax)_[a-z0-9_]+)\.py", text):
            assert name in packaged or name == "proto_decode_head", (page, name)


def python_snippets() -> list[Any]:
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page, text in PAGES.items()
        for number, block in enumerate(readme.code_blocks("python", text))
    ]


@pytest.mark.parametrize("snippet", python_snippets())
def test_snippets_are_python(snippet: str) -> None:
    ast.parse(snippet)


def test_the_config_of_a_model_without_a_class_loads(tmp_path: Path) -> None:
    (snippet,) = (
        block
        for block in readme.code_blocks("python", PAGES["docs/after_training.md"])
        if "_base_" in block
    )
    path = tmp_path / "without_car.py"
    path.write_text(snippet.replace("./proto_", f"{config_root()}/proto_"))
    cfg = Config.fromfile(path)
    assert cfg.model.decode_head.num_classes == len(cfg.names) == 10
    assert cfg.train_dataloader.dataset.metainfo.classes == cfg.names


def test_the_step_on_plain_pytorch_runs() -> None:
    (snippet,) = readme.code_blocks("python", PAGES["docs/plain_pytorch.md"])
    made: dict[str, Any] = {}
    exec(compile(snippet, "docs/plain_pytorch.md", "exec"), made)
    assert made["embeddings"].grad.abs().sum() > 0
    assert made["bank"].updates.sum() > 0


def anchors(text: str) -> set[str]:
    """Return the anchors of headings, as GitHub and MyST make them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", PAGES[page], flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            name = target.resolve().relative_to(ROOT).as_posix()
            assert anchor in anchors(PAGES[name]), link


def test_the_index_shows_every_page() -> None:
    index = PAGES["docs/index.md"]
    for page in PAGES:
        if page != "docs/index.md":
            link = page.removeprefix("docs/") if page.startswith("docs/") else f"../{page}"
            assert f"]({link})" in index, page


def test_the_reference_has_every_package() -> None:
    for floor in FLOORS:
        if (ROOT / "mmseg_proto" / floor).is_dir():
            assert f".. automodule:: mmseg_proto.{floor}\n" in PAGES[f"docs/api/{floor}.md"], floor


def test_the_reference_has_what_tools_call() -> None:
    for tool in TOOLS:
        tree = ast.parse((ROOT / "tools" / tool).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                package = "mmseg_proto.apis"
                names = [f"{package}.{alias.name}" for alias in node.names]
                for module in names if node.module == package else [node.module]:
                    if module.startswith(f"{package}."):
                        directive = f".. automodule:: {module}\n"
                        assert directive in PAGES["docs/api/apis.md"], (tool, module)


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-W", "ignore", "-m", "sphinx", "-q", "-W", "--keep-going"]
    done = subprocess.run(
        [*command, "-c", str(ROOT / "docs"), str(ROOT), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "docs" / "index.html").is_file()
    assert "docs/index.html" in (tmp_path / "index.html").read_text()
    # Equations need no script from elsewhere.
    assert "<math" in (tmp_path / "docs" / "method.html").read_text()
