"""Classes are added, removed, renamed and split; what is not concerned stays as it is.

And, with the same model, whether its confidence tells the class that it has not seen.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmseg.apis import inference_model
from mmseg.registry import DATASETS, METRICS
from PIL import Image
from short_runs import run_tool, train_briefly
from torch import Tensor

from mmseg_proto.apis import load
from mmseg_proto.apis.class_command import compare
from mmseg_proto.apis.class_edit import (
    EditedCheckpoint,
    Target,
    add_class,
    remove_class,
    rename_class,
    split_class,
)
from mmseg_proto.apis.confidence import measure_confidence
from mmseg_proto.apis.new_class import NewClassSettings
from mmseg_proto.apis.validation import validate
from mmseg_proto.datasets.synthetic import CLASSES
from mmseg_proto.hooks.checkpoint_files import load_weights

BANK = "decode_head.prototype_classifier.bank"
LEFT_OUT = CLASSES[0]
KNOWN = tuple(name for name in CLASSES if name != LEFT_OUT)
QUICK = NewClassSettings(images=8, pixels=500, num_prototypes=8, steps=60)


@pytest.fixture(scope="module")
def trained(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Config and checkpoint of a small prototype model, which has not seen one of the classes."""
    folder = tmp_path_factory.mktemp("trained")
    config = folder / "small.py"
    config.write_text(
        f"_base_ = {str(repository / 'configs' / 'proto_demo_synthetic.py')!r}\n"
        f"chosen = dict(classes={KNOWN!r})\n"
        "train_dataloader = dict(dataset=dict(length=40, metainfo=chosen))\n"
        "val_dataloader = dict(dataset=dict(length=6, metainfo=chosen))\n"
        "test_dataloader = dict(dataset=dict(length=6, metainfo=chosen))\n"
        "model = dict(backbone=dict(init_cfg=None),\n"
        f"    decode_head=dict(channels=32, num_classes={len(KNOWN)}, num_prototypes=4,\n"
        f"        loss_decode=dict(class_weight={[0.5] * len(KNOWN)!r})),\n"
        "    auxiliary_head=dict(type='FCNHead', in_channels=40, in_index=1, channels=8,\n"
        f"        num_convs=1, num_classes={len(KNOWN)}))\n"
        "del chosen\n"
    )
    return config, train_briefly(config)


