"""Explanations of files, folders and data sets, from Python and by the tool."""

import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from short_runs import TOOLS, run_tool

from mmseg_proto.apis import load
from mmseg_proto.apis.explaining import explain_files, explain_split, list_images
from mmseg_proto.apis.explanation_sheets import SheetSettings, write_explanations, write_sheets
from mmseg_proto.apis.loading import build_bare
from mmseg_proto.heads.decoders import last_head
from mmseg_proto.visualization.sheet import Sheet

DEMO = "proto_demo_synthetic.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[Path, Path]:
    """A config and a checkpoint, whose prototypes lie anywhere."""
    folder = tmp_path_factory.mktemp("demo")
    cfg = Config.fromfile(repository / "configs" / DEMO)
    cfg.dump(folder / "config.py")
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = build_bare(cfg.model)
    bank = last_head(model).prototype_classifier.bank
    alive = torch.ones(bank.shape, dtype=torch.bool)
    bank.seed(torch.arange(len(alive)), torch.randn(bank.prototypes.shape), alive)
    torch.save({"state_dict": model.state_dict(), "meta": {}}, folder / "random.pth")
    return folder / "config.py", folder / "random.pth"


#: Names that a command line, a picture or a message may stumble over.
NAMES = ("traffic light", "4", "$b$", "person", "a\x1b[0m", "road", "-x", "sky")


@pytest.fixture(scope="module")
def named(trained: tuple[Path, Path]) -> tuple[Path, Path]:
    """The same with odd names in the checkpoint."""
    loaded = torch.load(trained[1], weights_only=True)
    loaded["meta"] = {"dataset_meta": {"classes": NAMES}}
    torch.save(loaded, trained[1].parent / "named.pth")
    return trained[0], trained[1].parent / "named.pth"


