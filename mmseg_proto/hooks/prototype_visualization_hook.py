"""The hook that shows during validation which prototypes explain predictions."""

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from mmengine.visualization import LocalVisBackend
from mmseg.registry import HOOKS

from mmseg_proto.heads.decoders import last_head
from mmseg_proto.ops import expect_number
from mmseg_proto.segmentors import explaining_view
from mmseg_proto.visualization.explanation import explanation_of, image_of
from mmseg_proto.visualization.explanation_picture import draw_explanation

from .wrapped import bare_model

_GROUP = "prototypes"


@HOOKS.register_module()
class PrototypeVisualizationHook(Hook):
    """Send pictures of predictions and their prototypes to all visualisation backends.

    In validation and test the first image of every `interval`-th batch, the first batch among
    them, is predicted once more, and its sheet (`draw_explanation`) goes to
    ``runner.visualizer.add_image`` as ``prototypes/<stem of the image>``. Metrics and random
    numbers stay as they are without the hook.

    Images are read from their `img_path` through MMEngine's file layer; one that cannot be read
    is left out with a warning. Test-time augmentation merges logits alone, so that there is
    nothing to draw; a warning says so.

    Args:
        interval: Batches from one picture to the next, at least 1. Defaults to 50.
        classes: Classes with a row in the picture, at most. Defaults to 4.
        prototypes: Prototypes of each class that are shown alone, at most. Defaults to 5.

    Raises:
        TypeError: If an argument is no whole number; before anything runs, if the model has no
            prototypes.
        ValueError: If an argument is below 1.
    """

    def __init__(self, interval: int = 50, classes: int = 4, prototypes: int = 5) -> None:
        numbers = {"interval": interval, "classes": classes, "prototypes": prototypes}
        for name, number in numbers.items():
            expect_number(name, number, whole=True)
            if number < 1:
                raise ValueError(f"Expected `{name}` to be at least 1, but got {number}.")
        self.interval = interval
        self.classes = classes
        self.prototypes = prototypes

    def before_run(self, runner: Runner) -> None:
        """Make sure that there are prototypes to show."""
        model = bare_model(runner.model)
        if isinstance(model, BaseTTAModel):
            runner.logger.warning(
                "PrototypeVisualizationHook draws nothing here: test-time augmentation merges "
                "logits alone, and nobody knows which prototypes won."
            )
        else:
            explaining_view(model)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Show the first image of a batch of validation."""
        self._show(runner, runner.val_loop, batch_idx, data_batch)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Show the first image of a batch of the test."""
        self._show(runner, runner.test_loop, batch_idx, data_batch)

    @torch.no_grad()
    def _show(self, runner: Runner, loop: Any, batch_idx: int, data_batch: Any) -> None:
        model = bare_model(runner.model)
        if batch_idx % self.interval or isinstance(model, BaseTTAModel):
            return
        view = explaining_view(model)
        first = {key: data_batch[key][:1] for key in ("inputs", "data_samples")}
        # All ranks predict, or a collective of one would wait for the others.
        with autocast(enabled=getattr(loop, "fp16", False)):
            (sample,) = view.test_step(first)
        if not is_main_process():
            return
        try:
            image = image_of(sample.img_path, tuple(sample.pred_sem_seg.data.shape[1:]))
        except (OSError, ValueError) as error:
            runner.logger.warning(f"PrototypeVisualizationHook leaves an image out. {error}")
            return
        head = last_head(view)
        meta = getattr(loop.dataloader.dataset, "metainfo", {})
        explanation = explanation_of(
            sample,
            image,
            float(head.prototype_classifier.score_scale.value()),
            meta.get("classes") or [str(label) for label in range(head.num_classes)],
            head.ignore_index,
            meta.get("palette"),
        )
        sheet = draw_explanation(explanation, classes=self.classes, prototypes=self.prototypes)
        _make_folders(runner.visualizer)
        name = f"{_GROUP}/{Path(sample.img_path).stem}"
        runner.visualizer.add_image(name, sheet, step=runner.iter)


def _make_folders(visualizer: Any) -> None:
    """Make folders for names with a slash: OpenCV writes nothing into one that is missing."""
    for backend in visualizer._vis_backends.values():
        if isinstance(backend, LocalVisBackend):
            # Asked for its folder, a backend that was not used yet finds out where it is.
            _ = backend.experiment
            (Path(backend._img_save_dir) / _GROUP).mkdir(parents=True, exist_ok=True)
