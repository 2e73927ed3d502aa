"""Writes one HTML file that shows what every prototype of a model stands for."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="config of the prototype model")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint")
    parser.add_argument("-o", "--out", type=Path, default=Path("report.html"), help="the file")
    parser.add_argument(
        "--against",
        type=Path,
        nargs=2,
        metavar=("CONFIG", "CHECKPOINT"),
        help="a softmax model to show beside it",
    )
    parser.add_argument("--images", type=int, metavar="N", help="training images (default: all)")
    parser.add_argument(
        "--examples", type=int, default=4, metavar="N", help="training pixels per prototype"
    )
    parser.add_argument(
        "--pictures", type=int, default=6, metavar="N", help="validation pictures to ask"
    )
    parser.add_argument(
        "--compared", type=int, metavar="N", help="validation images to compare on (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite the file")
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmseg_proto.apis.report import ReportSettings, write_report

            settings = ReportSettings(
                images=arguments.images,
                examples=arguments.examples,
                pictures=arguments.pictures,
                compared=arguments.compared,
                against=tuple(arguments.against) if arguments.against else None,
                device=arguments.device,
                seed=arguments.seed,
            )
            write_report(
                arguments.config,
                arguments.checkpoint,
                arguments.out,
                settings,
                force=arguments.force,
            )
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"Nothing was written. {error}")
    print(f"Report: {arguments.out.resolve()}")


if __name__ == "__main__":
    main()
