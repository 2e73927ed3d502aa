"""Counts parameters, buffers and FLOPs of a model with softmax and with prototypes."""

import argparse
import json
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and count."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python model_complexity.py my_config.py --size 512 512",
    )
    parser.add_argument("config", type=Path, help="config of a softmax or of a prototype model")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(512, 512), metavar=("H", "W"), help="of the image"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmengine.config import Config
            from rich.console import Console

            from mmseg_proto.apis.accuracy_report import rich_table
            from mmseg_proto.apis.complexity import compare_complexity
            from mmseg_proto.apis.progress import doing

            cfg = Config.fromfile(arguments.config)
            with doing("Building and counting both models"):
                found = compare_complexity(cfg, tuple(arguments.size))
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"Cannot count. {error}")
    if arguments.json:
        print(json.dumps({name: counts._asdict() for name, counts in found.items()}, indent=1))
        return
    height, width = arguments.size
    rows = [[name, *(f"{number:,}" for number in counts)] for name, counts in found.items()]
    head = ["model", "learnable", "of it classifier", "auxiliary", "buffers", "multiply-adds"]
    Console().print(rich_table(f"{arguments.config.name}, image {height}x{width}", head, rows))


if __name__ == "__main__":
    main()
