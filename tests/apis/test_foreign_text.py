"""Names of classes and files are shown as they are, and are read by nothing as its language."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table

from mmseg_proto.apis import accuracy_report, dataset_check, inspection
from mmseg_proto.apis.foreign_text import for_markdown, for_terminal

HOSTILE = (
    "[/red]",
    "[link=x]y",
    "a|b\nc",
    r"$\frac$",
    "<script>x</script>",
    "../../up",
    "\x1b[31m",
)


def printed(table: Table) -> str:
    console = Console(width=200, force_terminal=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def check_table(table: Table) -> None:
    text = printed(table)
    for name in ("[/red]", "[link=x]y", r"$\frac$", "<script>x</script>", "../../up"):
        assert name in text
    assert "?[31m" in text  # no escape code of the name's own


def test_prototypes_of_classes_with_such_names(tmp_path: Path) -> None:
    count = len(HOSTILE)
    saved = inspection.SavedPrototypes(
        "decode_head",
        HOSTILE,
        torch.randn(count, 2, 4),
        torch.ones(count, 2).bool(),
        torch.ones(count, 2),
        torch.ones(count, 2),
    )
    (tmp_path / "out").mkdir()
    check_table(inspection.rich_table(saved))
    inspection.draw_heat_map(saved, tmp_path / "out" / "map.png")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["map.png"]


def test_a_data_set_with_such_names(tmp_path: Path) -> None:
    count = len(HOSTILE)
    report = dataset_check.SplitReport(
        "train", 1, [], HOSTILE, np.arange(count) + 1, np.ones(count, dtype=np.int64), 0
    )
    check_table(dataset_check.frequency_table(report))
    dataset_check.draw_frequencies([report], tmp_path / "classes.png")
    assert [path.name for path in tmp_path.rglob("*")] == ["classes.png"]


def test_tables_of_results() -> None:
    rows = [[name, "1"] for name in HOSTILE]
    check_table(accuracy_report.rich_table("[/title]", ["class", "x"], rows))
    lines = accuracy_report.markdown_table(["class", "x"], rows).splitlines()
    assert len(lines) == 2 + len(HOSTILE)
    assert lines[4] == r"| a\|b c | 1 |"
    assert "<" not in "".join(lines)


@pytest.mark.parametrize("show", [for_markdown, lambda name: for_terminal(name).plain])
def test_ordinary_names_stay_as_they_are(show: object) -> None:
    for name in ("traffic light", "Straße", "道路", "pot plant;flora", "3-d"):
        assert show(name) == name  # type: ignore[operator]
