"""Checks of data against prototype heads, made while everything is still on the CPU."""

from collections.abc import Sequence
from typing import Any

import torch

from mmseg_proto.heads.parallel import classes_that_differ

#: Values and files that a message names before it says "and more".
_SHOWN = 3


def check_class_count(dataset: Any, num_classes: int, head: str) -> None:
    """Compare the classes of a data set with those of a head.

    Args:
        dataset: Data set with `metainfo`; one that names no classes passes.
        num_classes: Number of classes of the head.
        head: Name of the head in the model, for the message.

    Raises:
        ValueError: If the numbers differ.
    """
    classes = getattr(dataset, "metainfo", {}).get("classes")
    if classes is not None and len(classes) != num_classes:
        raise ValueError(
            f"Expected `num_classes` of {head} to be {len(classes)}, the number of classes of "
            f"{type(dataset).__name__}, but got {num_classes}. Set "
            f"model.{head}.num_classes={len(classes)} or check `metainfo` of the data set."
        )


def check_has_prototypes(module: Any, head: str) -> None:
    """Refuse to test a head whose prototypes were neither trained nor loaded.

    Args:
        module: The head.
        head: Name of it in the model, for the message.

    Raises:
        ValueError: If no class has a prototype.
    """
    if not module.prototype_classifier.bank.alive_mask.any():
        raise ValueError(
            f"Expected {head} to have prototypes, but none were loaded, so that it can predict "
            "nothing. Test a checkpoint that was trained with prototypes: a softmax checkpoint has "
            "none."
        )


def check_ranks_agree(module: Any, head: str, classes: Sequence[str]) -> None:
    """Stop on all ranks where the prototypes of one differ from those of rank 0.

    Args:
        module: The head.
        head: Name of it in the model, for the message.
        classes: Names of its classes.

    Raises:
        RuntimeError: Naming the ranks and the classes.
    """
    differ = classes_that_differ(module.prototype_classifier.bank.prototypes)
    if differ:
        said = "; ".join(
            f"rank {rank} in {', '.join(classes[index] for index in indices[:_SHOWN])}"
            f"{' and more' if len(indices) > _SHOWN else ''}"
            for rank, indices in differ.items()
        )
        raise RuntimeError(
            f"Expected the prototypes of {head} to be the same on all ranks, but they differ from "
            f"those of rank 0: {said}. Did ranks start from different weights, or did something "
            "write to a bank on some of them alone?"
        )


def check_label_maps(inputs: Sequence[torch.Tensor], data_samples: Sequence[Any]) -> None:
    """Refuse an image without a label map, or with one of another size.

    Args:
        inputs: Images of a batch, each ``(channels, H, W)``.
        data_samples: Their samples.

    Raises:
        ValueError: Naming the first such file.
    """
    for image, sample in zip(inputs, data_samples, strict=True):
        if "gt_sem_seg" not in sample:
            raise ValueError(
                "Expected a label map with each training image, but got none with "
                f"{sample.get('img_path') or 'an unnamed one'}. Put LoadAnnotations before "
                "PackSegInputs in the training pipeline, and check `seg_map_path` of the data set."
            )
        expected, found = tuple(image.shape[-2:]), tuple(sample.gt_sem_seg.shape[-2:])
        if expected != found:
            raise ValueError(
                f"Expected the label map to be as large as its image, {expected}, but got {found} "
                f"in {_file_of(sample)}. Either the files do not belong together "
                "(tools/check_dataset.py looks at all of them), or a transform changes one alone."
            )


def _file_of(sample: Any) -> str:
    return str(sample.get("seg_map_path") or sample.get("img_path") or "unnamed")


def check_labels(
    data_samples: Sequence[Any], num_classes: int, ignore_index: int | None, head: str
) -> None:
    """Refuse labels that are neither a class nor ignored, before a device kernel sees them.

    Args:
        data_samples: Samples of a batch with `gt_sem_seg`.
        num_classes: Number of classes of the head.
        ignore_index: Label that is ignored, or None.
        head: Name of the head in the model, for the message.

    Raises:
        ValueError: Naming the values, the number of classes and the first files.
    """
    values: set[int] = set()
    files: list[str] = []
    for sample in data_samples:
        labels = sample.gt_sem_seg.data
        wrong = (labels < 0) | (labels >= num_classes)
        if ignore_index is not None:
            wrong &= labels != ignore_index
        if bool(wrong.any()):
            values |= set(torch.unique(labels[wrong]).tolist())
            files.append(_file_of(sample))
    if not values:
        return
    shown = ", ".join(str(value) for value in sorted(values)[:_SHOWN])
    ignored = "" if ignore_index is None else f", or {ignore_index} (ignore_index)"
    more = " and more" if len(values) > _SHOWN else ""
    raise ValueError(
        f"Expected labels in [0, {num_classes - 1}] for the {num_classes} classes of {head}"
        f"{ignored}, but got {shown}{more} in {len(files)} label map(s) of the batch, first "
        f"{', '.join(files[:_SHOWN])}. Check `num_classes`, `reduce_zero_label` and the label map "
        "of the data set."
    )
