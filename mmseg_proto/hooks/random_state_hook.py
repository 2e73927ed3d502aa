"""Saves the state of all random generators, so that a resumed run equals an uninterrupted one."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

_KEY = "random_states"
State = dict[str, Any]


def random_state() -> State:
    """Returns the state of Python's, NumPy's and PyTorch's generators, in plain values."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), _tensor(keys), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _tensor(words: Any) -> torch.Tensor:
    """Words of a generator as a tensor, which loads as weights alone."""
    return torch.from_numpy(np.asarray(words, dtype=np.int64))


def restore_random_state(state: State) -> None:
    """Puts generators back into a state of `random_state`.

    Generators of GPUs are put back where there are as many as when it was saved.
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])


class _RestoresBeforeFirst:
    """An iterator over batches that restores a state right before the first one that is trained on.

    Args:
        inner: The iterator of the training loop.
        skipped: Batches that the loop takes and throws away first.
        state: The state to restore.
    """

    def __init__(self, inner: Any, skipped: int, state: State) -> None:
        self._inner = inner
        self._left = skipped
        self._state: State | None = state

    def __iter__(self) -> Iterator[Any]:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def skip_iter(self, batches: int) -> None:
        """Skips batches in one step, where the host can."""
        self._inner.skip_iter(batches)
        self._left = 0

    def __next__(self) -> Any:
        if self._left > 0:
            self._left -= 1
        elif self._state is not None:
            # To start a data loader draws a number, which an uninterrupted run did long ago.
            if hasattr(self._inner, "_ensure_iterator"):
                self._inner._ensure_iterator()
            restore_random_state(self._state)
            self._state = None
        return next(self._inner)


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Saves the random generators of every rank in checkpoints, and restores them on resume.

    mmengine saves none, so that augmentation and dropout go another way after an interruption.
    With this hook, ``num_workers=0`` and deterministic kernels, a resumed run equals an
    uninterrupted one to the last bit. With workers, what they draw starts anew, because their
    generators are their own; the main process's (dropout, stochastic depth) still go on.

    It needs the `CheckpointHook` of the same runner, to know when states have to be gathered, and
    an iteration-based loop.
    """

    # After everything that draws, before the checkpoint is written.
    priority = "LOW"

    def __init__(self) -> None:
        self._states: list[State] = []
        self._resumed: State | None = None
        self._before_val: State | None = None
        self._interval = 0

    def before_train(self, runner: Runner) -> None:
        """Find out when checkpoints are saved."""
        saving = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        if not saving or any(hook.by_epoch for hook in saving):
            raise ValueError(
                "Expected RandomStateHook beside a CheckpointHook with by_epoch=False, but got "
                f"{'one with by_epoch=True' if saving else 'none'}. Set "
                "default_hooks.checkpoint.by_epoch=False, or remove RandomStateHook."
            )
        self._interval = saving[0].interval

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take this rank's state out of a checkpoint; a run that only loads weights ignores it."""
        states = checkpoint.get(_KEY, [])
        self._resumed = states[get_rank()] if get_rank() < len(states) else None

    def before_train_epoch(self, runner: Runner) -> None:
        """See to it that a resumed run goes on in the state it was saved in."""
        loop = runner.train_loop
        if self._resumed is not None and runner.iter > 0:
            iterator = loop.dataloader_iterator
            loop.dataloader_iterator = _RestoresBeforeFirst(iterator, runner.iter, self._resumed)
        self._resumed = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Gather the states of all ranks where a checkpoint follows."""
        if self.every_n_train_iters(runner, self._interval) or self.is_last_train_iter(runner):
            self._states = all_gather_object(random_state())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the states to a checkpoint."""
        checkpoint[_KEY] = self._states

    def before_val(self, runner: Runner) -> None:
        """Remember the state: a run that resumes after this validation does not see it."""
        self._before_val = random_state()

    def after_val(self, runner: Runner) -> None:
        """Go on as if nothing had been drawn in validation."""
        if self._before_val is not None:
            restore_random_state(self._before_val)
