"""The hook that moves prototypes after each optimiser step and reports how they fare."""

import math
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook, LoggerHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

from mmseg_proto.heads import ProtoDecodeHead

from .checks import check_class_count, check_labels

_DEFAULT_INTERVAL = 50


@HOOKS.register_module()
class PrototypeUpdateHook(Hook):
    """Move the prototypes of every `ProtoDecodeHead` once per optimiser step.

    Under gradient accumulation the statistics of the passes add up and one update follows the
    step of the optimiser. A step that the gradient scaler skips moves nothing.

    Runs above `EMAHook`, logging and checkpoints, so that all of them see moved prototypes.
    Health numbers go into the ordinary log and all visualisation backends as
    ``prototype/live_share``, ``prototype/perplexity`` (of nearest-prototype wins, 1 to K),
    ``prototype/cosine`` (mean cosine between prototypes of a class) and ``prototype/scale``.

    Args:
        interval: Iterations between two health reports. Defaults to None: the interval of the
            runner's `LoggerHook`.

    Raises:
        ValueError: If `interval` is below 1.
    """

    priority = "ABOVE_NORMAL"

    def __init__(self, interval: int | None = None) -> None:
        if interval is not None and interval < 1:
            raise ValueError(f"Expected `interval` to be at least 1, but got {interval}.")
        self.interval = interval
        self._heads: dict[str, Any] = {}
        self._loss_scale: float | None = None

    def before_train(self, runner: Runner) -> None:
        """Find the prototype heads and compare them with the data."""
        self._heads = dict(_prototype_heads(runner.model))
        if not self._heads:
            raise ValueError(
                "Expected a model with a ProtoDecodeHead, but found none for PrototypeUpdateHook. "
                "Swap the head, e.g. model = dict(decode_head=dict(type='ProtoDecodeHead', "
                "decoder='SegformerHead')), or remove the hook."
            )
        if self.interval is None:
            loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
            self.interval = loggers[0].interval if loggers else _DEFAULT_INTERVAL
        for name, head in self._heads.items():
            check_class_count(runner.train_dataloader.dataset, head.num_classes, name)
            head.attach_hook()

    def before_val(self, runner: Runner) -> None:
        """Compare the heads with the data."""
        for name, head in _prototype_heads(runner.model):
            check_class_count(runner.val_dataloader.dataset, head.num_classes, name)

    def before_test(self, runner: Runner) -> None:
        """Compare the heads with the data."""
        for name, head in _prototype_heads(runner.model):
            check_class_count(runner.test_dataloader.dataset, head.num_classes, name)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check the labels and let the heads decide whether to seed."""
        samples = data_batch["data_samples"]
        for name, head in self._heads.items():
            check_labels(samples, head.num_classes, head.ignore_index, name)
            head.prototype_classifier.begin_step(runner.iter)
        self._loss_scale = _loss_scale(runner.optim_wrapper)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the prototypes if the optimiser made a step, and report."""
        optim_wrapper = runner.optim_wrapper
        # While gradients accumulate, statistics do so too.
        if not isinstance(optim_wrapper, OptimWrapper) or optim_wrapper.should_update():
            # The scaler lowers its scale exactly when it skips a step.
            before, after = self._loss_scale, _loss_scale(optim_wrapper)
            skipped = before is not None and after is not None and after < before
            for head in self._heads.values():
                head.prototype_classifier.end_step(update=not skipped)
        if self.every_n_inner_iters(batch_idx, self.interval):
            self._report(runner)

    def _report(self, runner: Runner) -> None:
        for name, head in self._heads.items():
            prefix = "prototype" if len(self._heads) == 1 else f"prototype/{name}"
            for key, number in head.prototype_classifier.health().items():
                if math.isfinite(number):  # perplexity is undefined before the first update
                    runner.message_hub.update_scalar(f"train/{prefix}/{key}", number)


def _prototype_heads(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield names and prototype heads of a model, wrapped or not."""
    bare: Any = model.module if is_model_wrapper(model) else model
    for name, module in bare.named_modules():
        if isinstance(module, ProtoDecodeHead):
            yield name, module


def _loss_scale(optim_wrapper: Any) -> float | None:
    """Return the current loss scale of an AMP wrapper in fp16, None for any other."""
    scaler = getattr(optim_wrapper, "loss_scaler", None)
    return float(scaler.get_scale()) if scaler is not None and scaler.is_enabled() else None
