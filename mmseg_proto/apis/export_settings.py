"""What is exported, and where to."""

from dataclasses import dataclass
from pathlib import Path

from mmseg_proto.ops import expect_number

from .export_formats import FORMATS
from .whole_files import expect_new_file


@dataclass(frozen=True)
class ExportSettings:
    """What is exported, and how.

    Args:
        format: One of 'onnx', 'torch_export' and 'torchscript'; None: by the suffix of the file.
        size: Height and width; None: the crop size of the config.
        batch: Images of a batch, where sizes are static.
        dynamic: Whether batch, height and width are free.
        multiple: Of what free heights and widths are a multiple.
        fused: Whether prototypes become a 1x1 convolution.
        normalize: Whether the file takes images of 0 to 255 as OpenCV reads them.
        argmax: Whether it gives labels instead of logits.
        opset: Operator set of ONNX.
        rounds: Timed calls.

    Raises:
        TypeError: If a number is none.
        ValueError: If one is out of range, or a format unknown.
    """

    format: str | None = None
    size: tuple[int, int] | None = None
    batch: int = 1
    dynamic: bool = False
    multiple: int = 32
    fused: bool = False
    normalize: bool = False
    argmax: bool = False
    opset: int = 18
    rounds: int = 10

    def __post_init__(self) -> None:
        sides = zip(("height", "width"), self.size or (), strict=False)
        numbers = {name: getattr(self, name) for name in ("batch", "multiple", "opset", "rounds")}
        for name, value in {**numbers, **dict(sides)}.items():
            least = 17 if name == "opset" else 1
            expect_number(name, value, whole=True)
            if value < least:
                raise ValueError(f"Expected `{name}` to be at least {least}, but got {value}.")
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"Expected `format` to be one of {[*FORMATS]}, but got {self.format}.")
        if self.dynamic and self.opset < 18:
            raise ValueError("Expected `opset` to be at least 18 for dynamic sizes.")


def format_of(path: Path) -> str:
    """Tell a format by the suffix of a file.

    Args:
        path: The file.

    Returns:
        str: One of `FORMATS`.

    Raises:
        ValueError: If the suffix says nothing.
    """
    for kind, suffixes in FORMATS.items():
        if path.suffix in suffixes:
            return kind
    known = ", ".join(f"{'/'.join(suffixes)} ({kind})" for kind, suffixes in FORMATS.items())
    raise ValueError(
        f"Expected a file that ends in {known}, but got {path}. Rename it, or give --format."
    )


def check_target(path: Path, *, force: bool) -> None:
    """Check that a file may be written.

    Args:
        path: The file.
        force: Whether it may be there.

    Raises:
        FileNotFoundError: If its folder is not there.
        FileExistsError: If it is there.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"Expected a folder {path.parent} to write {path.name} to, but there is none. Make it."
        )
    if path.is_dir():
        raise FileExistsError(f"Expected a file, but {path} is a folder. Name a file in it.")
    expect_new_file(path, force=force)
