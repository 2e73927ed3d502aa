import torch
import torch.nn.functional as F

from mmseg_proto.prototypes import (
    drift,
    intra_class_cosine,
    largest_cosine,
    live_share,
    usage_perplexity,
)


def test_perplexity_of_known_distributions() -> None:
    usage = torch.tensor([[5.0, 5.0, 5.0, 5.0], [8.0, 0.0, 0.0, 0.0], [0.0] * 4])
    perplexity = usage_perplexity(usage)
    torch.testing.assert_close(perplexity[:2], torch.tensor([4.0, 1.0]))
    assert perplexity[2].isnan()


def test_cosine_is_the_mean_over_pairs_that_exist() -> None:
    prototypes = F.normalize(torch.randn(2, 4, 5, dtype=torch.float64), dim=2)
    alive = torch.tensor([[True, True, False, True], [True, False, False, False]])
    rows = [0, 1, 3]
    pairs = [prototypes[0, i] @ prototypes[0, j] for i in rows for j in rows if i < j]
    cosine = intra_class_cosine(prototypes, alive)
    torch.testing.assert_close(cosine[0], torch.stack(pairs).mean())
    assert cosine[1].isnan()


def test_collapse_shows_as_cosine_one() -> None:
    prototypes = torch.ones(1, 6, 3)
    cosine = intra_class_cosine(prototypes, torch.ones(1, 6, dtype=torch.bool))
    torch.testing.assert_close(cosine, torch.ones(1))


def test_live_share() -> None:
    alive = torch.tensor([[True, False], [True, True]])
    assert live_share(alive).tolist() == [0.5, 1.0]


def test_largest_cosine_is_that_of_the_closest_pair() -> None:
    prototypes = F.normalize(torch.randn(2, 4, 5, dtype=torch.float64), dim=2)
    alive = torch.tensor([[True, True, False, True], [True, False, False, False]])
    rows = [0, 1, 3]
    pairs = [prototypes[0, i] @ prototypes[0, j] for i in rows for j in rows if i < j]
    largest = largest_cosine(prototypes, alive)
    torch.testing.assert_close(largest[0], torch.stack(pairs).max())
    assert largest[1].isnan()


def test_drift_is_the_mean_turn_of_those_that_existed() -> None:
    before = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0]] * 3])
    after = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]] * 3])
    alive = torch.tensor([[True] * 3, [False] * 3])
    turned = drift(before, after, alive)
    # One stayed, one turned by a right angle, one was not there before.
    assert float(turned[0]) == 0.5
    assert turned[1].isnan()
