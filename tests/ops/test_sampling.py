import pytest
import torch

from mmseg_proto.losses import pixel_weights
from mmseg_proto.ops import draw_balanced

LABELS = torch.tensor([-1, 0, 0, 0, 0, 0, 0, 3, -1, 1, 1, 3, 3, -1])
OFFSETS = torch.linspace(0, 1, 2001, dtype=torch.float64)[:-1]


def test_each_class_has_an_equal_part_and_each_pixel_of_it_too() -> None:
    hits = torch.zeros(len(LABELS), dtype=torch.float64)
    for offset in OFFSETS:
        draw = draw_balanced(LABELS, 4, 10, offset)
        assert draw.drawn.shape == (10,)
        hits.index_add_(0, draw.drawn, torch.ones(10, dtype=torch.float64))
    assert draw.class_sizes.tolist() == [6, 2, 0, 3]
    torch.testing.assert_close(
        draw.expected_draws, torch.tensor([10 / 3, 10 / 3, 0, 10 / 3], dtype=torch.float64)
    )
    sizes = draw.class_sizes[LABELS.clamp(min=0)]
    expected = torch.where(LABELS >= 0, 10 / 3 / sizes, 0.0)
    torch.testing.assert_close(hits / len(OFFSETS), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_weighted_sums_over_draws_have_the_whole_sum_as_expectation(balance: float) -> None:
    values = torch.randn(len(LABELS), generator=torch.Generator().manual_seed(0))
    whole = (pixel_weights(LABELS, 4, balance) * values).sum()
    sums = []
    for offset in OFFSETS:
        draw = draw_balanced(LABELS, 4, 5, offset)
        weights = pixel_weights(LABELS[draw.drawn], 4, balance, draw)
        sums.append((weights * values[draw.drawn]).sum())
    assert torch.stack(sums).std() > 0.05
    assert float(torch.stack(sums).mean()) == pytest.approx(float(whole), abs=2e-3)


def test_nothing_to_draw_from_draws_what_weighs_nothing() -> None:
    labels = torch.full((6,), -1)
    draw = draw_balanced(labels, 4, 10, OFFSETS[5])
    assert draw.drawn.max() < 6
    assert draw.expected_draws.sum() == 0
    assert pixel_weights(labels[draw.drawn], 4, 1.0, draw).sum() == 0


def test_large_maps_lose_no_class_to_rounding() -> None:
    labels = torch.zeros(2**20, dtype=torch.int64)
    labels[-1] = 1
    draw = draw_balanced(labels, 2, 64, OFFSETS[7])
    assert labels[draw.drawn].sum() == 32


def test_largest_offset_stays_among_the_present() -> None:
    offset = torch.tensor(1 - 2**-53, dtype=torch.float64)
    for num_pixels in (1, 5, 4096):
        assert (LABELS[draw_balanced(LABELS, 4, num_pixels, offset).drawn] >= 0).all()
