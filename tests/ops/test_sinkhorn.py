import pytest
import reference
import torch
from torch import Tensor
from toy import make_problem

from mmseg_proto.ops import within_class_sinkhorn


def own_similarity(embeddings: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
    return torch.einsum("nd,nkd->nk", embeddings, prototypes[labels.clamp(min=0)])


@pytest.mark.parametrize("iterations", [0, 1, 3, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_reference(iterations: int, seed: int) -> None:
    problem = make_problem(seed=seed)
    similarity = own_similarity(problem.embeddings, problem.labels, problem.prototypes)
    plan = within_class_sinkhorn(
        similarity, problem.labels, problem.alive, kappa=0.05, iterations=iterations
    )
    expected = reference.within_class_sinkhorn(
        similarity, problem.labels, problem.alive, 0.05, iterations
    )
    torch.testing.assert_close(plan, expected, rtol=1e-9, atol=1e-12)


def test_properties_of_the_solution() -> None:
    problem = make_problem(pixels=120)
    similarity = own_similarity(problem.embeddings, problem.labels, problem.prototypes)
    plan = within_class_sinkhorn(
        similarity, problem.labels, problem.alive, kappa=0.05, iterations=2000
    )
    assigned = problem.alive.any(1)[problem.labels.clamp(min=0)] & (problem.labels >= 0)
    torch.testing.assert_close(plan.sum(1), assigned.double())
    for c in (0, 2, 3):
        load = plan[problem.labels == c].sum(0)
        share = (problem.labels == c).sum() / problem.alive[c].sum()
        torch.testing.assert_close(load, problem.alive[c] * share.double(), rtol=1e-4, atol=1e-6)


def test_classes_do_not_touch_each_other() -> None:
    problem = make_problem()
    similarity = own_similarity(problem.embeddings, problem.labels, problem.prototypes)
    both = within_class_sinkhorn(similarity, problem.labels, problem.alive)
    alone = within_class_sinkhorn(
        similarity, torch.where(problem.labels == 0, 0, -1), problem.alive
    )
    torch.testing.assert_close(both[problem.labels == 0], alone[problem.labels == 0])


def test_all_ignored_and_no_pixels() -> None:
    alive = torch.ones(3, 2, dtype=torch.bool)
    plan = within_class_sinkhorn(torch.rand(4, 2), torch.full((4,), -1), alive)
    assert torch.equal(plan, torch.zeros(4, 2))
    none = torch.zeros(0, dtype=torch.long)
    assert within_class_sinkhorn(torch.rand(0, 2), none, alive).shape == (0, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_clustered_in_single(dtype: torch.dtype) -> None:
    # exp(1 / 0.05) overflows fp16.
    problem = make_problem()
    similarity = own_similarity(problem.embeddings, problem.labels, problem.prototypes).to(dtype)
    plan = within_class_sinkhorn(similarity, problem.labels, problem.alive)
    expected = within_class_sinkhorn(similarity.double(), problem.labels, problem.alive)
    assert plan.dtype == torch.float32
    torch.testing.assert_close(plan, expected.float(), rtol=1e-4, atol=1e-5)


def test_tiny_kappa_stays_finite() -> None:
    similarity = torch.tensor([[1.0, -1.0], [1.0, -1.0], [0.9, 0.2]])
    plan = within_class_sinkhorn(
        similarity, torch.zeros(3, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool), kappa=1e-3
    )
    assert plan.isfinite().all()
    torch.testing.assert_close(plan.sum(1), torch.ones(3))


def test_reduce_sums_shares_of_all_ranks() -> None:
    """Two halves that reduce in lockstep give the rows of the whole."""
    problem = make_problem(pixels=30)
    similarity = own_similarity(problem.embeddings, problem.labels, problem.prototypes)
    whole = within_class_sinkhorn(similarity, problem.labels, problem.alive)
    seen: list[Tensor] = []

    def record(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return tensor

    within_class_sinkhorn(similarity, problem.labels, problem.alive, reduce=record)
    totals = iter(seen)
    half = within_class_sinkhorn(
        similarity[:11], problem.labels[:11], problem.alive, reduce=lambda _: next(totals)
    )
    torch.testing.assert_close(half, whole[:11])


def test_errors() -> None:
    alive = torch.ones(1, 1, dtype=torch.bool)
    arguments = (torch.rand(1, 1), torch.zeros(1, dtype=torch.long), alive)
    with pytest.raises(ValueError, match="`kappa` to be above 0"):
        within_class_sinkhorn(*arguments, kappa=0.0)
    with pytest.raises(ValueError, match="`iterations` to be at least 0"):
        within_class_sinkhorn(*arguments, iterations=-1)
