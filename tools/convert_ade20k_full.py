"""Converts the official release of ADE20K-full to label maps for `ADE20KFullDataset`."""

import argparse
import os
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line, convert, and say what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python convert_ade20k_full.py data/ADE20K_2021_17_01 --workers 8",
    )
    parser.add_argument("root", type=Path, help="folder of the release, with index_ade20k.pkl")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes; all cores by default"
    )
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmseg_proto.apis.ade20k_full import convert_ade20k_full
            from mmseg_proto.apis.foreign_text import for_terminal
        done = convert_ade20k_full(arguments.root, workers=arguments.workers)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(str(error))
    for problem in done.problems[:20]:
        print(for_terminal(f"Left out: {problem}"))
    if len(done.problems) > 20:
        print(f"... and {len(done.problems) - 20} more")
    counts = {split: 0 for split in ("training", "validation")}
    for pair in done.pairs:
        counts[pair.split] += 1
    out = arguments.root / "annotations_ranked"
    print(
        f"{len(done.classes)} classes of both splits, {counts['training']} training and "
        f"{counts['validation']} validation pairs, {len(done.problems)} left out "
        f"(all in {out / 'problems.txt'}). Labels and lists are in {out}."
    )


if __name__ == "__main__":
    main()
