import copy

import pytest
import reference
import torch
from toy import make_problem

from mmseg_proto.prototypes import (
    PrototypeBank,
    PrototypeStatistics,
    collect_statistics,
    move_prototypes,
)


def filled_bank(decay: float = 0.9) -> PrototypeBank:
    problem = make_problem()
    bank = PrototypeBank(5, 4, 6, decay=decay)
    bank.seed(torch.arange(5), problem.prototypes.float(), problem.alive)
    return bank


def some_statistics(seed: int = 0, pixels: int = 40) -> PrototypeStatistics:
    problem = make_problem(pixels=pixels, seed=seed)
    assigned = torch.arange(pixels) % 4
    labels = torch.where(problem.labels == 4, -1, problem.labels)
    return collect_statistics(problem.embeddings, labels, assigned, labels, assigned, (5, 4))


def test_update_matches_reference() -> None:
    problem = make_problem()
    assignment = torch.arange(40) % 4
    bank = filled_bank()
    before = bank.prototypes.clone()
    labels = torch.where(problem.labels >= 3, -1, problem.labels)
    bank.accumulate(
        collect_statistics(problem.embeddings, labels, assignment, labels, assignment, (5, 4))
    )
    bank.update()
    expected = reference.moved_prototypes(before, problem.embeddings, labels, assignment, 0.9)
    torch.testing.assert_close(bank.prototypes, expected.float())
    torch.testing.assert_close(bank.prototypes.norm(dim=2), bank.alive)


def test_absent_class_and_empty_step_move_nothing() -> None:
    bank = filled_bank()
    before = copy.deepcopy(bank.state_dict())
    bank.accumulate(some_statistics())
    bank.update()
    assert torch.equal(bank.prototypes[1], before["prototypes"][1])
    assert bank.updates[1].sum() == 0
    state = copy.deepcopy(bank.state_dict())
    bank.update()
    for name, value in bank.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_statistics_of_two_passes_equal_one_pass_over_both() -> None:
    problem = make_problem(pixels=60)
    assignment = torch.arange(60) % 4

    def statistics(rows: slice) -> PrototypeStatistics:
        labels = problem.labels.clamp(max=3)[rows]
        return collect_statistics(
            problem.embeddings[rows], labels, assignment[rows], labels, assignment[rows], (5, 4)
        )

    split, whole = filled_bank(), filled_bank()
    split.accumulate(statistics(slice(0, 25)))
    split.accumulate(statistics(slice(25, 60)))
    whole.accumulate(statistics(slice(None)))
    split.update()
    whole.update()
    torch.testing.assert_close(split.prototypes, whole.prototypes)
    torch.testing.assert_close(split.usage, whole.usage)


def test_ranks_count_by_pixels_not_by_rank() -> None:
    """A rank with 5 pixels and one with 55 move prototypes as one process with 60."""
    first, second = some_statistics(1, pixels=5), some_statistics(2, pixels=55)
    one = filled_bank()
    one.accumulate(first.plus(second))
    one.update()
    ranked = filled_bank()
    ranked.accumulate(first)
    others = iter(second)
    ranked.update(reduce=lambda tensor: tensor + next(others))
    torch.testing.assert_close(ranked.prototypes, one.prototypes)


def test_discarded_statistics_are_gone_and_never_saved() -> None:
    bank = filled_bank()
    before = bank.prototypes.clone()
    bank.accumulate(some_statistics())
    assert set(bank.state_dict()) == {"prototypes", "alive", "updates", "usage"}
    bank.discard()
    bank.update()
    assert torch.equal(bank.prototypes, before)
    assert not list(bank.parameters())


def test_non_finite_embeddings_are_left_out() -> None:
    embeddings = torch.full((3, 6), torch.nan)
    ignored, first = torch.full((3,), -1), torch.zeros(3).long()
    statistics = collect_statistics(embeddings, ignored, first, ignored, first, (5, 4))
    assert all(part.isfinite().all() for part in statistics)


def test_cancelling_embeddings_leave_the_prototype() -> None:
    prototypes = torch.tensor([[[1.0, 0.0]]])
    moved = move_prototypes(prototypes, torch.zeros(1, 1, 2), torch.tensor([[2.0]]), decay=0.5)
    assert torch.equal(moved, prototypes)


