"""Measures time and memory of prototypes next to softmax, as ratios within one run."""

import argparse
import os
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

#: Sizes that take seconds, to see whether everything runs.
_QUICK: dict[str, Any] = {
    "rounds": 1,
    "pixels": 1024,
    "channels": 32,
    "classes": (10, 20),
    "places": (1, 3),
    "map_size": 16,
    "image": (64, 64),
    "models": ("segformer_b0",),
    "size": 64,
}


def main() -> None:
    """Read the command line and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="threads on a CPU; all by default")
    parser.add_argument("--parts", nargs="+", metavar="PART", help="all by default")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="all by default")
    parser.add_argument("--rounds", type=int, help="timed rounds; 5 by default")
    parser.add_argument("--batch", type=int, help="images a step of a whole model; 2 by default")
    parser.add_argument("--amp", help="autocast of whole models: float16 or bfloat16")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all runs")
    parser.add_argument(
        "--out", type=Path, default=Path("work_dirs/performance.json"), help="JSON file to update"
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    # The profiler, which counts memory on CPUs, tells each start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with redirect_stdout(StringIO()):
            import torch
            from rich.console import Console

            from mmseg_proto.apis.speed_benchmark import (
                PARTS,
                SpeedSettings,
                run_parts,
                write_summary,
            )
            from mmseg_proto.configs import config_root
    except ImportError as error:
        sys.exit(f"The benchmark cannot start: {error}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    given: dict[str, Any] = {
        key: tuple(value) if key == "models" else value
        for key in ("models", "rounds", "batch", "amp")
        if (value := getattr(arguments, key)) is not None
    }
    console = Console()
    try:
        settings = SpeedSettings(**{**(_QUICK if arguments.quick else {}), **given})
        parts = arguments.parts or PARTS
        device = torch.device(arguments.device)
        results = run_parts(config_root(), parts, settings, device, arguments.out, console)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"The benchmark has stopped. {error}")
    write_summary(results, arguments.out.parent, arguments.out.stem)
    console.print(f"Results: {arguments.out}")


if __name__ == "__main__":
    main()
