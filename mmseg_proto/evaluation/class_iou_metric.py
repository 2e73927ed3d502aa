"""The host's IoU metric, with every class by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class ClassIoUMetric(IoUMetric):
    """`IoUMetric` that also returns the IoU of each class, which the host only prints.

    So they reach the log file, the visualisation backends and whatever reads the returned dict,
    as ``IoU/<class>`` in percent.

    Args:
        *args: Arguments of the host's class.
        ignored_classes: Classes whose labelled pixels do not count, whatever is predicted there.
            Defaults to none.
        **kwargs: Arguments of the host's class, by name.
    """

    def __init__(self, *args: Any, ignored_classes: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ignored_classes = tuple(ignored_classes)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch: Not looked at.
            data_samples: Predictions with labels.
        """
        super().process(data_batch, [self._without_ignored(sample) for sample in data_samples])

    def _without_ignored(self, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.ignored_classes or self.format_only:
            return sample
        labels = sample["gt_sem_seg"]["data"].clone()
        for name in self.ignored_classes:
            labels[labels == self.dataset_meta["classes"].index(name)] = self.ignore_index
        return {**sample, "gt_sem_seg": {"data": labels}}

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Compute the host's metrics and the IoU of each class.

        Args:
            results: One tuple of areas (intersection, union, prediction, label) per image, each
                with shape ``(C,)``.

        Returns:
            dict[str, float]: The host's metrics and ``IoU/<class>``, in percent; NaN for a class
            that is neither in the labels nor in the predictions.
        """
        metrics: dict[str, float] = super().compute_metrics(results)
        if self.format_only:
            return metrics
        intersect, union = (sum(areas) for areas in list(zip(*results, strict=True))[:2])
        ious = 100 * intersect / union
        names = self.dataset_meta["classes"]
        return metrics | {f"IoU/{n}": float(v) for n, v in zip(names, ious, strict=True)}
