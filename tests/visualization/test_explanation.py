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
from mmseg_proto.visualization.explanation_picture import draw_classes, draw_explanation
from mmseg_proto.visualization.overlay import prototype_colours
from mmseg_proto.visualization.sheet import Sheet

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


def lettering(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[list[str]]]:
    """Headings and legends of what is drawn afterwards."""
    headings: list[str] = []
    legends: list[list[str]] = []
    heading, legend = Sheet.heading, Sheet.legend

    def with_heading(self: Sheet, text: str, colour: Any) -> None:
        headings.append(text)
        heading(self, text, colour)

    def with_legend(self: Sheet, entries: Any) -> None:
        legends.append([name for name, _ in entries])
        legend(self, entries)

    monkeypatch.setattr(Sheet, "heading", with_heading)
    monkeypatch.setattr(Sheet, "legend", with_legend)
    return headings, legends


def test_a_named_class_has_one_overlay_by_prototype(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prototype 1 wins 42 of 64 columns of the sky, prototype 0 the other 22; road has one."""
    headings, legends = lettering(monkeypatch)
    sheet = draw_classes(halves(), [1, 0, 2])
    assert headings == [
        "road, 50 % of the image",
        "sky, 50 % of the image",
        "a $car$ <with> a very long name, not predicted in this image",
    ]
    assert legends == [["number 0: 100 %"], ["number 1: 66 %", "number 0: 34 %"]]
    side, height = 480, 360
    row = 34 + 20 + height + 12 + 22 + 12
    colours = prototype_colours(2)
    road, sky = EDGE + 40 + 34 + 20, EDGE + 40 + 34 + 20 + row
    overlay = EDGE + side + 12
    shown = 0.1 * (90 + 0.64 * 200)
    for top, left, number in (
        (sky + 20, overlay + 20, 1),
        (sky + 20, overlay + side - 20, 0),
        (road + height - 20, overlay + 20, 0),
    ):
        assert np.abs(sheet[top, left] - shown - 0.9 * colours[number]).max() <= 1
    faint = [225, 225, 225]
    assert sheet[sky + height - 20, overlay + 20].tolist() == faint
    assert sheet[road + 20, overlay + 20].tolist() == faint
    assert sheet[sky + 20, EDGE + 20].tolist() == [200, 200, 200]
    # The heading of a class that is not predicted ends the sheet.
    assert sheet.shape[:2] == (EDGE + 40 + 2 * row + 34 + EDGE - 12, 2 * (EDGE + side) + 12)


def test_few_prototypes_of_a_named_class_are_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    _, legends = lettering(monkeypatch)
    sheet = draw_classes(halves(), [0], prototypes=1)
    assert legends == [["number 1: 66 %"]]
    assert sheet[EDGE + 40 + 54 + 20, EDGE + 2 * 480 + 12 - 20].tolist() == [225, 225, 225]
    with pytest.raises(ValueError, match="Expected `prototypes` to be at least 1, but got 0"):
        draw_classes(halves(), [0], prototypes=0)
    for label in (-1, 3):
        with pytest.raises(ValueError, match=rf"`labels` to be in \[0, 3\), but got {label}"):
            draw_classes(halves(), [0, label])


def test_shares_are_counted_at_every_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel shows half of the rows and columns of this image; shares are of all."""
    headings, legends = lettering(monkeypatch)
    explanation = halves(960, 960)
    rng = np.random.default_rng(0)
    winners = rng.choice(4, size=(3, 960, 960), p=[0.1, 0.2, 0.3, 0.4]).astype(np.int16)
    winners[0, ::2] = 0
    labels = rng.choice(3, size=(960, 960), p=[0.5, 0.2, 0.3])
    draw_classes(dataclasses.replace(explanation, labels=labels, winners=winners), [0])
    own = [k for k, label in zip(winners[0].flat, labels.flat, strict=True) if label == 0]
    parts = {k: round(100 * own.count(k) / len(own)) for k in range(4)}
    order = sorted(parts, key=lambda k: -own.count(k))
    assert legends == [[f"number {k}: {parts[k]} %" for k in order]]
    assert headings == [f"sky, {round(100 * len(own) / labels.size)} % of the image"]


def test_a_named_class_without_prototypes_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    _, legends = lettering(monkeypatch)
    explanation = halves()
    labels = np.full_like(explanation.labels, 2)
    sheet = draw_classes(dataclasses.replace(explanation, labels=labels), [2])
    assert legends == [[]]
    assert sheet[EDGE + 40 + 54 + 20, EDGE + 480 + 12 + 20].tolist() == [225, 225, 225]
