import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from toy_runner import CLASSES, make_runner

from mmseg_proto.apis.training_life import draw_training_life, read_training_life
from mmseg_proto.hooks.prototype_timeline import TIMELINE
from mmseg_proto.visualization.training_life import Lives, TrainingLife
from mmseg_proto.visualization.training_picture import training_figure


def change(start: int, stop: int, **parts: Any) -> dict[str, Any]:
    line = {"head": "head", "start": start, "stop": stop, "born": [], "died": []}
    return {**line, "turn": [0.1, None], "moves": [4, 0], **parts}


def write_run(
    folder: Path, scalars: list[dict[str, Any]], timeline: list[dict[str, Any]] | None = None
) -> None:
    (folder / "vis_data").mkdir(parents=True)
    text = "".join(f"{json.dumps(line)}\n" for line in scalars)
    (folder / "vis_data" / "scalars.json").write_text(text)
    if timeline is not None:
        text = "".join(f"{json.dumps(line)}\n" for line in timeline)
        (folder / TIMELINE).write_text(text)


def train_line(step: int, cosine: float) -> dict[str, Any]:
    numbers = {"loss": 1.0, "decode.loss_ce": 0.5, "lr": 0.1, "prototype/cosine": cosine}
    return {**numbers, "iter": step, "step": step}


def begin(iteration: int) -> dict[str, Any]:
    return {"head": "head", "iteration": iteration, "classes": ["a", "b"], "alive": [0, 0]}


def test_a_resumed_run_takes_the_place_of_what_it_repeats(tmp_path: Path) -> None:
    write_run(
        tmp_path / "20260101_000000",
        [train_line(step, 0.1) for step in (10, 20, 30)] + [{"mIoU": 40.0, "step": 30}],
        [begin(0), change(0, 10, born=[[0, 1]]), change(10, 20), change(20, 30, died=[[0, 1]])],
    )
    write_run(
        tmp_path / "20260102_000000",
        [train_line(step, 0.2) for step in (30, 40)] + [{"mIoU": 50.0, "step": 40}],
        [begin(20), change(20, 30), change(30, 40, died=[[1, 0]])],
    )
    # Tests in the same folder are no training, and neither does one that was killed at its start.
    write_run(tmp_path / "20260103_000000", [{"mIoU": 99.0, "step": 0}])
    write_run(tmp_path / "20260104_000000", [], [begin(20)])
    life = read_training_life(tmp_path)
    assert life.scalars == {
        "decode.loss_ce": ((10, 20, 30, 40), (0.5,) * 4),
        "loss": ((10, 20, 30, 40), (1.0,) * 4),
        "mIoU": ((40,), (50.0,)),
        "prototype/cosine": ((10, 20, 30, 40), (0.1, 0.1, 0.2, 0.2)),
    }
    lives = life.timeline["head"]
    assert [(x.start, x.stop) for x in lives] == [(0, 10), (10, 20), (20, 30), (30, 40)]
    assert [x.born for x in lives] == [((0, 1),), (), (), ()]
    assert [x.died for x in lives] == [(), (), (), ((1, 0),)]
    assert lives[0].turn[0] == 0.1
    assert math.isnan(lives[0].turn[1])
    assert life.classes == {"head": ("a", "b")}


def test_a_run_without_a_timeline_is_continued_where_it_logs(tmp_path: Path) -> None:
    write_run(tmp_path / "1", [train_line(step, 0.1) for step in (10, 20, 30)])
    write_run(tmp_path / "2", [train_line(step, 0.2) for step in (20, 30)])
    life = read_training_life(tmp_path)
    assert life.scalars["prototype/cosine"] == ((10, 20, 30), (0.1, 0.2, 0.2))
    assert life.timeline == {}


def test_validations_by_epoch_stand_at_their_iteration(tmp_path: Path) -> None:
    write_run(
        tmp_path / "1",
        [train_line(50, 0.1), {"mIoU": 1.0, "step": 1}, train_line(100, 0.1)]
        + [{"mIoU": 2.0, "step": 2}],
    )
    assert read_training_life(tmp_path).scalars["mIoU"] == ((50, 100), (1.0, 2.0))


