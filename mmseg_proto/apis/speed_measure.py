"""Time and memory of functions, side by side in one process."""

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

_MIB = 2**20


@dataclass(frozen=True)
class Measurement:
    """What a function took.

    Attributes:
        seconds: Median over the rounds.
        fastest: Shortest of them.
        peak_mib: Memory on top of what was there before, at its peak, in MiB.
        time_ratio: Median over the rounds of its time by that of the peer in the same round.
        memory_ratio: Its peak by that of the peer.
    """

    seconds: float
    fastest: float
    peak_mib: float
    time_ratio: float
    memory_ratio: float


def measure(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    peer: str,
) -> dict[str, dict[str, float]]:
    """Measure functions in turn, round after round, so that a slow minute slows all of them.

    The memory of each is measured in a call of its own, which is also its warm-up.

    Args:
        functions: Name to function without arguments.
        device: Device they compute on.
        rounds: Timed rounds, at least 1.
        peer: The function that the others are compared with.

    Returns:
        dict[str, dict[str, float]]: Name to the fields of :class:`Measurement`.
    """
    peaks = {name: peak_memory(function, device) for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(_seconds(function, device))
    return {
        name: asdict(
            Measurement(
                statistics.median(taken),
                min(taken),
                peaks[name] / _MIB,
                statistics.median(a / b for a, b in zip(taken, times[peer], strict=True)),
                peaks[name] / max(1, peaks[peer]),
            )
        )
        for name, taken in times.items()
    }


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        function()
        end.record()
        torch.cuda.synchronize(device)
        return float(start.elapsed_time(end)) / 1000
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def peak_memory(function: Callable[[], object], device: torch.device) -> int:
    """Return the bytes that PyTorch held on a device at the peak of a call, above those before.

    Args:
        function: Function without arguments.
        device: A CUDA device or the CPU, where the profiler reports each allocation.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    recorded: Any = profiler.profiler
    events = [e for e in recorded.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def machine(device: torch.device) -> dict[str, object]:
    """Describe what a measurement was made on."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if cuda else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
