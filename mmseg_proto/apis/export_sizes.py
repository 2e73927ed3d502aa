"""Sizes of the images that a file takes, and of those that it is compared on."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .export_formats import LARGEST_SIDE
from .export_model import has_shifted_windows
from .export_parity import random_images
from .export_settings import ExportSettings


def size_of(cfg: Any, settings: ExportSettings) -> tuple[list[str], tuple[int, int]]:
    """Find the size to export.

    Args:
        cfg: Config of the model.
        settings: What is exported.

    Returns:
        tuple[list[str], tuple[int, int]]: Where it is from, unless it was given; height and width.

    Raises:
        ValueError: If nothing says a size.
    """
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


def check_dynamic(model: Any, settings: ExportSettings, size: tuple[int, int]) -> None:
    """Check that sizes can be left free, if they are to be.

    Args:
        model: The segmentor.
        settings: What is exported.
        size: Height and width.

    Raises:
        ValueError: If the model has windows of Swin, or the size is no multiple.
    """
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


def example(size: tuple[int, int], settings: ExportSettings) -> Tensor:
    """Draw images to trace with; where sizes are free, no two of them are equal, and none 1.

    Args:
        size: Height and width.
        settings: What is exported.

    Returns:
        Tensor: Images, shape ``(B, 3, H, W)``.
    """
    if not settings.dynamic:
        return torch.randn(settings.batch, 3, *size)
    step = settings.multiple
    height = max(size[0], 2 * step)
    width = max(size[1], 2 * step)
    return torch.randn(2, 3, height, width if width != height else width + step)


def batches(size: tuple[int, int], settings: ExportSettings) -> Iterator[Tensor]:
    """Yields images to compare on, of several sizes where these are free.

    Args:
        size: Height and width.
        settings: What is exported.
    """
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
