"""A class with K distinct looks gets one prototype for each of them."""

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from toy import make_classifier

from mmseg_proto.heads.classifier import PrototypeClassifier

CHANNELS = 16
LOOKS = 6
#: Class 0 has one look, class 1 the next six directions.
DIRECTIONS = torch.eye(CHANNELS)


def noisy(directions: Tensor, generator: torch.Generator) -> Tensor:
    noise = 0.05 * torch.randn(directions.shape, generator=generator)
    return F.normalize(directions + noise, dim=1)


def train(
    classifier: PrototypeClassifier, pixels: int, steps: int, first_seen: int = 0, seed: int = 0
) -> None:
    """Train on batches with that many pixels of class 1, of random looks, once it is seen."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        of_class = pixels if step >= first_seen else 0
        looks = torch.randint(1, LOOKS + 1, (of_class,), generator=generator)
        which = torch.cat([torch.zeros(20, dtype=torch.long), looks])
        labels = (which > 0).long()
        features = noisy(DIRECTIONS[which], generator).t()[None, :, :, None]
        classifier.begin_step(step)
        classifier.seed_if_due(features, labels)
        _, kept = classifier.forward_labelled(features, labels, temperature=0.1)
        classifier.assign(kept, keep=True)
        classifier.end_step(update=True)


def worst_match(classifier: PrototypeClassifier) -> float:
    """Smallest cosine of a look and its own prototype, in the best matching of both."""
    cosine = DIRECTIONS[1 : LOOKS + 1] @ classifier.bank.prototypes[1].t()
    rows, columns = linear_sum_assignment(-cosine.numpy())
    return float(cosine[rows, columns].min())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("first_seen", [0, 150], ids=["from the start", "late"])
@pytest.mark.parametrize("pixels", [2, 5, 8, 60], ids="{} pixels".format)
def test_each_look_gets_its_own_prototype(pixels: int, first_seen: int, seed: int) -> None:
    """Whether a batch has fewer pixels of the class than it has prototypes, about as many, more."""
    classifier = make_classifier(2, LOOKS, CHANNELS, decay=0.99)
    train(classifier, pixels, first_seen + 200, first_seen, seed)
    assert classifier.bank.alive_mask.all()
    assert worst_match(classifier) > 0.9


def test_a_late_class_has_no_prototypes_before_it_comes() -> None:
    classifier = make_classifier(2, LOOKS, CHANNELS, decay=0.99)
    train(classifier, pixels=60, steps=150, first_seen=150)
    assert classifier.bank.alive_mask.any(dim=1).tolist() == [True, False]


def test_a_batch_of_one_look_does_not_take_all_places() -> None:
    classifier = make_classifier(2, LOOKS, CHANNELS, decay=0.99)
    generator = torch.Generator().manual_seed(0)
    features = noisy(DIRECTIONS[1].expand(5, -1), generator).t()[None, :, :, None]
    classifier.begin_step(0)
    classifier.seed_if_due(features, torch.ones(5, dtype=torch.long))
    assert classifier.bank.alive_mask.sum(dim=1).tolist() == [0, 1]


def test_the_sample_of_the_authors_loses_the_looks() -> None:
    """Their prototypes drift towards the mean of the class, however well they start."""
    torch.manual_seed(0)
    cosine = {}
    for assign in ("argmax", "gumbel"):
        classifier = make_classifier(2, LOOKS, CHANNELS, decay=0.99, assign=assign)
        train(classifier, pixels=60, steps=600)
        cosine[assign] = float(classifier.health()["cosine"][1])
    assert worst_match(classifier) < 0.8
    assert cosine["argmax"] < 0.1
    assert cosine["gumbel"] > 0.7
