"""Takes a class out of a trained prototype model, without training."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line, change the classes, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python remove_class.py "
        "my_config.py iter_160000.pth --name fence -o without_fence",
    )
    parser.add_argument("config", type=Path, help="config of a prototype model")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--name", required=True, help="of the class")
    parser.add_argument("--no-evaluation", action="store_true", help="do not compare IoU")
    parser.add_argument("--device", default="cpu", help="where images are looked at; cpu")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found here")
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmseg_proto.apis import class_command, class_edit

            found = class_command.run(
                arguments, lambda target: class_edit.remove_class(target, arguments.name)
            )
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(str(error))
    class_command.show(found)


if __name__ == "__main__":
    main()
