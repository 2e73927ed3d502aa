"""How well doubt tells pixels of unknown classes, and whether confidence is true."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS
from torch import Tensor

from mmseg_proto.datasets import UNKNOWN_LABEL
from mmseg_proto.ops import expect_number

from .score_histogram import ScoreHistogram, count_scores, merge_counts

#: What there is of each kind of model.
LOGIT_SCORES = ("max_probability", "max_logit")
PROTOTYPE_SCORES = ("max_cosine", "margin")


@dataclass
class _OfAnImage:
    """What is kept of an image. No tuple: the host would make plain ones of them.

    Attributes:
        histograms: Counts of each score.
        pixels: Known pixels by confidence, ``(bins,)``.
        confidence: Their confidence, summed, ``(bins,)``.
        correct: Those that are right, ``(bins,)``.
    """

    histograms: dict[str, ScoreHistogram]
    pixels: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    correct: npt.NDArray[np.int64]


@METRICS.register_module()
class UnknownPixelMetric(BaseMetric):
    """Out-of-distribution detection and calibration, pixel by pixel.

    Unknown pixels are those with the label `unknown_label`, to which `RelabelledDataset` can turn
    classes. They are the positives, and the less confident a model is, the more they are expected:

    - ``AUROC/<score>``, ``AP/<score>``: areas under the ROC and the precision-recall curve;
    - ``FPR95/<score>``: share of the known pixels that are taken for unknown where 95 % of the
      unknown ones are found;
    - ``threshold/<score>``: confidence that `keep` of the known pixels reach; below it a pixel is
      to be called unknown. This needs no unknown pixels.
    - ``ECE``: expected calibration error of the largest softmax probability of the logits on known
      pixels (Guo et al., ICML 2017), with bins of equal width.

    All but thresholds are in percent. Scores are counted to a precision of 0.05 %, so that memory
    does not grow with the pixels; areas are computed by scikit-learn.

    Args:
        scores: Kinds of confidence, among ``'max_probability'`` and ``'max_logit'`` of any model,
            ``'max_cosine'`` and ``'margin'`` of a `ProtoEncoderDecoder`.
        unknown_label: Label of unknown pixels. Defaults to 254.
        ignore_index: Label of pixels that do not count. Defaults to 255.
        keep: Share of the known pixels above the threshold, in (0, 1). Defaults to 0.95.
        num_bins: Bins of the calibration error, at least 1. Defaults to 15.
        collect_device: Where results of ranks meet. Defaults to 'cpu'.
        prefix: Prefix of the names. Defaults to None.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If a score is unknown, or a number out of range.
    """

    def __init__(
        self,
        scores: Sequence[str] = LOGIT_SCORES,
        unknown_label: int = UNKNOWN_LABEL,
        ignore_index: int = 255,
        keep: float = 0.95,
        num_bins: int = 15,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        _import_sklearn()  # before an hour is spent on predictions
        known = (*LOGIT_SCORES, *PROTOTYPE_SCORES)
        if not scores or not set(scores) <= set(known):
            raise ValueError(f"Expected `scores` among {known}, but got {list(scores)}.")
        expect_number("keep", keep)
        expect_number("num_bins", num_bins, whole=True)
        if not 0 < keep < 1 or num_bins < 1:
            raise ValueError(
                "Expected `keep` between 0 and 1 and `num_bins` of at least 1, but got "
                f"{keep} and {num_bins}."
            )
        self.scores = tuple(scores)
        self.unknown_label = unknown_label
        self.ignore_index = ignore_index
        self.keep = keep
        self.num_bins = num_bins

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch: Not looked at.
            data_samples: Predictions with labels.

        Raises:
            ValueError: If a prediction lacks what a score needs.
        """
        for sample in data_samples:
            self.results.append(self._look_at(sample))

    def _look_at(self, sample: Mapping[str, Any]) -> _OfAnImage:
        logits = sample["seg_logits"]["data"].flatten(1).float()
        labels = sample["gt_sem_seg"]["data"].flatten().to(logits.device)
        predicted = sample["pred_sem_seg"]["data"].flatten()
        counts = labels != self.ignore_index
        logits, labels, predicted = logits[:, counts], labels[counts], predicted[counts]
        unknown = labels == self.unknown_label
        strange = unknown.cpu().numpy()
        largest = logits.amax(dim=0)
        # 1 - p is exact here also where p is rounded to 1.
        improbable = -torch.expm1(largest - logits.logsumexp(dim=0)).clamp(max=0)
        doubts = {"max_probability": improbable, "max_logit": -largest}
        histograms = {}
        for name in self.scores:
            if name in PROTOTYPE_SCORES:
                doubts[name] = -_field(sample, name)[counts].float()
            histograms[name] = count_scores(doubts[name].cpu().numpy(), strange)
        probability = (1 - improbable)[~unknown]
        correct = (predicted == labels)[~unknown]
        bins = (probability * self.num_bins).long().clamp(max=self.num_bins - 1)

        def sums(weights: Tensor) -> Tensor:
            return torch.bincount(bins, weights.double(), minlength=self.num_bins).cpu()

        pixels, right = sums(torch.ones_like(probability)), sums(correct)
        return _OfAnImage(
            histograms, pixels.long().numpy(), sums(probability).numpy(), right.long().numpy()
        )

    def compute_metrics(self, results: list[_OfAnImage]) -> dict[str, float]:
        """Add images up and compute the metrics.

        Args:
            results: What was kept of each image.

        Returns:
            dict[str, float]: The metrics; without unknown pixels only thresholds and ``ECE``.

        Raises:
            ValueError: If there is no known pixel.
        """
        pixels = sum(part.pixels for part in results)
        if not np.sum(pixels):
            raise ValueError(
                "Expected labels with known pixels, but all are ignored or unknown. Check "
                f"`unknown_label` ({self.unknown_label}) and `ignore_index` ({self.ignore_index})."
            )
        metrics: dict[str, float] = {}
        for name in self.scores:
            counts = merge_counts([part.histograms[name] for part in results])
            if counts.unknown.sum():
                metrics |= {f"{key}/{name}": value for key, value in detection(counts).items()}
            doubt = largest_doubt(counts, self.keep)
            metrics[f"threshold/{name}"] = 1 - doubt if name == "max_probability" else -doubt
        confidence = sum(part.confidence for part in results)
        correct = sum(part.correct for part in results)
        # Each bin weighs as many pixels as it has: |mean correct - mean confidence| times these.
        metrics["ECE"] = float(100 * np.abs(correct - confidence).sum() / np.sum(pixels))
        return metrics


