"""Two models, class by class, on the same images."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmseg.apis import inference_model
from numpy.typing import NDArray
from short_pair import VALIDATION_IMAGES as IMAGES
from short_pair import softmax_and_prototypes
from short_runs import run_tool

from mmseg_proto.apis.comparison_report import comparison_data, comparison_table, example_picture
from mmseg_proto.apis.confusion import count_confusion, ious, top_confusions
from mmseg_proto.apis.model_comparison import Comparison, Example, _Extremes, compare_models
from mmseg_proto.apis.trained import Trained, expect_same_classes, name_models
from mmseg_proto.apis.validation import evaluate_classes
from mmseg_proto.hooks.checkpoint_files import load_weights
from mmseg_proto.visualization.comparison_picture import (
    ALIKE,
    BOTH_WRONG,
    ONLY_FIRST,
    ONLY_SECOND,
    differences,
)


@pytest.fixture(scope="module")
def models(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Trained]:
    return softmax_and_prototypes(repository, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def compared(models: tuple[Trained, Trained]) -> Comparison:
    return compare_models(*models)


def test_iou_is_that_of_the_host(models: tuple[Trained, Trained], compared: Comparison) -> None:
    assert compared.images == IMAGES
    for model, confusion in zip(models, compared.confusion, strict=True):
        expected, _ = evaluate_classes(model.config, model.checkpoint)
        assert list(expected) == list(compared.classes)
        np.testing.assert_allclose(ious(confusion), list(expected.values()), rtol=1e-5)


def test_both_see_the_same_pixels(compared: Comparison) -> None:
    first, second = compared.confusion.sum(axis=2)
    assert first.tolist() == second.tolist()
    assert 0 < first.sum() <= IMAGES * 64 * 96


def test_examples_are_where_one_is_right_gains_and_losses_by_halves(compared: Comparison) -> None:
    assert len({example.name for example in compared.examples}) == len(compared.examples) == 6
    balances = []
    for one in compared.examples:
        assert one.image.shape == (*one.truth.shape, 3)
        known = one.truth >= 0
        right = [(labels == one.truth) & known for labels in (one.first, one.second)]
        assert one.gained == (right[1] & ~right[0]).sum()
        assert one.lost == (right[0] & ~right[1]).sum()
        balances.append(one.gained - one.lost)
    gains = sum(balance > 0 for balance in balances)
    assert balances[:gains] == sorted(balances[:gains], reverse=True)
    assert balances[gains:] == sorted(balances[gains:])
    assert max(balances[gains:], default=-1) < 0


def test_the_picture_of_an_example_is_its_image(
    models: tuple[Trained, Trained], compared: Comparison
) -> None:
    one = compared.examples[0]
    _, model = models[1].load()
    found = inference_model(model, np.ascontiguousarray(one.image[..., ::-1]))
    assert (found.pred_sem_seg.data[0].numpy() == one.second).mean() > 0.999


def test_some_images_are_spread_evenly_and_examples_may_be_none(
    models: tuple[Trained, Trained],
) -> None:
    found = compare_models(*models, images=3, examples=0)
    assert found.images == 3
    assert found.examples == ()
    assert found.confusion[0].sum() <= 3 * 64 * 96


def test_a_model_against_itself_has_no_examples(models: tuple[Trained, Trained]) -> None:
    found = compare_models(models[1], models[1], images=2)
    assert found.examples == ()
    assert (found.confusion[0] == found.confusion[1]).all()


def slow_iou(truth: NDArray[np.int16], predicted: NDArray[np.int16], label: int) -> float:
    pairs = [(t, p) for t, p in zip(truth.flat, predicted.flat, strict=True) if t >= 0]
    both = sum(t == label == p for t, p in pairs)
    either = sum(label in pair for pair in pairs)
    return 100 * both / either if either else math.nan


def test_numbers_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = (rng.integers(0, 4, (9, 7)).astype(np.int16) for _ in range(2))
    truth[0] = -1
    confusion = count_confusion(truth, predicted, 6)
    for t in range(6):
        for p in range(6):
            assert confusion[t, p] == ((truth == t) & (predicted == p)).sum()
    expected = [slow_iou(truth, predicted, label) for label in range(6)]
    np.testing.assert_allclose(ious(confusion), expected)
    assert np.isnan(ious(confusion)[4:]).all()


def test_top_confusions_leave_out_what_is_right_and_what_never_happens() -> None:
    confusion = np.array([[50, 3, 7], [0, 9, 0], [20, 0, 0]])
    assert [tuple(one) for one in top_confusions(confusion, 5)] == [
        (2, 0, 20, 1.0),
        (0, 2, 7, 7 / 60),
        (0, 1, 3, 3 / 60),
    ]
    assert top_confusions(confusion, 1, truth=0) == [(0, 2, 7, 7 / 60)]
    assert top_confusions(confusion, 3, truth=1) == []
    assert confusion.diagonal().tolist() == [50, 9, 0]


def test_differences_say_who_is_right() -> None:
    truth, first, second = np.array(
        [[0, 0, 0, 0, 0, -1, -1], [0, 0, 1, 1, 1, 0, 1], [0, 1, 0, 1, 2, 1, 1]], dtype=np.int16
    )
    found = differences(truth, first, second).tolist()
    assert found == [ALIKE, ONLY_FIRST, ONLY_SECOND, ALIKE, BOTH_WRONG, ALIKE, ALIKE]


def example(balance: int) -> Example:
    nothing = np.zeros((1, 1), dtype=np.int16)
    picture = np.zeros((1, 1, 3), dtype=np.uint8)
    gained, lost = max(balance, 0), max(-balance, 0)
    return Example(str(balance), picture, nothing, nothing, nothing, gained, lost)


@pytest.mark.parametrize(
    ("count", "offered", "kept"),
    [
        (4, (1, -2, 3, -4, 5, -6), [5, 3, -6, -4]),
        (3, (1, -2, 3, -4, 5, -6), [5, -6, -4]),
        (4, (9, 8, 7, 6, 5, -1), [9, 8, 7, -1]),
        (4, (-9, -8, -7, -6, -5, 0), [-9, -8, -7, -6]),
        (4, (1, 0), [1]),
        (1, (2, 2, 2), [2]),
        (0, (1, -1), []),
    ],
)
def test_extremes_are_half_gains_half_losses_filled_up_from_the_other(
    count: int, offered: Sequence[int], kept: Sequence[int]
) -> None:
    extremes = _Extremes(count)
    for balance in offered:
        extremes.offer(balance, lambda balance=balance: example(balance))  # type: ignore[misc]
    assert [one.gained - one.lost for one in extremes.take()] == kept


def test_table_and_data_survive_names_and_absent_classes(compared: Comparison) -> None:
    confusion = compared.confusion.copy()
    confusion[:, 2, :] = 0
    confusion[:, :, 2] = 0
    classes = ("[red]a[/]", "$b_$", *compared.classes[2:])
    odd = replace(compared, confusion=confusion, classes=classes, names=("[b]x", "$y$"))
    data = comparison_data(odd)
    assert data["classes"][2]["IoU"] == {"first": None, "second": None}
    assert data["classes"][2]["delta"] is None
    json.dumps(data, allow_nan=False)
    shown = comparison_table(odd)
    assert str(next(iter(shown.columns[0].cells))) == "[red]a[/]"
    picture = example_picture(odd, odd.examples[0])
    assert picture.dtype == np.uint8
    assert picture.shape[1] > picture.shape[0]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (("a", "c"), "class 1 is 'b' in one and 'c' in the other"),
        (("b", "a"), "class 0 is 'a' in one and 'b' in the other"),
        (("a", "b", "c"), "x has 2 and y 3: only one has 'c'"),
        (("a",), "only one has 'b'"),
    ],
)
def test_other_classes_are_refused(other: tuple[str, ...], message: str) -> None:
    expect_same_classes({"x": ("a", "b"), "y": ["a", "b"]})
    with pytest.raises(ValueError, match=f"Expected the same classes.*{message}"):
        expect_same_classes({"x": ("a", "b"), "y": other})


def test_a_checkpoint_of_other_classes_is_refused(
    models: tuple[Trained, Trained], tmp_path: Path
) -> None:
    loaded = load_weights(models[0].checkpoint)
    names = list(loaded["meta"]["dataset_meta"]["classes"])
    loaded["meta"]["dataset_meta"]["classes"] = ("heaven", *names[1:])
    torch.save(loaded, tmp_path / "other.pth")
    other = replace(models[0], checkpoint=tmp_path / "other.pth")
    with pytest.raises(ValueError, match="class 0 is 'heaven' in one and"):
        compare_models(other, models[1])
    # One that does not say is taken at the word of its number of classes, and refused as well.
    del loaded["meta"]["dataset_meta"]
    torch.save(loaded, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="class 0 is '0' in one"):
        compare_models(other, models[1])


@pytest.mark.parametrize(("name", "value"), [("images", 0), ("examples", -1)])
def test_numbers_out_of_range_are_refused(
    models: tuple[Trained, Trained], name: str, value: int
) -> None:
    settings: dict[str, int] = {name: value}
    with pytest.raises(ValueError, match=f"Expected `{name}` to be at least .*, but got {value}"):
        compare_models(*models, **settings)  # type: ignore[arg-type]


def test_models_are_named_after_what_tells_them_apart() -> None:
    one, other = (Path("a/one.py"), Path("x.pth")), (Path("b/other.py"), Path("y.pth"))
    assert [model.name for model in name_models([one, other])] == ["one", "other"]
    assert [m.name for m in name_models([one, (one[0], other[1])])] == ["one (x)", "one (y)"]
    assert [m.name for m in name_models([one, other], ["p", "q"])] == ["p", "q"]


def test_the_command_writes_figures_and_pictures_once(
    models: tuple[Trained, Trained], tmp_path: Path
) -> None:
    paths = [path for model in models for path in (model.config, model.checkpoint)]
    options = ["-o", tmp_path / "new", "--images", 4, "--examples", 2]
    done = run_tool("compare_models", *paths, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "mIoU" in done.stdout
    said = json.loads((tmp_path / "new" / "comparison.json").read_text())
    assert said["models"] == {"first": "softmax", "second": "proto"}
    assert said["images"] == 4
    pictures = sorted((tmp_path / "new").glob("*.png"))
    assert len(pictures) == len(said["examples"]) > 0
    assert all(cv2.imread(str(picture)) is not None for picture in pictures)
    again = run_tool("compare_models", *paths, *options)
    assert again.returncode != 0
    assert "comparison.json is there. Overwrite it with --force" in again.stderr


def test_what_is_no_model_is_named(models: tuple[Trained, Trained], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.pth"):
        compare_models(replace(models[0], checkpoint=tmp_path / "none.pth"), models[1])
    with pytest.raises(ValueError, match="Expected the weights of the config"):
        compare_models(replace(models[0], checkpoint=models[1].checkpoint), models[1])
