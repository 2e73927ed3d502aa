import math

import pytest
import torch

from mmseg_proto.evaluation import ClassIoUMetric


def test_names_the_iou_of_each_class() -> None:
    metric = ClassIoUMetric(ignore_index=255)
    metric.dataset_meta = {"classes": ("sky", "road", "car")}
    truth = torch.tensor([[0, 0, 1, 255], [1, 1, 1, 0]])
    prediction = torch.tensor([[0, 1, 1, 1], [1, 1, 0, 0]])
    samples = [
        {"pred_sem_seg": {"data": p[None]}, "gt_sem_seg": {"data": t[None]}}
        for p, t in zip(prediction, truth, strict=True)
    ]
    metric.process({}, samples)
    metrics = metric.evaluate(len(samples))
    # By hand: sky 2 of 4, road 3 of 5; the ignored pixel counts nowhere, no car anywhere.
    assert metrics["IoU/sky"] == pytest.approx(50.0)
    assert metrics["IoU/road"] == pytest.approx(60.0)
    assert math.isnan(metrics["IoU/car"])
    assert metrics["mIoU"] == pytest.approx(55.0)


def test_pixels_of_ignored_classes_do_not_count() -> None:
    metric = ClassIoUMetric(ignored_classes=["car"])
    metric.dataset_meta = {"classes": ("sky", "road", "car")}
    truth, prediction = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 2, 1, 1, 2])
    metric.process(
        {}, [{"pred_sem_seg": {"data": prediction[None]}, "gt_sem_seg": {"data": truth[None]}}]
    )
    metrics = metric.evaluate(1)
    # Sky 1 of 2; road 1 of 1, since what is called road is a car's; a car is seen where none is.
    assert metrics["IoU/sky"] == pytest.approx(50.0)
    assert metrics["IoU/road"] == pytest.approx(100.0)
    assert metrics["IoU/car"] == pytest.approx(0.0)
    assert truth.tolist() == [0, 0, 1, 2, 2]
