"""Files that run without this package: ONNX, torch.export and TorchScript."""

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .export_model import unchecked_resizing

#: Format to the suffixes of its files; the first is the usual one.
FORMATS = {"onnx": (".onnx",), "torch_export": (".pt2",), "torchscript": (".ts", ".pt")}
#: Largest height and width of a file with dynamic sizes.
LARGEST_SIDE = 16384
_EXTRA = "pip install 'mmseg-proto[export]'"


def check_format(kind: str, *, dynamic: bool) -> None:
    """Check that all is there that a format needs.

    Args:
        kind: One of `FORMATS`.
        dynamic: Whether sizes are to be dynamic.

    Raises:
        ImportError: If packages are missing, or PyTorch is too old.
    """
    if kind == "onnx":
        for name in ("onnx", "onnxruntime", *(("onnxscript",) if dynamic else ())):
            optional(name)
    # Dimensions that are a multiple of something, and a weight file that is part of the model.
    oldest = (2, 7) if dynamic else (2, 3) if kind == "torch_export" else (2, 0)
    found = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if kind != "torchscript" and found < oldest:
        raise ImportError(
            f"Expected PyTorch {oldest[0]}.{oldest[1]} or newer for {kind}"
            f"{' with --dynamic' if dynamic else ''}, but found {torch.__version__}. Upgrade "
            "it, or export fixed sizes to ONNX or TorchScript."
        )


def optional(name: str) -> ModuleType:
    """Import a package of the extra `export`.

    Args:
        name: Name of the module.

    Returns:
        ModuleType: The module.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise ImportError(
            f"Expected {name}, which writes or checks ONNX files, but it cannot be imported "
            f"({error}). Install it: {_EXTRA}"
        ) from error


def write(
    model: nn.Module, images: Tensor, path: Path, kind: str, *, multiple: int | None, opset: int
) -> None:
    """Write a model to a file.

    Args:
        model: Module from images to one tensor, in evaluation mode.
        images: Images of the size that is exported, shape ``(B, 3, H, W)``.
        path: The file.
        kind: One of `FORMATS`.
        multiple: Of what dynamic heights and widths are a multiple; None for static sizes.
        opset: Operator set of ONNX.

    Raises:
        ValueError: If the model cannot be exported so.
    """
    writer: Callable[..., None] = {
        "onnx": _write_onnx,
        "torch_export": _write_torch_export,
        "torchscript": _write_torchscript,
    }[kind]
    with torch.no_grad(), unchecked_resizing(), _silence():
        try:
            writer(model, images, path, multiple, opset)
        except Exception as error:  # noqa: BLE001 - exporters raise almost anything
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"Expected a model that {kind} can express"
                f"{' with dynamic sizes' if multiple else ''}, but found: "
                f"{type(error).__name__}: {reason} Try another --format"
                f"{', another --multiple-of, or no --dynamic' if multiple else ''}."
            ) from error


def opened(path: Path, kind: str) -> Callable[[Tensor], Tensor]:
    """Open a written file as its users would.

    Args:
        path: The file.
        kind: One of `FORMATS`.

    Returns:
        Callable[[Tensor], Tensor]: From images to logits or labels, with as many threads as
        PyTorch has.
    """
    if kind == "torchscript":
        with _silence():
            scripted: Any = torch.jit.load(str(path))
        return _without_gradient(scripted)
    if kind == "torch_export":
        with _silence():
            program: Any = torch.export.load(path).module()
        return _without_gradient(program)
    runtime: Any = optional("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    session = runtime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return run


def _write_onnx(
    model: nn.Module, images: Tensor, path: Path, multiple: int | None, opset: int
) -> None:
    output = "labels" if getattr(model, "argmax", False) else "logits"
    names: dict[str, Any] = {
        "input_names": ["images"],
        "output_names": [output],
        "opset_version": opset,
    }
    if multiple is None:
        # Tracing takes seconds and every PyTorch can do it, a graph of torch.export minutes. But
        # tracing knows fewer operations: pooling to a grid that does not divide the map, for one.
        explicit = "dynamo" in inspect.signature(torch.onnx.export).parameters
        chosen: dict[str, Any] = {"dynamo": False} if explicit else {}
        try:
            torch.onnx.export(model, (images,), str(path), **names, **chosen)
            return
        except Exception:  # noqa: BLE001 - exporters raise almost anything
            if not explicit:
                raise
    program = _exported(model, images, multiple)
    torch.onnx.export(
        program, (), str(path), dynamo=True, external_data=False, verbose=False, **names
    )


def _write_torch_export(
    model: nn.Module, images: Tensor, path: Path, multiple: int | None, opset: int
) -> None:
    program = _exported(model, images, multiple)
    with path.open("wb") as file:
        torch.export.save(program, file)


def _write_torchscript(
    model: nn.Module, images: Tensor, path: Path, multiple: int | None, opset: int
) -> None:
    traced: Any = torch.jit.trace(model, images, check_trace=False)
    traced.save(str(path))


def _exported(model: nn.Module, images: Tensor, multiple: int | None) -> Any:
    dimensions = None
    if multiple is not None:
        rows, columns = (
            torch.export.Dim(name, min=1, max=LARGEST_SIDE // multiple)
            for name in ("rows", "columns")
        )
        batch = torch.export.Dim("batch", min=1, max=1024)
        dimensions = ({0: batch, 2: multiple * rows, 3: multiple * columns},)
    return torch.export.export(model, (images,), dynamic_shapes=dimensions, strict=False)


def _without_gradient(function: Any) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            made: Tensor = function(images)
        return made

    return run


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps what exporters say of themselves off the terminal; parity says whether all is well."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
