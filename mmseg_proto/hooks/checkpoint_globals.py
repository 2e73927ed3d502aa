"""What mmengine's checkpoints refer to besides tensors, and how it is read without running code."""

import functools
import pickle
import types
from _compat_pickle import IMPORT_MAPPING
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def allow_checkpoint_globals() -> None:
    """Lets ``torch.load(..., weights_only=True)`` read the checkpoints that mmengine writes.

    A checkpoint of mmengine's Runner holds its log as ``HistoryBuffer`` objects and numpy values.
    Since PyTorch 2.6 loading refuses what is not registered as safe, and mmengine 0.10.7 registers
    nothing, so that testing, resuming and ``load_from`` all fail. What is registered here is what
    such a file needs and no more; ``weights_only`` stays on.

    Everything is registered under its name, as a pair, because the host registers some of the
    same objects bare and takes them away again after each load of its own.
    """
    # Older versions know no pairs, or fail on them; `load_restricted` stands in there.
    if torch.__version__ >= "2.6":
        pairs: list[Any] = [(value, name) for name, value in _checkpoint_globals().items()]
        torch.serialization.add_safe_globals(pairs)


def load_restricted(path: Path, **options: Any) -> Any:
    """Reads a checkpoint as ``weights_only`` does in PyTorch 2.6, for versions before.

    Their own ``weights_only`` takes no class but a tensor's, and refuses every checkpoint of
    mmengine.

    Args:
        path: The file.
        **options: Further arguments of `torch.load`.

    Returns:
        Any: What was saved.

    Raises:
        UnpicklingError: If the file refers to anything that is not on the list.
    """
    restricted: Any = types.ModuleType("restricted_pickle")
    restricted.Unpickler = _RestrictedUnpickler
    restricted.load = lambda file, **given: _RestrictedUnpickler(file, **given).load()
    return torch.load(
        path, map_location="cpu", weights_only=False, pickle_module=restricted, **options
    )


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{IMPORT_MAPPING.get(module, module)}.{name}"
        # Tensors, their parts and what plain values are made of.
        weights = torch._weights_only_unpickler._get_allowed_globals()
        known = {**weights, **_checkpoint_globals(), "_codecs.encode": encode_latin1}
        if full not in known:
            raise UnpicklingError(f"Unsupported global: GLOBAL {full} was not an allowed global.")
        return known[full]


def encode_latin1(text: str, encoding: str) -> bytes:
    """Stands in for `codecs.encode`, as which pickle's protocol 2 writes bytes.

    Raises:
        UnpicklingError: If another encoding is asked for.
    """
    if encoding != "latin1":
        raise UnpicklingError(f"Expected bytes in latin1, but got {encoding!r}.")
    return text.encode("latin1")


def numpy_globals() -> dict[str, Any]:
    """Returns what NumPy's arrays, types and numbers are pickled as, by the name in the file."""
    rebuild_array, rebuild_scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    allowed: dict[str, Any] = {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}
    # NumPy 2 renamed the module: a file written under either version is read under either.
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed |= {f"{module}._reconstruct": rebuild_array, f"{module}.scalar": rebuild_scalar}
    return allowed


def _checkpoint_globals() -> dict[str, Any]:
    """Returns what a checkpoint may refer to, by the name in the file."""
    allowed = {
        "mmengine.logging.history_buffer.HistoryBuffer": HistoryBuffer,
        "builtins.getattr": _statistics_getter(HistoryBuffer),
        **numpy_globals(),
    }
    for code in "?" + np.typecodes["AllInteger"] + "efd":
        dtype = type(np.dtype(code))
        allowed[f"{dtype.__module__}.{dtype.__name__}"] = dtype
    return allowed


@functools.cache
def _statistics_getter(history_buffer: type) -> Any:
    """Makes the stand-in for `getattr` that reads the four statistics of a HistoryBuffer.

    A pickled HistoryBuffer names its own methods through ``builtins.getattr``. Allowing that
    function itself would hand a checkpoint every attribute of everything it can reach.
    Cached, so that registering twice registers the same object.
    """

    def history_buffer_statistic(owner: Any, name: Any) -> Any:
        if owner is history_buffer and name in ("min", "max", "current", "mean"):
            return getattr(owner, name)
        raise UnpicklingError(
            f"Expected a checkpoint to read a statistic of HistoryBuffer, but got a request for "
            f"the attribute {name!r} of {owner!r}: refused"
        )

    return history_buffer_statistic
