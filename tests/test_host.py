"""The host is checked before it is used, and what is wrong with it is said once and clearly."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from no_host import run_without_host

import mmseg_proto
from mmseg_proto import _host

ONEDL = {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6", "onedl-mmsegmentation": "1.4.2"}
STOCK = {"mmengine": "0.10.7", "mmcv": "2.1.0", "mmsegmentation": "1.2.2"}

Install = Callable[[dict[str, str]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Returns a function that makes exactly the given distributions look installed."""

    def pretend(versions: dict[str, str]) -> None:
        def version(name: str) -> str:
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(metadata, "version", version)

    return pretend


@pytest.fixture
def break_import(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException], None]:
    """Returns a function that makes the import of one module fail as given."""

    def pretend(broken: str, error: BaseException) -> None:
        def import_module(name: str) -> None:
            if name == broken:
                raise error

        monkeypatch.setattr(importlib, "import_module", import_module)

    return pretend


def refusal() -> str:
    with pytest.raises(ImportError) as caught:
        _host.require_host()
    return str(caught.value)


def test_the_host_of_these_tests_is_accepted() -> None:
    _host.require_host()


@pytest.mark.parametrize("family", [ONEDL, STOCK])
def test_either_family_is_accepted(install: Install, family: dict[str, str]) -> None:
    install(family)
    _host.require_host()


