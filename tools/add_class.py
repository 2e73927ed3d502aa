"""Gives a trained prototype model one more class, from a few labelled images or by a split."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the command line, change the classes, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python add_class.py "
        "my_config.py iter_160000.pth --name tram --images 5 -o with_tram",
    )
    parser.add_argument("config", type=Path, help="config of a prototype model")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--name", required=True, help="of the new class")
    parser.add_argument("--images", type=int, default=20, help="to look at; 20")
    parser.add_argument(
        "--folders",
        type=Path,
        nargs=2,
        metavar=("IMAGES", "LABELS"),
        help="where these are; by default the training data, whose labels know the class",
    )
    parser.add_argument("--value", type=int, help="of the new class in the labels of --folders")
    parser.add_argument("--pixels", type=int, default=4000, help="of the class to keep; 4000")
    parser.add_argument("--num-prototypes", type=int, default=30, help="of the new class; 30")
    parser.add_argument(
        "--steps",
        type=int,
        default=100,
        help="in which the new prototypes are fitted to win their pixels and no others; 100",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images; 0")
    parser.add_argument("--split", metavar="CLASS", help="take prototypes of a class, no images")
    parser.add_argument("--prototypes", type=int, nargs="+", help="of the class to --split, from 0")
    parser.add_argument("--colour", type=int, nargs=3, metavar=("R", "G", "B"))
    parser.add_argument("--no-evaluation", action="store_true", help="do not compare IoU")
    parser.add_argument("--device", default="cpu", help="where images are looked at; cpu")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found here")
    arguments = parser.parse_args()
    if (arguments.split is None) != (arguments.prototypes is None):
        parser.error("--split and --prototypes go together")
    colour: Any = arguments.colour and tuple(arguments.colour)
    folders: Any = arguments.folders and tuple(arguments.folders)
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmseg_proto.apis import class_command, class_edit
            from mmseg_proto.apis.new_class import NewClassSettings

            def edit(target: Any) -> Any:
                name, split = arguments.name, arguments.split
                if split is not None:
                    places = arguments.prototypes
                    return class_edit.split_class(target, name, split, places, colour=colour)
                settings = NewClassSettings(
                    arguments.images,
                    arguments.pixels,
                    arguments.num_prototypes,
                    arguments.steps,
                    arguments.seed,
                    folders,
                    arguments.value,
                )
                return class_edit.add_class(target, name, settings, colour=colour)

            found = class_command.run(arguments, edit)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(str(error))
    class_command.show(found)


if __name__ == "__main__":
    main()
