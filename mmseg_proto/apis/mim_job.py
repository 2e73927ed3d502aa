"""`mim` commands in child processes, with what they write to disk."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_TAIL = 25


class JobError(RuntimeError):
    """A command that failed, with the end of its output."""


class MimJob:
    """A `mim` command that runs in a child process and writes its output into a file.

    Args:
        arguments: What follows `mim` on the command line.
        work_dir: The run's folder, made if it is not there.
        log: File name in `work_dir` for the output.
        threads: Threads that the child may compute with.
    """

    def __init__(self, arguments: Sequence[str], work_dir: Path, log: str, threads: int) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        self.work_dir = work_dir
        self.log = work_dir / log
        self.command = [sys.executable, "-m", "mim", *arguments]
        self._earlier = {path.name for path in work_dir.iterdir()}
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        with self.log.open("w", encoding="utf-8") as output:
            # A session of its own, because mim starts a child itself and both have to end.
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether the command still runs.

        Raises:
            JobError: If it ended with a failure.
        """
        code = self._process.poll()
        if code:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise JobError(
                f"Expected `{' '.join(self.command)}` to succeed, but it ended with code {code}. "
                f"The end of {self.log}:\n" + "\n".join(lines[-_TAIL:])
            )
        return code is None

    def stop(self) -> None:
        """End the command and all that it started."""
        if self._process.poll() is not None:
            return
        if os.name == "posix":
            os.killpg(self._process.pid, signal.SIGTERM)
        else:
            self._process.terminate()
        self._process.wait()

    def scalars(self) -> list[dict[str, Any]]:
        """Read the lines that the run has logged so far, oldest first."""
        return [
            json.loads(line)
            for path in self._new("*/vis_data/scalars.json")
            # The last line may be half written.
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n")
        ]

    def test_metrics(self) -> dict[str, float]:
        """Read the metrics that a test run has left."""
        (path,) = self._new("*_*/*_*.json")
        metrics: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return metrics

    def checkpoint(self) -> Path:
        """Find the last checkpoint of a training run."""
        return Path((self.work_dir / "last_checkpoint").read_text(encoding="utf-8").strip())

    def _new(self, pattern: str) -> list[Path]:
        """Files of this run; earlier runs may have used the same folder."""
        found = sorted(self.work_dir.glob(pattern))
        return [
            path for path in found if path.relative_to(self.work_dir).parts[0] not in self._earlier
        ]


def wait_for(jobs: Sequence[MimJob], report: Callable[[], None], interval: float = 0.5) -> None:
    """Wait until all jobs have ended; when one fails, end the others.

    Args:
        jobs: The jobs, already started.
        report: Called while waiting and once at the end, to show progress.
        interval: Seconds between two looks.

    Raises:
        JobError: If a job failed.
    """
    try:
        while any([job.running() for job in jobs]):
            report()
            time.sleep(interval)
        report()
    finally:
        for job in jobs:
            job.stop()
