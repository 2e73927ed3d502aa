"""A data set of the host with classes renamed, merged, left out or still without labels."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

_IGNORED = 255
#: Label of pixels whose class a model is not to know, for `UnknownPixelMetric`.
UNKNOWN_LABEL = 254


def relabelled_dataset(
    dataset: Mapping[str, Any],
    classes: Sequence[str],
    sources: Sequence[str | None],
    palette: Sequence[Sequence[int]] | None = None,
    unknown: Sequence[str] = (),
) -> BaseSegDataset:
    """Build a data set with other classes than its own, which `metainfo.classes` cannot name.

    The host takes subsets of the classes that a data set knows; here they may have other names,
    several may become one, and one may have no labels yet. Classes that are nobody's source are
    ignored, or get the label 254 if they are `unknown`.

    Args:
        dataset: Config of a `BaseSegDataset`.
        classes: Names of the new classes.
        sources: The class of the data set that each stands for, None for one that has no labels.
            A class of the data set can be given once; to merge, list a new name several times.
        palette: Colour of each new class, RGB in [0, 255]. Defaults to None: that of the source.
        unknown: Classes of the data set whose pixels count as unknown, see `UnknownPixelMetric`.
            Defaults to none.

    Returns:
        BaseSegDataset: The data set itself, with other labels.

    Raises:
        TypeError: If the data set is no `BaseSegDataset`.
        ValueError: If the lists differ in length, or a source is no class of the data set or is
            given twice.
    """
    kind = dataset["type"]
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, BaseSegDataset)):
        raise TypeError(
            "Expected `dataset` of RelabelledDataset to be a BaseSegDataset, but got "
            f"{dataset['type']}. Put it around the innermost data set."
        )
    built = DATASETS.build({**dataset, "lazy_init": True})
    known = list(built.metainfo.get("classes") or ())
    used = [source for source in (*sources, *unknown) if source is not None]
    if len(sources) != len(classes) or not set(used) <= set(known) or len(set(used)) < len(used):
        raise ValueError(
            f"Expected one source for each of {len(classes)} classes, each None or a different "
            f"one of {known} that is not unknown, but got {list(sources)}, and {list(unknown)} as "
            "unknown."
        )
    names = list(dict.fromkeys(classes))
    target = {
        known.index(source): names.index(name)
        for name, source in zip(classes, sources, strict=True)
        if source is not None
    }
    target |= {known.index(name): UNKNOWN_LABEL for name in unknown}
    # What the data set's own map ignores stays ignored, and what is not in it stays what it is.
    before = {index: index for index in range(len(known))} | (built.label_map or {})
    label_map = {raw: target.get(label, _IGNORED) for raw, label in before.items()}
    colours = dict(zip(known, built.metainfo["palette"], strict=True))
    if palette is None:
        found = dict(zip(reversed(classes), reversed(sources), strict=True))
        palette = [colours.get(found[name] or "", [0, 0, 0]) for name in names]
    built.label_map = label_map
    built._metainfo.update(
        classes=tuple(names), palette=[list(colour) for colour in palette], label_map=label_map
    )
    if not dataset.get("lazy_init", False):
        built.full_init()
    return built


DATASETS.register_module(name="RelabelledDataset", module=relabelled_dataset)
