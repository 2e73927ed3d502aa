"""A trained model becomes a file that runs without this package."""

import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .export_formats import check_format, opened, write
from .export_model import ShippedModel, whole_logits
from .export_parity import Run, compare, latency, random_images
from .export_settings import ExportSettings, check_target, format_of
from .export_sizes import batches, check_dynamic, example, size_of
from .loading import load
from .progress import steps
from .whole_files import written_whole


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
    check_target(out, force=force)
    check_format(str(settings.format), dynamic=settings.dynamic)
    with steps(4) as step:
        step("loading")
        model = load(checkpoint, config).cpu().float()
        notes, size = size_of(model.cfg, settings)
        check_dynamic(model, settings, size)
        if model.test_cfg.get("mode") == "slide":
            notes.append("The config tests by sliding windows; the file takes images whole.")
        with written_whole(out) as draft:
            found = _written(model, size, settings, draft, step)
    return {
        "file": str(out),
        "format": settings.format,
        "output": "labels" if settings.argmax else "logits",
        "settings": {**asdict(settings), "size": list(size)},
        "notes": notes,
        **found,
        "versions": _versions(str(settings.format)),
    }


def _written(
    model: Any,
    size: tuple[int, int],
    settings: ExportSettings,
    draft: Path,
    step: Callable[[str], None],
) -> dict[str, Any]:
    """Write the file, compare it, time it."""
    kind, raw = str(settings.format), settings.normalize
    multiple = settings.multiple if settings.dynamic else None
    shipped = ShippedModel(
        model,
        fused=settings.fused,
        normalize=raw,
        argmax=settings.argmax,
        multiple=multiple or 1,
    ).eval()
    step("exporting")
    write(shipped, example(size, settings), draft, kind, multiple=multiple, opset=settings.opset)
    step("comparing")
    reference, run = _reference(model, settings), opened(draft, kind)
    parity = compare(reference, run, list(batches(size, settings)))
    parity.check()
    step("timing")
    images = random_images((settings.batch, *size), raw=raw, seed=0)
    eager, exported = latency([_final(reference, settings), run], images, settings.rounds)
    return {
        "bytes": draft.stat().st_size,
        "parity": {**asdict(parity), "sizes": [list(one) for one in parity.sizes]},
        "latency": {
            "size": list(images.shape),
            "threads": torch.get_num_threads(),
            "pytorch_ms": eager,
            "exported_ms": exported,
            "ratio": exported / eager,
        },
    }


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
