"""Detection of unknown pixels and calibration, against definitions counted pixel by pixel."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mmseg.registry import METRICS
from torch import Tensor

from mmseg_proto.evaluation import UnknownPixelMetric
from mmseg_proto.evaluation.score_histogram import count_scores, merge_counts

CLASSES, UNKNOWN, IGNORED = 4, 254, 255


def make_sample(seed: int, size: tuple[int, int] = (12, 15)) -> dict[str, Any]:
    """A prediction that is right more often than not, and less sure of unknown pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, size, generator=generator)
    logits = torch.randn(CLASSES, *size, generator=generator)
    logits.scatter_add_(0, labels[None], torch.full((1, *size), 1.5))
    draw = torch.rand(size, generator=generator)
    strange, ignored = draw < 0.2, draw > 0.9
    logits[:, strange] *= 0.7
    labels[strange], labels[ignored] = UNKNOWN, IGNORED
    cosines = (logits / 10).sort(dim=0, descending=True).values
    fields = {
        "seg_logits": logits,
        "pred_sem_seg": logits.argmax(dim=0, keepdim=True),
        "gt_sem_seg": labels[None],
        "max_cosine": cosines[:1],
        "margin": cosines[:1] - cosines[1:2],
    }
    return {name: {"data": data} for name, data in fields.items()}


def evaluate(samples: list[dict[str, Any]], **options: Any) -> dict[str, float]:
    metric = METRICS.build({"type": "UnknownPixelMetric", **options})
    for sample in samples:
        metric.process({}, [sample])
    found: dict[str, float] = metric.evaluate(len(samples))
    return found


def pixels(samples: list[dict[str, Any]], confidence: Any) -> tuple[Tensor, Tensor]:
    """Doubt of known and of unknown pixels, of all samples."""
    known, unknown = [], []
    for sample in samples:
        doubt = -confidence(sample).double().flatten()
        labels = sample["gt_sem_seg"]["data"].flatten()
        unknown.append(doubt[labels == UNKNOWN])
        known.append(doubt[labels < CLASSES])
    return torch.cat(known), torch.cat(unknown)


CONFIDENCES = {
    "max_probability": lambda s: s["seg_logits"]["data"].double().softmax(dim=0).amax(dim=0),
    "max_logit": lambda s: s["seg_logits"]["data"].amax(dim=0),
    "max_cosine": lambda s: s["max_cosine"]["data"],
    "margin": lambda s: s["margin"]["data"],
}


@pytest.mark.parametrize("name", CONFIDENCES)
def test_detection_is_what_the_definitions_say(name: str) -> None:
    samples = [make_sample(seed) for seed in range(3)]
    found = evaluate(samples, scores=[name], keep=0.9)
    known, unknown = pixels(samples, CONFIDENCES[name])
    larger = (unknown[:, None] > known).double() + 0.5 * (unknown[:, None] == known).double()
    assert found[f"AUROC/{name}"] == pytest.approx(100 * float(larger.mean()), abs=0.1)
    # The largest doubt that still finds 95 % of the unknown pixels.
    at_95 = unknown.sort(descending=True).values[math.ceil(0.95 * len(unknown)) - 1]
    expected = 100 * float((known >= at_95).double().mean())
    assert found[f"FPR95/{name}"] == pytest.approx(expected, abs=0.5)
    precisions = [
        float((unknown >= t).sum() / ((unknown >= t).sum() + (known >= t).sum())) for t in unknown
    ]
    assert found[f"AP/{name}"] == pytest.approx(100 * np.mean(precisions), abs=0.2)
    confidence = -known
    share = float((confidence >= found[f"threshold/{name}"] - 1e-3).double().mean())
    assert share == pytest.approx(0.9, abs=0.01)


def test_calibration_error_is_counted_bin_by_bin() -> None:
    samples = [make_sample(seed) for seed in range(3)]
    found = evaluate(samples, num_bins=7)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for sample in samples:
        labels = sample["gt_sem_seg"]["data"].flatten()
        probabilities = sample["seg_logits"]["data"].flatten(1).softmax(dim=0)
        for label, probability in zip(labels.tolist(), probabilities.T, strict=True):
            if label < CLASSES:
                best = float(probability.max())
                right = int(probability.argmax()) == label
                bins.setdefault(min(6, int(best * 7)), []).append((best, right))
    total = sum(map(len, bins.values()))
    error = sum(
        abs(float(np.mean([p for p, _ in kept])) - float(np.mean([r for _, r in kept]))) * len(kept)
        for kept in bins.values()
    )
    assert found["ECE"] == pytest.approx(100 * error / total, abs=1e-3)


def test_without_unknown_pixels_there_are_threshold_and_calibration() -> None:
    sample = make_sample(0)
    labels = sample["gt_sem_seg"]["data"]
    labels[labels == UNKNOWN] = IGNORED
    assert set(evaluate([sample], scores=["max_logit"])) == {"threshold/max_logit", "ECE"}


@settings(deadline=None)
@given(
    arrays.arrays(
        np.float32, st.integers(1, 50), elements=st.floats(-(2.0**100), 2.0**100, width=32)
    ),
    st.integers(0, 2**32 - 1),
)
def test_counting_keeps_order_and_size(scores: Any, seed: int) -> None:
    strange = np.random.default_rng(seed).random(len(scores)) < 0.3
    parts = [count_scores(scores[i::2], strange[i::2]) for i in range(min(2, len(scores)))]
    merged = merge_counts(parts)
    whole = count_scores(scores, strange)
    for left, right in zip(merged, whole, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (merged.known.sum(), merged.unknown.sum()) == ((~strange).sum(), strange.sum())
    assert (np.diff(merged.scores) > 0).all()
    expected = np.sort(scores.astype(np.float64))
    found = np.repeat(merged.scores, merged.known + merged.unknown)
    # Below the smallest normal number the steps are no finer.
    np.testing.assert_allclose(found, expected, rtol=5e-4, atol=2e-38)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ["entropy"]}, "Expected `scores` among"),
        ({"scores": []}, "Expected `scores` among"),
        ({"keep": 1.0}, "Expected `keep` between 0 and 1"),
        ({"keep": "most"}, "Expected `keep` to be a number"),
        ({"num_bins": 0}, "`num_bins` of at least 1"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        UnknownPixelMetric(**options)


def test_missing_fields_and_known_pixels_are_named() -> None:
    sample = make_sample(0)
    del sample["margin"]
    with pytest.raises(ValueError, match="with `margin`, .* model.type='ProtoEncoderDecoder'"):
        evaluate([sample], scores=["margin"])
    sample["gt_sem_seg"]["data"][:] = UNKNOWN
    with pytest.raises(ValueError, match="Expected labels with known pixels"):
        evaluate([sample])
