"""Trains softmax and prototypes on CamVid with equal budgets, several seeds and ablations."""

import argparse
import sys
import warnings
from pathlib import Path


def main() -> None:
    """Read the command line and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="CamVid's folder")
    parser.add_argument("--variants", nargs="+", default=["softmax", "prototypes"], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--iters", type=int, default=1200, metavar="N")
    parser.add_argument(
        "--hold-out",
        metavar="SEQUENCE",
        help="validate on this sequence of the train split, held back, and leave val alone",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/accuracy"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        from rich.console import Console

        from mmseg_proto.apis.accuracy_benchmark import run_all
        from mmseg_proto.apis.accuracy_runs import Budget
        from mmseg_proto.configs import config_root
    except ImportError as error:
        sys.exit(f"The benchmark cannot start: {error}")
    try:
        run_all(
            config_root(),
            arguments.data_root,
            arguments.out,
            arguments.variants,
            arguments.seeds,
            Budget(arguments.iters, arguments.hold_out),
            arguments.jobs,
            Console(),
        )
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"The benchmark has stopped. {error}")


if __name__ == "__main__":
    main()
