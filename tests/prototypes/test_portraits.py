"""What prototypes stand for, against counting pixel by pixel."""

import math

import pytest
import torch
from toy import make_problem

from mmseg_proto.ops import find_territories
from mmseg_proto.prototypes import PortraitTally, closest_rivals


def test_counts_and_sightings_are_those_of_a_loop() -> None:
    classes, places, width = 5, 4, 8
    tally = PortraitTally(classes, places, pool=3)
    seen = []
    for image in range(6):
        problem = make_problem(pixels=40, classes=classes, places=places, seed=image)
        bank = make_problem(classes=classes, places=places, seed=99)
        found = find_territories(problem.embeddings, bank.prototypes, bank.alive, problem.labels)
        tally.add(image, width, found, problem.labels)
        seen += [
            (image, n, int(found.winner[n]), int(found.own[n]), int(label), float(found.cosine[n]))
            for n, label in enumerate(problem.labels.tolist())
            if label >= 0
        ]
    assert len(seen) < 6 * 40  # some are ignored
    nearest = tally.sightings(2)
    for p in range(classes * places):
        own_class = p // places
        won = [s for s in seen if s[2] == p]
        territory = [s for s in seen if s[3] == p]
        right = [s for s in won if s[4] == own_class]
        assert tally.won[p] == len(won)
        assert tally.right[p] == len(right)
        for c in range(classes):
            assert tally.territory[p, c] == sum(s[2] // places == c for s in territory)
        of_class = sum(s[4] == own_class and s[3] >= 0 for s in seen)
        share = len(territory) / of_class if of_class else math.nan
        assert float(tally.share[p]) == pytest.approx(share, nan_ok=True)
        union = {s[:2] for s in won} | {s[:2] for s in territory}
        both = {s[:2] for s in won} & {s[:2] for s in territory}
        assert len(both) == len(right)
        iou = len(both) / len(union) if union else math.nan
        assert float(tally.iou[p]) == pytest.approx(iou, nan_ok=True)
        best = {}
        for s in sorted(won, key=lambda s: s[5]):
            best[s[0]] = s
        expected = sorted(best.values(), key=lambda s: -s[5])[:2]
        for m in range(2):
            if m < len(expected):
                image, n, *_, label, cosine = expected[m]
                assert nearest.place[p, m].tolist() == [image, n // width, n % width, label]
                assert float(nearest.cosine[p, m]) == pytest.approx(cosine, abs=1e-6)
            else:
                assert nearest.cosine[p, m] == -torch.inf


def test_neighbouring_images_are_passed_over_while_there_are_others() -> None:
    tally = PortraitTally(1, 1, pool=4)
    one = torch.ones(1, 1, dtype=torch.bool)
    for image, cosine in ((10, 0.9), (11, 0.8), (12, 0.7), (30, 0.6)):
        pixel = torch.tensor([[cosine, math.sqrt(1 - cosine**2)]])
        found = find_territories(pixel, torch.tensor([[[1.0, 0.0]]]), one, torch.zeros(1).long())
        tally.add(image, 1, found, torch.zeros(1).long())
    assert tally.sightings(2).place[0, :, 0].tolist() == [10, 11]
    assert tally.sightings(2, gap=5).place[0, :, 0].tolist() == [10, 30]
    assert tally.sightings(3, gap=5).place[0, :, 0].tolist() == [10, 11, 30]


def test_an_image_without_labels_changes_nothing() -> None:
    tally = PortraitTally(2, 1, pool=1)
    prototypes = torch.eye(2)[:, None]
    alive = torch.ones(2, 1, dtype=torch.bool)
    ignored = torch.full((2,), 255)
    tally.add(0, 2, find_territories(torch.eye(2), prototypes, alive, ignored), ignored)
    assert tally.won.sum() == 0
    assert tally.share.isnan().all()
    assert (tally.sightings(1).place == -1).all()


def test_rivals_are_the_nearest_of_other_classes() -> None:
    problem = make_problem()
    places = problem.alive.shape[1]
    cosines, numbers = closest_rivals(problem.prototypes, problem.alive, 3)
    for c, k in torch.ones_like(problem.alive).nonzero().tolist():
        others = sorted(
            (
                (float(problem.prototypes[c, k] @ problem.prototypes[d, j]), d * places + j)
                for d, j in problem.alive.nonzero().tolist()
                if d != c
            ),
            reverse=True,
        )[:3]
        if problem.alive[c, k]:
            assert numbers[c * places + k].tolist() == [number for _, number in others]
            assert cosines[c * places + k].tolist() == pytest.approx([x for x, _ in others])
        else:
            assert (numbers[c * places + k] == -1).all()


def test_a_single_class_has_no_rivals() -> None:
    cosines, numbers = closest_rivals(torch.eye(2)[None], torch.ones(1, 2).bool(), 5)
    assert numbers.tolist() == [[-1, -1], [-1, -1]]
    assert (cosines == -torch.inf).all()
