import pytest
import reference
import torch
from toy import make_problem

from mmseg_proto.ops import assign_prototypes


def own_similarity() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    problem = make_problem(pixels=80)
    own = problem.prototypes[problem.labels.clamp(min=0)]
    similarity = torch.einsum("nd,nkd->nk", problem.embeddings, own)
    exists = problem.alive[problem.labels.clamp(min=0)]
    return similarity.masked_fill(~exists, -1.0), problem.labels, problem.alive


def test_argmax_takes_the_largest_share_of_the_plan() -> None:
    similarity, labels, alive = own_similarity()
    plan = reference.within_class_sinkhorn(similarity, labels, alive, 0.05, 3)
    assigned = assign_prototypes(similarity, labels, alive).target
    compared = []
    for n, label in enumerate(labels.tolist()):
        exists = [k for k in range(alive.shape[1]) if label >= 0 and alive[label, k]]
        if exists:
            enough = labels.tolist().count(label) >= len(exists)
            compared.append(enough)
            by = plan[n] if enough else similarity[n]
            assert int(assigned[n]) == max(exists, key=lambda k: float(by[k]))  # noqa: B023
    assert set(compared) == {True, False}


def test_all_ranks_together_decide_whether_pixels_are_few() -> None:
    """Two ranks with the same two pixels: fewer than three prototypes, but not so together."""
    similarity = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.1, 0.2]])
    labels, alive = torch.zeros(2).long(), torch.ones(1, 3, dtype=torch.bool)
    nearest = similarity.argmax(dim=1)
    whole = assign_prototypes(similarity.repeat(2, 1), labels.repeat(2), alive).target[:2]
    assert torch.equal(assign_prototypes(similarity, labels, alive).target, nearest)
    assert not torch.equal(whole, nearest)
    on_a_rank = assign_prototypes(similarity, labels, alive, reduce=lambda part: 2 * part).target
    assert torch.equal(on_a_rank, whole)


def test_nearest_makes_no_plan() -> None:
    similarity, labels, alive = own_similarity()
    assigned = assign_prototypes(similarity, labels, alive, assign="nearest").target
    for n in range(len(labels)):
        cosines = [float(cosine) for cosine in similarity[n]]
        assert int(assigned[n]) == cosines.index(max(cosines))


def test_gumbel_forgets_a_clear_plan_three_times_in_four() -> None:
    """The fault of the authors' code, which keeps 23 % of a one-hot plan of 10 prototypes."""
    torch.manual_seed(0)
    pixels = 20000
    own = torch.arange(pixels) % 10
    similarity = torch.nn.functional.one_hot(own, 10).double()
    labels, alive = torch.zeros(pixels).long(), torch.ones(1, 10, dtype=torch.bool)
    assert torch.equal(assign_prototypes(similarity, labels, alive).target, own)
    target, drawn = assign_prototypes(similarity, labels, alive, assign="gumbel")
    assert torch.equal(target, own)
    # exp(1) / (exp(1) + 9): the softmax of probabilities taken for logits.
    assert (drawn == own).double().mean().item() == pytest.approx(0.232, abs=0.01)


@pytest.mark.parametrize("assign", ["argmax", "nearest", "gumbel"])
def test_a_prototype_that_does_not_exist_gets_no_pixel(assign: str) -> None:
    similarity, labels, alive = own_similarity()
    for _ in range(20):
        assigned = assign_prototypes(similarity, labels, alive, assign=assign).moving
        counted = alive.any(1)[labels.clamp(min=0)] & (labels >= 0)
        assert alive[labels.clamp(min=0), assigned][counted].all()


def test_errors() -> None:
    similarity, labels, alive = own_similarity()
    with pytest.raises(ValueError, match="one of .* but got 'soft'"):
        assign_prototypes(similarity, labels, alive, assign="soft")
    with pytest.raises(ValueError, match="`few_pixels` .* but got 'none'"):
        assign_prototypes(similarity, labels, alive, few_pixels="none")
    with pytest.raises(ValueError, match="`start` .* but got 'both'"):
        assign_prototypes(similarity, labels, alive, start="both")
