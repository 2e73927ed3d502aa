import pytest
import reference
import torch
from torch import Tensor
from toy import make_problem

from mmseg_proto.ops import nearest_prototypes


def dense(
    embeddings: Tensor, prototypes: Tensor, alive: Tensor, labels: Tensor, tau: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Plain differentiable version that keeps all similarities."""
    similarity = torch.einsum("nd,ckd->nck", embeddings, prototypes)
    floored = torch.where(alive, similarity, -1.0)
    own = floored[torch.arange(len(labels)), labels.clamp(min=0)]
    masked = torch.where(alive, similarity / tau, -torch.inf)
    return floored.amax(2), own, masked.flatten(1).logsumexp(1)


@pytest.mark.parametrize("block_size", [1, 7, None])
def test_matches_reference(block_size: int | None) -> None:
    problem = make_problem()
    result = nearest_prototypes(
        problem.embeddings, problem.prototypes, problem.alive, problem.labels, block_size=block_size
    )
    expected = reference.class_scores(problem.embeddings, problem.prototypes, problem.alive)
    torch.testing.assert_close(result.class_scores, expected)
    _, own, log_partition = dense(
        problem.embeddings, problem.prototypes, problem.alive, problem.labels, 0.1
    )
    assert result.own_similarity is not None
    valid = problem.labels >= 0
    torch.testing.assert_close(result.own_similarity[valid], own[valid])
    torch.testing.assert_close(result.log_partition, log_partition)


@pytest.mark.parametrize("block_size", [5, None])
def test_gradient_equals_dense_autograd(block_size: int | None) -> None:
    problem = make_problem()
    valid = problem.labels >= 0
    grads = []
    for streamed in (True, False):
        embeddings = problem.embeddings.clone().requires_grad_()
        arguments = (embeddings, problem.prototypes, problem.alive, problem.labels)
        if streamed:
            scores, own, lse = nearest_prototypes(
                *arguments, temperature=0.2, block_size=block_size
            )
        else:
            scores, own, lse = dense(*arguments, 0.2)
        assert own is not None
        assert lse is not None
        weights = torch.linspace(-1, 1, scores.numel(), dtype=torch.float64).view_as(scores)
        loss = (scores * weights).sum() + own[valid].square().sum() + (lse * 0.3).sin().sum()
        grads.append(torch.autograd.grad(loss, embeddings)[0])
    torch.testing.assert_close(grads[0], grads[1])


def test_gradcheck() -> None:
    problem = make_problem(pixels=6, classes=3, places=2, channels=4)
    embeddings = problem.embeddings.requires_grad_()

    def outputs(e: Tensor) -> tuple[Tensor, ...]:
        result = nearest_prototypes(
            e, problem.prototypes, problem.alive, problem.labels, block_size=4
        )
        return tuple(part for part in result if part is not None)

    assert len(outputs(embeddings)) == 3
    assert torch.autograd.gradcheck(outputs, (embeddings,))


def test_gradcheck_of_scale_and_maps() -> None:
    problem = make_problem(pixels=6, classes=3, places=2, channels=4)
    scale = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)

    def outputs(e: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        result = nearest_prototypes(
            e, problem.prototypes, problem.alive, problem.labels, scale=s, num_maps=2, block_size=2
        )
        return tuple(part for part in result if part is not None)

    assert torch.autograd.gradcheck(outputs, (problem.embeddings.requires_grad_(), scale))


@pytest.mark.parametrize("block_size", [3, None])
def test_maps_are_contiguous_and_scaled_rows(block_size: int | None) -> None:
    problem = make_problem()
    rows = nearest_prototypes(problem.embeddings, problem.prototypes, problem.alive).class_scores
    maps = nearest_prototypes(
        problem.embeddings,
        problem.prototypes,
        problem.alive,
        scale=torch.tensor([7.0], dtype=torch.float64),
        num_maps=4,
        block_size=block_size,
    ).class_scores
    assert maps.is_contiguous()
    torch.testing.assert_close(maps, 7 * rows.view(4, 10, 5).transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_sums_in_single(dtype: torch.dtype) -> None:
    problem = make_problem(pixels=200, classes=30, channels=32)
    single, prototypes = problem.embeddings.float(), problem.prototypes.float()
    scores, own, partition = nearest_prototypes(single, prototypes, problem.alive, problem.labels)
    embeddings = single.to(dtype).requires_grad_()
    half = nearest_prototypes(embeddings, prototypes, problem.alive, problem.labels)
    assert half.own_similarity is not None
    assert half.log_partition is not None
    assert half.class_scores.dtype == dtype
    assert half.own_similarity.dtype == half.log_partition.dtype == torch.float32
    near = 4 * torch.finfo(dtype).eps
    valid = problem.labels >= 0
    assert own is not None
    assert partition is not None
    assert (half.class_scores.float() - scores).abs().max() < near
    assert (half.own_similarity - own)[valid].abs().max() < near
    assert (half.log_partition - partition).abs().max() < near / 0.1  # of the temperature
    (half.class_scores.float().sum() + half.log_partition.sum()).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.dtype == dtype
    assert embeddings.grad.isfinite().all()


def test_prototypes_get_no_gradient() -> None:
    problem = make_problem()
    prototypes = problem.prototypes.requires_grad_()
    scores = nearest_prototypes(
        problem.embeddings.requires_grad_(), prototypes, problem.alive
    ).class_scores
    scores.sum().backward()
    assert prototypes.grad is None
    assert problem.embeddings.grad is not None


def test_nothing_alive_is_finite() -> None:
    problem = make_problem()
    embeddings = problem.embeddings.requires_grad_()
    nothing = torch.zeros_like(problem.alive)
    scores, own, lse = nearest_prototypes(
        embeddings, torch.zeros_like(problem.prototypes), nothing, problem.labels
    )
    assert own is not None
    assert lse is not None
    assert torch.equal(scores, torch.full_like(scores, -1.0))
    assert torch.equal(lse, torch.zeros_like(lse))
    (scores.sum() + own.sum() + lse.sum()).backward()
    assert embeddings.grad is not None
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_no_pixels() -> None:
    problem = make_problem()
    result = nearest_prototypes(
        problem.embeddings[:0].requires_grad_(),
        problem.prototypes,
        problem.alive,
        problem.labels[:0],
    )
    assert result.class_scores.shape == (0, 5)
    result.class_scores.sum().backward()


def test_gradient_with_hundreds_of_prototypes_a_class() -> None:
    problem = make_problem(places=300)
    embeddings = problem.embeddings.requires_grad_()
    scores = nearest_prototypes(embeddings, problem.prototypes, problem.alive).class_scores
    expected = dense(problem.embeddings, problem.prototypes, problem.alive, problem.labels, 1.0)[0]
    torch.testing.assert_close(
        torch.autograd.grad(scores.sum(), embeddings)[0],
        torch.autograd.grad(expected.sum(), embeddings)[0],
    )


def test_equal_prototypes_share_no_gradient_twice() -> None:
    problem = make_problem()
    twins = problem.prototypes[:, :1].expand(-1, 4, -1)
    embeddings = problem.embeddings.requires_grad_()
    alive = torch.ones_like(problem.alive)
    scores = nearest_prototypes(embeddings, twins, alive).class_scores
    torch.testing.assert_close(
        torch.autograd.grad(scores.sum(), embeddings)[0],
        twins[:, 0].sum(0).expand_as(embeddings),
    )


def test_errors() -> None:
    problem = make_problem()
    with pytest.raises(ValueError, match=r"`embeddings` \(N, D\) and `prototypes` \(C, K, D\)"):
        nearest_prototypes(problem.embeddings[:, :2], problem.prototypes, problem.alive)
    with pytest.raises(ValueError, match="`alive` to be of shape"):
        nearest_prototypes(problem.embeddings, problem.prototypes, problem.alive[:2])
    with pytest.raises(ValueError, match="`num_maps` to divide 40 pixels, but got 7"):
        nearest_prototypes(problem.embeddings, problem.prototypes, problem.alive, num_maps=7)
    with pytest.raises(ValueError, match="`temperature` to be above 0"):
        nearest_prototypes(problem.embeddings, problem.prototypes, problem.alive, temperature=0.0)
