"""Prototypes of a new class are fitted beside others."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseg_proto.prototypes import fit_new_prototypes


def make_pixels(seed: int, new: int = 60, others: int = 200) -> tuple[torch.Tensor, ...]:
    """A new class that lies between two others, and shares a direction with both."""
    generator = torch.Generator().manual_seed(seed)
    old = F.normalize(torch.randn(2, 16, generator=generator), dim=1)
    own = old.sum(dim=0) + 0.5 * torch.randn(16, generator=generator)

    def around(centre: torch.Tensor, count: int) -> torch.Tensor:
        noise = torch.randn(count, 16, generator=generator)
        return F.normalize(F.normalize(centre, dim=0) + 0.12 * noise, dim=1)

    pixels = torch.cat([around(own, new), around(old[0], others // 2), around(old[1], others // 2)])
    is_new = torch.arange(len(pixels)) < new
    return pixels, is_new, (pixels @ old.T).amax(dim=1), old


def share_right(
    prototypes: torch.Tensor, pixels: torch.Tensor, is_new: torch.Tensor, rivals: torch.Tensor
) -> float:
    won = (pixels @ prototypes.T).amax(dim=1) > rivals
    return float((won == is_new).float().mean())


def test_they_win_their_pixels_and_no_others() -> None:
    gained = []
    for seed in range(5):
        pixels, is_new, rivals, old = make_pixels(seed)
        start = F.normalize(pixels[is_new].mean(dim=0, keepdim=True) + 2 * old[:1], dim=1)
        weights = torch.ones(len(pixels))
        fitted = fit_new_prototypes(start, pixels, is_new, rivals, weights, scale=10.0)
        assert share_right(fitted, pixels, is_new, rivals) > 0.9
        before = share_right(start, pixels, is_new, rivals)
        gained.append(share_right(fitted, pixels, is_new, rivals) - before)
    assert min(gained) >= 0
    assert sum(gained) / 5 > 0.05


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_unit_norm_and_nothing_else_moves(seed: int, count: int) -> None:
    pixels, is_new, rivals, _ = make_pixels(seed, new=5, others=10)
    start = pixels[:count].clone()
    before = [tensor.clone() for tensor in (start, pixels, rivals)]
    weights = torch.ones(len(pixels))
    fitted = fit_new_prototypes(start, pixels, is_new, rivals, weights, 10.0, steps=3)
    torch.testing.assert_close(fitted.norm(dim=1), torch.ones(count))
    for tensor, old in zip((start, pixels, rivals), before, strict=True):
        assert torch.equal(tensor, old)
    assert not fitted.requires_grad
    unmoved = fit_new_prototypes(start, pixels, is_new, rivals, weights, 10.0, steps=0)
    torch.testing.assert_close(unmoved, start)
    held = fit_new_prototypes(start, pixels, is_new, rivals, weights, 10.0, steps=3, pull=1e6)
    assert (held * start).sum(dim=1).min() > (fitted * start).sum(dim=1).min() - 1e-6


def test_a_pixel_of_double_weight_counts_as_two() -> None:
    pixels, is_new, rivals, _ = make_pixels(0, new=5, others=10)
    weights = torch.ones(len(pixels))
    weights[3] = 2
    arguments = pixels[:2], pixels, is_new, rivals, weights, 10.0
    once = fit_new_prototypes(*arguments, steps=20)
    doubled = torch.cat([pixels, pixels[3:4]])
    twice = fit_new_prototypes(
        pixels[:2],
        doubled,
        torch.cat([is_new, is_new[3:4]]),
        torch.cat([rivals, rivals[3:4]]),
        torch.ones(len(doubled)),
        10.0,
        steps=20,
    )
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-4)
