"""The host's IoU metric, with every class by name."""

from typing import Any

from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class ClassIoUMetric(IoUMetric):
    """`IoUMetric` that also returns the IoU of each class, which the host only prints.

    So they reach the log file, the visualisation backends and whatever reads the returned dict,
    as ``IoU/<class>`` in percent. All arguments are those of the host's class.
    """

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
