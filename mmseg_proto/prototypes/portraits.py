"""What each prototype stands for, counted in one pass of bounded memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_proto.ops import Territories


class Sightings(NamedTuple):
    """The pixels nearest to each prototype, nearest first; at most one of an image.

    Attributes:
        cosine: Cosine with the prototype, ``(P, M)``, fp32; -inf where there is no pixel.
        place: Image, row, column and label of the pixel, ``(P, M, 4)``, int64.
    """

    cosine: Tensor
    place: Tensor


class PortraitTally:
    """Counts what the C * K prototypes win, and remembers the pixels nearest to each.

    Only pixels with a label count. The territory of a prototype are the pixels of its class that
    are nearer to it than to the other prototypes of the class, whoever wins them.

    Args:
        num_classes: Number of classes C.
        num_prototypes: Prototypes of each class, K.
        pool: Pixels to remember for each, at least 1.

    Attributes:
        won: Pixels that each prototype wins, ``(P,)``, int64.
        right: Those of its class among them, ``(P,)``, int64.
        territory: Pixels of its territory, by the class they are predicted as, ``(P, C)``, int64.
    """

    def __init__(self, num_classes: int, num_prototypes: int, pool: int) -> None:
        self._shape = num_classes, num_prototypes
        number = num_classes * num_prototypes
        self.won = torch.zeros(number, dtype=torch.int64)
        self.right = torch.zeros(number, dtype=torch.int64)
        self.territory = torch.zeros(number, num_classes, dtype=torch.int64)
        self._cosine = torch.full((number, pool), -torch.inf)
        self._place = torch.full((number, pool, 4), -1)

    def add(self, image: int, width: int, found: Territories, labels: Tensor) -> None:
        """Count the pixels of an image.

        Args:
            image: Number of the image.
            width: Pixels of a row.
            found: Territories of its N pixels, row by row, on the CPU.
            labels: Class of each, shape ``(N,)``; anything outside [0, C) does not count.
        """
        classes, places = self._shape
        counts = (labels >= 0) & (labels < classes)
        pixels = counts.nonzero()[:, 0]
        if not len(pixels):
            return
        winner, own, label = found.winner[pixels], found.own[pixels], labels[pixels]
        predicted = winner // places
        number = classes * places
        self.won += torch.bincount(winner, minlength=number)
        self.right += torch.bincount(winner[predicted == label], minlength=number)
        known = own >= 0  # the class has prototypes
        pairs = own[known] * classes + predicted[known]
        self.territory += torch.bincount(pairs, minlength=number * classes).view(number, classes)
        self._remember(image, width, pixels, found, label)

    def _remember(
        self, image: int, width: int, pixels: Tensor, found: Territories, label: Tensor
    ) -> None:
        """Offer the nearest pixel of this image to each prototype that wins some."""
        cosine, winner = found.cosine[pixels], found.winner[pixels]
        order = cosine.argsort(descending=True)
        order = order[winner[order].argsort(stable=True)]
        ids, sizes = winner[order].unique_consecutive(return_counts=True)
        first = order[sizes.cumsum(0) - sizes]
        pixel = pixels[first]
        image_number = torch.full_like(pixel, image)
        place = torch.stack([image_number, pixel // width, pixel % width, label[first]], dim=1)
        cosines = torch.cat([self._cosine[ids], cosine[first, None]], dim=1)
        places = torch.cat([self._place[ids], place[:, None]], dim=1)
        self._cosine[ids], chosen = cosines.topk(self._cosine.shape[1], dim=1)
        self._place[ids] = places.gather(1, chosen[..., None].expand(-1, -1, 4))

    @property
    def share(self) -> Tensor:
        """Share of each prototype's territory in its class, ``(P,)``; NaN for an absent class."""
        size = self.territory.sum(dim=1).view(self._shape).float()
        return (size / size.sum(dim=1, keepdim=True)).flatten()

    @property
    def iou(self) -> Tensor:
        """IoU of the pixels that a prototype wins with its territory, ``(P,)``; NaN for 0 / 0.

        Pixels of its class that it wins lie in its territory, so that their number is the
        intersection.
        """
        union = self.won + self.territory.sum(dim=1) - self.right
        return self.right.float() / union

    def sightings(self, count: int, gap: int = 0) -> Sightings:
        """Choose the nearest pixels, of images that lie apart if there are such.

        Args:
            count: Pixels for each prototype M, at most the pool.
            gap: Images of neighbouring numbers to pass over where there are others in the pool:
                the frames of a film are much alike. Defaults to 0: none.

        Returns:
            Sightings: The pixels.
        """
        image = self._place[..., 0]
        there = self._cosine.isfinite()
        taken = torch.zeros_like(there)
        passed_over = torch.zeros_like(there)
        for column in range(image.shape[1]):
            near = (image - image[:, column : column + 1]).abs() <= gap
            close = (near & taken).any(dim=1)
            taken[:, column] = there[:, column] & ~close & (taken.sum(dim=1) < count)
            passed_over[:, column] = there[:, column] & ~taken[:, column]
        # Those passed over fill what places are left, the nearest first.
        rank = torch.where(taken, 0, torch.where(passed_over, 1, 2))
        chosen = rank.argsort(dim=1, stable=True)[:, :count]
        cosine, again = self._cosine.gather(1, chosen).sort(dim=1, descending=True, stable=True)
        chosen = chosen.gather(1, again)
        return Sightings(cosine, self._place.gather(1, chosen[..., None].expand(-1, -1, 4)))


def closest_rivals(prototypes: Tensor, alive: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the prototypes of other classes that are nearest to each prototype.

    Args:
        prototypes: Unit-norm prototypes, shape ``(C, K, D)``.
        alive: Which of them exist, shape ``(C, K)``, bool.
        count: Rivals of each, at least 1; fewer where there are not so many.

    Returns:
        tuple[Tensor, Tensor]: Cosines ``(P, R)`` in [-1, 1], nearest first, and numbers
        ``class * K + k`` of the rivals, ``(P, R)``, int64; -inf and -1 where there is none.
    """
    classes, places = alive.shape
    flat, exists = prototypes.flatten(0, 1), alive.flatten()
    count = min(count, len(flat))
    cosines, numbers = [], []
    for label in range(classes):
        # A class at a time: all pairs of 10,000 prototypes would be 400 MB.
        cosine = prototypes[label] @ flat.t()
        cosine[:, ~exists] = -torch.inf
        cosine[:, label * places : (label + 1) * places] = -torch.inf
        best, number = cosine.topk(count, dim=1)
        best = best.masked_fill(~alive[label, :, None], -torch.inf)
        cosines.append(best)
        numbers.append(number.masked_fill(~best.isfinite(), -1))
    return torch.cat(cosines), torch.cat(numbers)
