import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from mmseg_proto.apis.accuracy_benchmark import result_file, show_results
from mmseg_proto.apis.accuracy_report import (
    class_rows,
    draw_curves,
    markdown_table,
    paired_difference,
    summary_rows,
)
from mmseg_proto.apis.accuracy_runs import Budget


def result(half: float, end: float, cosine: float | None = None) -> dict[str, Any]:
    points = [(20, half), (40, end)]
    curve = [{"iteration": i, "mIoU": m, "IoU/sky": m + 1, "IoU/car": m - 1} for i, m in points]
    if cosine is None:
        return {"curve": curve, "health": [], "validation_perplexity": {}}
    health = [{"iteration": i, "cosine": cosine, "perplexity": 5.0} for i in (10, 40)]
    return {"curve": curve, "health": health, "validation_perplexity": {"sky": 4.0, "car": 7.0}}


RESULTS = {
    "softmax": {0: result(50, 60), 1: result(52, 62), 2: result(51, 61)},
    "prototypes": {0: result(55, 61, 0.4), 1: result(56, 64, 0.5), 2: result(57, 64, 0.6)},
}


def test_paired_difference_has_students_interval() -> None:
    difference = paired_difference(RESULTS["prototypes"], RESULTS["softmax"])
    # 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.303.
    assert difference.mean == pytest.approx(2.0)
    assert difference.high - difference.mean == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert difference.mean - difference.low == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert difference.pairs == 3
    assert str(difference) == "+2.00 [-0.48, +4.48]"


def test_only_shared_seeds_are_paired_and_one_pair_has_no_interval() -> None:
    runs = {1: result(0, 70), 5: result(0, 10)}
    difference = paired_difference(runs, RESULTS["softmax"])
    assert (difference.mean, difference.pairs) == (8.0, 1)
    assert str(difference) == "+8.00"
    with pytest.raises(ValueError, match=r"share a seed, but got \[5\] and \[0, 1, 2\]"):
        paired_difference({5: result(0, 1)}, RESULTS["softmax"])


def test_summary_has_one_row_per_arm() -> None:
    head, rows = summary_rows(RESULTS)
    assert head[:5] == ["arm", "seeds", "at 20", "at 40", "sd"]
    assert rows[0] == ["softmax", "3", "51.00", "61.00", "1.00", "-", "-", "-", "-"]
    assert rows[1][:5] == ["prototypes", "3", "56.00", "63.00", "1.73"]
    assert rows[1][5:] == ["+2.00 [-0.48, +4.48]", "0.50", "5.00", "5.50"]


def test_one_prototype_a_class_has_no_cosine(tmp_path: Path) -> None:
    alone = result(55, 61, 0.0)
    for point in alone["health"]:
        del point["cosine"]
    results = {"softmax": RESULTS["softmax"], "prototypes+k-1": {0: alone}}
    assert summary_rows(results)[1][1][-3:] == ["-", "5.00", "5.50"]
    draw_curves(results, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_classes_stand_side_by_side() -> None:
    head, rows = class_rows(RESULTS)
    assert head == ["class", "softmax", "prototypes"]
    assert rows[0] == ["sky", "62.00", "64.00"]
    assert rows[-1] == ["mIoU", "61.00", "63.00"]
    assert markdown_table(head, rows[:1]) == (
        "| class | softmax | prototypes |\n| --- | --- | --- |\n| sky | 62.00 | 64.00 |\n"
    )


def test_shows_what_lies_in_the_folder(tmp_path: Path) -> None:
    budget = Budget(40)
    for name, runs in RESULTS.items():
        for seed, run in runs.items():
            file = result_file(tmp_path, budget, name, seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"seed": seed, **run}), encoding="utf-8")
    out = StringIO()
    show_results(tmp_path, budget, list(RESULTS), Console(file=out, width=140))
    assert "+2.00 [-0.48, +4.48]" in out.getvalue()
    folder = result_file(tmp_path, budget, "any", 0).parent
    assert "| mIoU | 61.00 | 63.00 |" in (folder / "summary.md").read_text(encoding="utf-8")
    assert len(set(Image.open(folder / "curves.png").convert("RGB").getdata())) > 20
    with pytest.raises(FileNotFoundError, match="results of k-5 in"):
        show_results(tmp_path, budget, ["k-5"], Console(file=out))
