"""Trains softmax and prototypes on CamVid with equal budgets, several seeds and ablations."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data-root", type=Path, default=Path("data/camvid"), help="CamVid's folder"
    )
    parser.add_argument("--arms", nargs="+", default=["softmax", "prototypes"], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--iters", type=int, default=600, metavar="N")
    parser.add_argument(
        "--hold-out",
        metavar="SEQUENCE",
        help="validate on this sequence of the train split, held back, and leave val alone",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/accuracy"))
    parser.add_argument(
        "--report",
        action="store_true",
        help="run nothing; tables of all results in the folder, and curves of --arms",
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with redirect_stdout(StringIO()):
            from rich.console import Console

            from mmseg_proto.apis.accuracy_benchmark import run_all, show_results
            from mmseg_proto.apis.accuracy_runs import Budget
            from mmseg_proto.configs import config_root
    except ImportError as error:
        sys.exit(f"The benchmark cannot start: {error}")
    try:
        budget = Budget(arguments.iters, arguments.hold_out)
        console = Console()
        if not arguments.report:
            run_all(
                config_root(),
                arguments.data_root,
                arguments.out,
                arguments.arms,
                arguments.seeds,
                budget,
                arguments.jobs,
                console,
            )
        show_results(arguments.out, budget, arguments.arms, console)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"The benchmark has stopped. {error}")


if __name__ == "__main__":
    main()
