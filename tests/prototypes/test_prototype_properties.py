"""Properties that every function of prototypes/ has, whatever its input."""

import pytest
import reference
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from property_problems import many, own_similarity, problems
from toy import Problem

from mmseg_proto.ops import assign_prototypes
from mmseg_proto.prototypes import (
    NO_CANDIDATE,
    PrototypeBank,
    class_health,
    collect_statistics,
    draw_candidates,
    drift,
    extend_by_kmeans_plus_plus,
    intra_class_cosine,
    largest_cosine,
    live_share,
    move_prototypes,
    usage_perplexity,
)


@many
@given(problems(), st.floats(0, 1))
def test_an_update_is_the_equation_and_keeps_unit_length(problem: Problem, decay: float) -> None:
    similarity = own_similarity(problem)
    assigned = assign_prototypes(similarity, problem.labels, problem.alive).target
    # A class without prototypes moves none.
    has = problem.alive.any(dim=1)[problem.labels.clamp(min=0)]
    labels = torch.where(has, problem.labels, -1)
    shape = (problem.alive.shape[0], problem.alive.shape[1])
    statistics = collect_statistics(
        problem.embeddings, labels, assigned, labels, similarity.argmax(dim=1), shape
    )
    assert statistics.counts.sum() == statistics.wins.sum() == (labels >= 0).sum()
    moved = move_prototypes(problem.prototypes, statistics.sums, statistics.counts, decay)
    torch.testing.assert_close(moved.norm(dim=2), problem.alive.double(), rtol=0, atol=1e-5)
    # Embeddings that cancel out give no direction, and where old and new do, nor does their sum.
    expected = reference.moved_prototypes(
        problem.prototypes, problem.embeddings, labels, assigned, decay
    )
    clear = (statistics.sums.norm(dim=2) > 1e-3) | (statistics.counts == 0)
    target = F.normalize(statistics.sums, dim=-1)
    mixed = decay * problem.prototypes + (1 - decay) * target
    clear &= (mixed.norm(dim=2) > 1e-3) | (statistics.counts == 0)
    torch.testing.assert_close(moved[clear], expected[clear], rtol=1e-3, atol=1e-3)


