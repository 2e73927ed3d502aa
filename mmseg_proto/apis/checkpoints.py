"""Reads checkpoints as weights alone."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def load_weights(path: Path) -> Mapping[str, Any]:
    """Reads a checkpoint without running anything that is in it.

    Args:
        path: File that `torch.load` reads with ``weights_only=True``.

    Returns:
        Mapping[str, Any]: What was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, is cut short, or holds more than weights and plain
            values.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"Expected {path} to be a checkpoint of weights and plain values, but it cannot be "
            f"read as one, and nothing in it was run. {str(error).partition(chr(10))[0]}"
        ) from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"Expected {path} to hold a dict, but got {type(loaded).__name__}.")
    return loaded
