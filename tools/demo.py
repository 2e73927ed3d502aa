"""Trains a small model with softmax and with prototypes on synthetic scenes, and compares them."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("work_dirs/demo"),
        help="folder for checkpoints, logs and pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--iters",
        type=int,
        metavar="N",
        help="training iterations (default: those of the configs); few give a quick look only",
    )
    arguments = parser.parse_args()
    if arguments.iters is not None and arguments.iters < 1:
        parser.error(f"expected --iters to be at least 1, but got {arguments.iters}")
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from rich.console import Console

            from mmseg_proto.apis.demo import run_demo
            from mmseg_proto.apis.mim_job import JobError
            from mmseg_proto.configs import config_root
    except ImportError as error:
        sys.exit(f"The demo cannot start: {error}")
    try:
        run_demo(config_root(), arguments.out, arguments.iters, Console())
    except (JobError, FileNotFoundError) as error:
        sys.exit(f"The demo has stopped. {error}")
    except KeyboardInterrupt:
        sys.exit("The demo was interrupted; the runs it had started were ended.")


if __name__ == "__main__":
    main()
