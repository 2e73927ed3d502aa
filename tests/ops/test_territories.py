"""Whose a pixel is, against a loop over pixels and prototypes."""

import pytest
import torch
from toy import make_problem

from mmseg_proto.ops import find_territories


@pytest.mark.parametrize("block", [1, 7, None])
@pytest.mark.parametrize("classes", [3, 5])
def test_territories_are_those_of_a_loop(block: int | None, classes: int) -> None:
    problem = make_problem(classes=classes)
    labels = problem.labels.clone()
    labels[1] = 255  # outside the classes
    found = find_territories(
        problem.embeddings, problem.prototypes, problem.alive, labels, block_size=block
    )
    places = problem.alive.shape[1]
    for n, embedding in enumerate(problem.embeddings):
        cosines = {
            (c, k): float(embedding @ problem.prototypes[c, k])
            for c, k in problem.alive.nonzero().tolist()
        }
        winner = max(cosines, key=cosines.__getitem__)
        assert found.winner[n] == winner[0] * places + winner[1]
        assert float(found.cosine[n]) == pytest.approx(cosines[winner], abs=1e-6)
        others = {name: cosine for name, cosine in cosines.items() if name[0] != winner[0]}
        rival = max(others, key=others.__getitem__)
        assert found.rival[n] == rival[0] * places + rival[1]
        assert float(found.rival_cosine[n]) == pytest.approx(cosines[rival], abs=1e-6)
        own = {name: cosine for name, cosine in cosines.items() if name[0] == labels[n]}
        nearest = max(own, key=own.__getitem__) if own else None
        assert found.own[n] == (nearest[0] * places + nearest[1] if nearest else -1)


def test_a_single_class_has_no_rival() -> None:
    one = torch.ones(1, 1, dtype=torch.bool)
    found = find_territories(torch.eye(2)[:1], torch.eye(2)[None, :1], one, torch.zeros(1).long())
    assert found.winner.tolist() == [0]
    assert found.rival.tolist() == [-1]
    assert found.rival_cosine.tolist() == [-1]


def test_without_pixels_or_prototypes() -> None:
    problem = make_problem()
    found = find_territories(
        problem.embeddings[:0], problem.prototypes, problem.alive, problem.labels[:0]
    )
    assert all(len(part) == 0 for part in found)
    with pytest.raises(ValueError, match="at least one living"):
        find_territories(
            problem.embeddings, problem.prototypes, problem.alive & False, problem.labels
        )
