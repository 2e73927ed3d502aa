"""Says how the prototypes in a checkpoint fare: table, JSON and heat map."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="of this package or of the authors' release")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument(
        "--heat-map",
        type=Path,
        metavar="PICTURE",
        help="draw the cosines between the prototypes of each class",
    )
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from rich.console import Console

            from mmseg_proto.apis import inspection
            from mmseg_proto.apis.progress import doing
    except ImportError as error:
        sys.exit(f"Cannot start: {error}")
    try:
        heads = inspection.read_prototypes(arguments.checkpoint)
    except (OSError, ValueError) as error:
        sys.exit(f"Cannot read prototypes: {error}")
    console = Console()
    if arguments.json:
        console.print_json(data=[inspection.report(head) for head in heads])
    else:
        for head in heads:
            console.print(inspection.rich_table(head))
    if arguments.heat_map is not None:
        for number, head in enumerate(heads):
            file = arguments.heat_map
            if number:
                file = file.with_stem(f"{file.stem}-{number + 1}")
            with doing("Drawing"):
                inspection.draw_heat_map(head, file)
            # Not into the JSON on stdout.
            print(f"Heat map: {file}", file=sys.stderr)


if __name__ == "__main__":
    main()
