import pytest
import torch
import torch.nn.functional as F

from mmseg_proto.ops import sample_labels, segment_count, segment_sum


def test_segment_sum_matches_loop_and_drops_left_out_rows() -> None:
    values = torch.randn(9, 3, dtype=torch.float64)
    values[4] = torch.nan
    segments = torch.tensor([0, 2, 2, 0, -1, 3, 3, 3, -1])
    total = segment_sum(values, segments, 5)
    for s in range(5):
        expected = sum((values[n] for n in range(9) if segments[n] == s), torch.zeros(3).double())
        torch.testing.assert_close(total[s], expected)


def test_segment_count_drops_left_out_rows() -> None:
    segments = torch.tensor([0, 2, 2, 0, -1, 3, 3, 3, -1])
    counts = segment_count(segments, 5)
    assert counts.dtype == torch.float32
    assert counts.tolist() == [2, 0, 2, 3, 0]


def test_segment_sum_errors() -> None:
    with pytest.raises(ValueError, match="one entry per row"):
        segment_sum(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long), 4)


@pytest.mark.parametrize("size", [(8, 8), (4, 6), (5, 7), (1, 1), (31, 33)])
def test_labels_are_sampled_like_nearest_exact(size: tuple[int, int]) -> None:
    labels = torch.arange(32 * 24).view(1, 32, 24)
    expected = F.interpolate(labels[None].double(), size=size, mode="nearest-exact")[0].long()
    assert torch.equal(sample_labels(labels, size), expected)


def test_labels_with_aligned_corners() -> None:
    labels = torch.arange(9 * 13).view(1, 9, 13)
    sampled = sample_labels(labels, (3, 4), align_corners=True)
    # The bilinear resizing of coordinates with the same convention lands on these pixels.
    assert torch.equal(sampled[0], labels[0][[0, 4, 8]][:, [0, 4, 8, 12]])
    assert sample_labels(labels, (1, 1), align_corners=True).item() == 0
