"""Wrong configurations and inputs, and the exact message that each gets."""

from pathlib import Path

import pytest
from mistakes import mistakes, row

ROWS = [
    line
    for line in (Path(__file__).parents[1] / "docs" / "mistakes.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| mistake |", "| --- |"))
]


@pytest.mark.parametrize("what", mistakes())
def test_the_docs_have_what_is_said(what: str, tmp_path: Path) -> None:
    line = row(what, tmp_path)
    assert line in ROWS, f"docs/mistakes.md should have this line:\n{line}"


def test_the_docs_have_no_other_mistakes() -> None:
    assert [line.split(" | ")[0].removeprefix("| ") for line in ROWS] == list(mistakes())
