"""Properties that every function of ops/ has, whatever its input."""

import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from property_problems import many, own_similarity, problems
from toy import Problem

from mmseg_proto.ops import (
    ASSIGNMENTS,
    FEW_PIXELS,
    SINKHORN_STARTS,
    assign_prototypes,
    draw_balanced,
    matmul_dtype,
    nearest_prototypes,
    sample_labels,
    segment_count,
    segment_sum,
    unit_layer_norm,
    within_class_sinkhorn,
)
from mmseg_proto.ops.blocks import blocks_of_images, rows_of_a_block

KAPPAS = st.sampled_from([0.02, 0.05, 0.5])


@many
@given(problems(), KAPPAS, st.integers(0, 5))
def test_sinkhorn_is_the_equations_class_by_class(
    problem: Problem, kappa: float, iterations: int
) -> None:
    similarity = own_similarity(problem)
    plan = within_class_sinkhorn(
        similarity, problem.labels, problem.alive, kappa=kappa, iterations=iterations
    )
    expected = reference.within_class_sinkhorn(
        similarity, problem.labels, problem.alive, kappa, iterations
    )
    torch.testing.assert_close(plan, expected, rtol=1e-6, atol=1e-9)
    assigned = (problem.labels >= 0) & problem.alive.any(dim=1)[problem.labels.clamp(min=0)]
    torch.testing.assert_close(plan.sum(dim=1), assigned.double())


@many
@given(
    problems(),
    st.sampled_from(ASSIGNMENTS),
    st.sampled_from(SINKHORN_STARTS),
    st.sampled_from(FEW_PIXELS),
)
def test_pixels_are_assigned_to_prototypes_that_exist(
    problem: Problem, assign: str, start: str, few_pixels: str
) -> None:
    assignment = assign_prototypes(
        own_similarity(problem),
        problem.labels,
        problem.alive,
        assign=assign,
        start=start,
        few_pixels=few_pixels,
    )
    counts = (problem.labels >= 0) & problem.alive.any(dim=1)[problem.labels.clamp(min=0)]
    for assigned in assignment:
        assert assigned.shape == problem.labels.shape
        assert problem.alive[problem.labels[counts], assigned[counts]].all()


@many
@given(problems(), st.permutations(range(24)))
def test_the_order_of_pixels_does_not_matter(problem: Problem, order: list[int]) -> None:
    kept = torch.tensor([place for place in order if place < len(problem.labels)])
    similarity = own_similarity(problem)
    assigned = assign_prototypes(similarity, problem.labels, problem.alive).target
    shuffled = assign_prototypes(similarity[kept], problem.labels[kept], problem.alive).target
    valid = problem.labels[kept] >= 0
    assert torch.equal(shuffled[valid], assigned[kept][valid])


@many
@given(problems(), st.integers(1, 9), st.sampled_from([0.05, 1.0]))
def test_scores_are_those_of_the_oracle_in_blocks_of_any_size(
    problem: Problem, block_size: int, temperature: float
) -> None:
    found = nearest_prototypes(
        problem.embeddings,
        problem.prototypes,
        problem.alive,
        problem.labels,
        temperature=temperature,
        block_size=block_size,
    )
    scores = reference.class_scores(problem.embeddings, problem.prototypes, problem.alive)
    torch.testing.assert_close(found.class_scores, scores)
    assert found.own_similarity is not None
    assert found.log_partition is not None
    valid = problem.labels >= 0
    torch.testing.assert_close(found.own_similarity[valid], own_similarity(problem)[valid])
    if problem.alive.any():
        directions = problem.prototypes[problem.alive]
        logits = problem.embeddings @ directions.T / temperature
        torch.testing.assert_close(found.log_partition[valid], logits.logsumexp(dim=1)[valid])


@many
@given(problems())
def test_segments_add_up_row_by_row_and_leave_out_what_is_not_counted(problem: Problem) -> None:
    classes = len(problem.alive)
    values = problem.embeddings.masked_fill((problem.labels < 0)[:, None], torch.nan)
    sums = segment_sum(values, problem.labels, classes)
    counts = segment_count(problem.labels, classes)
    for label in range(classes):
        rows = problem.embeddings[problem.labels == label]
        torch.testing.assert_close(sums[label], rows.sum(dim=0))
        assert counts[label] == len(rows)


@many
@given(problems(), st.integers(1, 30), st.floats(0, 1, exclude_max=True))
def test_every_class_gets_its_part_of_a_draw(
    problem: Problem, num_pixels: int, offset: float
) -> None:
    classes = len(problem.alive)
    draw = draw_balanced(
        problem.labels, classes, num_pixels, torch.tensor(offset, dtype=torch.float64)
    )
    drawn = problem.labels[draw.drawn]
    assert len(drawn) == num_pixels
    assert torch.equal(draw.class_sizes, segment_count(problem.labels, classes, torch.float64))
    if (problem.labels < 0).all():
        return
    assert (drawn >= 0).all()
    counts = segment_count(drawn, classes, torch.float64)
    # A part of a draw is rounded up or down.
    assert ((counts - draw.expected_draws).abs() < 1 + 1e-6).all()
    assert draw.expected_draws.sum() == pytest.approx(num_pixels)


@many
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_labels_are_taken_from_the_map_and_kept_where_sizes_are_equal(
    height: int, width: int, rows: int, columns: int, align_corners: bool
) -> None:
    labels = torch.arange(height * width).view(1, height, width)
    taken = sample_labels(labels, (rows, columns), align_corners)
    assert taken.shape == (1, rows, columns)
    assert set(taken.flatten().tolist()) <= set(labels.flatten().tolist())
    # Neither rows nor columns go back.
    assert (taken[0, 1:] >= taken[0, :-1]).all()
    assert (taken[0, :, 1:] >= taken[0, :, :-1]).all()
    assert torch.equal(sample_labels(labels, (height, width), align_corners), labels)


@many
@given(st.integers(1, 3), st.integers(2, 6), st.integers(1, 4), st.integers(0, 2**31))
def test_unit_layer_norm_is_the_oracle_and_has_unit_length(
    batch: int, channels: int, side: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, channels, side, side, generator=generator, dtype=torch.float64)
    weight, bias = torch.randn(2, channels, generator=generator, dtype=torch.float64)
    found = unit_layer_norm(features, weight, bias, 1e-5, torch.float64)
    torch.testing.assert_close(found, reference.unit_layer_norm(features, weight, bias, 1e-5))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found), dtype=torch.float64))


@many
@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 25))
def test_blocks_hold_every_pixel_once_and_reach_over_no_edge(
    images: int, pixels: int, size: int
) -> None:
    seen: list[int] = []
    for image, inside, overall in blocks_of_images(images, pixels, size):
        assert 0 < inside.stop - inside.start == overall.stop - overall.start <= size
        assert overall.start == image * pixels + inside.start
        assert inside.stop <= pixels
        seen += range(overall.start, overall.stop)
    assert seen == list(range(images * pixels))


@many
@given(st.integers(1, 10**7))
def test_blocks_keep_to_their_budget(row_size: int) -> None:
    rows = rows_of_a_block(row_size, torch.device("cpu"))
    assert rows == 192 or rows * row_size * 4 <= 2 * 2**20


@many
@given(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_products_have_the_dtype_that_is_said(dtype: torch.dtype) -> None:
    tensor = torch.ones(2, 2, dtype=dtype)
    assert matmul_dtype(tensor) == (tensor @ tensor).dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert matmul_dtype(tensor) == (tensor @ tensor).dtype
