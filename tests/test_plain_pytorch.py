"""The training loop on plain PyTorch: short, alone, and it learns."""

import json
import re
from pathlib import Path

import pytest
import readme
from no_host import run_without_host

#: Runs the example with one step, then as it is.
_RUN = """
import json
from pathlib import Path
from mmseg_proto.prototypes import PrototypeBank, drift

text, steps = Path({path!r}).read_text(encoding="utf-8"), "range(120)"
assert steps in text
exec(text.replace(steps, "range(1)"), {{}})

seeds, update = [], PrototypeBank.update

def update_and_keep_seeds(bank):
    if not seeds:
        seeds.append(bank.directions.clone())
    update(bank)

PrototypeBank.update = update_and_keep_seeds
made = {{}}
exec(text, made)
bank, labels = made["bank"], made["labels"]
print(json.dumps({{
    "constant": 100 * labels.bincount().max().item() / len(labels),
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
    first, last, numbers = run_without_host(_RUN.format(path=str(example))).splitlines()
    made = json.loads(numbers)
    # Neither the most frequent class, nor seeds in what an untrained network sees, are enough.
    assert max(made["constant"], percentages(first)[0]) < 50
    accuracy, miou = percentages(last)
    assert accuracy > 90
    assert miou > 80
    assert min(made["drift"]) > 0.01
    assert made["fewest_updates"] > 60
    assert made["scale"] != pytest.approx(10)
    # What the README says; the last digits change with the machine.
    assert (accuracy, miou) == pytest.approx(percentages(readme.TEXT), abs=3)


def test_it_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 60
