"""The host this plugin lives in: is it there, is it whole.

The modules ``mmengine``, ``mmcv`` and ``mmseg`` come from one of two families of distributions.
They overwrite each other's files when both are installed, and each can be installed in part. The
errors that follow from that ("No module named 'mmcv._ext'", a missing libGL) do not say what to
do, so they are told here, once, in words that do.
"""

from __future__ import annotations

import importlib
import re
from importlib import metadata
from importlib.util import find_spec

_OPENMMLAB = ("mmengine", "mmcv", "mmcv-lite", "mmcv-full", "mmsegmentation")
_ONEDL = ("onedl-mmengine", "onedl-mmcv", "onedl-mmsegmentation")
_MODULES = ("mmengine", "mmcv", "mmseg")

_INSTALL = (
    "Install one host family, and only one: `pip install 'mmseg-proto[onedl]'` (nothing to "
    "compile), or `pip install 'mmseg-proto[openmmlab]'` (mmsegmentation 1.2.2 and an mmcv below "
    "2.2 with its compiled ops)."
)


def find_host() -> bool:
    """Says whether MMSegmentation is here, whole or not: without it the pure PyTorch parts work.

    Raises:
        ImportError: If both families are installed.
    """
    found = _installed()
    _refuse_mix(found)
    return any("mmsegmentation" in name for name in found) or find_spec("mmseg") is not None


def require_host() -> None:
    """Checks that one complete host family can be imported.

    Raises:
        ImportError: If no host is installed, a part of it is missing or too old, both families
            are installed, or a part cannot be loaded. The message names what was found and what
            to install.
    """
    found = _installed()
    _refuse_mix(found)
    _refuse_old(found)
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"mmseg_proto is a plugin of MMSegmentation and needs the modules "
            f"{', '.join(_MODULES)}, but could not find {', '.join(missing)} "
            f"(installed: {_listed(found)}). {_INSTALL}"
        )
    for name in (*_MODULES, "mmseg.models"):
        try:
            importlib.import_module(name)
        # mmseg checks the versions of mmcv and mmengine with `assert`.
        except (ImportError, AssertionError, OSError) as error:
            raise ImportError(_explain(name, error, found)) from error


def _installed() -> dict[str, str]:
    """Returns the version of every distribution of both families that is installed."""
    found = {}
    for name in (*_OPENMMLAB, *_ONEDL):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items()) or "none of them"


def _refuse_mix(found: dict[str, str]) -> None:
    stock = [name for name in _OPENMMLAB if name in found]
    onedl = [name for name in _ONEDL if name in found]
    if stock and onedl:
        raise ImportError(
            f"Expected one host family, but got a mix of two: {_listed(found)}. They install the "
            f"same modules over each other. Remove both with `pip uninstall "
            f"{' '.join(stock + onedl)}`. {_INSTALL}"
        )


def _refuse_old(found: dict[str, str]) -> None:
    version = found.get("mmsegmentation", found.get("onedl-mmsegmentation", "1"))
    if version.startswith("0."):
        raise ImportError(
            f"Expected MMSegmentation to be 1.0 or newer, but got {_listed(found)}. {_INSTALL}"
        )


def _explain(name: str, error: BaseException, found: dict[str, str]) -> str:
    """Says what failed while importing the module `name`, and what to do about it."""
    reason = str(error)
    if re.search(r"lib(GL|EGL|gthread|glib|SM|Xext|Xrender)\b[\w.-]*", reason):
        return (
            f"OpenCV (cv2) cannot load a system library: {reason}. Either install the libraries "
            f"(Debian, Ubuntu: `apt-get install libgl1 libglib2.0-0`), or use the OpenCV that "
            f"needs none: `pip uninstall opencv-python`, then "
            f"`pip install --force-reinstall opencv-python-headless`."
        )
    if "mmcv._ext" in reason:
        return (
            f"mmcv has no compiled ops ({reason}), and this MMSegmentation needs them "
            f"(installed: {_listed(found)}). mmcv-lite does not have them: "
            f"`pip uninstall mmcv mmcv-lite`. {_INSTALL}"
        )
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] not in _MODULES:
        return (
            f"The host module {name} needs the package {missing}, which is not installed "
            f"(installed: {_listed(found)}). Install it: `pip install {missing}`."
        )
    return (
        f"Cannot import the host module {name}: {reason} (installed: {_listed(found)}). {_INSTALL}"
    )
