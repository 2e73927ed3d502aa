"""Looks at every image and label of a config's data sets: what is wrong, and how often classes are.

Exits with 1 if anything is wrong, so that a CI can ask.
"""

import argparse
import json
import os
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line, look, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python check_dataset.py my_config.py --plot classes.png",
    )
    parser.add_argument("config", type=Path, help="config whose data sets are looked at")
    parser.add_argument("--splits", nargs="+", default=["train", "val"], metavar="SPLIT")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes; all cores by default"
    )
    parser.add_argument("--shown", type=int, default=20, help="problems to print for each split")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    parser.add_argument("--plot", type=Path, metavar="PICTURE", help="draw how often classes are")
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmengine.config import Config
            from rich.console import Console

            from mmseg_proto.apis import dataset_check
            from mmseg_proto.apis.foreign_text import for_terminal

            cfg = Config.fromfile(arguments.config)
            reports = dataset_check.check_datasets(
                cfg, splits=arguments.splits, workers=arguments.workers
            )
    except (ImportError, KeyError, OSError, TypeError, ValueError) as error:
        sys.exit(f"The data sets cannot be looked at. {error}")
    if arguments.json:
        print(json.dumps([dataset_check.as_data(report) for report in reports], indent=1))
    else:
        for report in reports:
            Console().print(dataset_check.frequency_table(report))
            for problem in report.problems[: arguments.shown]:
                print(for_terminal(f"{report.name}: {problem}"))
            if len(report.problems) > arguments.shown:
                print(f"{report.name}: and {len(report.problems) - arguments.shown} more")
    if arguments.plot is not None:
        dataset_check.draw_frequencies(reports, arguments.plot)
        print(f"Plot: {arguments.plot}", file=sys.stderr)
    wrong = sum(len(report.problems) for report in reports)
    said = f"{wrong} problems" if wrong else "Nothing is wrong"
    print(f"{said} in {sum(report.pairs for report in reports)} pairs.", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
