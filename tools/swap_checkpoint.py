"""Makes a prototype model of a trained softmax model, without training."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line, swap, and say what it costs."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python swap_checkpoint.py my_segformer.py iter_160000.pth -o swapped",
    )
    parser.add_argument("config", type=Path, help="config of a softmax model")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--num-prototypes", type=int, default=10, help="of each class; 10")
    parser.add_argument("--pixels", type=int, default=4000, help="kept of each class; 4000")
    parser.add_argument(
        "--lean",
        type=float,
        default=1.0,
        help="how much prototypes lean towards the direction in which the classifier sees their "
        "class: 0 leaves cluster centres as they are; 1 by default",
    )
    parser.add_argument("--images", type=int, help="training images to look at; all by default")
    parser.add_argument("--fine-tune", type=int, metavar="ITERATIONS", help="train on after that")
    parser.add_argument("--no-evaluation", action="store_true", help="do not compare mIoU")
    parser.add_argument("--device", default="cpu", help="of the pass over the data; cpu")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found here")
    arguments = parser.parse_args()
    if arguments.json is not None and arguments.json.exists() and not arguments.force:
        sys.exit(f"Nothing was written. {arguments.json} is there. Overwrite it with --force.")
    swapped = None
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from rich.console import Console

            from mmseg_proto.apis import checkpoint_swap, swap_comparison
            from mmseg_proto.apis.accuracy_report import rich_table
            from mmseg_proto.apis.whole_files import write_json

            settings = checkpoint_swap.SwapSettings(
                arguments.num_prototypes, arguments.pixels, arguments.lean, arguments.images
            )
            swapped = checkpoint_swap.swap_checkpoint(
                arguments.config,
                arguments.checkpoint,
                arguments.out,
                settings,
                device=arguments.device,
                force=arguments.force,
            )
            scores = swap_comparison.compare(
                arguments.config,
                arguments.checkpoint,
                swapped,
                fine_tune_for=arguments.fine_tune,
                evaluated=not arguments.no_evaluation,
            )
            if arguments.json is not None:
                written = {"config": str(swapped.config), "checkpoint": str(swapped.checkpoint)}
                write_json(arguments.json, {**written, "mIoU": scores})
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        if swapped is None:
            sys.exit(f"Nothing was written. {error}")
        sys.exit(f"{swapped.config} and {swapped.checkpoint} are written, but: {error}")
    if scores:
        rows = [[name, f"{score:.2f}"] for name, score in scores.items()]
        Console().print(rich_table("mIoU (%)", ["model", "mIoU"], rows))
    print(f"Written: {swapped.config} and {swapped.checkpoint}")
    print(f"Test it: mim test mmsegmentation {swapped.config} --checkpoint {swapped.checkpoint}")


if __name__ == "__main__":
    main()
