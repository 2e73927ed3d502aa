"""The health of all prototypes of a head in one line for the console."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor


def summary_line(
    head: str,
    health: Mapping[str, Tensor],
    classes: Sequence[str],
    places: int,
    *,
    born: int,
    died: int,
    since: int,
) -> str:
    """Say in one line how the prototypes of a head fare; what nobody knows is left out.

    Args:
        head: Name of the head.
        health: Measure to numbers of the C classes, shape ``(C,)``, NaN where it means nothing:
            ``live_share``, ``perplexity``, ``cosine``, ``largest_cosine`` and ``drift`` (per 1000
            iterations). Others play no part, and only the first has to be there.
        classes: Names of the C classes.
        places: Prototypes K of each class.
        born: Prototypes that came to life since `since`.
        died: Prototypes that died since.
        since: Iteration from which on these are counted.

    Returns:
        str: Such as ``Prototypes of decode_head: 110 of 110 alive, 7.4 of 10 in use per class,
        cosine 0.31 (largest 0.78 in tree), 0 born and 0 died since iteration 450, drift 0.02 per
        1000 iterations``.
    """
    alive = round(float(health["live_share"].sum()) * places)
    parts = [f"{alive} of {len(classes) * places} alive"]
    used, cosine, drift = (_mean(health, key) for key in ("perplexity", "cosine", "drift"))
    if math.isfinite(used):
        parts.append(f"{used:.1f} of {places} in use per class")
    if math.isfinite(cosine):
        parts.append(f"cosine {cosine:.2f}{_largest(health, classes)}")
    parts.append(f"{born} born and {died} died since iteration {since}")
    if math.isfinite(drift):
        parts.append(f"drift {drift:.2g} per 1000 iterations")
    return f"Prototypes of {head}: {', '.join(parts)}"


def _mean(health: Mapping[str, Tensor], key: str) -> float:
    return float(health[key].nanmean()) if key in health else math.nan


def _largest(health: Mapping[str, Tensor], classes: Sequence[str]) -> str:
    known = {
        name: number
        for name, number in zip(classes, health["largest_cosine"].tolist(), strict=True)
        if math.isfinite(number)
    }
    name = max(known, key=known.__getitem__)
    return f" (largest {known[name]:.2f} in {name})"
