"""A trained model becomes a file that runs without this package."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from mmseg_proto.ops import expect_number

from .export_formats import FORMATS, LARGEST_SIDE, check_format, opened, write
from .export_model import ShippedModel, has_shifted_windows, whole_logits
from .export_parity import Run, compare, latency, random_images
from .loading import load
from .whole_files import written_whole


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


def export_model(
    checkpoint: Path,
    out: Path,
    settings: ExportSettings = ExportSettings(),  # noqa: B008 - immutable
    *,
    config: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Export a trained model, compare the file with PyTorch, and time both.

    The file is written whole, and only if it agrees with PyTorch.

    Args:
        checkpoint: Checkpoint of a prototype or of a softmax model.
        out: File to write.
        settings: What is exported, and how.
        config: Config of the checkpoint. Defaults to None: the one in it.
        force: Whether a file that is there may be overwritten. Defaults to False.

    Returns:
        dict[str, Any]: The report: file, input, output, parity, latency and versions.

    Raises:
        FileNotFoundError: If checkpoint, config or the folder of `out` is not there.
        FileExistsError: If `out` is there.
        ImportError: If packages are missing.
        ValueError: If the model cannot be exported so, or the file computes something else.
    """
    settings = replace(settings, format=settings.format or format_of(out))
    kind = str(settings.format)
    check_target(out, force=force)
    check_format(kind, dynamic=settings.dynamic)
    with _steps(4) as step:
        step("loading")
        model = load(checkpoint, config)
        model = model.cpu().float()
        notes, size = _size(model.cfg, settings)
        _check_dynamic(model, settings, size)
        if model.test_cfg.get("mode") == "slide":
            notes.append("The config tests by sliding windows; the file takes images whole.")
        shipped = ShippedModel(
            model, fused=settings.fused, normalize=settings.normalize, argmax=settings.argmax
        ).eval()
        reference = _reference(model, settings)
        with written_whole(out) as draft:
            step("exporting")
            multiple = settings.multiple if settings.dynamic else None
            write(
                shipped,
                _example(size, settings),
                draft,
                kind,
                multiple=multiple,
                opset=settings.opset,
            )
            step("comparing")
            run = opened(draft, kind)
            parity = compare(reference, run, list(_batches(size, settings)))
            parity.check()
            step("timing")
            images = random_images((settings.batch, *size), raw=settings.normalize, seed=0)
            eager, exported = latency([_final(reference, settings), run], images, settings.rounds)
            number = draft.stat().st_size
    return {
        "file": str(out),
        "format": kind,
        "bytes": number,
        "output": "labels" if settings.argmax else "logits",
        "settings": {**asdict(settings), "size": list(size)},
        "notes": notes,
        "parity": {**asdict(parity), "sizes": [list(one) for one in parity.sizes]},
        "latency": {
            "size": [settings.batch, 3, *size],
            "threads": torch.get_num_threads(),
            "pytorch_ms": eager,
            "exported_ms": exported,
            "ratio": exported / eager,
        },
        "versions": _versions(kind),
    }


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
    if path.exists() and not force:
        raise FileExistsError(
            f"Expected a new file, but {path} is there. Overwrite it with --force."
        )


def _size(cfg: Any, settings: ExportSettings) -> tuple[list[str], tuple[int, int]]:
    """Notes, and the height and width to export."""
    if settings.size is not None:
        return [], settings.size
    preprocessor = cfg.model.get("data_preprocessor") or {}
    places = {
        "data_preprocessor.test_cfg.size": (preprocessor.get("test_cfg") or {}).get("size"),
        "data_preprocessor.size": preprocessor.get("size"),
        "crop_size": cfg.get("crop_size"),
    }
    for name, found in places.items():
        if found is not None:
            height, width = (found, found) if isinstance(found, int) else found
            return [f"Size {height}x{width}: {name} of the config."], (height, width)
    raise ValueError(
        "Expected a size, but the config has no crop size and no --size is given. Give the height "
        "and width of your images: --size 512 1024."
    )


def _check_dynamic(model: Any, settings: ExportSettings, size: tuple[int, int]) -> None:
    if not settings.dynamic:
        return
    if has_shifted_windows(model):
        raise ValueError(
            "Expected a model that can be exported with dynamic sizes, but this one has Swin's "
            "shifted windows, whose number becomes a constant. Export one file for each size: "
            "leave --dynamic out and give --size."
        )
    if size[0] % settings.multiple or size[1] % settings.multiple or max(size) > LARGEST_SIDE:
        raise ValueError(
            f"Expected dynamic sizes to be multiples of {settings.multiple} up to {LARGEST_SIDE}, "
            f"but got {size[0]}x{size[1]}. Give another --size, or --multiple-of 1 if the network "
            "takes any size."
        )


def _example(size: tuple[int, int], settings: ExportSettings) -> Tensor:
    """Images to trace with; where sizes are free, no two of them equal, and none 1."""
    if not settings.dynamic:
        return torch.randn(settings.batch, 3, *size)
    step = settings.multiple
    height = max(size[0], 2 * step)
    width = max(size[1], 2 * step)
    return torch.randn(2, 3, height, width if width != height else width + step)


def _batches(size: tuple[int, int], settings: ExportSettings) -> Iterator[Tensor]:
    """Images to compare on, of several sizes where these are free."""
    shapes = [(settings.batch, *size)] * 4
    if settings.dynamic:
        step = settings.multiple
        higher, wider = size[0] + step, size[1] + 2 * step
        smaller = max(step, size[0] - step)
        shapes = [
            (1, *size),
            (2, *size),
            (1, higher, size[1]),
            (1, size[0], wider),
            (3, smaller, wider),
            (1, 2 * step, 3 * step) if step > 8 else (1, higher, wider),
        ]
    for seed, shape in enumerate(shapes):
        yield random_images(shape, raw=settings.normalize, seed=seed)


def _reference(model: Any, settings: ExportSettings) -> Run:
    """From images to logits, by the model itself and its own data preprocessor."""

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        if settings.normalize:
            images = torch.stack(
                [
                    model.data_preprocessor({"inputs": [image], "data_samples": None})["inputs"][0]
                    for image in images
                ]
            )
        return whole_logits(model, images)

    return run


def _final(reference: Run, settings: ExportSettings) -> Run:
    """What the file computes, in PyTorch."""
    if not settings.argmax:
        return reference
    return lambda images: reference(images).argmax(dim=1)


def _versions(kind: str) -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if kind == "onnx":
        for name in ("onnx", "onnxruntime"):
            versions[name] = __import__(name).__version__
    return versions


@contextmanager
def _steps(total: int) -> Iterator[Any]:
    """Gives a function that names the step that begins, under a bar on stderr."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        begun = -1

        def step(name: str) -> None:
            nonlocal begun
            begun += 1
            bar.update(task, description=name, completed=begun)

        yield step
