"""Models within what wraps them, as DistributedDataParallel does."""

from typing import Any

from mmengine.model import is_model_wrapper


def bare_model(model: Any) -> Any:
    """Return the model itself, without what wraps it."""
    return model.module if is_model_wrapper(model) else model
