"""Exports a trained model to ONNX, torch.export or TorchScript, and checks the file.

The file takes images (B, 3, H, W), fp32, and gives logits (B, C, H, W) at their size, or labels
(B, H, W), int64. It computes an image in one piece: sliding windows are not exported.
"""

import argparse
import signal
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/export_onnx.py iter_160000.pth -o model.onnx --size 512 512 "
        "--normalize --argmax",
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint of a prototype or softmax model")
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to write")
    parser.add_argument("--config", type=Path, help="its config; the one in it by default")
    parser.add_argument(
        "--format",
        choices=("onnx", "torch_export", "torchscript"),
        help="by the suffix of the file by default: .onnx, .pt2, and .ts or .pt",
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="crop size of the config by default"
    )
    parser.add_argument("--batch", type=int, default=1, help="images at once; 1")
    parser.add_argument(
        "--dynamic", action="store_true", help="leave batch, height and width free; slow to export"
    )
    parser.add_argument(
        "--multiple-of",
        type=int,
        default=32,
        metavar="N",
        help="of which dynamic heights and widths are a multiple; 32",
    )
    parser.add_argument(
        "--fused", action="store_true", help="prototypes as a 1x1 convolution, with the scale in it"
    )
    parser.add_argument(
        "--normalize",
        action="store_true",
        help="take images of 0 to 255 in the order in which the data_preprocessor of the config "
        "takes them (BGR, as OpenCV reads them), and normalise them in the file",
    )
    parser.add_argument("--argmax", action="store_true", help="give labels in place of logits")
    parser.add_argument("--opset", type=int, default=18, help="of ONNX; 18")
    parser.add_argument("--rounds", type=int, default=10, help="timed calls; 10")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    return parser.parse_args()


def main() -> None:
    """Export, and say how well the file agrees and how fast it is."""
    arguments = read_arguments()
    # Ends as Ctrl-C does, so that a draft is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Nothing was written. Terminated."))
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from rich.console import Console

            from mmseg_proto.apis.accuracy_report import rich_table
            from mmseg_proto.apis.export_report import report_rows
            from mmseg_proto.apis.export_settings import ExportSettings, check_target
            from mmseg_proto.apis.model_export import export_model
            from mmseg_proto.apis.whole_files import write_json

            if arguments.json is not None:
                check_target(arguments.json, force=arguments.force)
            settings = ExportSettings(
                format=arguments.format,
                size=None if arguments.size is None else tuple(arguments.size),
                batch=arguments.batch,
                dynamic=arguments.dynamic,
                multiple=arguments.multiple_of,
                fused=arguments.fused,
                normalize=arguments.normalize,
                argmax=arguments.argmax,
                opset=arguments.opset,
                rounds=arguments.rounds,
            )
            report = export_model(
                arguments.checkpoint,
                arguments.out,
                settings,
                config=arguments.config,
                force=arguments.force,
            )
    except KeyboardInterrupt:
        sys.exit("Nothing was written. Interrupted.")
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"Nothing was written. {error}")
    Console().print(rich_table(str(arguments.out), ["", "found"], report_rows(report)))
    for note in report["notes"]:
        print(note)
    if arguments.json is not None:
        write_json(arguments.json, report)


if __name__ == "__main__":
    main()
