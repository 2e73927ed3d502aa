"""Reads pickles of plain Python values and NumPy arrays, and of nothing that could run code."""

import importlib
import pickle
from pathlib import Path
from typing import Any

# What NumPy's own arrays, types and numbers are pickled as, before and since NumPy 2.
_NUMPY = {
    ("multiarray", "_reconstruct"),
    ("multiarray", "scalar"),
    ("numeric", "_frombuffer"),
}
_NUMPY_TYPES = ("ndarray", "dtype")


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stands in for `codecs.encode`, as which pickle's protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"Expected bytes in latin1, but got {encoding!r}.")
    return text.encode("latin1")


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if module == "numpy" and name in _NUMPY_TYPES:
            return getattr(importlib.import_module("numpy"), name)
        package, _, rest = module.rpartition(".")
        if package in ("numpy.core", "numpy._core") and (rest, name) in _NUMPY:
            return getattr(_numpy_core(rest), name)
        raise pickle.UnpicklingError(
            f"Expected plain values and NumPy arrays alone, but got a reference to {module}.{name}."
        )


def _numpy_core(module: str) -> Any:
    """NumPy 2 moved what NumPy 1 had in `numpy.core`."""
    try:
        return importlib.import_module(f"numpy._core.{module}")
    except ModuleNotFoundError:
        return importlib.import_module(f"numpy.core.{module}")


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