def _field(sample: Mapping[str, Any], name: str) -> Tensor:
    if name not in sample:
        raise ValueError(
            f"Expected predictions with `{name}`, but they have none. Set "
            "model.type='ProtoEncoderDecoder' (of a cascade, 'ProtoCascadeEncoderDecoder')."
        )
    values: Tensor = sample[name]["data"].flatten()
    return values


def detection(counts: ScoreHistogram) -> dict[str, float]:
    """Say how well doubt tells unknown from known pixels.

    Args:
        counts: Counts of the doubt of both; at least one pixel of each.

    Returns:
        dict[str, float]: AUROC, AP and FPR95 in percent.
    """
    metrics = _import_sklearn()
    scores = counts.scores
    truth = np.repeat([0, 1], len(scores))
    doubled = np.tile(scores, 2)
    weights = np.concatenate([counts.known, counts.unknown])
    kept = weights > 0
    truth, doubled, weights = truth[kept], doubled[kept], weights[kept]
    false, found, _ = metrics.roc_curve(
        truth, doubled, sample_weight=weights, drop_intermediate=False
    )
    return {
        "AUROC": 100 * float(metrics.auc(false, found)),
        "AP": 100 * float(metrics.average_precision_score(truth, doubled, sample_weight=weights)),
        "FPR95": 100 * float(false[np.argmax(found >= 0.95)]),
    }


def largest_doubt(counts: ScoreHistogram, keep: float) -> float:
    """Find the doubt that a share of the known pixels does not exceed.

    Args:
        counts: Counts of the doubt; at least one known pixel.
        keep: The share, in (0, 1).

    Returns:
        float: The doubt.
    """
    share = counts.known.cumsum() / counts.known.sum()
    return float(counts.scores[np.argmax(share >= keep)])


def _import_sklearn() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise ImportError(
            "Expected scikit-learn, which computes the areas of UnknownPixelMetric, but it is not "
            "installed. Install it: pip install 'mmseg-proto[analysis]'"
        ) from error
    return metrics