def test_no_host(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install({})
    for name in ("mmengine", "mmcv", "mmseg"):
        monkeypatch.setitem(sys.modules, name, None)
    message = refusal()
    assert "could not find mmengine, mmcv, mmseg (installed: none of them)" in message
    assert "pip install 'mmseg-proto[onedl]'" in message


def test_a_part_is_missing(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install({"onedl-mmengine": "0.10.12", "onedl-mmsegmentation": "1.4.2"})
    monkeypatch.setitem(sys.modules, "mmcv", None)
    message = refusal()
    assert "could not find mmcv (installed: onedl-mmengine 0.10.12, onedl-mmseg" in message
    assert "pip install 'mmseg-proto[onedl]'" in message


@pytest.mark.parametrize("intruder", [*STOCK, "mmcv-lite", "mmcv-full"])
def test_a_mix_of_both_families(install: Install, intruder: str) -> None:
    install({**ONEDL, intruder: "9.9"})
    message = refusal()
    assert "a mix of two" in message
    assert f"{intruder} 9.9" in message
    assert f"pip uninstall {intruder} onedl-mmengine onedl-mmcv onedl-mmsegmentation`" in message


def test_mmsegmentation_is_too_old(install: Install) -> None:
    install({"mmcv-full": "1.7.2", "mmsegmentation": "0.30.0"})
    assert "Expected MMSegmentation to be 1.0 or newer" in refusal()


def test_mmcv_without_ops(
    install: Install, break_import: Callable[[str, BaseException], None]
) -> None:
    install({"mmengine": "0.10.7", "mmcv-lite": "2.1.0", "mmsegmentation": "1.2.2"})
    error = ModuleNotFoundError("No module named 'mmcv._ext'", name="mmcv._ext")
    break_import("mmseg.models", error)
    message = refusal()
    assert "mmcv has no compiled ops" in message
    assert "mmcv-lite 2.1.0" in message
    assert "pip uninstall mmcv mmcv-lite" in message


@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0", "libglib-2.0.so.0"])
def test_opencv_without_system_libraries(
    library: str, break_import: Callable[[str, BaseException], None]
) -> None:
    reason = f"{library}: cannot open shared object file: No such file or directory"
    break_import("mmcv", ImportError(reason))
    message = refusal()
    assert reason in message
    assert "apt-get install libgl1 libglib2.0-0" in message
    assert "opencv-python-headless" in message


def test_an_undeclared_dependency(break_import: Callable[[str, BaseException], None]) -> None:
    break_import("mmseg.models", ModuleNotFoundError("No module named 'ftfy'", name="ftfy"))
    assert "`pip install ftfy`" in refusal()


def test_versions_that_do_not_fit(
    install: Install, break_import: Callable[[str, BaseException], None]
) -> None:
    install({**STOCK, "mmcv": "2.2.0"})
    break_import("mmseg", AssertionError("MMCV==2.2.0 is used but incompatible."))
    message = refusal()
    assert "MMCV==2.2.0 is used but incompatible." in message
    assert "mmcv 2.2.0" in message
    assert "pip install 'mmseg-proto[onedl]'" in message


def test_importing_the_package_checks_the_host(tmp_path: Path, repository: Path) -> None:
    for name, version in {"mmengine": "0.10.7", "onedl-mmcv": "2.3.6"}.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    path = os.pathsep.join([str(tmp_path), str(repository)])
    result = subprocess.run(
        [sys.executable, "-c", "import mmseg_proto"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: Expected one host family, but got a mix of two: ")


def test_a_mix_is_refused_without_mmsegmentation_too(install: Install) -> None:
    install({"mmengine": "0.10.7", "onedl-mmcv": "2.3.6"})
    with pytest.raises(ImportError, match="a mix of two"):
        _host.find_host()


@pytest.mark.parametrize(
    ("versions", "there"),
    [
        ({}, False),
        ({"mmengine": "0.10.7", "mmcv": "2.1.0"}, False),
        ({"mmsegmentation": "1"}, True),
    ],
)
def test_half_a_host_is_one_if_it_has_mmsegmentation(
    install: Install, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], there: bool
) -> None:
    install(versions)
    monkeypatch.setitem(sys.modules, "mmseg", None)
    assert _host.find_host() is there


def test_without_a_host_the_pure_parts_work() -> None:
    run_without_host("""
import torch
from mmseg_proto.ops import nearest_prototypes
from mmseg_proto.prototypes import PrototypeBank
from mmseg_proto.losses import PixelPrototypeLoss
import mmseg_proto

bank = PrototypeBank(2, 3, 4)
loss = mmseg_proto.PixelPrototypeLoss()(torch.ones(1), torch.ones(1), torch.zeros(1).long(), 2)
assert loss["loss_ppd"] == 0
assert not any(name.partition(".")[0] in hidden for name in sys.modules if sys.modules[name])
""")


def test_without_a_host_everything_else_says_what_to_install(repository: Path) -> None:
    package = repository / "mmseg_proto"
    pure = {"ops", "prototypes", "losses"}
    floors = {path.parent.name for path in package.glob("*/__init__.py")} - pure
    assert {"heads", "hooks", "datasets", "apis"} <= floors
    lines = [f"import mmseg_proto.{floor}" for floor in sorted(floors)]
    lines += [f"from mmseg_proto import {floor}" for floor in sorted(floors)]
    names = set(mmseg_proto.__all__) - {"PixelPrototypeLoss", "__version__"}
    lines += [f"from mmseg_proto import {name}" for name in sorted(names)]
    said = run_without_host(f"""
for line in {lines}:
    try:
        exec(line)
    except ImportError as error:
        print(error)
    else:
        print(line, "passed")
""")
    assert set(said.splitlines()) == {
        "mmseg_proto is a plugin of MMSegmentation and needs the modules mmengine, mmcv, mmseg, "
        "but could not find mmengine, mmcv, mmseg (installed: none of them). Install one host "
        "family, and only one: `pip install 'mmseg-proto[onedl]'` (nothing to compile), or `pip "
        "install 'mmseg-proto[openmmlab]'` (mmsegmentation 1.2.2 and an mmcv below 2.2 with its "
        "compiled ops)."
    }


def test_a_name_that_is_unknown_is_not_the_hosts_fault() -> None:
    said = run_without_host("""
import mmseg_proto
assert not hasattr(mmseg_proto, "ProtoHead")
try:
    mmseg_proto.ProtoHead
except AttributeError as error:
    print(error)
""")
    assert said == "module 'mmseg_proto' has no attribute 'ProtoHead'\n"


def test_a_host_that_is_installed_later_is_taken() -> None:
    run_without_host("""
import mmseg_proto
show_host()
from mmseg_proto import PrototypeUpdateHook
from mmseg.registry import HOOKS, MODELS
assert HOOKS.get("PrototypeUpdateHook") is PrototypeUpdateHook is mmseg_proto.PrototypeUpdateHook
assert MODELS.get("PixelPrototypeLoss") is mmseg_proto.PixelPrototypeLoss
""")


def test_importing_the_package_registers_the_losses() -> None:
    run_without_host("""
show_host()
import mmseg_proto
from mmseg.registry import MODELS
assert type(MODELS.build({"type": "PixelPrototypeLoss"})) is mmseg_proto.PixelPrototypeLoss
""")