@pytest.fixture(scope="module")
def model(trained: tuple[Path, Path]) -> Any:
    return load(trained[1], trained[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, two of one stem, and two files that are none."""
    place = tmp_path / "images"
    place.mkdir()
    for number, name in enumerate(("street.png", "street.JPG", "wide.bmp")):
        image = np.random.default_rng(number).integers(0, 256, (40, 50 + number, 3), dtype=np.uint8)
        cv2.imwrite(str(place / name), image)
    (place / "broken.png").write_bytes(b"no image")
    (place / "notes.txt").write_text("no image")
    return place


def test_a_split_has_its_truth(trained: tuple[Path, Path], model: Any) -> None:
    cfg = Config.fromfile(trained[0])
    found = list(explain_split(model, cfg, "val", [3, 1]))
    assert len(found) == 2
    assert found[0].name != found[1].name
    for explanation in found:
        height, width = explanation.labels.shape
        count = len(explanation.classes)
        assert explanation.image.shape == (height, width, 3)
        assert explanation.cosines.shape == explanation.winners.shape == (count, height, width)
        assert np.array_equal(explanation.cosines.argmax(0), explanation.labels)
        assert explanation.truth is not None
        assert explanation.truth.min() >= -1
        assert explanation.palette is not None
    assert type(model).__name__ == "EncoderDecoder"
    again = next(explain_split(model, cfg, "train", [0]))
    assert again.truth is not None
    cfg.train_dataloader.dataset = {
        "type": "RepeatDataset",
        "times": 100,
        "dataset": cfg.train_dataloader.dataset,
    }
    repeated = next(explain_split(model, cfg, "train", [0]))
    assert np.array_equal(repeated.image, again.image)


def test_wrong_splits_and_indices(trained: tuple[Path, Path], model: Any) -> None:
    cfg = Config.fromfile(trained[0])
    with pytest.raises(ValueError, match="one of train, val, test, .* but got 'all'"):
        next(explain_split(model, cfg, "all"))
    with pytest.raises(ValueError, match="Expected `indices` to be in .* but got -1"):
        next(explain_split(model, cfg, "val", [-1]))


def test_files(trained: tuple[Path, Path], model: Any, folder: Path) -> None:
    cfg = Config.fromfile(trained[0])
    images = list_images(folder)
    assert [path.name for path in images] == ["broken.png", "street.JPG", "street.png", "wide.bmp"]
    with pytest.raises(ValueError, match="Expected an image in .*broken.png"):
        list(explain_files(model, cfg, images))
    said: list[str] = []
    found = list(explain_files(model, cfg, images, on_unreadable=said.append))
    assert [explanation.name for explanation in found] == ["street.JPG", "street.png", "wide.bmp"]
    assert [explanation.labels.shape for explanation in found] == [(40, 51), (40, 50), (40, 52)]
    assert found[0].truth is None
    assert len(said) == 1
    assert "broken.png" in said[0]
    expected: Any = cv2.imread(str(folder / "street.png"))
    assert np.array_equal(found[1].image, expected[..., ::-1])


def test_images_of_one_stem_have_sheets_of_their_own(
    trained: tuple[Path, Path], model: Any, folder: Path, tmp_path: Path
) -> None:
    cfg = Config.fromfile(trained[0])
    images = [folder / "street.JPG", folder / "street.png", folder / "street.png"]
    sheets = write_sheets(explain_files(model, cfg, images), tmp_path / "out", SheetSettings())
    assert [path.name for path in sheets] == ["street.png", "street.png.png", "street.png_2.png"]


def test_the_tool_goes_on_after_an_image_that_it_cannot_read(
    trained: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run_tool("explain", *trained, folder, "-o", out, "--prototypes", 2)
    assert done.returncode == 0, done.stderr
    assert "Pictures: 3 in" in done.stdout
    assert "broken.png, but it cannot be read as one." in done.stderr
    names = sorted(path.name for path in out.iterdir())
    assert names == ["street.png", "street.png.png", "wide.png"]
    picture: Any = cv2.imread(str(out / "wide.png"))
    assert picture.shape[1] > 700
    with pytest.raises(FileExistsError, match="Expected a new or empty folder, but .* has files"):
        write_explanations(*trained, folder, out)


def test_a_split_is_drawn(trained: tuple[Path, Path], tmp_path: Path) -> None:
    settings = SheetSettings(images=2, classes=1, prototypes=1)
    written = write_explanations(*trained, "val", tmp_path / "out", settings)
    assert len(written.files) == 2
    assert all(path.is_file() for path in written.files)
    first = written.files[0].stat().st_mtime_ns
    again = write_explanations(*trained, "val", tmp_path / "out", settings, force=True)
    assert again.files == written.files
    assert written.files[0].stat().st_mtime_ns > first


def test_images_are_spread_evenly() -> None:
    assert SheetSettings(images=3).chosen(11) == [0, 5, 10]
    assert SheetSettings(images=3).chosen(2) == [0, 1]
    assert SheetSettings().chosen(3) == [0, 1, 2]
    with pytest.raises(ValueError, match="Expected `images` to be at least 1, but got 0"):
        SheetSettings(images=0)


def headings_of(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> list[str]:
    """Run the tool in this process, and return the headings of the sheets."""
    found: list[str] = []
    heading = Sheet.heading

    def with_heading(self: Sheet, text: str, colour: Any) -> None:
        found.append(text)
        heading(self, text, colour)

    monkeypatch.setattr(Sheet, "heading", with_heading)
    command = ["explain.py", *arguments]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    runpy.run_path(str(TOOLS / "explain.py"), run_name="__main__")
    return [text.rpartition(", ")[0] for text in found]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["traffic light", "4", "$b$"], ["traffic light", "4", "$b$"]),
        (["person"], ["person"]),
        (["4", "--class-names"], ["4"]),
        (["person", "road", "person"], ["person", "road"]),
    ],
)
def test_named_classes_are_drawn(
    named: tuple[Path, Path],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    expected: list[str],
) -> None:
    place = [folder / "wide.bmp", "-o", tmp_path / "out", "--classes", *options]
    assert headings_of(monkeypatch, *named, *place) == expected


def test_a_number_of_classes_is_as_before(
    named: tuple[Path, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = [*named, folder / "wide.bmp", "-o", tmp_path / "out", "--force"]
    one = ["--classes", "1"]
    for command, most in (([*place, *one], 1), ([*one, *place], 1), (place, 4)):
        found = headings_of(monkeypatch, *command)
        assert 0 < len(found) <= most
        monkeypatch.undo()


def test_unknown_classes_are_refused_before_an_image_is_looked_at(
    named: tuple[Path, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    done = run_tool("explain", *named, folder, "-o", out, "--classes", "road", "Persn")
    assert done.returncode == 1
    assert f"Expected one of the classes {list(NAMES)}, but got 'Persn'." in done.stderr
    assert "Did you mean 'person'?" in done.stderr
    assert "\x1b[0m" not in done.stderr
    assert "Explaining" not in done.stdout + done.stderr
    # The names of a split are those of its data set, whatever is in the checkpoint.
    with pytest.raises(ValueError, match=r"classes \['sky', 'ground', .* but got 'road'\."):
        write_explanations(*named, "val", out, SheetSettings(classes=["road"]))
    for options in (["--classes", "0"], ["--classes", "-1"], ["--prototypes", "0"]):
        with pytest.raises(SystemExit, match="to be at least 1, but got"):
            headings_of(monkeypatch, *named, folder, "-o", out, *options)
    with pytest.raises(ValueError, match="to be a number or names, but got no name"):
        SheetSettings(classes=())
    assert not out.exists()


def test_bad_input_is_named(trained: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="an image or a folder of images, but .* missing"):
        write_explanations(*trained, folder / "none.png", out)
    with pytest.raises(ValueError, match="Expected an image in .*notes.txt"):
        write_explanations(*trained, folder / "notes.txt", out)
    for path in [*folder.glob("street.*"), folder / "wide.bmp"]:
        path.unlink()
    with pytest.raises(ValueError, match="but none can be read. .*broken.png"):
        write_explanations(*trained, folder, out)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="Expected images in .* but none has a suffix"):
        write_explanations(*trained, folder, out)
    assert not out.exists()
    done = run_tool("explain", *trained, "-o", out)
    assert done.returncode == 2
    assert "one of IMAGE, FOLDER and --split, but got none or several" in done.stderr
