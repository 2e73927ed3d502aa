"""Which pixels to work on at a time."""

from collections.abc import Iterator

import torch

#: What a block holds: on a CPU what its caches hold, elsewhere enough to keep the device busy.
_CPU_BYTES = 2 * 2**20
_DEVICE_BYTES = 64 * 2**20
#: With fewer, a product with very many prototypes spends its time on reading them.
_LEAST_ROWS = 192


def rows_of_a_block(row_size: int, device: torch.device) -> int:
    """Choose the number of rows of a block from a budget of memory.

    Args:
        row_size: Numbers in a row, at least 1; they count as fp32.
        device: Where the block lies.

    Returns:
        int: Rows, at least 192.
    """
    budget = _CPU_BYTES if device.type == "cpu" else _DEVICE_BYTES
    return max(_LEAST_ROWS, budget // (4 * row_size))


def blocks_of_images(
    num_images: int, num_pixels: int, size: int
) -> Iterator[tuple[int, slice, slice]]:
    """Cut images of equal size into blocks that never reach over the edge of an image.

    Args:
        num_images: Number of images.
        num_pixels: Pixels of an image.
        size: Pixels of a block at most, at least 1.

    Yields:
        tuple[int, slice, slice]: Image, the block's pixels in it, and its pixels among those of
        all images in a row.
    """
    for image in range(num_images):
        first = image * num_pixels
        for start in range(0, num_pixels, size):
            stop = min(start + size, num_pixels)
            yield image, slice(start, stop), slice(first + start, first + stop)
