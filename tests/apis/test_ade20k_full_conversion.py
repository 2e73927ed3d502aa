"""The release of ADE20K-full is converted, and what is missing or damaged is listed."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ade_release import OBJECTS, make_release, write_index
from PIL import Image

from mmseg_proto.apis.ade20k_full import convert_ade20k_full, read_objects
from mmseg_proto.apis.restricted_pickle import load_plain_pickle

ROOT = Path(__file__).parents[2]


def _masks(release: Path, split: str) -> dict[str, Any]:
    """Objects of each mask, decoded pixel by pixel from the documented encoding."""
    decoded = {}
    folder = release / "images" / "ADE" / split
    for path in sorted(folder.glob("*/*/*_seg.png")):
        rgb = np.array(Image.open(path)).astype(int)
        stem = path.relative_to(folder).as_posix().removesuffix("_seg.png")
        decoded[stem] = rgb[..., 0] // 10 * 256 + rgb[..., 1]
    return decoded


def _count(masks: dict[str, Any]) -> dict[int, int]:
    values, counts = np.unique(np.stack(list(masks.values())), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_are_ranks_of_the_classes_of_both_splits(tmp_path: Path, workers: int) -> None:
    release = make_release(tmp_path, objects=300)
    done = convert_ade20k_full(release, workers=workers)
    assert done.problems == []
    masks = {split: _masks(release, split) for split in ("training", "validation")}
    train, val = _count(masks["training"]), _count(masks["validation"])
    kept = sorted(set(train) & set(val) - {0}, key=lambda value: (-train[value], value))
    assert kept
    assert [entry.position for entry in done.classes] == kept
    assert [entry.name for entry in done.classes] == [f"object {value}" for value in kept]
    assert [entry.training_pixels for entry in done.classes] == [train[value] for value in kept]
    assert [entry.validation_pixels for entry in done.classes] == [val[value] for value in kept]
    out = release / "annotations_ranked"
    assert [entry["position"] for entry in json.loads((out / "classes.json").read_text())] == kept
    for split, of_split in masks.items():
        assert (out / f"{split}.txt").read_text().split() == list(
            dict.fromkeys(pair.stem for pair in done.pairs if pair.split == split)
        )
        for stem, objects in of_split.items():
            ranks = np.array(Image.open(out / split / f"{stem}.png"))
            expected = np.full_like(objects, 65535)
            for rank, value in enumerate(kept):
                expected[objects == value] = rank
            np.testing.assert_array_equal(ranks, expected)
    assert not list(out.rglob("*.part"))


def test_missing_and_damaged_files_are_listed_and_left_out(tmp_path: Path) -> None:
    release = make_release(tmp_path, objects=60)
    base = release / "images" / "ADE" / "training"
    images = sorted(base.glob("*/*/*.jpg"))
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:-200])
    mask = images[2].with_name(f"{images[2].stem}_seg.png")
    mask.write_bytes(mask.read_bytes()[:60])
    Image.new("RGB", (8, 8)).save(images[3].with_name(f"{images[3].stem}_seg.png"))
    Image.new("RGB", (80, 64), (250, 250, 0)).save(images[4].with_name(f"{images[4].stem}_seg.png"))
    done = convert_ade20k_full(release)
    said = {problem.partition(": ")[0].rpartition("/")[2]: problem for problem in done.problems}
    assert "missing" in said[images[0].name]
    assert "damaged" in said[images[1].name]
    assert "damaged" in said[mask.name]
    assert "(80, 64)" in said[f"{images[3].stem}_seg.png"]
    assert f"object 6650, but there are {OBJECTS}" in said[f"{images[4].stem}_seg.png"]
    assert len(done.problems) == 5
    listed = (release / "annotations_ranked" / "training.txt").read_text().split()
    assert [Path(stem).name for stem in listed] == [images[5].stem]
    problems = (release / "annotations_ranked" / "problems.txt").read_text().splitlines()
    assert problems == done.problems


def test_paths_of_the_index_stay_inside_the_release(tmp_path: Path) -> None:
    release = make_release(tmp_path, objects=30)
    index = load_plain_pickle(release / "index_ade20k.pkl")
    folders, files = list(index["folder"]), list(index["filename"])
    folders[0] = "ADE20K_2021_17_01/images/ADE/training/../../../../outside"
    folders[1] = "ADE20K_2021_17_01/images/ADE/frames"
    files[2] = "/tmp/absolute.jpg"
    write_index(release, folders, files)
    done = convert_ade20k_full(release)
    assert len(done.problems) == 3
    assert all("not in images/ADE/training" in problem for problem in done.problems)
    assert {path.name for path in tmp_path.iterdir()} == {"ADE20K_2021_17_01"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_the_index_is_read(tmp_path: Path, protocol: int) -> None:
    release = make_release(tmp_path, train=1, val=1, protocol=protocol)
    index = load_plain_pickle(release / "index_ade20k.pkl")
    assert index["objectnames"][1] == "object 2"
    assert index["objectPresence"].shape == (OBJECTS, 2)
    assert index["scene"].tolist() == ["/street"] * 2


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduction = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduction


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    release = make_release(tmp_path, train=1, val=1)
    traces = [tmp_path / "trace0", tmp_path / "trace1"]
    attacks = [
        {"filename": _Call(os.system, f"touch {traces[0]}")},
        np.array([_Call(Path.touch, traces[1])], dtype=object),
    ]
    for attack, trace in zip(attacks, traces, strict=True):
        with (release / "index_ade20k.pkl").open("wb") as file:
            pickle.dump(attack, file, protocol=protocol)
        with pytest.raises(ValueError, match="Expected plain values and NumPy arrays alone"):
            convert_ade20k_full(release)
        assert not trace.exists()


def test_wrong_indexes_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Expected the index of the release at"):
        convert_ade20k_full(tmp_path)
    index = tmp_path / "index_ade20k.pkl"
    index.write_bytes(b"not a pickle")
    with pytest.raises(ValueError, match="cannot be read as a pickle of plain data"):
        convert_ade20k_full(tmp_path)
    index.write_bytes(pickle.dumps({"filename": [], "folder": ["a"], "objectnames": []}))
    with pytest.raises(ValueError, match="with as many files as folders"):
        convert_ade20k_full(tmp_path)
    index.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="but got list"):
        convert_ade20k_full(tmp_path)


def test_a_conversion_that_fails_leaves_no_lists_of_an_earlier_one(tmp_path: Path) -> None:
    release = make_release(tmp_path, train=1, val=1, objects=20)
    convert_ade20k_full(release)
    shutil.rmtree(release / "images" / "ADE" / "validation")
    with pytest.raises(ValueError, match="a class in common, but 1 of 2 could be read"):
        convert_ade20k_full(release)
    assert not list((release / "annotations_ranked").glob("*.*"))


def test_objects_are_read_as_the_release_encodes_them(tmp_path: Path) -> None:
    path = tmp_path / "mask_seg.png"
    # Red 117 is hundreds of 11 as red 110 is: the release's readers round down.
    Image.fromarray(np.array([[[110, 162, 3], [117, 162, 0], [0, 0, 9]]], dtype=np.uint8)).save(
        path
    )
    assert read_objects(path).tolist() == [[2978, 2978, 0]]


def test_command(tmp_path: Path) -> None:
    release = make_release(tmp_path, objects=40)
    next(release.glob("images/ADE/training/*/*/*.jpg")).unlink()
    command = [sys.executable, str(ROOT / "tools" / "convert_ade20k_full.py"), str(release)]
    run = subprocess.run(
        [*command, "--workers", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "5 training and 6 validation pairs, 1 left out" in run.stdout
    assert "Left out: images/ADE/training/" in run.stdout
    run = subprocess.run([*command[:2], str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("Expected the index of the release at")
