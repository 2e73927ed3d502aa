"""The hook that moves prototypes after each optimiser step and reports how they fare."""

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook, LoggerHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.ops import expect_flag, expect_number

from .checkpoint_files import check_checkpoint_file, check_prototype_shapes
from .checks import (
    check_class_count,
    check_has_prototypes,
    check_label_maps,
    check_labels,
    check_ranks_agree,
)
from .class_report import class_names
from .head_report import HeadReport
from .kmeans_seeding import seed_by_kmeans
from .step_watch import StepWatch
from .wrapped import bare_model

_DEFAULT_INTERVAL = 50


@HOOKS.register_module()
class PrototypeUpdateHook(Hook):
    """Move the prototypes of every `ProtoDecodeHead` once per optimiser step.

    Under gradient accumulation the statistics of the passes add up and one update follows the
    step of the optimiser. A step that the gradient scaler skips moves nothing.

    Runs above `EMAHook`, logging and checkpoints, so that all of them see moved prototypes.
    Health numbers go into the ordinary log and all visualisation backends as
    ``prototype/live_share``, ``prototype/perplexity`` (of nearest-prototype wins, 1 to K),
    ``prototype/cosine`` and ``prototype/largest_cosine`` (between prototypes of a class), means
    over classes, ``prototype/drift`` (one minus the cosine with where they were, per 1000
    iterations), ``prototype/scale`` and ``prototype/nonfinite`` (pixels left out because their
    embedding was not finite). Before each validation they are listed class by class and go to the
    backends as ``prototype_classes/<measure>/<class>``; there and at the end they are summed up in
    one line. A class whose prototypes collapse to one point is named in a warning. Births, deaths,
    turns and moves go into ``prototype_timeline.jsonl`` in the folder of the run.

    A local checkpoint that is to be loaded is looked into first, as weights alone: one that is
    cut short, foreign or holds code is refused before anything is loaded or run.

    Args:
        interval: Iterations between two health reports. Defaults to None: the interval of the
            runner's `LoggerHook`.
        check_ranks: Whether to compare the prototypes of all ranks bit by bit after each update,
            and to stop where one differs. Costs a small collective. Defaults to False.
        trust_checkpoints: Whether to leave that to the host, which on onedl unpickles whatever is
            in the file. Defaults to False.

    Raises:
        TypeError: If `interval` is no whole number, or a flag neither True nor False.
        ValueError: If `interval` is below 1.
    """

    priority = "ABOVE_NORMAL"

    def __init__(
        self,
        interval: int | None = None,
        *,
        check_ranks: bool = False,
        trust_checkpoints: bool = False,
    ) -> None:
        if interval is not None:
            expect_number("interval", interval, whole=True)
            if interval < 1:
                raise ValueError(f"Expected `interval` to be at least 1, but got {interval}.")
        expect_flag("check_ranks", check_ranks)
        expect_flag("trust_checkpoints", trust_checkpoints)
        self.interval = interval
        self.check_ranks = check_ranks
        self.trust_checkpoints = trust_checkpoints
        self._heads: dict[str, Any] = {}
        self._steps = StepWatch()
        self._reports: list[HeadReport] = []

    def before_run(self, runner: Runner) -> None:
        """Look into the checkpoint that is about to be loaded."""
        if not self.trust_checkpoints:
            check_checkpoint_file(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare what was read with the model, before it is loaded."""
        check_prototype_shapes(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Find the prototype heads and compare them with the data."""
        if sum(isinstance(hook, PrototypeUpdateHook) for hook in runner.hooks) > 1:
            raise ValueError(
                "Expected one PrototypeUpdateHook, but got several, which would move prototypes "
                "more than once a step. Keep the one in default_hooks, and take the others out of "
                "custom_hooks."
            )
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
            line = head.preset_line(_auxiliary_heads(runner.model))
            if line is not None:
                runner.logger.info(f"{name}: {line}.")
        alone = len(self._heads) == 1
        self._reports = [
            HeadReport(runner, name, head, alone=alone) for name, head in self._heads.items()
        ]
        for head in self._heads.values():
            seed_by_kmeans(runner, bare_model(runner.model), head)
        self._steps.attach(runner.optim_wrapper)

    def after_train(self, runner: Runner) -> None:
        """Leave the optimiser as it was, and sum up."""
        self._steps.detach()
        for report in self._reports:
            report.sum_up(runner)

    def before_val(self, runner: Runner) -> None:
        """Compare the heads with the data; in training, list the health of each class."""
        for name, head in _prototype_heads(runner.model):
            check_class_count(runner.val_dataloader.dataset, head.num_classes, name)
        for report in self._reports:
            report.list_classes(runner)
            report.sum_up(runner)

    def before_test(self, runner: Runner) -> None:
        """Compare the heads with the data, and make sure that there are prototypes."""
        for name, head in _prototype_heads(runner.model):
            check_class_count(runner.test_dataloader.dataset, head.num_classes, name)
            check_has_prototypes(head, name)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check the labels and let the heads decide whether to seed."""
        samples = data_batch["data_samples"]
        check_label_maps(data_batch["inputs"], samples)
        for name, head in self._heads.items():
            check_labels(samples, head.num_classes, head.ignore_index, name)
            head.prototype_classifier.begin_step(runner.iter)
        self._steps.begin()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the prototypes if the optimiser made a step, and report."""
        optim_wrapper = runner.optim_wrapper
        # While gradients accumulate, statistics do so too.
        if not isinstance(optim_wrapper, OptimWrapper) or optim_wrapper.should_update():
            made = self._steps.made()
            for name, head in self._heads.items():
                head.prototype_classifier.end_step(update=made)
                if self.check_ranks:
                    check_ranks_agree(head, name, class_names(runner, head.num_classes))
        if self.every_n_inner_iters(batch_idx, self.interval):
            for report in self._reports:
                report.report(runner, runner.iter + 1)


def _auxiliary_heads(model: nn.Module) -> list[str]:
    """Name the heads of a model that only help it in training."""
    heads = getattr(bare_model(model), "auxiliary_head", ())
    several = isinstance(heads, (nn.ModuleList, tuple))
    return [f"auxiliary {type(head).__name__}" for head in (heads if several else [heads])]


def _prototype_heads(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield names and prototype heads of a model, wrapped or not."""
    for name, module in bare_model(model).named_modules():
        if isinstance(module, ProtoDecodeHead):
            yield name, module
