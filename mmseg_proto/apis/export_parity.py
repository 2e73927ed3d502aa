"""Whether an exported model computes what PyTorch does, and how fast."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Run = Callable[[Tensor], Tensor]

#: Largest difference of a logit.
LOGITS = 1e-4
#: Labels may differ where the best two logits of PyTorch are nearer than this.
UNCLEAR = 1e-3
#: Share of pixels, in percent, whose labels are equal at least.
LABELS = 99.9


@dataclass
class Parity:
    """Worst numbers of a comparison.

    Attributes:
        images: Images that were compared.
        sizes: Their sizes.
        largest_difference: Of a logit; None if the file gives labels.
        largest_logit: Of PyTorch, without its sign.
        agreement: Percentage of pixels with equal labels.
        unclear: Percentage of pixels whose best two logits are too near for a verdict.
        clear_errors: Pixels with another label though the best two logits are apart.
    """

    images: int
    sizes: list[tuple[int, int]]
    largest_difference: float | None
    largest_logit: float
    agreement: float
    unclear: float
    clear_errors: int

    def check(self) -> None:
        """Refuse a file that computes something else.

        Raises:
            ValueError: If logits or labels differ by more than they may.
        """
        differs = self.largest_difference is not None and not self.largest_difference <= LOGITS
        if differs or self.clear_errors or not self.agreement >= LABELS:
            raise ValueError(
                f"Expected the file to agree with PyTorch (logits within {LOGITS:g}, labels equal "
                f"where the best two logits are {UNCLEAR:g} apart and on {LABELS} % of all pixels)"
                f", but found {self}. Try another --format, or export without --dynamic."
            )

    def __str__(self) -> str:
        found = f"{self.agreement:.3f} % equal labels, {self.clear_errors} wrong clear ones"
        if self.largest_difference is not None:
            found = f"logits {self.largest_difference:.1e} apart, {found}"
        return found


def compare(reference: Run, exported: Run, batches: Sequence[Tensor]) -> Parity:
    """Compare an exported model with PyTorch.

    Args:
        reference: From images to logits ``(B, C, H, W)``, C at least 2.
        exported: From images to logits, or to labels ``(B, H, W)``.
        batches: The images.

    Returns:
        Parity: Worst numbers over all of them.

    Raises:
        ValueError: If shapes differ.
    """
    pixels = equal = unclear = clear_errors = 0
    differences: list[float] = []
    largest = 0.0
    for images in batches:
        expected, found = reference(images), exported(images)
        labels, is_labels = found, not found.is_floating_point()
        shape = (len(expected), *expected.shape[2:]) if is_labels else tuple(expected.shape)
        if tuple(found.shape) != shape:
            raise ValueError(f"Expected output of shape {shape}, but found {tuple(found.shape)}.")
        if not is_labels:
            labels = found.argmax(dim=1)
            differences.append(float((found - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
        best, places = expected.topk(2, dim=1)
        close = best[:, 0] - best[:, 1] <= UNCLEAR
        wrong = labels != places[:, 0]
        pixels += wrong.numel()
        equal += int((~wrong).sum())
        unclear += int(close.sum())
        clear_errors += int((wrong & ~close).sum())
    return Parity(
        sum(map(len, batches)),
        sorted({(images.shape[2], images.shape[3]) for images in batches}),
        # NaN is above all, which `max` would not always say.
        float(torch.tensor(differences).max()) if differences else None,
        largest,
        100 * equal / pixels,
        100 * unclear / pixels,
        clear_errors,
    )


def random_images(size: tuple[int, int, int], *, raw: bool, seed: int) -> Tensor:
    """Draw images, half of them smooth, so that there are regions as well as noise.

    Args:
        size: Number, height and width.
        raw: Whether they are 0 to 255, in place of normalised.
        seed: Seed.

    Returns:
        Tensor: fp32, shape ``(B, 3, H, W)``.
    """
    number, height, width = size
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(number, 3, height, width, generator=generator)
    if seed % 2:
        coarse = torch.randn(number, 3, 5, 5, generator=generator)
        images = 0.1 * images + 1.5 * F.interpolate(coarse, (height, width), mode="bilinear")
    return (images * 60 + 120).clamp(0, 255).round() if raw else images


def latency(functions: Sequence[Run], images: Tensor, rounds: int) -> list[float]:
    """Time functions in turn, so that a slow moment slows all of them.

    Args:
        functions: What to time; each is called once before.
        images: What they are called with.
        rounds: Timed calls of each, at least 1.

    Returns:
        list[float]: Median of each in milliseconds.
    """
    for function in functions:
        function(images)
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, own in zip(functions, times, strict=True):
            start = time.perf_counter()
            function(images)
            own.append(1000 * (time.perf_counter() - start))
    return [statistics.median(own) for own in times]