def test_the_damaged_end_of_a_killed_run_is_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "1", [train_line(10, 0.1)], [begin(0), change(0, 10)])
    with (tmp_path / "1" / TIMELINE).open("a") as file:
        file.write('{"head":"head","start":10,"sto')
    with pytest.warns(UserWarning, match=rf"Left out 1 damaged lines of .*{TIMELINE}"):
        life = read_training_life(tmp_path)
    assert len(life.timeline["head"]) == 1


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected a folder .* but .* is none"):
        read_training_life(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="Expected .* but found neither"):
        read_training_life(tmp_path)
    write_run(tmp_path / "1", [{"mIoU": 1.0, "step": 0}])
    with pytest.raises(ValueError, match="Expected runs that have trained, but found no loss"):
        read_training_life(tmp_path)


def some_life(classes: int, reports: int = 5) -> TrainingLife:
    """A life in which class 1 is born late and loses a prototype, and the last one never turns."""
    lives = [
        Lives(
            start=10 * i,
            stop=10 * i + 10,
            born=((0, 0), (0, 1)) if i == 0 else ((1, 0),) if i == 2 else (),
            died=((1, 0),) if i == 4 else (),
            turn=(*(0.001 * (i + 1) + 0.0001 * c for c in range(classes - 1)), math.nan),
            moves=(10,) * classes,
        )
        for i in range(reports)
    ]
    names = tuple("$x" if c == 0 else f"class {c} {'long ' * 20}" for c in range(classes))
    steps = tuple(life.stop for life in lives)
    scalars = {
        name: (steps, tuple(float(step) for step in steps))
        for name in ("loss", "mIoU", "prototype/cosine", "prototype/strange")
    }
    return TrainingLife(scalars, {"decode_head": tuple(lives)}, {"decode_head": names})


@pytest.mark.parametrize("classes", [11, 150])
def test_draws_few_and_many_classes(tmp_path: Path, classes: int) -> None:
    file = tmp_path / "life.png"
    draw_training_life(some_life(classes), file)
    picture = Image.open(file).convert("RGB")
    assert picture.height > classes * 12  # pixels for each row
    assert len(set(picture.getdata())) > 100
    assert list(tmp_path.iterdir()) == [file]


def test_the_picture_says_what_the_numbers_mean() -> None:
    life = some_life(3)
    figure: Any = training_figure(life, {"decode_head": ["a", "b", "c"]})
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    assert titles[:4] == [
        "mIoU of validation, %",
        "loss",
        "mean cosine within a class (1: one point)",
        "strange",
    ]
    assert any("3 born (circles) and 1 died (crosses)" in title for title in titles)
    timeline = figure.subfigs[1].axes[0]
    assert [label.get_text() for label in timeline.get_yticklabels()] == ["a", "b", "c"]
    mesh, born, died = timeline.collections
    # Per 1000 iterations; the class that never turned has no colour.
    assert mesh.get_array()[0, 0] == pytest.approx(0.1)
    assert mesh.get_array().mask[2].all()
    assert born.get_offsets().tolist() == [[5.0, 0.0], [25.0, 1.0]]
    assert died.get_offsets().tolist() == [[45.0, 1.0]]
    assert born.get_sizes()[0] > born.get_sizes()[1]


def test_many_reports_are_put_together() -> None:
    figure: Any = training_figure(some_life(3, reports=1000), {})
    mesh = figure.subfigs[1].axes[0].collections[0]
    assert 100 < mesh.get_array().shape[1] <= 240
    # The mean of the first five: 0.1 to 0.5 per 1000 iterations.
    assert mesh.get_array()[0, 0] == pytest.approx(0.3)


def test_tool_draws_a_real_resumed_training(tmp_path: Path, repository: Path) -> None:
    first = make_runner(tmp_path, {"train_cfg.val_interval": 2})
    first.train()
    halfway = str(Path(first.work_dir) / "iter_2.pth")
    # Folders are named by the second, and this test may take less.
    first_folder = Path(first.log_dir)
    first_folder.rename(first_folder.with_name("20000101_000000"))
    make_runner(
        tmp_path, {"train_cfg.val_interval": 2, "resume": True, "load_from": halfway}
    ).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        life = read_training_life(Path(first.work_dir))
    assert [(x.start, x.stop) for x in life.timeline["decode_head"]] == [(0, 2), (2, 4)]
    assert life.classes == {"decode_head": CLASSES}
    assert life.scalars["mIoU"][0] == life.scalars["loss"][0] == (2, 4)
    tool = [sys.executable, str(repository / "tools/training_curves.py"), first.work_dir]
    out = tmp_path / "curves.png"
    done = subprocess.run(
        [*tool, "-o", str(out)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == f"Curves: {out}\n"
    assert Image.open(out).size[0] > 1000
    again = subprocess.run([*tool, "-o", str(out)], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "Overwrite it with --force" in again.stderr
