"""Writes the config that puts prototypes in place of the classifier of an existing config."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and write the config."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python swap_config.py my_segformer.py -o my_prototypes.py",
    )
    parser.add_argument("existing", type=Path, help="config of a softmax model")
    parser.add_argument("-o", "--out", type=Path, required=True, help="config to write")
    parser.add_argument("--force", action="store_true", help="overwrite a config that is there")
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmseg_proto.apis.config_swap import write_swap

            notes = write_swap(arguments.existing, arguments.out, force=arguments.force)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"Nothing was written. {error}")
    print(f"{arguments.out} is written. {'. '.join(notes)}.")
    print(f"Train it: mim train mmsegmentation {arguments.out}")


if __name__ == "__main__":
    main()
