"""Python in an interpreter that finds nothing but PyTorch, NumPy and this package."""

import os
import subprocess
import sys
from pathlib import Path

#: Hides the host, and what comes with it, from what runs after. `show_host` undoes it.
_HIDE = """
import importlib.metadata as metadata, sys
_version = metadata.version

def _without_host(name):
    if name.removeprefix("onedl-").startswith("mm"):
        raise metadata.PackageNotFoundError(name)
    return _version(name)

hidden = ("mmengine", "mmcv", "mmseg", "mim", "cv2", "matplotlib", "PIL", "rich", "scipy", "yaml")
metadata.version = _without_host
sys.modules.update(dict.fromkeys(hidden))

def show_host():
    metadata.version = _version
    for name in hidden:
        del sys.modules[name]
"""


def run_without_host(code: str) -> str:
    """Run code where there is no host.

    Args:
        code: Python; it can call ``show_host()``, after which the host is there again.

    Returns:
        str: What it printed.

    Raises:
        AssertionError: If it failed.
    """
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", _HIDE + code],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
