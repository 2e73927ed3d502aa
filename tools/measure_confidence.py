"""Says how sure a model is: where that finds classes it does not know, and whether it is true."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line, validate, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python measure_confidence.py proto.py proto.pth --unknown car "
        "--against softmax.py softmax.pth",
    )
    parser.add_argument("config", type=Path, help="config of a model, prototypes or softmax")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint")
    parser.add_argument(
        "--unknown",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="classes that the validation labels know and the model does not",
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs=2,
        metavar=("CONFIG", "CHECKPOINT"),
        help="a second model to compare with",
    )
    parser.add_argument(
        "--keep",
        type=float,
        default=0.95,
        help="share of the known pixels that are to be above the threshold; 0.95",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found here")
    parser.add_argument("--force", action="store_true", help="overwrite a file that is there")
    arguments = parser.parse_args()
    if arguments.json is not None and arguments.json.exists() and not arguments.force:
        sys.exit(f"Expected a new file, but {arguments.json} is there. Overwrite it with --force.")
    models = [(arguments.config, arguments.checkpoint)]
    models += [tuple(arguments.against)] if arguments.against else []
    found = {}
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from rich.console import Console

            from mmseg_proto.apis.confidence import confidence_table, measure_confidence
            from mmseg_proto.apis.whole_files import write_json

            for config, checkpoint in models:
                found[f"{config.stem} ({checkpoint.stem})"] = measure_confidence(
                    config, checkpoint, arguments.unknown, arguments.keep
                )
            if arguments.json is not None:
                write_json(arguments.json, found)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(str(error))
    Console().print(confidence_table(found))


if __name__ == "__main__":
    main()
