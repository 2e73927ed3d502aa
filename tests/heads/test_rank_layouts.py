"""However pixels are split over ranks, the result is that of one process with all of them."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.registry import init_default_scope
from rank_pool import CLASSES, RankPool, Run, train


@pytest.fixture(scope="module", params=[2, 3, pytest.param(4, marks=pytest.mark.slow)])
def pool(request: pytest.FixtureRequest) -> Iterator[RankPool]:
    init_default_scope("mmseg")
    made = RankPool(request.param)
    yield made
    made.close()


@st.composite
def runs(draw: st.DrawFn, ranks: int) -> Run:
    """Shares of 1 to 12 pixels; what a rank sees is all, one class, few classes or nothing."""
    labels: list[int] = []
    shares = []
    for _ in range(ranks):
        share = draw(st.integers(1, 12))
        seen = draw(st.lists(st.integers(0, CLASSES - 1), max_size=CLASSES, unique=True))
        values = st.sampled_from([*seen, 255])
        labels += draw(st.lists(values, min_size=share, max_size=share))
        shares.append(share)
    return Run(
        labels,
        shares,
        steps=draw(st.integers(1, 3)),
        seed=draw(st.integers(10, 10**6)),
        source=draw(st.sampled_from(["data", "kmeans", "random"])),
    )


def check(pool: RankPool, run: Run) -> None:
    """Compare what all ranks come to with one process."""
    outcomes = pool.train(run)
    alone = train(run, 0, len(run.labels))
    for outcome in outcomes:
        for key, value in outcomes[0].state.items():
            assert torch.equal(outcome.state[key], value), key
    for key, value in alone.state.items():
        torch.testing.assert_close(outcomes[0].state[key], value, rtol=1e-5, atol=1e-5)
    for step, assigned in enumerate(alone.assigned):
        joined = torch.cat([outcome.assigned[step] for outcome in outcomes])
        torch.testing.assert_close(joined, assigned, rtol=1e-5, atol=1e-5)


def _random_layouts(pool: RankPool, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(runs(pool.size))
    def compare(run: Run) -> None:
        check(pool, run)

    compare()


@pytest.mark.ddp
def test_random_layouts(pool: RankPool) -> None:
    _random_layouts(pool, 10)


@pytest.mark.ddp
@pytest.mark.slow
def test_two_hundred_random_layouts(pool: RankPool) -> None:
    _random_layouts(pool, 70)


@pytest.mark.ddp
@pytest.mark.parametrize("source", ["data", "random"])
def test_fifty_updates_with_ragged_shares(pool: RankPool, source: str) -> None:
    """The last rank has one pixel, the first no class 0, and there is one that has none at all."""
    generator = torch.Generator().manual_seed(0)
    shares = [9, *[6] * (pool.size - 2), 1]
    labels = torch.randint(0, CLASSES, (sum(shares),), generator=generator)
    labels[:9] = labels[:9].clamp(min=1)
    if pool.size > 2:
        labels[9:15] = 255
    check(pool, Run(labels.tolist(), shares, steps=50, seed=1, source=source))
