"""What is built, what is pinned, and that the files that say so agree."""

import email
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from mmseg_proto.configs import inherited_files
from mmseg_proto.version import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the checkout by the pinned hatchling, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=repository,
        capture_output=True,
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def pins(text: str) -> dict[str, set[str]]:
    """Returns the versions that each package is pinned to."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^\s*\"?([\w-]+)==([\w.+-]+)", text, flags=re.M):
        found.setdefault(name, set()).add(version)
    return found


def project(repository: Path) -> dict[str, dict[str, list[str]]]:
    loaded = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("where", ["mmseg_proto", "_mmseg_proto_mim"])
def test_configs_and_tools_travel_for_either_mim(
    wheel: zipfile.ZipFile, repository: Path, where: str
) -> None:
    expected = {"model-index.yml": repository / "model-index.yml"}
    for folder in ("configs", "tools"):
        files = [*(repository / folder).rglob("*.py"), *(repository / folder).rglob("*.yml")]
        expected.update({path.relative_to(repository).as_posix(): path for path in files})
    assert {"tools/train.py", "tools/test.py", "configs/metafile.yml"} <= expected.keys()
    for name, path in expected.items():
        assert wheel.read(f"{where}/.mim/{name}") == path.read_bytes()
    found = {name for name in wheel.namelist() if name.startswith(f"{where}/.mim/")}
    assert found == {f"{where}/.mim/{name}" for name in expected}


def test_onedl_mim_would_find_the_package(wheel: zipfile.ZipFile) -> None:
    """It looks in the folder of the first file of RECORD, which pip sorts by name."""
    first = min(wheel.namelist()).partition("/")[0]
    assert f"{first}/.mim/tools/train.py" in wheel.namelist()


def test_an_installed_config_finds_what_it_inherits(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    configs = tmp_path / "mmseg_proto" / ".mim" / "configs"
    for path in configs.glob("*.py"):
        for base in inherited_files(path):
            assert base.is_relative_to(configs)


def test_the_whole_package_travels(wheel: zipfile.ZipFile, repository: Path) -> None:
    package = repository / "mmseg_proto"
    files = [
        path
        for path in package.rglob("*")
        if path.suffix in (".py", ".typed", ".html", ".css", ".js")
    ]
    names = {path.relative_to(repository).as_posix() for path in files}
    assert names <= set(wheel.namelist())
    assert {"mmseg_proto/py.typed", "mmseg_proto/apis/report_page/page.html"} <= names


def test_examples_travel(wheel: zipfile.ZipFile, repository: Path) -> None:
    examples = list((repository / "examples").glob("*.py"))
    assert examples
    for path in examples:
        assert wheel.read(f"mmseg_proto/examples/{path.name}") == path.read_bytes()


def test_nothing_else_travels(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"mmseg_proto", "_mmseg_proto_mim", f"mmseg_proto-{__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name]
    assert not [name for name in wheel.namelist() if name.endswith("entry_points.txt")]


def test_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "mmseg-proto"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    extras = {"analysis", "dev", "docs", "export", "lite0", "onedl", "openmmlab"}
    assert set(metadata.get_all("Provides-Extra", [])) == extras


def test_hard_dependencies_are_few(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    hard = {re.split(r"[<>=!~ ]", line)[0] for line in required if "extra ==" not in line}
    assert hard == {"torch", "numpy"}


def test_no_extra_mixes_the_families(repository: Path) -> None:
    extras = project(repository)["optional-dependencies"]
    assert all(name.startswith("onedl-") for name in extras["onedl"])
    for extra in ("openmmlab", "dev"):
        assert not [name for name in extras[extra] if name.startswith("onedl-")]


def test_constraints_pin_what_setup_installs(repository: Path) -> None:
    pinned = pins((repository / "constraints.txt").read_text())
    assert pinned["torch"] == {"2.13.0"}
    assert pinned["opencv-python"] == pinned["opencv-python-headless"]
    extras = project(repository)["optional-dependencies"]
    asked = extras["onedl"] + extras["openmmlab"] + extras["dev"]
    direct = {re.split(r"[<>=!~]", line)[0] for line in asked}
    assert direct <= set(pinned)


def test_constraints_hold_nothing_but_pins(repository: Path) -> None:
    for line in (repository / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[a-z0-9-]+==[\w.]+( ; .*)?", line), line


def test_the_linters_are_the_same_everywhere(repository: Path) -> None:
    constraints = pins((repository / "constraints.txt").read_text())
    ours = pins((repository / "pyproject.toml").read_text())
    hooks = re.findall(r"ruff==([\d.]+)", (repository / ".pre-commit-config.yaml").read_text())
    assert ours["ruff"] == constraints["ruff"] == set(hooks)
    assert ours["mypy"] == constraints["mypy"]


def test_the_license_is_whole(repository: Path) -> None:
    text = (repository / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