def test_usage_follows_wins() -> None:
    bank = PrototypeBank(2, 2, 3)
    wins = torch.tensor([[9.0, 1.0], [0.0, 0.0]])
    for _ in range(2000):
        bank.accumulate(PrototypeStatistics(torch.zeros(2, 2, 3), torch.zeros(2, 2), wins))
        bank.update()
    torch.testing.assert_close(bank.usage, torch.tensor([[0.9, 0.1], [0.0, 0.0]]))


def test_seed_keeps_what_exists() -> None:
    bank = PrototypeBank(3, 2, 4)
    bank.seed(torch.tensor([1]), torch.ones(1, 2, 4), torch.tensor([[True, False]]))
    bank.seed(torch.tensor([1]), -torch.ones(1, 2, 4), torch.tensor([[True, True]]))
    torch.testing.assert_close(bank.prototypes[1], torch.tensor([[0.5] * 4, [-0.5] * 4]))
    assert bank.alive_mask.tolist() == [[False, False], [True, True], [False, False]]
    assert bank.prototypes[0].abs().sum() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "`num_classes` to be a whole number above 0, but got 0"),
        ((1, 0, 1), "`num_prototypes` to be a whole number above 0, but got 0"),
        ((1, 2.5, 1), "`num_prototypes` to be a whole number above 0, but got 2.5"),
        ((1, 1, -3), "`channels` to be a whole number above 0, but got -3"),
        ((1, 1, 1, 1.5), "`decay` .* between 0 and 1, but got 1.5"),
    ],
)
def test_errors(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrototypeBank(*arguments)


def test_clock_makes_a_running_mean_first() -> None:
    problem = make_problem(pixels=60)
    labels = torch.where(problem.labels == 4, -1, problem.labels)
    bank = PrototypeBank(5, 4, 6, decay=0.7, clock=2.0).double()
    bank.seed(torch.arange(5), problem.prototypes, problem.alive)
    expected = bank.prototypes.clone()
    # (n + 1) / (n + 2) until that is above 0.7.
    for step, weight in enumerate((1 / 2, 2 / 3, 0.7, 0.7)):
        assignment = (torch.arange(60) + step) % 4
        statistics = collect_statistics(
            problem.embeddings, labels, assignment, labels, assignment, (5, 4)
        )
        everywhere = statistics.counts[[0, 3]].all()  # so that these have moved as often
        assert everywhere
        bank.accumulate(statistics)
        bank.update()
        expected = reference.moved_prototypes(
            expected, problem.embeddings, labels, assignment, weight
        )
        torch.testing.assert_close(bank.prototypes[[0, 3]], expected[[0, 3]], rtol=1e-6, atol=1e-7)


def test_clock_of_a_prototype_counts_its_own_moves() -> None:
    bank = PrototypeBank(1, 2, 2, decay=0.9, clock=2.0)
    bank.seed(torch.tensor([0]), torch.eye(2)[None], torch.ones(1, 2, dtype=torch.bool))
    statistics = PrototypeStatistics(
        torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[1.0, 0.0]]),
    )
    bank.accumulate(statistics)
    bank.update()
    assert bank.updates.tolist() == [[1.0, 0.0]]
    # The first move keeps half; the other prototype has not moved.
    torch.testing.assert_close(bank.prototypes[0, 0], torch.tensor([0.5**0.5, 0.5**0.5]))
    torch.testing.assert_close(bank.prototypes[0, 1], torch.tensor([0.0, 1.0]))


def test_retire_lets_unused_prototypes_die_after_their_time() -> None:
    bank = PrototypeBank(1, 4, 4)
    bank.seed(torch.tensor([0]), torch.eye(4)[None], torch.ones(1, 4, dtype=torch.bool))
    bank.updates.copy_(torch.tensor([[50.0, 50.0, 49.0, 50.0]]))
    bank.usage.copy_(torch.tensor([[0.9, 0.001, 0.001, 0.05]]))
    died = bank.retire(min_updates=50, max_usage=0.01)
    assert died.tolist() == [[False, True, False, False]]
    assert bank.alive.tolist() == [[1.0, 0.0, 1.0, 1.0]]
    assert not bank.prototypes[0, 1].any()
    assert bank.updates[0, 1] == 0
    torch.testing.assert_close(bank.prototypes[0, [0, 2, 3]], torch.eye(4)[[0, 2, 3]])
