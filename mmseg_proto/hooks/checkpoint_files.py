"""Reads checkpoints as weights alone, and says what is wrong with those that are not."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor

from .checkpoint_globals import load_restricted


def load_weights(path: Path, *, mmap: bool = False) -> Mapping[str, Any]:
    """Reads a checkpoint without running anything that is in it.

    Args:
        path: File that `torch.load` reads with ``weights_only=True``; before PyTorch 2.6, which
            cannot read mmengine's so, the like of it does.
        mmap: Whether to leave the weights on the disk until they are used. Defaults to False.

    Returns:
        Mapping[str, Any]: What was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, is cut short, or holds more than weights and plain
            values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint at {path}, but there is no such file.")
    if path.stat().st_size == 0:
        raise ValueError(f"Expected {path} to be a checkpoint, but the file is empty.")
    try:
        # Files from before PyTorch 1.6 are no zip archives and cannot be mapped, nor by 2.0.
        mapped = {"mmap": True} if mmap and _is_zip(path) and torch.__version__ >= "2.1" else {}
        if torch.__version__ >= "2.6":
            loaded = torch.load(path, map_location="cpu", weights_only=True, **mapped)
        else:
            loaded = load_restricted(path, **mapped)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - foreign bytes bring out almost any of them
        raise ValueError(
            f"Expected {path} to be a whole checkpoint of weights and plain values, but it cannot "
            f"be read as one, and nothing in it was run or loaded. {_reason(error)}"
        ) from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"Expected {path} to hold a dict, but got {type(loaded).__name__}.")
    return loaded


def check_checkpoint_file(runner: Runner) -> None:
    """Look into the local checkpoint that a runner is about to load, before it does.

    onedl's mmengine falls back to full unpickling by itself, which runs what is in the file.

    Args:
        runner: Runner that has not loaded anything yet.

    Raises:
        FileNotFoundError: If it is to resume from a file that is not there.
        ValueError: If the file is cut short, foreign, or holds code.
    """
    path = runner._load_from
    if path is None and runner._resume:
        path = find_latest_checkpoint(runner.work_dir)
    if path is not None and "://" not in str(path) and not os.path.isdir(path):
        load_weights(Path(path), mmap=True)


def check_prototype_shapes(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Compare prototypes of a checkpoint with those of the model, before anything is loaded.

    Args:
        runner: Runner with the model.
        checkpoint: The checkpoint.

    Raises:
        ValueError: If a run would resume with other numbers of classes, prototypes or channels.
    """
    model = runner.model.state_dict()
    for key, saved in checkpoint.get("state_dict", {}).items():
        own = model.get(key, model.get(f"module.{key}"))
        is_bank = key.endswith("bank.prototypes") and isinstance(own, Tensor)
        if not is_bank or tuple(own.shape) == tuple(saved.shape):
            continue
        said = (
            f"{key} of shape {tuple(own.shape)} (num_classes, num_prototypes, channels), but the "
            f"checkpoint has {tuple(saved.shape)}"
        )
        if runner._resume:
            raise ValueError(
                f"Expected {said}. Nothing was loaded. Resume with the settings that the run was "
                "started with, or start anew from its weights: load_from in place of --resume."
            )
        runner.logger.warning(f"Expected {said}: prototypes are seeded anew.")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _reason(error: Exception) -> str:
    foreign = re.search(r"GLOBAL (\S+)", str(error))
    if foreign:
        return (
            f"It refers to {foreign[1]}, which could run code. If you made the file yourself, "
            "training and testing take it with default_hooks.prototype.trust_checkpoints=True."
        )
    # No more than its first sentence: PyTorch goes on to recommend loading without protection.
    sentence = str(error).partition("\n")[0].partition(". ")[0]
    return f"It is cut short or no checkpoint: {sentence}."
