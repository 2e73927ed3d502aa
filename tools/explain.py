"""Draws which prototypes explain a prediction, and how near they are: a picture for each image."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python explain.py proto.py proto.pth photos/ -o explained/",
    )
    parser.add_argument("config", type=Path, help="config of the prototype model")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint")
    parser.add_argument("images_from", type=Path, nargs="?", metavar="IMAGE|FOLDER")
    parser.add_argument("--split", metavar="SPLIT", help="instead: train, val or test")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--images", type=int, metavar="N", help="spread evenly (default: all)")
    parser.add_argument(
        "--classes",
        nargs="+",
        default=["4"],
        metavar="N|NAME",
        help="how many have a row (default: 4), or the names of those that have one overlay each, "
        "by prototype; give names after the files",
    )
    parser.add_argument(
        "--class-names", action="store_true", help="--classes is a name even if it is a number"
    )
    parser.add_argument(
        "--prototypes",
        type=int,
        metavar="N",
        help="in a row (default: 5), or coloured in the overlay of a named class (default: all)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="write into a folder that has files")
    arguments = parser.parse_args(_number_alone(sys.argv[1:]))
    if (arguments.images_from is None) == (arguments.split is None):
        parser.error("Expected one of IMAGE, FOLDER and --split, but got none or several.")
    first, *more = arguments.classes
    number = not (arguments.class_names or more) and first.removeprefix("-").isdecimal()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmseg_proto.apis.explanation_sheets import SheetSettings, write_explanations

            settings = SheetSettings(
                images=arguments.images,
                classes=int(first) if number else arguments.classes,
                prototypes=arguments.prototypes,
                device=arguments.device,
            )
            written = write_explanations(
                arguments.config,
                arguments.checkpoint,
                arguments.images_from or arguments.split,
                arguments.out,
                settings,
                force=arguments.force,
            )
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(str(error))
    for reason in written.skipped:
        print(f"Warning: left out. {reason}", file=sys.stderr)
    print(f"Pictures: {len(written.files)} in {arguments.out.resolve()}")


def _number_alone(given: list[str]) -> list[str]:
    """Bind a number of classes to its option, so that files may follow it as they always could."""
    place = given.index("--classes") + 1 if "--classes" in given else len(given)
    if place < len(given) and given[place].isdecimal() and "--class-names" not in given:
        return [*given[: place - 1], f"--classes={given[place]}", *given[place + 1 :]]
    return given


if __name__ == "__main__":
    main()