def weights_of(checkpoint: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_weights(checkpoint)["state_dict"]
    return weights


def metainfo(edited: EditedCheckpoint, split: str) -> dict[str, Any]:
    cfg = Config.fromfile(edited.config)
    found: dict[str, Any] = DATASETS.build(cfg[f"{split}_dataloader"].dataset).metainfo
    return found


def check_the_rest_stays(
    trained: tuple[Path, Path], edited: EditedCheckpoint, rows: dict[int, int]
) -> None:
    """Rows of the bank are found where they are now, and all else is what it was, bit by bit."""
    old, new = weights_of(trained[1]), weights_of(edited.checkpoint)
    assert old.keys() == new.keys()
    for key, value in old.items():
        if f"{BANK}." in key or key.startswith("auxiliary_head.conv_seg."):
            for before, after in rows.items():
                row, room = new[key][after], value[before].shape[:1]
                assert torch.equal(row[: room[0]] if room else row, value[before]), key
                # Places that there were not are empty.
                assert not room or not row[room[0] :].any()
        else:
            assert torch.equal(new[key], value), key
    # Config, data sets and checkpoint agree on the classes.
    names = edited.change.names
    meta = load_weights(edited.checkpoint)["meta"]["dataset_meta"]
    assert tuple(meta["classes"]) == names
    assert len(meta["palette"]) == len(set(map(tuple, meta["palette"]))) == len(names)
    for split in ("train", "val", "test"):
        found = metainfo(edited, split)
        assert tuple(found["classes"]) == names
        assert len(found["palette"]) == len(names)
    model = load(edited.checkpoint)
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    assert inference_model(model, image).seg_logits.shape == (64, 96)
    assert model.decode_head.num_classes == len(names)


def test_a_class_is_added_from_images(trained: tuple[Path, Path], tmp_path: Path) -> None:
    target = Target(*trained, tmp_path / "new")
    edited = add_class(target, LEFT_OUT, QUICK)
    count = len(KNOWN)
    assert edited.change.names == (*KNOWN, LEFT_OUT)
    check_the_rest_stays(trained, edited, {index: index for index in range(count)})
    new = weights_of(edited.checkpoint)
    assert new[f"{BANK}.alive"][count].sum() == 8
    torch.testing.assert_close(new[f"{BANK}.prototypes"][count].norm(dim=1), torch.ones(8))
    assert not new["auxiliary_head.conv_seg.weight"][count].any()
    cfg = Config.fromfile(edited.config)
    assert cfg.model.decode_head.loss_decode.class_weight == [0.5] * count + [1.0]
    # The data set knew the class all the time, and its colour.
    assert cfg.val_dataloader.dataset.type == "SyntheticScenes"
    assert edited.notes == [
        "Untrained for the new class, and of use to training alone: auxiliary_head.conv_seg",
        f"{LEFT_OUT} has 8 prototypes from 8 images",
    ]
    scores = compare(target, edited)
    assert scores["IoU"]["before"].keys() == set(KNOWN)
    assert scores["IoU"]["after"][LEFT_OUT] > 1
    means = scores["mIoU of the old classes"]
    assert means["before"] == pytest.approx(
        np.mean(list(scores["IoU"]["before"].values())), abs=1e-6
    )
    same = "after, its pixels ignored"
    assert scores["IoU"][same].keys() == set(KNOWN)
    assert means["before"] - 8 < means["after"] < means[same] + 1e-6


def test_a_class_that_no_label_knows_is_added_from_folders(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        labels = np.full((64, 96), 3, dtype=np.uint8)
        labels[16:48, 16:64], labels[:4] = 7, 255
        picture = rng.integers(0, 60, (64, 96, 3), dtype=np.uint8)
        picture[labels == 7] += 190
        for folder, pixels in (("images", picture), ("labels", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    folders = tmp_path / "images", tmp_path / "labels"
    settings = NewClassSettings(pixels=300, num_prototypes=4, folders=folders, value=7)
    edited = add_class(Target(*trained, tmp_path / "new"), "glare", settings, colour=(1, 2, 3))
    check_the_rest_stays(trained, edited, {index: index for index in range(len(KNOWN))})
    assert edited.notes[0] == (
        "The data sets do not know these names: a RelabelledDataset goes around them"
    )
    assert edited.notes[1] == "The data sets have no labels of glare"
    assert edited.notes[-1] == "glare has 4 prototypes from 2 images"
    assert metainfo(edited, "val")["palette"][-1] == [1, 2, 3]
    predicted = inference_model(load(edited.checkpoint), str(tmp_path / "images" / "a.png"))
    won = (predicted.pred_sem_seg.data[0] == len(KNOWN)).numpy()
    assert won[20:44, 20:60].mean() > 0.5
    assert won[:, 76:].mean() < 0.2


def test_a_class_is_split_along_its_prototypes(trained: tuple[Path, Path], tmp_path: Path) -> None:
    edited = split_class(Target(*trained, tmp_path / "new"), "half", KNOWN[0], [1, 3])
    check_the_rest_stays(trained, edited, {index: index for index in range(1, len(KNOWN))})
    old, new = weights_of(trained[1]), weights_of(edited.checkpoint)
    for name in ("prototypes", "alive", "updates", "usage"):
        before, after = old[f"{BANK}.{name}"], new[f"{BANK}.{name}"]
        assert torch.equal(after[-1][[1, 3]], before[0][[1, 3]])
        assert torch.equal(after[0][[0, 2]], before[0][[0, 2]])
        assert not after[-1][[0, 2]].any()
        assert not after[0][[1, 3]].any()
    images = torch.rand(1, 3, 64, 96) * 4 - 2
    models = [load(checkpoint).eval() for checkpoint in (trained[1], edited.checkpoint)]
    with torch.no_grad():
        before, after = (m.decode_head(m.extract_feat(images)) for m in models)
    assert torch.equal(torch.maximum(after[:, 0], after[:, -1]), before[:, 0])
    assert torch.equal(after[:, 1:-1], before[:, 1:])


def test_a_class_is_removed(trained: tuple[Path, Path], tmp_path: Path) -> None:
    target = Target(*trained, tmp_path / "new")
    edited = remove_class(target, KNOWN[2])
    kept = [index for index in range(len(KNOWN)) if index != 2]
    check_the_rest_stays(trained, edited, dict(zip(kept, range(len(kept)), strict=True)))
    cfg = Config.fromfile(edited.config)
    assert cfg.model.decode_head.loss_decode.class_weight == [0.5] * len(kept)
    assert KNOWN[2] not in cfg.train_dataloader.dataset.metainfo.classes
    # And back again: what was added and is removed leaves what was there.
    again = add_class(Target(edited.config, edited.checkpoint, tmp_path / "again"), KNOWN[2], QUICK)
    assert again.change.names == (*edited.change.names, KNOWN[2])


def test_a_class_is_renamed_and_keeps_its_labels(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    target = Target(*trained, tmp_path / "new")
    edited = rename_class(target, KNOWN[1], "façade [old]")
    check_the_rest_stays(trained, edited, {index: index for index in range(len(KNOWN))})
    # A RelabelledDataset is changed, not wrapped once more.
    second = rename_class(
        Target(edited.config, edited.checkpoint, tmp_path / "second"), KNOWN[0], "other"
    )
    assert second.change.names[:2] == ("other", "façade [old]")
    inner = Config.fromfile(second.config).val_dataloader.dataset
    assert (inner.type, inner.dataset.type) == ("RelabelledDataset", "SyntheticScenes")
    assert inner.sources[:2] == list(KNOWN[:2])


Edit = Callable[[Target], EditedCheckpoint]
WRONG: dict[str, tuple[Edit, str]] = {
    "added twice": (lambda t: add_class(t, KNOWN[0]), "a name that none of the classes has"),
    "no name": (lambda t: add_class(t, " "), "a name that none of the classes has"),
    "no pixels": (
        lambda t: add_class(t, "ghost"),
        "Expected images with at least 50 pixels of ghost, but the training data has none among 40",
    ),
    "unknown": (lambda t: remove_class(t, "ghost"), "Expected one of the classes .*'ghost'"),
    "renamed to another": (
        lambda t: rename_class(t, KNOWN[0], KNOWN[1]),
        "a name that none of the classes has",
    ),
    "all prototypes": (
        lambda t: split_class(t, "half", KNOWN[0], [0, 1, 2, 3]),
        r"Expected some, but not all, of the prototypes \[0, 1, 2, 3\]",
    ),
    "no such prototype": (
        lambda t: split_class(t, "half", KNOWN[0], [4]),
        "Expected some, but not all",
    ),
    "no folder": (
        lambda t: add_class(
            t, "ghost", NewClassSettings(folders=(Path("none"), Path("none")), value=1)
        ),
        "Expected a folder of images, but none is none",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_done_is_named_and_nothing_is_written(
    wrong: str, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    edit, message = WRONG[wrong]
    with pytest.raises((ValueError, OSError), match=message):
        edit(Target(*trained, tmp_path / "new"))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unless_it_may_be(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "small.py").write_text("mine")
    with pytest.raises(FileExistsError, match="but .*small.py is there. Name another folder"):
        remove_class(Target(*trained, tmp_path), KNOWN[0])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    remove_class(Target(*trained, tmp_path, force=True), KNOWN[0])
    assert {path.name for path in tmp_path.iterdir()} == {"small.py", "small.pth"}
    # Never what is read.
    for config, checkpoint, out in (
        (*trained, trained[0].parent),
        (trained[0], tmp_path / "small.pth", tmp_path),
    ):
        with pytest.raises(FileExistsError, match="is there. Name another folder"):
            remove_class(Target(config, checkpoint, out, force=True), KNOWN[0])


def test_other_models_and_settings_are_refused(
    trained: tuple[Path, Path], repository: Path, tmp_path: Path
) -> None:
    softmax = repository / "configs" / "softmax_demo_synthetic.py"
    with pytest.raises(ValueError, match="Expected a model with prototypes, but .* SegformerHead"):
        remove_class(Target(softmax, trained[1], tmp_path / "new"), KNOWN[0])
    config = tmp_path / "norm.py"
    config.write_text(
        f"_base_ = {str(trained[0])!r}\n"
        "model = dict(decode_head=dict(score_scale=dict(kind='layer_norm')))\n"
    )
    with pytest.raises(ValueError, match="with others, all scores change"):
        remove_class(Target(config, trained[1], tmp_path / "new"), KNOWN[0])
    config.write_text(
        f"_base_ = {str(trained[0])!r}\n"
        "model = dict(auxiliary_head=dict(loss_decode=dict(class_weight='weights.npy')))\n"
    )
    with pytest.raises(ValueError, match="Expected `class_weight` to be a list"):
        remove_class(Target(config, trained[1], tmp_path / "new"), KNOWN[0])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": 0}, "Expected `images` to be at least 1, but got 0"),
        ({"pixels": 1}, "Expected `pixels` to be at least 2, but got 1"),
        ({"steps": "many"}, "Expected `steps` to be"),
        ({"value": 3}, "Expected `folders` together with `value`"),
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        NewClassSettings(**wrong)


@pytest.mark.slow
def test_the_command_compares_and_writes_json(trained: tuple[Path, Path], tmp_path: Path) -> None:
    options = ["--name", KNOWN[0], "--to", "other", "-o", tmp_path / "new"]
    report = tmp_path / "report.json"
    done = run_tool("rename_class", *trained, *options, "--json", report)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(report.read_text())
    assert said["classes"][0] == "other"
    assert said["IoU"]["before"] == said["IoU"]["after"]
    assert "old classes, mean" in done.stdout
    assert f"Written: {tmp_path / 'new' / 'small.py'} and" in done.stdout
    again = run_tool("rename_class", *trained, *options, "--json", report)
    assert again.returncode == 1
    assert "report.json is there. Overwrite it with --force" in again.stderr


def test_confidence_is_measured_on_a_class_that_was_left_out(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    options = ["--unknown", LEFT_OUT, "--keep", 0.8, "--json", report]
    done = run_tool("measure_confidence", *trained, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = json.loads(report.read_text()).values()
    scores = ("max_probability", "max_logit", "max_cosine", "margin")
    measures = ("AUROC", "AP", "FPR95", "threshold")
    assert set(found) == {"ECE", *(f"{m}/{score}" for m in measures for score in scores)}
    # One scale makes logits of cosines, so that both rank pixels alike.
    assert found["AUROC/max_logit"] == pytest.approx(found["AUROC/max_cosine"], abs=0.1)
    assert all(0 <= found[f"{m}/{score}"] <= 100 for m in measures[:3] for score in scores)
    assert "max_cosine" in done.stdout
    threshold = found["threshold/max_cosine"]
    cfg = Config.fromfile(trained[0])
    kept = validate(
        *trained,
        {
            "model.type": "ProtoEncoderDecoder",
            "model.unknown_below": threshold,
            "val_evaluator": {"_delete_": True, "type": "ShareOfUnknown"},
        },
    )
    assert cfg.model.type == "EncoderDecoder"
    assert kept["unknown"] == pytest.approx(0.2, abs=0.01)


@METRICS.register_module()
class ShareOfUnknown(BaseMetric):
    """Share of the labelled pixels that a model calls unknown."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        for sample in data_samples:
            labelled = sample["gt_sem_seg"]["data"] != 255
            called = sample["unknown"]["data"] & labelled
            self.results.append((int(called.sum()), int(labelled.sum())))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        called, labelled = map(sum, zip(*results, strict=True))
        return {"unknown": called / labelled}


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        ("ghost", "Expected unknown classes among"),
        (KNOWN[0], "which the labels know and the model"),
    ],
)
def test_unknown_classes_that_are_none_are_named(
    unknown: str, message: str, trained: tuple[Path, Path]
) -> None:
    with pytest.raises(ValueError, match=message):
        measure_confidence(*trained, [unknown])
