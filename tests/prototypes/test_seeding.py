import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from mmseg_proto.prototypes import NO_CANDIDATE, draw_candidates, extend_by_kmeans_plus_plus


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_candidates_are_pixels_of_their_class() -> None:
    labels = torch.tensor([0, 2, 2, -1, 0, 2, 2, 5, 5])
    embeddings = torch.arange(9.0)[:, None].expand(9, 2)
    classes = torch.tensor([0, 2, 4])
    order = torch.randperm(9, generator=generator())
    candidates, places = draw_candidates(embeddings, labels, classes, 3, order)
    mask = places != NO_CANDIDATE
    assert mask.tolist() == [[True, True, False], [True] * 3, [False] * 3]
    assert sorted(candidates[0, :2, 0].tolist()) == [0.0, 4.0]
    drawn = candidates[1, :, 0].tolist()
    assert len(set(drawn)) == 3
    assert set(drawn) <= {1.0, 2.0, 5.0, 6.0}
    assert candidates[2].abs().sum() == 0


def test_candidates_are_drawn_evenly() -> None:
    labels = torch.zeros(50, dtype=torch.long)
    embeddings = torch.arange(50.0)[:, None]
    counts = torch.zeros(50)
    for seed in range(400):
        order = torch.randperm(50, generator=generator(seed))
        candidates, _ = draw_candidates(embeddings, labels, torch.tensor([0]), 10, order)
        counts[candidates[0, :, 0].long()] += 1
    # 80 expected each, standard deviation 8.
    assert counts.min() > 45
    assert counts.max() < 115


def test_each_look_gets_its_own_prototype() -> None:
    """Six tight, far apart looks of a class: k-means++ finds each of them."""
    looks = torch.eye(6, 16)
    pixels = looks.repeat_interleave(30, 0)
    pixels = F.normalize(pixels + 0.01 * torch.randn(pixels.shape, generator=generator()), dim=1)
    prototypes, alive = extend_by_kmeans_plus_plus(
        pixels[None],
        torch.ones(1, len(pixels), dtype=torch.bool),
        torch.zeros(1, 6, 16),
        torch.zeros(1, 6, dtype=torch.bool),
        generator(3),
    )
    cosine = prototypes[0] @ looks.t()
    rows, columns = linear_sum_assignment(-cosine.numpy())
    assert alive.all()
    assert cosine[rows, columns].min() > 0.9


def test_fewer_candidates_than_places_leave_places_free_for_later() -> None:
    few = F.normalize(torch.randn(1, 4, 8, generator=generator()), dim=2)
    few[0, 1] = few[0, 0]  # the same pixel twice makes one prototype
    mask = torch.tensor([[True, True, True, False]])
    prototypes, alive = extend_by_kmeans_plus_plus(
        few, mask, torch.zeros(1, 5, 8), torch.zeros(1, 5, dtype=torch.bool), generator()
    )
    assert alive.sum() == 2
    more = F.normalize(torch.randn(1, 9, 8, generator=generator(1)), dim=2)
    later, complete = extend_by_kmeans_plus_plus(
        more, torch.ones(1, 9, dtype=torch.bool), prototypes, alive, generator()
    )
    assert complete.all()
    assert torch.equal(later[alive], prototypes[alive])


def test_class_without_candidates_stays_empty() -> None:
    prototypes, alive = extend_by_kmeans_plus_plus(
        torch.zeros(1, 3, 4),
        torch.zeros(1, 3, dtype=torch.bool),
        torch.zeros(1, 2, 4),
        torch.zeros(1, 2, dtype=torch.bool),
        generator(),
    )
    assert not alive.any()
    assert prototypes.abs().sum() == 0


def test_a_patient_class_keeps_places_for_looks_that_come_later() -> None:
    """One look has a prototype already; the candidates are three pixels of it and of another."""
    known, other = torch.eye(2, 8)
    noise = 0.02 * torch.randn(3, 8, generator=generator())
    prototypes = torch.zeros(1, 4, 8)
    prototypes[0, 0] = known
    alive = torch.tensor([[True, False, False, False]])
    mask = torch.ones(1, 3, dtype=torch.bool)

    def fill(looks: torch.Tensor, patient: bool) -> tuple[torch.Tensor, torch.Tensor]:
        candidates = F.normalize(looks + noise, dim=1)[None]
        return extend_by_kmeans_plus_plus(
            candidates, mask, prototypes, alive, generator(), torch.tensor([patient])
        )

    with_other = torch.stack([known, known, other])
    _, exist = fill(with_other, patient=False)
    assert exist.sum() == 4
    filled, exist = fill(with_other, patient=True)
    assert exist.sum() == 2
    assert float(filled[0, 1] @ other) > 0.9
    # Two known looks: what repeats one of them waits, even for the last place.
    prototypes[0, 1], alive[0, 1] = other, True
    _, exist = fill(with_other, patient=True)
    assert exist.sum() == 2