@many
@given(problems(), st.integers(1, 4))
def test_any_split_of_pixels_adds_up_to_the_same_statistics(problem: Problem, parts: int) -> None:
    similarity = own_similarity(problem)
    nearest = similarity.argmax(dim=1)
    shape = (problem.alive.shape[0], problem.alive.shape[1])

    def collect(chosen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        labels = problem.labels[chosen]
        embeddings, index = problem.embeddings[chosen], nearest[chosen]
        return collect_statistics(embeddings, labels, index, labels, index, shape)

    whole = collect(torch.arange(len(nearest)))
    split = [collect(torch.arange(part, len(nearest), parts)) for part in range(parts)]
    for total, pieces in zip(whole, zip(*split, strict=True), strict=True):
        torch.testing.assert_close(torch.stack(pieces).sum(dim=0), total)


@many
@given(problems())
def test_health_is_in_its_range_and_undefined_where_there_is_nothing(problem: Problem) -> None:
    alive, places = problem.alive, problem.alive.shape[1]
    usage = torch.rand(alive.shape) * alive
    numbers = class_health(problem.prototypes, alive, usage)
    assert torch.equal(numbers["live_share"], live_share(alive))
    assert torch.equal(live_share(alive), alive.sum(dim=1) / places)
    for key, function in (("cosine", intra_class_cosine), ("largest_cosine", largest_cosine)):
        value = function(problem.prototypes, alive)
        assert torch.equal(value.isnan(), alive.sum(dim=1) < 2)
        assert torch.equal(value.nan_to_num(), numbers[key].nan_to_num())
        assert (value.nan_to_num().abs() <= 1 + 1e-6).all()
    several = alive.sum(dim=1) > 1
    assert (numbers["largest_cosine"] >= numbers["cosine"] - 1e-6)[several].all()
    perplexity = usage_perplexity(usage)
    assert torch.equal(perplexity.isnan(), ~(usage > 0).any(dim=1))
    assert (perplexity.nan_to_num(1.0) >= 1 - 1e-5).all()
    assert (perplexity.nan_to_num(1.0) <= (usage > 0).sum(dim=1).clamp(min=1) + 1e-4).all()


@many
@given(problems())
def test_drift_is_nothing_without_a_move_and_two_for_the_opposite(problem: Problem) -> None:
    alive = problem.alive
    known = alive.any(dim=1)
    still = drift(problem.prototypes, problem.prototypes, alive)
    turned = drift(problem.prototypes, -problem.prototypes, alive)
    assert torch.equal(still.isnan(), ~known)
    torch.testing.assert_close(still[known], torch.zeros_like(still[known]))
    torch.testing.assert_close(turned[known], torch.full_like(turned[known], 2.0))


@many
@given(problems(), st.integers(1, 12), st.integers(0, 2**31))
def test_candidates_are_pixels_of_their_class(problem: Problem, limit: int, seed: int) -> None:
    classes = torch.arange(len(problem.alive))
    order = torch.randperm(len(problem.labels), generator=torch.Generator().manual_seed(seed))
    candidates, places = draw_candidates(problem.embeddings, problem.labels, classes, limit, order)
    mask = places != NO_CANDIDATE
    for label in classes.tolist():
        own = problem.embeddings[problem.labels == label].float()
        drawn = candidates[label][mask[label]]
        assert len(drawn) == min(limit, len(own))
        matches = (drawn[:, None] == own[None]).all(dim=2)
        assert matches.any(dim=1).all()
        assert (matches.sum(dim=0) <= 1).all()  # none twice
        assert (candidates[label][~mask[label]] == 0).all()
        first = order[problem.labels == label].sort().values[:limit]
        assert places[label][mask[label]].tolist() == first.tolist()


@many
@given(problems(), st.integers(0, 2**31), st.booleans())
def test_seeding_fills_places_with_distinct_candidates_and_moves_nothing(
    problem: Problem, seed: int, patient: bool
) -> None:
    classes = torch.arange(len(problem.alive))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(problem.labels), generator=generator)
    candidates, places = draw_candidates(problem.embeddings, problem.labels, classes, 12, order)
    mask = places != NO_CANDIDATE
    before = problem.prototypes.float()
    waiting = torch.full((len(classes),), patient)
    prototypes, alive = extend_by_kmeans_plus_plus(
        candidates, mask, before, problem.alive, generator, waiting
    )
    assert (alive >= problem.alive).all()
    assert torch.equal(prototypes[problem.alive], before[problem.alive])
    for label in classes.tolist():
        new = prototypes[label][alive[label] & ~problem.alive[label]]
        real = candidates[label][mask[label]]
        assert (new[:, None] == real[None]).all(dim=2).any(dim=1).all()
        cosines = prototypes[label][alive[label]] @ new.T
        # Each new one is like itself alone.
        assert ((cosines > 1 - 1e-7).sum(dim=0) <= 1).all()
        if not patient:
            missing = int((~problem.alive[label]).sum())
            assert len(new) == min(missing, len(real))


@many
@given(problems(), st.integers(0, 2**31))
def test_a_bank_keeps_what_it_has_and_what_it_is_given(problem: Problem, seed: int) -> None:
    classes, places, channels = problem.prototypes.shape
    bank = PrototypeBank(classes, places, channels)
    everything = torch.arange(classes)
    bank.seed(everything, problem.prototypes, problem.alive)
    first = bank.prototypes.clone()
    torch.manual_seed(seed)
    bank.seed(everything, torch.randn(classes, places, channels), torch.ones_like(problem.alive))
    assert bank.alive_mask.all()
    assert torch.equal(bank.prototypes[problem.alive], first[problem.alive])
    torch.testing.assert_close(bank.prototypes.norm(dim=2), torch.ones(classes, places))
    before = bank.prototypes.clone()
    bank.update()
    assert torch.equal(bank.prototypes, before)
    assert bank.updates.sum() == pytest.approx(0)
