"""Random problems of every size for property tests."""

from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from toy import Problem

EXAMPLES = 100


def many(function: Any) -> Any:
    """Run a property test on `EXAMPLES` problems, the same ones every time."""
    return settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )(function)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Pixels, labels and prototypes of any small size, with ignored pixels and dead prototypes."""
    pixels, classes = draw(st.integers(1, 24)), draw(st.integers(1, 5))
    places, channels = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    labels = draw(st.lists(st.integers(-1, classes - 1), min_size=pixels, max_size=pixels))
    exists = st.lists(st.booleans(), min_size=places, max_size=places)
    alive = torch.tensor([draw(exists) for _ in range(classes)])

    def unit(*shape: int) -> torch.Tensor:
        drawn = torch.randn(*shape, channels, generator=generator, dtype=torch.float64)
        return F.normalize(drawn, dim=-1)

    prototypes = unit(classes, places) * alive[..., None]
    return Problem(unit(pixels), torch.tensor(labels), prototypes, alive)


def own_similarity(problem: Problem) -> torch.Tensor:
    """Cosine of each pixel with the prototypes of its class, -1 for those that do not exist."""
    own = problem.labels.clamp(min=0)
    cosine = torch.einsum("nd,nkd->nk", problem.embeddings, problem.prototypes[own])
    return cosine.masked_fill(~problem.alive[own], -1.0)
