"""How sure a model is: where that finds unknown classes, and whether it is true."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from rich.table import Table

from mmseg_proto.evaluation.unknown_pixel_metric import LOGIT_SCORES, PROTOTYPE_SCORES

from .accuracy_report import rich_table
from .config_swap import is_swapped, last_stage
from .feature_sample import innermost
from .loading import with_confidence
from .validation import validate


def measure_confidence(
    config: Path, checkpoint: Path, unknown: Sequence[str] = (), keep: float = 0.95
) -> dict[str, float]:
    """Validate how sure a model is, with `UnknownPixelMetric`.

    Args:
        config: Config of a model with prototypes or softmax.
        checkpoint: Its checkpoint.
        unknown: Classes that the labels of its validation data know and the model does not: what
            it should be unsure of. Defaults to none.
        keep: Share of the known pixels above the threshold, in (0, 1). Defaults to 0.95.

    Returns:
        dict[str, float]: What `UnknownPixelMetric` returns, with every score that the model has.

    Raises:
        ValueError: If the data set has no labels of an unknown class, or the model knows it.
    """
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get("default_scope") or "mmseg")
    scores = list(LOGIT_SCORES)
    options: dict[str, Any] = {}
    if is_swapped(last_stage(cfg.model.decode_head)):
        options["model.type"] = with_confidence(cfg.model.type)
        scores += PROTOTYPE_SCORES
    if unknown:
        options["val_dataloader.dataset"] = _with_unknown(cfg.val_dataloader.dataset, unknown)
    metric = {"_delete_": True, "type": "UnknownPixelMetric", "scores": scores, "keep": keep}
    return validate(config, checkpoint, {**options, "val_evaluator": metric})


def _with_unknown(settings: Any, unknown: Sequence[str]) -> dict[str, Any]:
    """A data set whose pixels of some classes have the label of what is unknown."""
    if next(innermost(settings)) is not settings:
        raise ValueError(
            "Expected the validation data set without others around it, but got a "
            f"{settings['type']}. Write a RelabelledDataset with `unknown` into the config."
        )
    known = tuple(DATASETS.build({**settings, "lazy_init": True}).metainfo["classes"])
    bare = {key: value for key, value in settings.items() if key != "metainfo"}
    labelled = DATASETS.build({**bare, "lazy_init": True}).metainfo.get("classes") or ()
    strange = [name for name in unknown if name in known or name not in labelled]
    if strange:
        raise ValueError(
            f"Expected unknown classes among {sorted(set(labelled) - set(known))}, which the "
            f"labels know and the model does not, but got {strange}."
        )
    sources = {"classes": known, "sources": known, "unknown": list(unknown)}
    return {"_delete_": True, "type": "RelabelledDataset", "dataset": bare, **sources}


def confidence_table(models: dict[str, dict[str, float]]) -> Table:
    """Draw what was measured as a table.

    Args:
        models: Name of a model to what `measure_confidence` returned.

    Returns:
        Table: One row for each score of each model.
    """
    measures = ("AUROC", "AP", "FPR95", "threshold")
    rows = []
    for model, found in models.items():
        names = [key.partition("/")[2] for key in found if key.startswith("threshold/")]
        for name in names:
            values = [found.get(f"{measure}/{name}") for measure in measures]
            # Of all scores, the largest probability alone says how often it will be right.
            values.append(found["ECE"] if name == "max_probability" else None)
            shown = ["-" if value is None else f"{value:.2f}" for value in values]
            shown[3] = f"{values[3]:.4g}"
            rows.append([model, name, *shown])
    return rich_table(
        "Unknown pixels and calibration; in percent, but for thresholds",
        ["model", "score", *measures, "ECE"],
        rows,
    )
