"""Reads pickles of plain Python values and NumPy arrays, and of nothing that could run code."""

import importlib
import pickle
from pathlib import Path
from typing import Any

from mmseg_proto.hooks.checkpoint_globals import encode_latin1, numpy_globals


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = {**numpy_globals(), "_codecs.encode": encode_latin1}
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return _frombuffer()
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(
                f"Expected plain values and NumPy arrays alone, but got a reference to "
                f"{module}.{name}."
            )
        return known[f"{module}.{name}"]


def _frombuffer() -> Any:
    """Returns what protocol 5 makes arrays with; NumPy 2 moved it."""
    try:
        numeric = importlib.import_module("numpy._core.numeric")
    except ModuleNotFoundError:
        numeric = importlib.import_module("numpy.core.numeric")
    return numeric._frombuffer


def load_plain_pickle(path: Path) -> Any:
    """Reads a pickle that holds plain values and NumPy arrays.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no pickle, is cut short, or refers to anything else, of which
            nothing is run.
    """
    with path.open("rb") as file:
        try:
            # Files of Python 2 have byte strings where they mean text.
            return _RestrictedUnpickler(file, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as a pickle of plain data. {error}") from error
