"""Converts an HRNet-W48 of the paper's authors to a config and checkpoint of ours.

Takes the network with prototypes and the softmax baseline of tfzhou/ProtoSeg, and sees which it is.
"""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line, convert, and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python convert_authors_checkpoint.py hrnet_w48_proto.pth -o authors",
    )
    parser.add_argument("checkpoint", type=Path, help="file of the authors' release")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="STEM", help="writes STEM.py and STEM.pth"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmseg_proto.apis.authors_checkpoint import (
                convert_authors_checkpoint,
                output_paths,
                write_converted,
            )
            from mmseg_proto.apis.progress import doing
            from mmseg_proto.configs import config_root

            written = output_paths(arguments.out, force=arguments.force)
            with doing("Converting and comparing"):
                converted = convert_authors_checkpoint(arguments.checkpoint, config_root())
                write_converted(converted, written)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"Nothing was written. {error}")
    for note in converted.notes:
        print(f"Note: {note}.")
    print(f"Written: {written[0]} and {written[1]}")
    print(f"Test it: mim test mmsegmentation {written[0]} --checkpoint {written[1]}")


if __name__ == "__main__":
    main()
