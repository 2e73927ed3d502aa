"""Explanations from predictions, and their sheets."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_proto.visualization.explanation import Explanation, explanation_of, image_of
from mmseg_proto.visualization.explanation_picture import draw_explanation
from mmseg_proto.visualization.overlay import prototype_colours

CLASSES = ("sky", "road", "a $car$ <with> a very long name")
PANEL, EDGE = 320, 20


def predicted(truth: bool = True) -> Any:
    sample = SegDataSample(metainfo={"img_path": "folder/street.jpg"})
    logits = torch.randn(3, 6, 8) * 20
    winners = torch.randint(0, 4, (3, 6, 8)).short()
    winners[2] = -1
    sample.seg_logits = PixelData(data=logits)
    sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))
    sample.set_data({"class_winners": PixelData(data=winners)})
    if truth:
        labels = torch.randint(0, 3, (1, 6, 8))
        labels[0, 0, :3] = torch.tensor([255, 3, 2])
        sample.gt_sem_seg = PixelData(data=labels)
    return sample


def halves(height: int = 48, width: int = 64) -> Explanation:
    """Sky above road; prototype 1 of the sky wins its left, prototype 0 its right third."""
    labels = np.zeros((height, width), dtype=np.int64)
    labels[height // 2 :] = 1
    winners = np.zeros((3, height, width), dtype=np.int16)
    winners[0, :, : 2 * width // 3] = 1
    winners[2] = -1
    cosines = np.full((3, height, width), -1, dtype=np.float32)
    for label in range(2):
        cosines[label][labels == label] = 0.9
    image = np.full((height, width, 3), 200, dtype=np.uint8)
    return Explanation("street.jpg", image, labels, cosines, winners, None, CLASSES)


def test_fields() -> None:
    sample, image = predicted(), np.zeros((6, 8, 3), dtype=np.uint8)
    found = explanation_of(sample, image, 40.0, CLASSES, palette=[[1, 2, 3]] * 4)
    assert found.name == "street.jpg"
    assert found.labels.dtype == np.int64
    assert found.cosines.dtype == np.float32
    assert found.winners.dtype == np.int16
    expected = (sample.seg_logits.data / 40).clamp(-1, 1).numpy()
    np.testing.assert_allclose(found.cosines, expected, rtol=1e-6)
    assert found.truth is not None
    assert found.truth[0, :3].tolist() == [-1, -1, 2]
    assert found.palette is not None
    assert found.palette.shape == (3, 3)
    # Labels of the sample stay as they are.
    assert sample.gt_sem_seg.data[0, 0, 0] == 255
    bare = explanation_of(predicted(truth=False), image, 40.0, CLASSES, palette=[[1, 2, 3]])
    assert bare.truth is None
    assert bare.palette is None


def test_half_precision() -> None:
    sample = predicted()
    sample.seg_logits.data = sample.seg_logits.data.half()
    found = explanation_of(sample, np.zeros((6, 8, 3), dtype=np.uint8), 40.0, CLASSES)
    assert found.cosines.dtype == np.float32


def test_what_does_not_fit_is_refused() -> None:
    image = np.zeros((6, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="uint8 with shape \\(6, 8, 3\\), as the prediction, but"):
        explanation_of(predicted(), image[:5], 40.0, CLASSES)
    with pytest.raises(ValueError, match="Expected names of 3 classes, but got 2"):
        explanation_of(predicted(), image, 40.0, CLASSES[:2])
    with pytest.raises(
        ValueError, match="an explaining_view, with class_winners, but got one with"
    ):
        explanation_of(SegDataSample(), image, 40.0, CLASSES)
    sample = predicted()
    sample.set_data({"gt_sem_seg": PixelData(data=torch.zeros(1, 3, 4).long())})
    with pytest.raises(ValueError, match=r"labels of the size of the prediction, \(6, 8\), but"):
        explanation_of(sample, image, 40.0, CLASSES)


def test_images_are_read_in_rgb(tmp_path: Path) -> None:
    bgr = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), bgr)
    assert np.array_equal(image_of(tmp_path / "a.png"), bgr[..., ::-1])
    assert image_of(tmp_path / "a.png", (3, 4)).shape == (3, 4, 3)
    for content in (b"", b"no image"):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(ValueError, match="Expected an image in .*b.png, but it cannot be read"):
            image_of(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError):
        image_of(tmp_path / "c.png")


def test_a_sheet_shows_who_wins_where() -> None:
    """Colours at places of the overlays, which are found by their constant parts."""
    sheet = draw_explanation(halves())
    colours = prototype_colours(2)
    height = PANEL * 48 // 64
    # Rows begin below the title (40), a title of panels (20), legend (22 + 12), heading (34).
    first = EDGE + 40 + 20
    overview = EDGE + 2 * (PANEL + 12)
    class_row = first + height + 12 + 22 + 12 + 34 + 20
    shown = 0.1 * (90 + 0.64 * 200)
    for left in (overview, EDGE):
        top = first if left == overview else class_row
        for across, winner in ((30, 1), (PANEL - 30, 0)):
            expected = shown + 0.9 * colours[winner].astype(float)
            assert np.abs(sheet[top + 20, left + across] - expected).max() <= 1
    # The second half is road, which is not coloured in the row of sky.
    assert sheet[class_row + height - 20, EDGE + 30].tolist() == [225, 225, 225]
    # Prototype 1 alone: not where prototype 0 wins.
    alone = EDGE + PANEL + 12
    assert sheet[class_row + 20, alone + PANEL - 30].tolist() == [225, 225, 225]
    assert np.abs(sheet[class_row + 20, alone + 30] - shown - 0.9 * colours[1]).max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "truth"), [(48, 64, True), (300, 40, False), (20, 500, True), (1, 1, True)]
)
def test_any_shape_and_truth(height: int, width: int, truth: bool) -> None:
    explanation = halves(height, width)
    if truth:
        explanation = dataclasses.replace(explanation, truth=np.full_like(explanation.labels, -1))
    sheet = draw_explanation(explanation, classes=1, prototypes=1)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert sheet.shape[0] < draw_explanation(explanation, classes=2).shape[0] or height == 1


def test_a_predicted_class_without_prototypes() -> None:
    explanation = halves()
    sheet = draw_explanation(
        dataclasses.replace(explanation, labels=np.full_like(explanation.labels, 2))
    )
    assert sheet.shape[2] == 3


def test_it_is_quick() -> None:
    explanation = halves(480, 640)
    draw_explanation(explanation)  # matplotlib looks for fonts once
    begun = time.process_time()
    draw_explanation(explanation)
    assert time.process_time() - begun < 2


def test_numbers_below_one_are_refused() -> None:
    for name in ("classes", "prototypes"):
        with pytest.raises(ValueError, match=f"Expected `{name}` to be at least 1, but got 0"):
            draw_explanation(halves(), **{name: 0})
