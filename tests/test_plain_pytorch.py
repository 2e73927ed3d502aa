"""The training loop on plain PyTorch: short, alone, and it learns."""

import json
import re
from pathlib import Path

import pytest
import readme
from no_host import run_without_host

_RUN = """
import json, runpy, sys
from pathlib import Path
from mmseg_proto.prototypes import PrototypeBank, drift

seeds, update = [], PrototypeBank.update

def update_and_keep_seeds(bank, *args, **kwargs):
    if not seeds:
        seeds.append(bank.directions.clone())
    update(bank, *args, **kwargs)

PrototypeBank.update = update_and_keep_seeds
made = runpy.run_path({path!r}, run_name="__main__")
bank, labels = made["bank"], made["labels"]
print(json.dumps({{
    "constant": labels.bincount().max().item() / len(labels),
    "drift": drift(seeds[0], bank.directions, bank.alive_mask).tolist(),
    "fewest_updates": bank.updates.min().item(),
    "scale": made["log_scale"].exp().item(),
}}))
"""


def percentages(line: str) -> tuple[float, float]:
    """Return accuracy and mIoU of what the example prints."""
    found = re.search(r"accuracy ([\d.]+)%, mIoU ([\d.]+)%", line)
    assert found, line
    return float(found[1]), float(found[2])


@pytest.fixture(scope="module")
def example(repository: Path) -> Path:
    return repository / "examples" / "plain_pytorch.py"


def test_it_learns_without_a_host(example: Path) -> None:
    printed, numbers = run_without_host(_RUN.format(path=str(example))).splitlines()
    accuracy, miou = percentages(printed)
    made = json.loads(numbers)
    assert 100 * made["constant"] < 35
    assert accuracy > 90
    assert miou > 80
    assert min(made["drift"]) > 0.01
    assert made["fewest_updates"] > 100
    assert made["scale"] != pytest.approx(10)
    # What the README says; the last digits change with the machine.
    assert (accuracy, miou) == pytest.approx(percentages(readme.TEXT), abs=3)


def test_one_step_is_not_enough(example: Path, tmp_path: Path) -> None:
    """So that what is learned above is neither the seeding's nor the network's of itself."""
    text = example.read_text(encoding="utf-8")
    assert "range(200)" in text
    (tmp_path / "short.py").write_text(text.replace("range(200)", "range(1)"))
    path = tmp_path / "short.py"
    accuracy, miou = percentages(run_without_host(f"import runpy; runpy.run_path({str(path)!r})"))
    assert accuracy < 50
    assert miou < 40


def test_it_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 60
