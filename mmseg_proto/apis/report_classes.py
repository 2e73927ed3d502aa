"""What the report says of each class: its prototypes as plain data, with a sheet of crops."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmseg_proto.prototypes import usage_perplexity

from .gallery import Gallery, crop_sightings
from .report_pictures import data_address

#: Crops of all classes together; with more prototypes each shows fewer, and smaller ones.
_MOST_CROPS, _SIZE, _SMALL_SIZE = 6000, 72, 48
_QUALITY = 60


def examples_for(num_prototypes: int, wanted: int) -> int:
    """Say how many training pixels each prototype shows, so that the report stays small.

    Args:
        num_prototypes: Prototypes of all classes.
        wanted: Pixels that are wanted for each.

    Returns:
        int: Pixels for each, at least 1.
    """
    return max(1, min(wanted, _MOST_CROPS // max(1, num_prototypes)))


def class_payloads(gallery: Gallery, names: Sequence[str]) -> list[dict[str, Any]]:
    """Say everything about the prototypes of each class.

    Args:
        gallery: The gallery.
        names: Names of the C classes.

    Returns:
        list[dict[str, Any]]: For each class `prototypes`, the living ones, as plain data, `sprite`,
        the address of a picture with a row of crops for each of them, and `size` of a crop.
    """
    classes, places = gallery.alive.shape
    size = _SIZE if gallery.alive.sum() * 2 <= _MOST_CROPS else _SMALL_SIZE
    living = [gallery.alive[c].nonzero()[:, 0].tolist() for c in range(classes)]
    rows = {c * places + k: row for c in range(classes) for row, k in enumerate(living[c])}
    columns = gallery.sightings.cosine.shape[1]
    sheets = [np.full((max(1, len(ks)) * size, columns * size, 3), 255, np.uint8) for ks in living]
    for prototype, column, crop in crop_sightings(gallery, size):
        top, left = rows[prototype] * size, column * size
        sheets[prototype // places][top : top + size, left : left + size] = crop
    return [
        {
            "size": size,
            "sprite": data_address(sheets[c], None, _QUALITY),
            "prototypes": [
                {**_prototype(gallery, names, c * places + k), "row": row}
                for row, k in enumerate(living[c])
            ],
        }
        for c in range(classes)
    ]


def class_rows(
    gallery: Gallery, names: Sequence[str], palette: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Say in a line how each class fares on the training pixels.

    Args:
        gallery: The gallery.
        names: Names of the C classes.
        palette: RGB colours of the classes.

    Returns:
        list[dict[str, Any]]: Name, colour, living prototypes, how many are in use and IoU.
    """
    classes, places = gallery.alive.shape
    tally = gallery.tally
    in_use = usage_perplexity(tally.territory.sum(dim=1).view(classes, places).float())
    by_class = [x.view(classes, -1).sum(1) for x in (tally.won, tally.right, tally.territory)]
    won, right, labelled = by_class
    iou = 100 * right / (won + labelled - right)
    return [
        {
            "name": names[c],
            "colour": "rgb({}, {}, {})".format(*(int(part) for part in palette[c])),
            "alive": int(gallery.alive[c].sum()),
            "in_use": f"{in_use[c]:.1f}" if in_use[c].isfinite() else "none",
            "iou": f"{iou[c]:.1f} %" if iou[c].isfinite() else None,
        }
        for c in range(classes)
    ]


def _prototype(gallery: Gallery, names: Sequence[str], number: int) -> dict[str, Any]:
    """Say everything about a prototype."""
    places, tally = gallery.alive.shape[1], gallery.tally
    label = number // places
    won, right = int(tally.won[number]), int(tally.right[number])
    facts = [("share of the class", _percent(float(tally.share[number])))]
    facts.append(("IoU with its part", _percent(float(tally.iou[number]))))
    truth = f", {_percent(right / won)} of them {names[label]}" if won else ""
    facts.append(("wins", f"{won:,} pixels{truth}"))
    if lost := _lost(gallery, names, number):
        facts.append(("its part goes to", lost))
    rivals = [
        f"{names[int(rival) // places]} {int(rival) % places} ({cosine:.2f})"
        for cosine, rival in zip(
            gallery.rival_cosines[number].tolist(), gallery.rivals[number].tolist(), strict=True
        )
        if rival >= 0
    ]
    if rivals:
        facts.append(("closest rivals (cosine)", ", ".join(rivals)))
    cosines, places_of = (part[number].tolist() for part in gallery.sightings)
    examples = [
        {"image": place[0], "cosine": f"{cosine:.3f}", "label": place[3]}
        for cosine, place in zip(cosines, places_of, strict=True)
        if place[0] >= 0
    ]
    return {"id": number, "label": label, "facts": facts, "examples": examples}


def _lost(gallery: Gallery, names: Sequence[str], number: int) -> str:
    """Say which other classes win pixels of a prototype's part, the two that win most."""
    counts = gallery.tally.territory[number]
    label, total = number // gallery.alive.shape[1], int(counts.sum())
    order = [c for c in counts.argsort(descending=True).tolist() if c != label and counts[c]]
    return ", ".join(f"{names[c]} {_percent(float(counts[c]) / total)}" for c in order[:2])


def _percent(share: float) -> str:
    return "unknown" if share != share else f"{100 * share:.1f} %"
