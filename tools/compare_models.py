"""Compares two checkpoints class by class: IoU, confusions, and where they disagree."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python compare_models.py softmax.py softmax.pth proto.py proto.pth "
        "-o comparison",
    )
    for which, kind in (("first", "such as softmax"), ("second", "such as prototypes")):
        parser.add_argument(f"{which}_config", type=Path, help=f"config of a model, {kind}")
        parser.add_argument(f"{which}_checkpoint", type=Path, help="its checkpoint")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--names",
        nargs=2,
        metavar=("FIRST", "SECOND"),
        help="what the models are called (default: after their configs)",
    )
    parser.add_argument("--images", type=int, metavar="N", help="validation images (default: all)")
    parser.add_argument(
        "--examples", type=int, default=6, metavar="N", help="images of disagreement"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    arguments = parser.parse_args()
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from rich.console import Console

            from mmseg_proto.apis.comparison_report import comparison_table, write_comparison
            from mmseg_proto.apis.model_comparison import compare_models
            from mmseg_proto.apis.trained import name_models
            from mmseg_proto.apis.whole_files import expect_new_file

            expect_new_file(arguments.out / "comparison.json", force=arguments.force)
            first, second = name_models(
                [
                    (arguments.first_config, arguments.first_checkpoint),
                    (arguments.second_config, arguments.second_checkpoint),
                ],
                arguments.names,
            )
            found = compare_models(
                first,
                second,
                images=arguments.images,
                examples=arguments.examples,
                device=arguments.device,
            )
            write_comparison(found, arguments.out, force=arguments.force)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"Nothing was compared. {error}")
    Console().print(comparison_table(found))
    print(f"Figures and pictures: {arguments.out.resolve()}")


if __name__ == "__main__":
    main()
