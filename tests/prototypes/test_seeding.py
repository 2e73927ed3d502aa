import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from mmseg_proto.prototypes import (
    NO_CANDIDATE,
    PrototypeBank,
    draw_candidates,
    extend_by_kmeans_plus_plus,
    seed_from_candidates,
    seed_from_pixels,
)


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


def test_pixels_seed_the_classes_they_are_of() -> None:
    bank = PrototypeBank(4, 3, 8)
    pixels = F.normalize(torch.randn(300, 8), dim=1)
    labels = torch.arange(300) % 3 - 1  # -1, 0 and 1
    pixels[labels == 1, 0] = torch.nan
    pixels[1:8:3] = pixels[1]  # of class 0, alike
    seed_from_pixels(bank, pixels, labels, generator())
    assert bank.alive_mask.tolist() == [[True] * 3, *[[False] * 3] * 3]
    own = pixels[labels == 0] @ bank.directions[0].t()
    torch.testing.assert_close(own.amax(dim=0), torch.ones(3))
    assert len(bank.directions[0].unique(dim=0)) == 3


def test_pixels_seed_free_places_only() -> None:
    bank = PrototypeBank(2, 3, 8)
    pixels = F.normalize(torch.randn(40, 8), dim=1)
    labels = torch.zeros(40, dtype=torch.int64)
    seed_from_pixels(bank, pixels[:1], labels[:1], generator())
    assert bank.alive_mask.sum() == 1
    seed_from_pixels(bank, pixels, labels, generator())
    torch.testing.assert_close(bank.directions[0, 0], pixels[0])
    assert bank.alive_mask.tolist() == [[True] * 3, [False] * 3]
    before = bank.directions.clone()
    seed_from_pixels(bank, -pixels, labels, generator(1))
    assert torch.equal(bank.directions, before)


def test_no_more_pixels_than_the_limit_are_looked_at() -> None:
    bank = PrototypeBank(1, 5, 8)
    pixels = F.normalize(torch.randn(40, 8), dim=1)
    seed_from_pixels(bank, pixels, torch.zeros(40, dtype=torch.int64), generator(), limit=2)
    assert bank.alive_mask.sum() == 2


def test_the_first_rank_decides_on_seeds() -> None:
    bank, classes = PrototypeBank(3, 2, 8), torch.tensor([2, 0])
    candidates = F.normalize(torch.randn(2, 10, 8), dim=2)
    sent = iter([candidates[:, 4:6], torch.tensor([[True, False], [True, True]])])
    everything = torch.ones(2, 10, dtype=torch.bool)
    seed_from_candidates(
        bank, classes, candidates, everything, generator(), share=lambda own: next(sent)
    )
    assert bank.alive_mask.tolist() == [[True, True], [False, False], [True, False]]
    torch.testing.assert_close(bank.directions[0], candidates[1, 4:6])
    torch.testing.assert_close(bank.directions[2, 0], candidates[0, 4])
