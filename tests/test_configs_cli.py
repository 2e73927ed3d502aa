"""`python -m mmseg_proto.configs` lists the packaged configs and copies one out."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_proto.configs import config_root, copy_config, inherited_files, list_configs, main

CONFIGS = {
    "_base_/models/m.py": "# A model.\nmodel = dict(width=1)\n",
    "_base_/runtime.py": "seed = 0\n",
    "plain.py": '"""Plain: inherits two files.\n\nMore words."""\n'
    "_base_ = ['./_base_/models/m.py', './_base_/runtime.py']\n",
    "child.py": "# Child: inherits another config.\n_base_ = './plain.py'\nmodel = dict(depth=2)\n",
    "bare.py": "seed = 1\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    for name, text in CONFIGS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def here(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with `root` as the packaged configs."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mmseg_proto.configs.config_root", lambda: root)
    return folder


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return set(found)


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_describes_each_config(root: Path) -> None:
    assert list_configs(root) == {
        "bare": "",
        "child": "Child: inherits another config.",
        "plain": "Plain: inherits two files.",
    }


def test_inherited_files_are_found_through_others(root: Path) -> None:
    names = [path.relative_to(root).as_posix() for path in inherited_files(root / "child.py")]
    assert names == ["plain.py", "_base_/models/m.py", "_base_/runtime.py"]
    assert inherited_files(root / "bare.py") == []


def test_lists(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bare   ",
        "child  Child: inherits another config.",
        "plain  Plain: inherits two files.",
    ]
    assert files(here) == set()


def test_copies_with_what_it_inherits(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["child"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Wrote child.py"
    assert lines[-1] == "Next: mim train mmsegmentation ./child.py"
    assert files(here) == {"child.py", "plain.py", "_base_/models/m.py", "_base_/runtime.py"}
    assert (here / "child.py").read_text() == CONFIGS["child.py"]
    assert Config.fromfile("child.py").model == {"width": 1, "depth": 2}


@pytest.mark.parametrize(
    ("output", "written"),
    [("sub", "sub/plain.py"), ("sub/mine.py", "sub/mine.py"), ("mine.py", "mine.py")],
)
def test_output(here: Path, output: str, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plain.py", "-o", output])
    assert capsys.readouterr().out.splitlines()[-1] == f"Next: mim train mmsegmentation ./{written}"
    assert Config.fromfile(written).model == {"width": 1}


def test_refuses_to_overwrite(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "_base_").mkdir()
    (here / "_base_/runtime.py").write_text("seed = 7\n")
    message = failure(capsys, "plain")
    assert "_base_/runtime.py exists and differs. Nothing was written. Use --force" in message
    assert files(here) == {"_base_/runtime.py"}
    main(["plain", "--force"])
    assert (here / "_base_/runtime.py").read_text() == CONFIGS["_base_/runtime.py"]


def test_a_second_config_shares_the_bases(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plain"])
    capsys.readouterr()
    main(["child"])
    assert capsys.readouterr().out.splitlines()[:-1] == ["Wrote child.py"]
    main(["child"])
    assert capsys.readouterr().out.splitlines()[0] == "child.py is there already, the same."


@pytest.mark.usefixtures("here")
def test_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "got 'chlid'. Did you mean child?" in failure(capsys, "chlid")
    assert "Leave the name out to list them." in failure(capsys, "zzzzzz")


def test_path(here: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--path"])
    assert capsys.readouterr().out == f"{root}\n"


def test_every_packaged_config_is_described() -> None:
    assert [name for name, text in list_configs(config_root()).items() if not text] == []


@pytest.mark.parametrize("name", list_configs(config_root()))
def test_every_packaged_config_can_be_copied(name: str, tmp_path: Path) -> None:
    root = config_root()
    for base in inherited_files(root / f"{name}.py"):
        assert base.is_relative_to(root), "a copy would land outside the folder that was named"
    copy_config(root / f"{name}.py", tmp_path / f"{name}.py")
    copied = Config.fromfile(tmp_path / f"{name}.py").to_dict()
    assert copied == Config.fromfile(root / f"{name}.py").to_dict()


def test_runs_as_a_module(tmp_path: Path) -> None:
    name = next(iter(list_configs(config_root())))
    result = subprocess.run(
        [sys.executable, "-m", "mmseg_proto.configs", name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == f"Next: mim train mmsegmentation ./{name}.py"
    assert (tmp_path / f"{name}.py").is_file()
    assert "RuntimeWarning" not in result.stderr
