"""Imports inside the package go down only; see `FLOORS` for the order."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "mmseg_proto"
# Ground floor first. A module may import from its own folder and from the ones before it.
FLOORS = (
    "ops",
    "prototypes",
    "losses",
    "backbones",
    "heads",
    "segmentors",
    "visualization",
    "hooks",
    "datasets",
    "evaluation",
    "apis",
)
# Modules beside the floors. They import nothing of the package, and no floor imports them.
BESIDE = ("_host", "_needs_host", "configs", "version")
# With two exceptions: floors bound to the host import the first of these, which calls the second.
NEEDS_HOST, HOST = "_needs_host", "_host"
# These floors know nothing of the host.
PURE = ("ops", "prototypes", "losses")
PURE_IMPORTS = {"torch", "numpy", *sys.stdlib_module_names}


def imported_modules(path: Path, module: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields line and dotted parts of every import of a file, wherever in it the import stands.

    Args:
        path: The file.
        module: Dotted parts of the package that the file's relative imports start from.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            above = module[: len(module) - node.level + 1] if node.level else ()
            start = (*above, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                # `from mmseg_proto import heads` names a floor by what is imported.
                yield node.lineno, (*start, alias.name)


def complaint(place: str, target: tuple[str, ...]) -> str | None:
    """Says what is wrong when a module in `place` imports `target`, or nothing."""
    if target[0] != PACKAGE:
        if place in PURE and target[0] not in PURE_IMPORTS:
            return f"{place} may import torch, numpy and the standard library only"
        return None
    floor = target[1] if len(target) > 1 else PACKAGE
    if (place, floor) == (NEEDS_HOST, HOST):
        return None
    if place in BESIDE:
        return f"{place} stands beside the floors and may import nothing of the package"
    if floor == NEEDS_HOST and place not in PURE:
        return None
    if floor not in FLOORS:
        return f"{floor} is not a floor"
    if FLOORS.index(floor) > FLOORS.index(place):
        return f"{floor} lies above {place}"
    return None


def upward_imports(package: Path) -> list[str]:
    """Returns one line for every import that the order forbids, and every place not in it."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if ".mim" in parts or parts == ("__init__",):
            continue
        place = parts[0]
        if place not in (FLOORS if len(parts) > 1 else BESIDE):
            found.append(f"{path.name}: {place} has no floor; give it one in {Path(__file__).name}")
            continue
        for line, target in imported_modules(path, (PACKAGE, *parts[:-1])):
            wrong = complaint(place, target)
            if wrong:
                found.append(f"{'/'.join(parts)}.py:{line}: imports {'.'.join(target)}: {wrong}")
    return found


def test_imports_go_down_only(repository: Path) -> None:
    assert upward_imports(repository / PACKAGE) == []


@pytest.mark.parametrize("floor", ["ops", "prototypes", "losses", "heads", "hooks", "datasets"])
def test_the_floors_are_there(repository: Path, floor: str) -> None:
    modules = list((repository / PACKAGE / floor).glob("*.py"))
    assert any(path.name != "__init__.py" for path in modules)


@pytest.mark.parametrize(
    ("place", "line", "wrong"),
    [
        ("ops/a.py", "from mmseg_proto.heads import b", "heads lies above ops"),
        ("ops/a.py", "import mmseg_proto.heads.b", "heads lies above ops"),
        ("ops/a.py", "from ..prototypes import b", "prototypes lies above ops"),
        ("ops/a.py", "from .. import losses", "losses lies above ops"),
        ("ops/deep/a.py", "from ...losses import b", "losses lies above ops"),
        ("ops/a.py", "def f():\n    from mmseg_proto import hooks", "hooks lies above ops"),
        ("prototypes/__init__.py", "from ..losses import b", "losses lies above prototypes"),
        (
            "losses/a.py",
            "from mmseg_proto import ProtoHead",
            "ProtoHead is not a floor",
        ),
        ("losses/a.py", "import mmseg_proto", "mmseg_proto is not a floor"),
        ("losses/a.py", "from mmseg_proto._host import b", "_host is not a floor"),
        ("losses/a.py", "from mmseg_proto import _needs_host", "_needs_host is not a floor"),
        ("heads/a.py", "from mmseg_proto._host import b", "_host is not a floor"),
        ("ops/a.py", "import mmengine", "standard library only"),
        ("prototypes/a.py", "from mmengine.dist import all_reduce", "standard library only"),
        ("losses/a.py", "from mmseg.registry import MODELS", "standard library only"),
        ("version.py", "from mmseg_proto.ops import b", "may import nothing of the package"),
        ("_host.py", "from mmseg_proto import _needs_host", "may import nothing of the package"),
        ("_needs_host.py", "from mmseg_proto.ops import b", "may import nothing of the package"),
        ("attic/a.py", "", "attic has no floor"),
        ("helpers.py", "", "helpers has no floor"),
    ],
)
def test_a_wrong_import_is_caught(tmp_path: Path, place: str, line: str, wrong: str) -> None:
    path = tmp_path / PACKAGE / place
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    (found,) = upward_imports(tmp_path / PACKAGE)
    assert wrong in found


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("ops/a.py", "import math\nimport torch.nn.functional as F\nimport numpy as np"),
        ("ops/a.py", "from .b import c"),
        ("ops/a.py", "from . import b"),
        ("ops/deep/a.py", "from ..b import c"),
        ("prototypes/a.py", "from mmseg_proto.ops import b"),
        ("heads/a.py", "from ..losses import b\nfrom mmseg.registry import MODELS"),
        ("heads/__init__.py", "from mmseg_proto import _needs_host"),
        ("_needs_host.py", "from mmseg_proto._host import b"),
        ("__init__.py", "from mmseg_proto.heads import b"),
    ],
)
def test_a_right_import_passes(tmp_path: Path, place: str, line: str) -> None:
    path = tmp_path / PACKAGE / place
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert upward_imports(tmp_path / PACKAGE) == []
