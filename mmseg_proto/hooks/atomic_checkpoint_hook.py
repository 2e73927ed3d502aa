"""A `CheckpointHook` that never leaves a run without a whole checkpoint."""

import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

#: What a file is called while it is written.
_PART = ".part"


class _LateRemovals:
    """A file backend whose removals wait until they are asked for.

    Args:
        backend: The backend.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._waiting: list[tuple[Any, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Remove a file, later."""
        self._waiting.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        """Remove a folder, later."""
        self._waiting.append((self._backend.rmtree, path))

    def carry_out(self, *, keep: set[str]) -> None:
        """Remove what waits, but for paths that have been written since."""
        waiting, self._waiting = self._waiting, []
        for remove, path in waiting:
            if path not in keep:
                remove(path)

    def forget(self) -> None:
        """Remove nothing of what waits."""
        self._waiting = []


class _AtomicRunner:
    """A runner that saves a checkpoint under another name and renames it when it is whole.

    Args:
        runner: The runner.
        local: Whether checkpoints go to a local file system, where files can be renamed.
    """

    def __init__(self, runner: Runner, *, local: bool) -> None:
        self._runner = runner
        self._local = local
        self.written: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint, whole or not at all.

        Raises:
            OSError: If it cannot be written; earlier checkpoints are untouched.
        """
        self.written.add(os.path.join(out_dir, filename))
        if not self._local:
            self._runner.save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        part, path = Path(out_dir, filename + _PART), Path(out_dir, filename)
        try:
            self._runner.save_checkpoint(out_dir, part.name, *args, **kwargs)
            # The runner writes on the main process alone.
            if is_main_process():
                _replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            last = self._runner.message_hub.runtime_info.get("whole_ckpt")
            raise OSError(
                error.errno,
                f"Expected to write {path}, but it failed: {error.strerror or error}. Nothing that "
                f"was saved before is lost; the last whole checkpoint is {last or 'none yet'}. "
                "Make room, then continue with --resume",
            ) from error


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """A drop-in for the host's `CheckpointHook` that survives being killed at any moment.

    The host deletes the oldest checkpoint before it writes the new one, writes that in place, and
    then writes ``last_checkpoint`` in place: killed in between, a run with ``max_keep_ckpts=1`` has
    lost everything, and any run may have ``last_checkpoint`` point to a part of a file. Here files
    are written beside their place, flushed to disk and renamed, ``last_checkpoint`` after what it
    names, and old files are deleted at last. On file systems that are not local, where nothing can
    be renamed, the order alone is kept.

    Args:
        **kwargs: Arguments of :class:`mmengine.hooks.CheckpointHook`.
    """

    _local: bool | None = None

    def before_train(self, runner: Runner) -> None:
        """Find where to save, and remove what a killed run left half-written."""
        super().before_train(runner)
        backend: Any = self.file_backend
        self._local = isinstance(backend, LocalBackend)
        self.file_backend: Any = _LateRemovals(backend)
        if self._local and is_main_process():
            for left in Path(self.out_dir).glob(f"*.pth{_PART}"):
                left.unlink()
                runner.logger.warning(f"Removed {left}, which an earlier run left half-written.")

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        if not isinstance(runner, _AtomicRunner):  # it is one after a best checkpoint
            runner = _AtomicRunner(runner, local=bool(self._local))
        name = self.filename_tmpl.format(step)
        path = self.file_backend.join_path(self.out_dir, name)
        outdated = self._keep(runner, step)
        self.last_ckpt = path
        runner.message_hub.update_info("last_ckpt", path)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        except OSError:
            self.file_backend.forget()
            raise
        runner.message_hub.update_info("whole_ckpt", path)
        if not is_main_process():
            return
        last = Path(runner.work_dir, "last_checkpoint")
        part = last.with_name(last.name + _PART)
        part.write_text(path, encoding="utf-8")
        _replace(part, last)
        for old in outdated:
            self._remove(old)
        self.file_backend.carry_out(keep=runner.written)

    def _keep(self, runner: Any, step: int) -> list[int]:
        """Note that a step is kept, and return those that no longer are."""
        if self.max_keep_ckpts <= 0:
            return []
        ids = self.keep_ckpt_ids
        if ids and ids[-1] == step:
            return []
        outdated = [ids.popleft()] if len(ids) == self.max_keep_ckpts else []
        ids.append(step)
        runner.message_hub.update_info("keep_ckpt_ids", list(ids))
        return outdated

    def _remove(self, step: int) -> None:
        path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, Any]) -> None:
        if self._local is None:
            return  # validation alone, which has no place to save to
        runner = _AtomicRunner(runner, local=self._local)
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError:
            self.file_backend.forget()
            raise
        self.file_backend.carry_out(keep=runner.written)


def _replace(part: Path, path: Path) -> None:
    """Put a file in its place once it is on the disk."""
    if part.is_file():
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    os.replace(part, path)
