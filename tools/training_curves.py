"""Draws how the prototypes fared in training: curves, births, deaths and turns of each class."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Example: python training_curves.py work_dirs/camvid"
    )
    parser.add_argument("work_dir", type=Path, help="the --work-dir of training; it may still run")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("curves.png"), help="the picture; %(default)s"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the picture")
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmseg_proto.apis import training_life
            from mmseg_proto.apis.progress import doing
            from mmseg_proto.apis.whole_files import expect_new_file
    except ImportError as error:
        sys.exit(f"Cannot start: {error}")
    try:
        expect_new_file(arguments.out, force=arguments.force)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            with doing("Reading and drawing what was logged"):
                life = training_life.read_training_life(arguments.work_dir)
                training_life.draw_training_life(life, arguments.out)
    except (OSError, ValueError) as error:
        sys.exit(f"Nothing was drawn. {error}")
    for warning in caught:
        print(warning.message, file=sys.stderr)
    print(f"Curves: {arguments.out.resolve()}")


if __name__ == "__main__":
    main()
