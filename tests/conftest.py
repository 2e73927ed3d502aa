"""What every test shares."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

# No test has a screen. Set before anything imports matplotlib, for the subprocesses as well.
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Starts every test from the same state, in whatever order they run."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]
