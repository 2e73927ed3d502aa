"""A gallery: for every prototype the training pixels nearest to it, and what it wins."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import NDArray
from torch import Tensor

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.heads.decoders import last_head
from mmseg_proto.ops import find_territories
from mmseg_proto.prototypes import PortraitTally, Sightings, closest_rivals

from .feature_sample import pixels_of_images, whole_images
from .progress import map_with_progress

Picture = NDArray[np.uint8]

#: Pixels that are remembered for each that is shown, so that they can be of images that lie apart.
_POOL = 6
#: A crop is this share of the longer side of its image, and no less than so many pixels.
_CROP_SHARE, _LEAST_CROP = 0.2, 32
_RIVALS = 3


@dataclass(frozen=True)
class Gallery:
    """What each of P = C * K prototypes stands for; ``class * K + k`` is its number.

    Attributes:
        alive: Which exist, ``(C, K)``, bool.
        tally: What they win, counted on the pixels of the feature map.
        sightings: The pixels nearest to each; places are in `sizes` of their image.
        sizes: Rows and columns of the feature map of each image that was looked at.
        rival_cosines: Cosines with the closest prototypes of other classes, ``(P, R)``.
        rivals: Their numbers, ``(P, R)``; -1 where there is none.
        dataset: The data set that the images are of.
    """

    alive: Tensor
    tally: PortraitTally
    sightings: Sightings
    sizes: dict[int, tuple[int, int]]
    rival_cosines: Tensor
    rivals: Tensor
    dataset: Any


@torch.no_grad()
def build_gallery(
    cfg: Config, model: Any, *, images: int | None = None, examples: int = 4, seed: int = 0
) -> Gallery:
    """Look at training images, once, and find what each prototype stands for.

    Images come whole, without augmentation, as in validation. Memory does not grow with their
    number but for a few bytes each.

    Args:
        cfg: Config of the model.
        model: The segmentor, in evaluation mode.
        images: Images to look at, drawn at random. Defaults to None: all.
        examples: Pixels for each prototype, each of another image. Defaults to 4.
        seed: Seed of the draw. Defaults to 0.

    Returns:
        Gallery: What was found.

    Raises:
        TypeError: If the model has no prototypes.
        ValueError: If a number is below 1.
    """
    for name, number in (("images", images), ("examples", examples)):
        if number is not None and number < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {number}.")
    head = last_head(model)
    if not isinstance(head, ProtoDecodeHead):
        raise TypeError(
            f"Expected a model with a ProtoDecodeHead, but got {type(head).__name__}. Softmax "
            "models have no prototypes to show."
        )
    bank: Any = head.prototype_classifier.bank
    classes, places = bank.shape
    tally = PortraitTally(classes, places, _POOL * examples)
    dataset = whole_images(cfg, cfg.train_dataloader.dataset)
    generator = torch.Generator().manual_seed(seed)
    # In their order, in which the frames of a film are neighbours.
    order = sorted(torch.randperm(len(dataset), generator=generator)[:images].tolist())
    samples = map_with_progress(dataset.__getitem__, order, 1, "Gallery: training images")
    sizes = {}
    for image, (embeddings, labels, size) in zip(
        order, pixels_of_images(model, samples), strict=True
    ):
        found = find_territories(
            embeddings, bank.directions, bank.alive_mask, labels.to(embeddings.device)
        )
        found = type(found)(*(part.cpu() for part in found))
        sizes[image] = size
        tally.add(image, size[1], found, labels)
    gap = math.ceil(len(dataset) / (5 * examples)) - 1
    cosines, rivals = closest_rivals(bank.directions.cpu(), bank.alive_mask.cpu(), _RIVALS)
    return Gallery(
        bank.alive_mask.cpu(),
        tally,
        tally.sightings(examples, gap),
        sizes,
        cosines,
        rivals,
        dataset,
    )


def crop_sightings(gallery: Gallery, size: int) -> Iterator[tuple[int, int, Picture]]:
    """Cut out the surroundings of the pixels nearest to prototypes, the pixel marked.

    Args:
        gallery: The gallery.
        size: Rows and columns of a crop.

    Yields:
        tuple[int, int, Picture]: Number of the prototype, number of the pixel in the sightings,
        and the crop, RGB, ``(size, size, 3)``. Image by image, so in no order of prototypes.
    """
    wanted: dict[int, list[tuple[int, int]]] = {}
    cosine, place = gallery.sightings
    for prototype, number in cosine.isfinite().nonzero().tolist():
        wanted.setdefault(int(place[prototype, number, 0]), []).append((prototype, number))
    samples = map_with_progress(gallery.dataset.__getitem__, sorted(wanted), 1, "Gallery: crops")
    for image, sample in zip(sorted(wanted), samples, strict=True):
        # The host loads BGR.
        picture = sample["inputs"].flip(0).permute(1, 2, 0).numpy()
        rows, columns = gallery.sizes[image]
        for prototype, number in wanted[image]:
            row, column = place[prototype, number, 1:3].tolist()
            centre = (row + 0.5) / rows, (column + 0.5) / columns
            yield prototype, number, crop_around(picture, centre, size)


def crop_around(picture: Picture, centre: tuple[float, float], size: int) -> Picture:
    """Cut a square out of a picture and mark a point in it by a ring.

    Args:
        picture: RGB, shape ``(H, W, 3)``.
        centre: Row and column of the point, as shares of the height and width in [0, 1].
        size: Rows and columns of what is returned.

    Returns:
        Picture: RGB, shape ``(size, size, 3)``. The square is moved where it would reach over an
        edge of the picture, and the mark with it.
    """
    height, width = picture.shape[:2]
    side = min(max(_LEAST_CROP, round(_CROP_SHARE * max(height, width))), height, width)
    corner = [
        min(max(round(share * length - side / 2), 0), length - side)
        for share, length in zip(centre, (height, width), strict=True)
    ]
    cut = picture[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    crop = cv2.resize(np.ascontiguousarray(cut), (size, size), interpolation=cv2.INTER_AREA)
    y, x = (
        round((share * length - start) * size / side - 0.5)
        for share, length, start in zip(centre, (height, width), corner, strict=True)
    )
    radius = max(3, size // 12)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.circle(crop, (x, y), radius, colour, thickness, cv2.LINE_AA)
    return np.asarray(crop, dtype=np.uint8)
